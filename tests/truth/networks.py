"""Passes over a network in closed form: forward, backward and recomputation.

A network is a list of stages in the order of the data; the operations of a stage share
one input. Two FLOPs per multiply-add. What needs a gradient follows from what is
trained: before the first trained layer there is no backward.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Flops = dict[str, int]


@dataclass(frozen=True)
class Linear:
    """Rows x inputs times inputs x outputs: a layer, an expert, a convolution."""

    name: str
    rows: int
    inputs: int
    outputs: int
    from_data: bool = False  # its input is data, which never has a gradient
    twice: bool = False  # a fused loss: the backward makes the logits again
    from_embeddings: bool = False  # whatever came before: its input is the embeddings

    @property
    def flops(self) -> int:
        """Return the product's."""
        return 2 * self.rows * self.inputs * self.outputs


@dataclass(frozen=True)
class Core:
    """Attention itself: scores and their product with the values, the full square."""

    batch: int
    heads: int
    queries: int
    keys: int
    width: int
    value_width: int
    fused: bool = True

    @property
    def flops(self) -> int:
        """Return the forward's."""
        pairs = self.batch * self.heads * self.queries * self.keys
        return 2 * pairs * (self.width + self.value_width)

    def backward(self, *, of_keys: bool = True) -> int:
        """Return five products where it is fused (scores again), else four.

        A fused kernel makes all gradients; plain products leave out that of keys which
        need none.
        """
        pairs = self.batch * self.heads * self.queries * self.keys
        scores = 2 * pairs * self.width
        if self.fused:
            return 2 * self.flops + scores
        return 2 * self.flops - (0 if of_keys else scores)


Stage = tuple[Linear | Core, ...]


@dataclass(frozen=True)
class Network:
    """The stages of one call.

    Attributes:
        before: Stages before the blocks.
        blocks: The blocks; each is what activation checkpointing runs again.
        after: Stages after them.
        stops_early: Whether nothing after a block's last product needs that product,
            so that its recomputation is left out.
    """

    blocks: Sequence[Sequence[Stage]]
    before: Sequence[Stage] = ()
    after: Sequence[Stage] = ()
    stops_early: bool = True

    @property
    def stages(self) -> list[tuple[int | None, Stage]]:
        """Return every stage with its block's number."""
        inside = [(n, stage) for n, block in enumerate(self.blocks) for stage in block]
        return [
            *((None, stage) for stage in self.before),
            *inside,
            *((None, stage) for stage in self.after),
        ]


def _everything(_block: int | None, _name: str) -> bool:
    return True


def _nothing(_block: int | None, _name: str) -> bool:
    return False


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    Attributes:
        trains: Whether a layer's own weight has a gradient, by block and name.
        input_grad: Whether the first stage's input has one: embeddings or prompts are
            trained, or the input was asked to.
        rank: Of the adapters; 0 for none.
        adapts: Which layers have one.
        dora: Whether the adapters have a magnitude (DoRA).
        checkpointing: `none`, `non_reentrant` or `reentrant`.
    """

    trains: Callable[[int | None, str], bool] = _everything
    input_grad: bool = True
    rank: int = 0
    adapts: frozenset[str] = field(default_factory=frozenset)
    dora: bool = False
    checkpointing: str = "none"

    def has_adapter(self, op: Linear | Core) -> bool:
        """Say whether an operation is a layer with an adapter."""
        return isinstance(op, Linear) and self.rank > 0 and op.name in self.adapts

    def adapter(self, op: Linear) -> tuple[int, int]:
        """Return the FLOPs of both products of its adapter."""
        down = 2 * op.rows * op.inputs * self.rank
        return down, 2 * op.rows * self.rank * op.outputs

    def norm(self, op: Linear) -> int:
        """Return those of DoRA's weight: the adapter applied to the unit matrix."""
        if not self.dora:
            return 0
        return 2 * op.inputs * self.rank * (op.inputs + op.outputs)


FULL = Method()
FORWARD_ONLY = Method(trains=_nothing, input_grad=False)


def lora(
    rank: int, *names: str, dora: bool = False, input_grad: bool = False
) -> Method:
    """Return adapters on the layers of these names; all else is frozen."""
    return Method(_nothing, input_grad, rank, frozenset(names), dora=dora)


def preparation(network: Network, method: Method) -> int:
    """Return what it costs to begin: DoRA multiplies A and B, for its magnitude."""
    if not method.dora:
        return 0
    return sum(
        2 * op.inputs * method.rank * op.outputs
        for _, stage in network.stages
        for op in stage
        if isinstance(op, Linear) and method.has_adapter(op)
    )


def forward(network: Network, method: Method = FULL) -> int:
    """Return the FLOPs of a call."""
    return sum(_forward(op, method) for _, stage in network.stages for op in stage)


def _forward(op: Linear | Core, method: Method) -> int:
    if isinstance(op, Core) or not method.has_adapter(op):
        return op.flops
    return op.flops + sum(method.adapter(op)) + method.norm(op)


def backward(network: Network, method: Method = FULL) -> int:
    """Return the FLOPs of the gradients of a call."""
    reached = method.input_grad
    without: set[str] = set()  # layers of the stage before whose output needs none
    total = 0
    for block, stage in network.stages:
        reached |= method.trains(block, "norm")  # it stands before the first product
        for op in stage:
            if isinstance(op, Linear):
                total += _backward(op, method, block, reached=reached)
            elif reached:
                total += op.backward(of_keys="k_proj" not in without)
        trained = {
            op.name
            for op in stage
            if isinstance(op, Linear)
            and (method.trains(block, op.name) or method.has_adapter(op))
        }
        names = {op.name for op in stage if isinstance(op, Linear)}
        without = set() if reached else names - trained
        reached |= bool(trained)
    return total


def _backward(op: Linear, method: Method, block: int | None, *, reached: bool) -> int:
    source = method.input_grad if op.from_embeddings else reached
    needs_input = source and not op.from_data
    gradients = int(needs_input) + int(method.trains(block, op.name))
    total = op.flops * (gradients + int(op.twice))
    if method.has_adapter(op):
        down, up = method.adapter(op)
        total += down * (1 + int(needs_input)) + 2 * up
    return total


def recompute(network: Network, method: Method) -> int:
    """Return the FLOPs of what checkpointed blocks run again.

    The non-reentrant kind stops at the last product that something needs.
    """
    if method.checkpointing == "none":
        return 0
    whole = sum(
        _forward(op, method) for block in network.blocks for s in block for op in s
    )
    if method.checkpointing == "reentrant" or not network.stops_early:
        return whole
    return whole - sum(op.flops for block in network.blocks for op in block[-1])


def step(network: Network, method: Method = FULL) -> Flops:
    """Return a training call's FLOPs by category."""
    return {
        "forward": forward(network, method),
        "backward": backward(network, method),
        "recompute": recompute(network, method),
    }
