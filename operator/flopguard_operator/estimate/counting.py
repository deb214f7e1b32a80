"""Count a call's matrix products: forward, backward, and what is computed again.

A product has a gradient of its weight where that is trained, and one of its input
where anything before it is trained. So the values that need a gradient are followed
through the blocks, as autograd does it. Formulas: 2 FLOPs per multiplication and
addition; attention over the full square, whatever a mask hides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from flopguard_operator.estimate.model import (
    NON_REENTRANT,
    NONE,
    SEQUENCES,
    Architecture,
    Call,
    Method,
    Stack,
)
from flopguard_operator.estimate.products import (
    MEMORY,
    Block,
    Core,
    Operation,
    Product,
    X,
    block_of,
    heads,
)


@dataclass(frozen=True)
class Assumed:
    """One answer to each question that a method may leave open."""

    fused_attention: bool = True
    input_gradient: bool = False
    stops_early: bool = True  # recomputation, before a block's last product
    windowed: bool = False  # the kernel skips what is outside of the window


@dataclass(frozen=True)
class Passes:
    """FLOPs of one call."""

    forward: int = 0
    backward: int = 0
    recompute: int = 0

    def __add__(self, other: "Passes") -> "Passes":
        """Return the FLOPs of both together."""
        return Passes(
            self.forward + other.forward,
            self.backward + other.backward,
            self.recompute + other.recompute,
        )

    def times(self, count: int) -> "Passes":
        """Return the FLOPs of so many calls."""
        return Passes(
            self.forward * count, self.backward * count, self.recompute * count
        )


@dataclass
class Counting:
    """Counts one call of an architecture; `needs` are the values with a gradient."""

    architecture: Architecture
    method: Method
    call: Call
    assumed: Assumed
    needs: set[str] = field(default_factory=set)

    def passes(self) -> Passes:
        """Return the FLOPs of the call; of its forward pass alone without training."""
        own, call = self.architecture, self.call
        total = self._entrance()
        rows = self._rows(own.seen or call.length)
        if own.encoder is None:
            sizes = _Sizes(rows, 0, rows, call)
            return total + self._stack(own.stack, sizes, 0) + self._heads()
        total += self._stack(own.encoder, _Sizes(rows, rows, rows, call), 0)
        if X in self.needs:
            self.needs = {MEMORY}
        self._embed()
        decoder = self._rows(call.decoder)
        sizes = _Sizes(decoder, rows, decoder, call)
        return total + self._stack(own.stack, sizes, own.encoder.blocks) + self._heads()

    def _rows(self, length: int) -> int:
        return self.call.batch * length

    def _embed(self) -> None:
        if self.method.trains_embeddings or self.assumed.input_gradient:
            self.needs.add(X)

    def _entrance(self) -> Passes:
        """Count the convolutions in front of the first block."""
        total = Passes()
        trained = self.method.trains_embeddings
        for one in self.architecture.patches:
            flops = 2 * self._rows(one.positions) * one.inputs * one.outputs
            backward = flops * (int(trained) + int(X in self.needs))
            total += self._kept(flops, backward)
            if trained:
                self.needs.add(X)
        self._embed()
        return total

    def _kept(self, forward: int, backward: int) -> Passes:
        return Passes(forward, backward if self.call.training else 0)

    def _stack(self, stack: Stack, sizes: "_Sizes", first: int) -> Passes:
        """Count the blocks of a stack; equal ones with equal needs only once.

        Args:
            stack: the blocks.
            sizes: how many rows their products have.
            first: place of the first block among all of the model's.
        """
        total = Passes()
        for length, block, trained in self._pieces(stack, first):
            left = length
            while left:
                before = X in self.needs
                passes, needs = self._block(block, sizes, trained=trained)
                if needs:
                    self.needs.add(X)
                # From here on all blocks of the piece are alike.
                equal = left if (X in self.needs) == before else 1
                total += passes.times(equal)
                left -= equal
        return total

    def _pieces(self, stack: Stack, first: int) -> Iterator[tuple[int, Block, bool]]:
        """Yield how many equal blocks there are, one of them, and if it is trained."""
        method, encoder = self.method, self.architecture.encoder
        every = self.architecture.stack.blocks + (encoder.blocks if encoder else 0)
        frozen = every if method.frozen else 0
        if method.trained_blocks is not None:
            frozen = max(frozen, every - method.trained_blocks)
        bounds = (stack.dense_blocks, frozen - first, stack.blocks)
        edges = sorted({min(max(0, edge), stack.blocks) for edge in bounds} - {0})
        begin = 0
        for end in edges:
            sparse = begin >= stack.dense_blocks
            block = block_of(stack, self.architecture.hidden, sparse=sparse)
            yield end - begin, block, begin + first >= frozen
            begin = end

    def _block(
        self, block: Block, sizes: "_Sizes", *, trained: bool
    ) -> tuple[Passes, bool]:
        """Count a block; say whether what it gives on needs a gradient."""
        needs = {name for name in (X, MEMORY) if name in self.needs}
        forward = backward = 0
        for operation in block:
            ahead, back = self._operation(operation, sizes, needs, trained=trained)
            forward += ahead
            backward += back
        again = 0
        method = self.method
        if self.call.training and method.checkpointing != NONE and X in needs:
            again = forward
            if method.checkpointing == NON_REENTRANT and self.assumed.stops_early:
                again -= self._last(block[-1], sizes)
        kept = self._kept(forward, backward)
        return Passes(kept.forward, kept.backward, again), X in needs

    def _last(self, operation: Operation, sizes: "_Sizes") -> int:
        """Return the FLOPs of a block's last product: no gradient needs its result."""
        if not isinstance(operation, Product):
            return 0
        rank = self._rank(operation)
        rows = sizes.of(operation)
        inner = rank or operation.inputs
        return 2 * rows * inner * operation.outputs * operation.times

    def _operation(
        self, operation: Operation, sizes: "_Sizes", needs: set[str], *, trained: bool
    ) -> tuple[int, int]:
        """Return forward and backward of one operation; note what needs a gradient."""
        at_end = needs is self.needs  # a head: no norm of its own
        if isinstance(operation, Core):
            flops = self._core(operation, sizes)
            if not any(name in needs for name in operation.reads):
                return flops, 0
            needs.add(operation.writes)
            return flops, self._core_backward(operation, flops, needs)
        rows = sizes.of(operation) * operation.times
        size = operation.inputs * operation.outputs
        flops = 2 * rows * size
        source = operation.reads[0]
        # A trained norm stands between the residual stream and the product.
        normed = trained and source == X and self.architecture.normed
        reached = source in needs or (normed and not at_end)
        backward = flops * (int(reached) + int(trained))
        rank = self._rank(operation)
        if rank:
            down, up = (
                2 * rows * operation.inputs * rank,
                2 * rows * rank * (operation.outputs),
            )
            flops += down + up
            backward += 2 * up + down * (1 + int(reached))
            if self.method.dora:  # the norm of the adapted weight, without a gradient
                flops += (
                    2 * rank * operation.inputs * (operation.inputs + operation.outputs)
                )
        if trained or rank or any(name in needs for name in operation.reads):
            needs.add(operation.writes)
        return flops, backward

    def _rank(self, product: Product) -> int:
        if not product.adaptable:
            return 0
        return dict(self.method.adapters).get(product.name, 0)

    def _core(self, core: Core, sizes: "_Sizes") -> int:
        """Return the FLOPs of queries times keys, and of the result times values."""
        length, keys = sizes.square(core)
        if core.window and self.assumed.windowed:
            keys = min(keys, core.window)
        width = core.width + core.value_width
        return 2 * self.call.batch * core.heads * length * keys * width

    def _core_backward(self, core: Core, flops: int, needs: set[str]) -> int:
        """Return five products of a fused kernel, which computes the scores again.

        Elsewhere there is one for each of the three that needs a gradient, and one on
        the way to queries and keys.
        """
        width, value_width = core.width, core.value_width
        each = flops // (width + value_width)
        if self.assumed.fused_attention:
            return each * (3 * width + 2 * value_width)
        queries, keys, values = (name in needs for name in core.reads)
        scores = int(queries) + int(keys)
        wide = int(values) + int(queries or keys)
        return each * (scores * width + wide * value_width)

    def _heads(self) -> Passes:
        """Count what comes after the last block."""
        total = Passes()
        last = self.call.decoder or self.architecture.seen or self.call.length
        trained_heads = {head.name: head.trained for head in self.architecture.heads}
        for product in heads(self.architecture):
            if not isinstance(product, Product):
                continue
            rows = self.call.batch * (1 if product.rows == SEQUENCES else last)
            sizes = _Sizes(rows, 0, rows, self.call)
            trained = trained_heads[product.name]
            ahead, back = self._operation(product, sizes, self.needs, trained=trained)
            total += self._kept(ahead, back)
        return total


@dataclass(frozen=True)
class _Sizes:
    """How many rows the products of a stack have."""

    rows: int
    memory: int  # of the encoder's result
    keys: int
    call: Call

    def of(self, product: Product) -> int:
        return self.memory if product.rows == MEMORY else self.rows

    def square(self, core: Core) -> tuple[int, int]:
        """Return queries and keys of one sequence."""
        batch = max(1, self.call.batch)
        keys = self.memory if core.keys == MEMORY else self.keys
        past = 0 if core.keys == MEMORY else self.call.past
        return self.rows // batch, keys // batch + past


def options(architecture: Architecture, method: Method) -> Iterator[Assumed]:
    """Yield what is likely, then the same with one open question answered otherwise."""
    fused = _kernels(architecture, method)
    inputs = _answers(known=method.input_gradient, likely=method.checkpointing != NONE)
    early: tuple[bool, ...] = (True,)
    if method.checkpointing == NON_REENTRANT:
        early = (not architecture.tail, architecture.tail)
    likely = Assumed(fused[0], inputs[0], early[0])
    yield likely
    for kernel in fused[1:]:
        yield replace(likely, fused_attention=kernel)
    for gradient in inputs[1:]:
        yield replace(likely, input_gradient=gradient)
    for stops in early[1:]:
        yield replace(likely, stops_early=stops)
    stacks = (architecture.stack, architecture.encoder)
    if any(s is not None and s.attention.window for s in stacks):
        yield replace(likely, windowed=True)


def _kernels(architecture: Architecture, method: Method) -> tuple[bool, ...]:
    """Return whether attention is fused; uneven heads fit few of the kernels."""
    own = architecture.stack.attention
    if method.fused_attention and own.width != own.value_width:
        return (False, True)
    return _answers(known=method.fused_attention, likely=method.fused_likely)


def _answers(*, known: bool | None, likely: bool) -> tuple[bool, ...]:
    return (likely, not likely) if known is None else (known,)
