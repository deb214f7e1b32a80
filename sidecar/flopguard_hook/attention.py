"""Scaled dot-product attention, fused: forward and backward. Core.

The full rectangle of queries and keys is charged, also where a causal kernel skips half
of it: the formula is of what was asked for. What remains of it under the mask is
`causal_of`. The `math` variant is made of `bmm` and needs no formula. Sequences packed
into one are in `packed`.
"""

from typing import Any, Callable, Iterable, NamedTuple, Sequence

from flopguard_hook.formulas import Arguments, Options, argument, formula, prod


class Products(NamedTuple):
    """How often a pair of query and key is multiplied.

    Attributes:
        of_query: Products as long as a query is wide.
        of_value: Products as long as a value is wide.
    """

    of_query: int
    of_value: int


FORWARD = Products(1, 1)  # scores, output
BACKWARD = Products(3, 2)  # scores again, dQ, dK; dP, dV


def charge(pairs: int, query: Any, value: Any, products: Products) -> int:
    """Return the FLOPs of pairs of query and key; the last dimension is the width."""
    widths = products.of_query * int(query.shape[-1]) + products.of_value * int(
        value.shape[-1]
    )
    return 2 * pairs * widths


def visible_pairs(
    queries: int,
    keys: int,
    *,
    left: "int | None" = None,
    right: "int | None" = None,
    from_end: bool = True,
) -> int:
    """Return how many pairs of query and key a mask leaves.

    Args:
        queries: Number of queries.
        keys: Number of keys.
        left: How many keys before its own position a query sees; None for all.
        right: How many after it; 0 is causal, None is all.
        from_end: Whether the last query is at the last key's position. Otherwise the
            first query is at the first key's.
    """
    shift = keys - queries if from_end else 0
    everywhere = queries + keys
    after = everywhere if right is None else right
    before = everywhere if left is None else left
    last = _sum_of_bounded(shift + after + 1, queries, keys)
    return last - _sum_of_bounded(shift - before, queries, keys)


def _sum_of_bounded(start: int, count: int, most: int) -> int:
    """Return the sum of start, start + 1, ..., `count` numbers, each in 0..most."""

    def below(end: int) -> int:
        inside = min(max(end - 1, 0), most)
        return inside * (inside + 1) // 2 + most * max(0, end - 1 - most)

    return below(start + count) - below(start)


class Kernel(NamedTuple):
    """A kernel on [batch, heads, positions, width].

    Attributes:
        names: Operators.
        products: FORWARD or BACKWARD.
        query: Position of the query; key and value follow.
        is_causal: Arguments to whether a causal mask is asked for. The first query is
            at the first key's position.
    """

    names: Sequence[str]
    products: Products
    query: int
    is_causal: Callable[[Arguments], bool]


def first_flag(args: Iterable[Any]) -> bool:
    """Return the first argument that is true or false, else False."""
    return next((value for value in args if isinstance(value, bool)), False)


def _seventh(args: Arguments) -> bool:
    """Return the seventh argument, which follows the probability of dropout.

    With torch 2.4 cuDNN's has no mask, and the probability is the fourth.
    """
    if isinstance(argument(args, 3), float):
        return first_flag(args)
    return bool(argument(args, 6, default=False))


def _never(_args: Arguments) -> bool:
    return False


def _sdpa(*names: str) -> "tuple[str, ...]":
    return tuple("aten::_scaled_dot_product_" + name for name in names)


_FLAG_SEVENTH = _sdpa("efficient_attention", "cudnn_attention")
_FLAG_FIRST = _sdpa(
    "flash_attention_for_cpu", "flash_attention", "fused_attention_overrideable"
)
_KERNELS = (
    Kernel(_FLAG_FIRST, FORWARD, 0, first_flag),
    Kernel(_FLAG_SEVENTH, FORWARD, 0, _seventh),
    Kernel(
        [name + "_backward" for name in _FLAG_FIRST + _FLAG_SEVENTH],
        BACKWARD,
        1,
        first_flag,
    ),
    # Masks are functions that a kernel may skip by: the rectangle is an upper bound.
    Kernel(["higher_order::flex_attention"], FORWARD, 0, _never),
    Kernel(["higher_order::flex_attention_backward"], BACKWARD, 0, _never),
    Kernel(["aten::_triton_scaled_dot_attention"], FORWARD, 0, _never),
    Kernel(["torchao::qscaled_dot_product"], FORWARD, 0, first_flag),
    Kernel(
        ["torchao::fp8_fa3_sdpa", "torchao::fp8_fa3_rope_sdpa"], FORWARD, 0, first_flag
    ),
)
_FP8 = {"torchao::fp8_fa3_sdpa": "fp8", "torchao::fp8_fa3_rope_sdpa": "fp8"}


def _enter(kernel: Kernel) -> None:
    """Enter a kernel's formula into the table."""

    def flops(args: Arguments, *, visible: bool) -> int:
        query, key, value = args[kernel.query : kernel.query + 3]
        heads, (queries, keys) = prod(query.shape[:-2]), _lengths(query, key)
        pairs = (
            visible_pairs(queries, keys, right=0, from_end=False)
            if visible and kernel.is_causal(args)
            else queries * keys
        )
        # Grouped keys and values are broadcast: the query's heads count.
        return charge(heads * pairs, query, value, kernel.products)

    def full(args: Arguments, _: Options) -> int:
        return flops(args, visible=False)

    def causal(args: Arguments, _: Options) -> int:
        return flops(args, visible=True)

    for name in kernel.names:
        causal_of = None if kernel.is_causal is _never else causal
        formula(name, operand=kernel.query, format=_FP8.get(name), causal_of=causal_of)(
            full
        )


def _lengths(query: Any, key: Any) -> "tuple[int, int]":
    return int(query.shape[-2]), int(key.shape[-2])


for _kernel in _KERNELS:
    _enter(_kernel)
