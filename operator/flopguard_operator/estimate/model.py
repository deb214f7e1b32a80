"""Define what an estimate is made from and what it says: values, nothing else.

The forecast uses the same types: an architecture, a method and the work to be done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

TOKENS, SEQUENCES = "tokens", "sequences"
NONE, REENTRANT, NON_REENTRANT = "none", "reentrant", "non_reentrant"
FORWARD, BACKWARD, RECOMPUTE, NO_GRAD, OPTIMIZER = (
    "forward",
    "backward",
    "recompute",
    "no_grad",
    "optimizer",
)


@dataclass(frozen=True)
class Names:
    """What the linear layers of a block are called; adapters are found by these.

    A fused layer stands in `query`, with empty names for what it contains.
    """

    query: str = "q_proj"
    key: str = "k_proj"
    value: str = "v_proj"
    output: str = "o_proj"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: keys and values from one narrow projection."""

    query_rank: int  # 0: the query is one projection
    rank: int  # of keys and values
    plain: int  # width of a head's part without position
    rotary: int  # width of its part with position


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in place of the dense feed-forward layer."""

    count: int
    chosen: int  # per token
    width: int
    shared: int = 0  # width of what every token passes beside them
    shared_gate: bool = False
    dense_blocks: int = 0  # the first blocks, which have a dense layer instead


@dataclass(frozen=True)
class Attention:
    """The attention of a block, in numbers."""

    heads: int
    kv_heads: int
    width: int  # of a head's queries and keys
    value_width: int  # of a head's values
    fused: bool = False  # one projection makes queries, keys and values
    latent: Latent | None = None
    window: int = 0  # positions that a query looks back; 0: all


@dataclass(frozen=True)
class Stack:
    """Equal blocks, one after another."""

    blocks: int
    attention: Attention
    feed_forward: int  # width
    gated: bool
    fused_gate: bool = False  # gate and up are one projection
    experts: Experts | None = None
    cross: bool = False  # attends to the encoder as well
    parallel: bool = False  # feed-forward and attention read the same
    names: Names = field(default_factory=Names)
    cross_names: Names = field(default_factory=Names)

    @property
    def dense_blocks(self) -> int:
        """How many of the first blocks have no experts."""
        own = self.experts
        return self.blocks if own is None else min(own.dense_blocks, self.blocks)


@dataclass(frozen=True)
class Head:
    """A linear layer after the last block."""

    name: str
    inputs: int
    outputs: int
    rows: str = TOKENS  # or SEQUENCES: one row for each
    trained: bool = True  # where the base model is


@dataclass(frozen=True)
class Patches:
    """A convolution that turns an input into positions; the input needs no gradient."""

    inputs: int  # products per output value: channels x window
    outputs: int
    positions: int


@dataclass(frozen=True)
class Architecture:
    """A transformer, in the numbers that decide its FLOPs.

    An encoder-decoder has both stacks; everything else has `stack` alone. `seen` counts
    the positions that are there whatever the input (of images and sounds), else 0.
    """

    hidden: int
    stack: Stack  # the decoder of an encoder-decoder
    encoder: Stack | None = None
    heads: tuple[Head, ...] = ()
    patches: tuple[Patches, ...] = ()
    seen: int = 0
    normed: bool = True  # a trained norm stands before each of a block's halves
    tail: bool = False  # something after a block's last product keeps that product


@dataclass(frozen=True)
class Method:
    """How a model is trained.

    What is None is not known: the estimate then covers both.
    """

    frozen: bool = False  # the base weights are: only adapters or prompts are trained
    adapters: tuple[tuple[str, int], ...] = ()  # (name of the layer, rank)
    dora: bool = False
    trained_blocks: int | None = None  # the last ones; None: all
    trained_embeddings: bool | None = None  # None: as the base weights
    input_gradient: bool | None = False  # the first block's input needs one anyway
    checkpointing: str = NONE
    fused_attention: bool | None = True  # one kernel, whose backward is 5 products
    fused_likely: bool = True  # where it is not known
    elements: int = 0  # that the optimizer of this process updates
    per_element: int = 14  # FLOPs of a step; AdamW with weight decay

    @property
    def trains_embeddings(self) -> bool:
        """Whether what is in front of the first block is trained."""
        own = self.trained_embeddings
        return not self.frozen if own is None else own


@dataclass(frozen=True)
class Call:
    """One call of the model: rows of equal length.

    `length` is the encoder's in an encoder-decoder; `past` are cached positions.
    """

    batch: int
    length: int
    decoder: int = 0
    past: int = 0
    training: bool = True


@dataclass(frozen=True)
class Work:
    """What was, or is to be, executed: calls with how many times, and steps."""

    calls: tuple[tuple[Call, int], ...]
    steps: int


@dataclass(frozen=True)
class Bounds:
    """FLOPs: at least, most likely, at most."""

    low: int = 0
    expected: int = 0
    high: int = 0

    def __add__(self, other: "Bounds") -> "Bounds":
        """Return the bounds of both together."""
        return Bounds(
            self.low + other.low, self.expected + other.expected, self.high + other.high
        )

    def times(self, count: int) -> "Bounds":
        """Return the bounds of so many."""
        return Bounds(self.low * count, self.expected * count, self.high * count)


@dataclass(frozen=True)
class Estimate:
    """FLOPs by category, with a sentence for everything that is not known."""

    flops: Mapping[str, Bounds] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def total(self) -> Bounds:
        """FLOPs over all categories."""
        return sum(self.flops.values(), Bounds())

    def __add__(self, other: "Estimate") -> "Estimate":
        """Return the estimate of both together; each doubt once."""
        names = dict.fromkeys((*self.flops, *other.flops))
        nothing = Bounds()
        flops = {
            n: self.flops.get(n, nothing) + other.flops.get(n, nothing) for n in names
        }
        return Estimate(flops, tuple(dict.fromkeys(self.doubts + other.doubts)))

    def times(self, count: int) -> "Estimate":
        """Return the estimate of so many."""
        flops = {name: bounds.times(count) for name, bounds in self.flops.items()}
        return replace(self, flops=flops)
