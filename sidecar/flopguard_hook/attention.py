"""Scaled dot-product attention, fused: forward and backward.

Core. The full rectangle of queries and keys is charged, also where a causal kernel
skips half of it: the formula is of what was asked for. The `math` variant is made of
`bmm` and needs no formula.
"""

from typing import Any, Sequence

from flopguard_hook.formulas import Arguments, Options, formula, prod

# Products of the query's width and of the value's width, per pair of query and key.
_FORWARD = (1, 1)  # scores, output
_BACKWARD = (3, 2)  # scores again, dQ, dK; dP, dV

_HEADS_FIRST = tuple(
    "aten::_scaled_dot_product_" + name
    for name in (
        "flash_attention_for_cpu",
        "flash_attention",
        "efficient_attention",
        "cudnn_attention",
        "fused_attention_overrideable",
    )
)


def _charge(
    pairs: int, query: Sequence[int], value: Sequence[int], products: "tuple[int, int]"
) -> int:
    of_query, of_value = products
    return 2 * pairs * (of_query * int(query[-1]) + of_value * int(value[-1]))


@formula(*_HEADS_FIRST)
def attention(args: Arguments, _: Options) -> int:
    """Charge query, key, value of [batch, heads, positions, width].

    Grouped keys and values are broadcast: the query's heads count.
    """
    query, key, value = (tensor.shape for tensor in args[:3])
    return _charge(prod(query[:-1]) * int(key[-2]), query, value, _FORWARD)


@formula(*(name + "_backward" for name in _HEADS_FIRST), operand=1)
def attention_backward(args: Arguments, _: Options) -> int:
    """Charge (grad_out, query, key, value, ...): five products, forward has two."""
    query, key, value = (tensor.shape for tensor in args[1:4])
    return _charge(prod(query[:-1]) * int(key[-2]), query, value, _BACKWARD)


def _positions_first(
    args: Arguments, first: int, longest: int
) -> "tuple[int, Any, Any]":
    """Return pairs, query's and value's shape of [batch, positions, heads, width].

    Sequences may be packed into one, with their ends in a tensor two arguments before
    the longest key sequence. That tensor is on the device, so each is charged at the
    longest: an upper bound.
    """
    query, key, value = (tensor.shape for tensor in args[first : first + 3])
    ends = args[longest - 2]
    packed = ends is not None and prod(ends.shape) > 0
    keys = int(args[longest]) if packed else int(key[-3])
    return prod(query[:-1]) * keys, query, value


@formula("aten::_flash_attention_forward")
def flash_attention(args: Arguments, _: Options) -> int:
    """Charge the kernel that is called without its wrapper."""
    return _charge(*_positions_first(args, first=0, longest=6), _FORWARD)


@formula("aten::_flash_attention_backward", operand=1)
def flash_attention_backward(args: Arguments, _: Options) -> int:
    """Charge its five products."""
    return _charge(*_positions_first(args, first=1, longest=9), _BACKWARD)


@formula("aten::_efficient_attention_forward")
def efficient_attention(args: Arguments, _: Options) -> int:
    """Charge the kernel that is called without its wrapper."""
    return _charge(*_positions_first(args, first=0, longest=7), _FORWARD)


@formula("aten::_efficient_attention_backward", operand=1)
def efficient_attention_backward(args: Arguments, _: Options) -> int:
    """Charge its five products."""
    return _charge(*_positions_first(args, first=1, longest=9), _BACKWARD)
