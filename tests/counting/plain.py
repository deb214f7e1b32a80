"""Programs without a trainer: loops as people write them."""

from typing import Any

from counting.batches import Size, sizes
from counting.families import FAMILIES
from counting.journal import Journal
from counting.methods import ATTENTION, adapters


def _optimizer(model: Any) -> Any:
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-4)


def _train(model: Any, optimizer: Any, batch: dict[str, Any]) -> None:
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def loop(
    _journal: Journal,
    *,
    steps: int = 36,
    kinds: int = 0,
    compiled: str = "",
    options: dict[str, Any] | None = None,
) -> None:
    """Train Llama by a plain loop.

    Args:
        _journal: Notes the steps by itself.
        steps: How many.
        kinds: How many different sizes of batches; 0 for any. Each is a compilation.
        compiled: What is compiled: nothing, `whole` or `blocks`.
        options: Of torch.compile.
    """
    import torch

    model = FAMILIES["llama"].model().train()
    fast = model
    if compiled == "whole":
        fast = torch.compile(model, **(options or {}))
    if compiled == "blocks":
        for block in model.model.layers:
            block.compile(**(options or {}))
    optimizer = _optimizer(model)
    drawn = sizes(steps)
    if kinds:
        drawn = [drawn[n % kinds] for n in range(steps)]
    for size in drawn:
        _train(fast, optimizer, FAMILIES["llama"].make_batch(size))


def alternating(_journal: Journal, *, steps: int = 40) -> None:
    """Train another block every fourth step, as LISA does."""
    model = FAMILIES["llama"].model().train()
    optimizer = _optimizer(model)
    for number, size in enumerate(sizes(steps)):
        for index, block in enumerate(model.model.layers):
            block.requires_grad_(requires_grad=index == number // 4 % 2)
        _train(model, optimizer, FAMILIES["llama"].make_batch(size))


def toggled(_journal: Journal, *, steps: int = 36) -> None:
    """Train adapters, and compare with the model without them at every third step."""
    import torch

    model = adapters(FAMILIES["llama"].model(), ATTENTION).train()
    optimizer = _optimizer(model)
    for number, size in enumerate(sizes(steps)):
        batch = FAMILIES["llama"].make_batch(size)
        if number % 3 == 0:
            with torch.no_grad(), model.disable_adapter():
                model(**batch)
        _train(model, optimizer, batch)


def evaluated(_journal: Journal, *, steps: int = 36) -> None:
    """Train, and evaluate after every fourth step."""
    import torch

    model = FAMILIES["llama"].model()
    optimizer = _optimizer(model)
    for number, size in enumerate(sizes(steps)):
        batch = FAMILIES["llama"].make_batch(size)
        _train(model.train(), optimizer, batch)
        if number % 4 == 3:
            model.eval()
            with torch.inference_mode():
                model(**batch)


def generate(
    journal: Journal, *, family: str = "llama", sample: bool = False, beams: int = 1
) -> None:
    """Generate with a cache of keys and values, from prompts of many lengths."""
    import torch

    model = FAMILIES[family].model().eval()
    torch.manual_seed(7)
    for number, size in enumerate(sizes(14)):
        prompt = FAMILIES[family].make_batch(size)["input_ids"]
        new = 4 + number % 5
        model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            min_new_tokens=new,
            max_new_tokens=new,
            do_sample=sample,
            num_beams=beams,
            pad_token_id=0,
        )
        journal.step()


def ppo(_journal: Journal, *, updates: int = 2) -> None:
    """Generate, score, and update policy and value model, as PPO does.

    TRL has no PPO any more: a loop with its parts. A reward model and a reference
    model run without gradients, the value model shares nothing with the policy.
    """
    import torch

    family = FAMILIES["llama"]
    policy, reference = family.model().train(), family.model().eval()
    value, reward = family.model().train(), family.model().eval()
    both = torch.nn.ModuleList([policy, value])
    optimizer = _optimizer(both)
    torch.manual_seed(7)
    for size in sizes(12):
        short = Size(size.batch, 1 + size.length // 2)
        prompt = family.make_batch(short)["input_ids"]
        new = 1 + size.length % 7
        with torch.no_grad():
            texts = policy.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                min_new_tokens=new,
                max_new_tokens=new,
                do_sample=True,
                pad_token_id=0,
            )
            old = policy(texts).logits.log_softmax(-1)
            scores = reward(texts).logits[:, -1, 0]
            scores = scores - (old - reference(texts).logits).mean((1, 2))
        for _ in range(updates):
            ratio = (policy(texts).logits.log_softmax(-1) - old).exp()
            guess = value(texts).logits[..., 0]
            advantage = (scores[:, None] - guess).detach()
            loss = -(ratio.mean(-1) * advantage).mean()
            loss = loss + (guess - scores[:, None]).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def masked_head(_journal: Journal, *, steps: int = 600) -> None:
    """Give the head only the positions that have a label: what varies is the data."""
    import torch

    family = FAMILIES["llama"]
    model = family.model().train()
    optimizer = _optimizer(model)
    draw = torch.Generator().manual_seed(3)

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = model.model, model.lm_head

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
            chosen = self.body(ids).last_hidden_state[mask]
            return torch.nn.functional.cross_entropy(self.head(chosen), ids[mask])

    masked = Masked()
    for _ in range(steps):
        ids = family.make_batch(Size(3, 24))["input_ids"]
        mask = torch.rand(ids.shape, generator=draw) < 0.4
        masked(ids, mask).backward()
        optimizer.step()
        optimizer.zero_grad()


def dropped_layers(_journal: Journal, *, steps: int = 36) -> None:
    """Train Whisper with LayerDrop: which blocks run is drawn in each forward."""
    import torch

    family = FAMILIES["whisper"]
    torch.manual_seed(0)
    model = family.model().train()
    for stack in (model.model.encoder, model.model.decoder):
        stack.layerdrop = 0.3
    optimizer = _optimizer(model)
    for _ in range(steps):
        _train(model, optimizer, family.make_batch(Size(2, 20)))
