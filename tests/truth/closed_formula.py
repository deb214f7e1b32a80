"""The truth: FLOPs of a training step in closed form, from the configuration alone.

Independent of the hook: it imports nothing of flopguard and counts no operator. Two
FLOPs per multiplication and addition; T = batch * length tokens.
"""

from dataclasses import dataclass
from itertools import pairwise

# torch.optim.AdamW with its default weight decay, per trainable element and step:
# decay 1; first moment 3; second moment 4; root, division, eps 3; update 3.
ADAMW_PER_ELEMENT = 14

Flops = dict[str, int]


@dataclass(frozen=True)
class Llama:
    """The figures of a Llama configuration that decide its FLOPs."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    tied: bool = True

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Return input and output width of each linear layer of a block."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, query),
            "k_proj": (self.hidden, key),
            "v_proj": (self.hidden, key),
            "o_proj": (query, self.hidden),
            "gate_proj": (self.hidden, self.ffn),
            "up_proj": (self.hidden, self.ffn),
            "down_proj": (self.ffn, self.hidden),
        }

    @property
    def parameters(self) -> int:
        """Return the number of parameters; norms have one vector, two per block."""
        block = sum(i * o for i, o in self.projections.values()) + 2 * self.hidden
        embeddings = self.hidden * self.vocabulary * (1 if self.tied else 2)
        return self.layers * block + self.hidden + embeddings


SMOLLM2 = Llama(
    hidden=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    ffn=1536,
    vocabulary=49152,
)  # SmolLM2-135M, by its config.json


@dataclass(frozen=True)
class Training:
    """How the model is trained: the options of the example script."""

    batch: int
    length: int
    rank: int = 0  # 0: all parameters are trained, no adapters
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    checkpointing: bool = False

    @property
    def tokens(self) -> int:
        """Return tokens per step."""
        return self.batch * self.length


def llama_step_flops(model: Llama, how: Training) -> Flops:
    """Return the FLOPs of one step of one micro-batch, by category."""
    block = _block_forward(model, how)
    head = 2 * how.tokens * model.hidden * model.vocabulary
    forward = model.layers * block + head
    recompute = 0
    if how.checkpointing:
        # Recomputation stops at the block's last product: nothing after it is needed.
        last = 2 * how.tokens * model.ffn * model.hidden
        recompute = model.layers * (block - last)
    return {
        "forward": forward,
        "backward": _lora_backward(model, how) if how.rank else _backward(model, how),
        "recompute": recompute,
        "no_grad": 0,
        "optimizer": ADAMW_PER_ELEMENT * trainable(model, how),
    }


def trainable(model: Llama, how: Training) -> int:
    """Return the number of trained parameters."""
    if not how.rank:
        return model.parameters
    widths = [model.projections[name] for name in how.targets]
    return model.layers * sum(how.rank * (i + o) for i, o in widths)


def _block_forward(model: Llama, how: Training) -> int:
    linear = sum(2 * how.tokens * i * o for i, o in model.projections.values())
    return linear + _core(model, how) + _adapters(model, how)


def _core(model: Llama, how: Training) -> int:
    """Scores and their product with the values: two products of the full square."""
    return 4 * how.batch * model.heads * how.length**2 * model.head_dim


def _adapters(model: Llama, how: Training) -> int:
    if not how.rank:
        return 0
    widths = [model.projections[name] for name in how.targets]
    return sum(2 * how.tokens * how.rank * (i + o) for i, o in widths)


def _core_backward(model: Llama, how: Training) -> int:
    """Five products where the forward has two."""
    return _core(model, how) * 5 // 2


def _backward(model: Llama, how: Training) -> int:
    """Every linear layer has a gradient of its weight and one of its input."""
    linear = sum(2 * how.tokens * i * o for i, o in model.projections.values())
    head = 2 * how.tokens * model.hidden * model.vocabulary
    return model.layers * (2 * linear + _core_backward(model, how)) + 2 * head


def _lora_backward(model: Llama, how: Training) -> int:
    """Frozen layers have no gradient of their weight; adapters have both.

    The first block's input needs no gradient, so its q, k and v have none of their
    input, unless checkpointing is on: peft then asks for the embeddings' gradient.
    """
    frozen = sum(2 * how.tokens * i * o for i, o in model.projections.values())
    block = frozen + _core_backward(model, how) + 2 * _adapters(model, how)
    head = 2 * how.tokens * model.hidden * model.vocabulary
    total = model.layers * block + head
    if how.checkpointing:
        return total
    at_input = [model.projections[name] for name in ("q_proj", "k_proj", "v_proj")]
    total -= sum(2 * how.tokens * i * o for i, o in at_input)
    adapted = [n for n in ("q_proj", "k_proj", "v_proj") if n in how.targets]
    widths = [model.projections[name][0] for name in adapted]
    return total - sum(2 * how.tokens * how.rank * i for i in widths)


def mlp_step_flops(batch: int, sizes: list[int]) -> Flops:
    """Return the FLOPs of a step of `tests/e2e/trainer.py`, by category.

    Layers of a product batch x i x o each; the first one's input needs no gradient.
    """
    products = [2 * batch * i * o for i, o in pairwise(sizes)]
    elements = sum(i * o + o for i, o in pairwise(sizes))
    return {
        "forward": sum(products),
        "backward": 2 * sum(products) - products[0],
        "recompute": 0,
        "no_grad": 0,
        "optimizer": ADAMW_PER_ELEMENT * elements,
    }


def times(steps: int, flops: Flops) -> Flops:
    """Return the FLOPs of this many equal steps."""
    return {category: steps * value for category, value in flops.items()}
