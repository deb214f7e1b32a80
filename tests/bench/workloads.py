"""The programs of the benchmark and the pieces of them, built by name.

A builder returns a function that runs one step. Sizes are small on purpose: the smaller
the operators, the larger the share of whatever a hook adds to them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench.plan import PIECES

Step = Callable[[], object]

_CALLS = {piece.name: piece.calls for piece in PIECES}
_LAYER = 9  # parameters of a Llama layer
_NESTED = 200
_TOKENS = 16


def llama(layers: int, hidden: int, ffn: int, vocabulary: int) -> Any:
    """Return a random Llama with 4 heads, 2 of them for keys and values."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=ffn,
        vocab_size=vocabulary,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def tiny() -> Any:
    """Return the model whose step is bound by Python, not by arithmetic."""
    return llama(3, 64, 128, 128)


def training(model: Any, batch: int, length: int, accumulation: int = 1) -> Step:
    """Return a training step: forward and backward as often as asked, then AdamW."""
    module = getattr(model, "_orig_mod", model)
    trainable = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable)
    tokens = torch.randint(0, module.config.vocab_size, (batch, length))
    model.train()

    def step() -> None:
        for _ in range(accumulation):
            (model(input_ids=tokens, labels=tokens).loss / accumulation).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def lora() -> Step:
    """Train adapters on all linear layers."""
    from peft import LoraConfig, get_peft_model

    adapters = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    return training(get_peft_model(tiny(), adapters), 2, 16)


def checkpointing() -> Step:
    """Train in full, computing activations twice."""
    model = tiny()
    model.gradient_checkpointing_enable()
    return training(model, 2, 16)


def decode() -> Step:
    """Generate with a KV cache, without gradients."""
    model = tiny().eval()
    tokens = torch.ones(2, 8, dtype=torch.long)
    lengths = {"max_new_tokens": _TOKENS, "min_new_tokens": _TOKENS}
    options: dict[str, Any] = {**lengths, "do_sample": False, "pad_token_id": 0}
    return lambda: model.generate(tokens, use_cache=True, **options)


def compiled() -> Step:
    """Train a compiled model."""
    return training(torch.compile(llama(1, 64, 128, 128)), 2, 16)


class Root(nn.Module):
    """One product, under a tree of as many parameters as asked, none of them used."""

    def __init__(self, parameters: int, nested: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        whole, rest = divmod(parameters - 1, _LAYER)
        sizes = [_LAYER] * whole + [rest] * bool(rest)
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(size))
            for size in sizes
        )
        self.nested = nn.ModuleList(nn.Identity() for _ in range(nested))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply once; call what is nested."""
        for module in self.nested:
            inputs = module(inputs)
        return inputs @ self.weight


def root_calls(name: str, parameters: int, nested: int = 0) -> Step:
    """Call a root module without gradients."""
    root, inputs = Root(parameters, nested), torch.ones(2, 2)
    calls = range(_CALLS[name] // max(nested, 1))

    def step() -> None:
        with torch.no_grad():
            for _ in calls:
                root(inputs)

    return step


def backward() -> Step:
    """Run the engine over operators that cost no product."""
    weight = torch.ones(2, requires_grad=True)
    calls = range(_CALLS["backward"])

    def step() -> None:
        for _ in calls:
            (weight * weight).sum().backward()

    return step


def micro() -> Step:
    """Call a root module and run its backward."""
    root, inputs = Root(12), torch.ones(2, 2)
    calls = range(_CALLS["micro"])

    def step() -> None:
        for _ in calls:
            root(inputs).sum().backward()

    return step


def optimizer_steps(name: str, parameters: int) -> Step:
    """Step SGD over parameters of one element."""
    held = [nn.Parameter(torch.ones(1)) for _ in range(parameters)]
    for parameter in held:
        parameter.grad = torch.zeros(1)
    optimizer = torch.optim.SGD(held, foreach=False)
    calls = range(_CALLS[name])

    def step() -> None:
        for _ in calls:
            optimizer.step()

    return step


BUILDERS: dict[str, Callable[[], Step]] = {
    "tiny": lambda: training(tiny(), 2, 16),
    "medium": lambda: training(llama(4, 256, 1024, 1024), 4, 128),
    "thin": lambda: training(llama(4, 16, 32, 32), 1, 4),
    "lora": lora,
    "accumulation": lambda: training(tiny(), 2, 16, accumulation=4),
    "checkpointing": checkpointing,
    "decode": decode,
    "compiled": compiled,
    "root-12": lambda: root_calls("root-12", 12),
    "root-291": lambda: root_calls("root-291", 291),
    "root-1859": lambda: root_calls("root-1859", 1859),
    "nested": lambda: root_calls("nested", 12, _NESTED),
    "backward": backward,
    "micro": micro,
    "step-1": lambda: optimizer_steps("step-1", 1),
    "step-291": lambda: optimizer_steps("step-291", 291),
}
