"""Attention kernels of packed sequences, and those of the flash_attn packages. Core.

Sequences of different lengths lie in one tensor, and another tensor holds where each
ends: the cost depends on what that holds. It is read where it lies in the memory of the
host; a reader for other devices can be given. Where it cannot be read each query is
charged with the longest sequence of keys, an upper bound.
"""

from typing import Any, Callable, NamedTuple, Optional, Sequence

from flopguard_hook.attention import (
    BACKWARD,
    FORWARD,
    Products,
    charge,
    visible_pairs,
)
from flopguard_hook.formulas import Arguments, Options, argument, formula, prod

Reader = Callable[[Any], Optional[Sequence[int]]]


def read_on_host(tensor: Any) -> "Sequence[int] | None":
    """Return what a tensor in the host's memory holds; None for any other."""
    if getattr(tensor, "is_cpu", False):
        return [int(value) for value in tensor.tolist()]
    return None


_reader: Reader = read_on_host


def read_with(reader: Reader) -> None:
    """Let a function read the tensors that hold lengths.

    Args:
        reader: Returns what a one-dimensional tensor holds, None if it is not to be
            read. It must not raise, nor disturb what runs on the device.
    """
    global _reader  # noqa: PLW0603 # given once, when torch is there
    _reader = reader


class Kernel(NamedTuple):
    """A kernel on [batch, positions, heads, width], or packed without the batch.

    All but names and products are positions of arguments.

    Attributes:
        names: Operators.
        products: FORWARD or BACKWARD.
        query: The query; key and value follow.
        ends: Where the queries' sequences end; the keys' follow. None: never packed.
        longest: The longest sequence of queries; that of keys follows.
        causal: True, or the number of a kind of mask, where a causal mask is asked for.
        window: How many keys a query sees on its left, those on its right follow, or
            one pair of both; -1 for all. None: given by name.
        used: How many keys of each sequence are in use.
        heads_first: Whether heads come before positions where nothing is packed.
        extra: A second query, as wide as the values, that is scored too.
    """

    names: Sequence[str]
    products: Products
    query: int
    ends: "int | None"
    longest: "int | None"
    causal: int
    window: "int | None" = None
    used: "int | None" = None
    heads_first: bool = False
    extra: "int | None" = None


_KERNELS = (
    Kernel(["aten::_flash_attention_forward"], FORWARD, 0, 3, 5, 8),
    Kernel(["aten::_flash_attention_forward_no_dropout_inplace"], FORWARD, 1, 4, 6, 9),
    Kernel(["aten::_flash_attention_backward"], BACKWARD, 1, 6, 8, 11),
    Kernel(["aten::_efficient_attention_forward"], FORWARD, 0, 4, 6, 9),
    Kernel(["aten::_efficient_attention_backward"], BACKWARD, 1, 6, 8, 14),
    Kernel(["aten::_cudnn_attention_forward"], FORWARD, 0, 4, 6, 10, heads_first=True),
    Kernel(
        ["aten::_cudnn_attention_forward_no_dropout_inplace"],
        *(FORWARD, 1, 4, 6, 8),
        heads_first=True,
    ),
    Kernel(
        ["aten::_cudnn_attention_backward"], BACKWARD, 1, 9, 11, 14, heads_first=True
    ),
    Kernel(["torch_attn::_varlen_attn"], FORWARD, 0, 3, 5, 7, window=9, used=11),
    Kernel(["torch_attn::_varlen_attn_out"], FORWARD, 1, 4, 6, 8, window=10, used=12),
    Kernel(["torch_attn::_varlen_attn_backward"], BACKWARD, 1, 6, 8, 10, window=13),
    Kernel(["flash_attn::_flash_attn_forward"], FORWARD, 0, None, None, 5, window=6),
    Kernel(
        ["flash_attn::_flash_attn_backward"], BACKWARD, 1, None, None, 11, window=12
    ),
    Kernel(
        ["flash_attn::_flash_attn_varlen_forward"],
        *(FORWARD, 0, 3, 5, 9),
        window=10,
        used=17,
    ),
    Kernel(
        ["flash_attn::_flash_attn_varlen_backward"],
        *(BACKWARD, 1, 9, 11, 15),
        window=16,
    ),
    # As built by a hub
    Kernel(["flash_attn_2::fwd"], FORWARD, 0, None, None, 7, window=8),
    Kernel(["flash_attn_2::varlen_fwd"], FORWARD, 0, 4, 10, 15, window=16, used=6),
    Kernel(["flash_attn_2::bwd"], BACKWARD, 1, None, None, 12, window=13),
    Kernel(["flash_attn_2::varlen_bwd"], BACKWARD, 1, 9, 12, 17, window=18),
    Kernel(
        ["flash_attn_3::fwd", "flash_attn_3::_flash_attn_forward"],
        *(FORWARD, 0, 7, 12, 24),
        window=25,
        used=11,
        extra=5,
    ),
    Kernel(["flash_attn_3::bwd"], BACKWARD, 1, 9, 13, 16, window=17, used=12),
    Kernel(
        ["flash_attn_3::_flash_attn_backward"],
        *(BACKWARD, 1, 6, 10, 16),
        window=17,
        used=9,
    ),
)


def _is_packed(kernel: Kernel, args: Arguments) -> bool:
    """Say whether ends are given; an empty tensor stands for none."""
    ends = None if kernel.ends is None else argument(args, kernel.ends)
    return ends is not None and prod(ends.shape) > 0


def _lengths(ends: Any) -> "list[int] | None":
    """Return the lengths of sequences from their ends; the first end is 0."""
    held = None if ends is None else _reader(ends)
    if held is None:
        return None
    return [after - before for before, after in zip(held, held[1:])]


def _used(kernel: Kernel, args: Arguments) -> "list[int] | None":
    """Return how many keys of each sequence are in use, None where all are."""
    used = None if kernel.used is None else argument(args, kernel.used)
    held = None if used is None or not prod(used.shape) else _reader(used)
    return None if held is None else [int(length) for length in held]


def _window(
    kernel: Kernel, args: Arguments, kwargs: Options
) -> "tuple[int | None, int | None]":
    """Return how many keys a query sees to its left and right; None for all."""
    if kernel.window is None:
        left, right = kwargs.get("window_size_left"), kwargs.get("window_size_right")
    else:
        left = argument(args, kernel.window, -1)
        right = argument(args, kernel.window + 1, -1)
        if isinstance(left, (list, tuple)):
            left, right = left
    left, right = (
        int(side) if isinstance(side, int) and side >= 0 else None
        for side in (left, right)
    )
    causal = argument(args, kernel.causal, default=False)
    return left, 0 if causal else right


def _pairs(kernel: Kernel, args: Arguments, kwargs: Options, *, visible: bool) -> int:
    """Return the pairs of query and key, over all sequences and heads."""
    query, key = args[kernel.query], args[kernel.query + 1]
    packed = _is_packed(kernel, args)
    positions, heads = (-2, -3) if kernel.heads_first and not packed else (-3, -2)
    count, used = int(query.shape[heads]), _used(kernel, args)
    left, right = _window(kernel, args, kwargs) if visible else (None, None)
    if not packed:
        batch = prod(query.shape[:-3])
        keys = used or [int(key.shape[positions])] * batch
        queries: "list[int] | None" = [int(query.shape[positions])] * len(keys)
    else:
        first = kernel.ends or 0
        queries = _lengths(args[first])
        keys = used or _lengths(argument(args, first + 1)) or []
    if queries is None or len(queries) != len(keys):
        longest = int(args[(kernel.longest or 0) + 1])
        return count * int(query.shape[positions]) * longest
    return count * sum(
        visible_pairs(n, of, left=left, right=right) for n, of in zip(queries, keys)
    )


def _enter(kernel: Kernel) -> None:
    """Enter a kernel's formula into the table."""

    def flops(args: Arguments, kwargs: Options, *, visible: bool) -> int:
        products = kernel.products
        if kernel.extra is not None and argument(args, kernel.extra) is not None:
            products = Products(products.of_query, products.of_value + 1)
        pairs = _pairs(kernel, args, kwargs, visible=visible)
        return charge(pairs, args[kernel.query], args[kernel.query + 2], products)

    def full(args: Arguments, kwargs: Options) -> int:
        return flops(args, kwargs, visible=False)

    def causal(args: Arguments, kwargs: Options) -> int:
        return flops(args, kwargs, visible=True)

    def varies(args: Arguments, _: Options) -> bool:
        used = None if kernel.used is None else argument(args, kernel.used)
        return used is not None or _is_packed(kernel, args)

    formula(
        *kernel.names,
        operand=kernel.query,
        causal_of=causal,
        varies=kernel.ends is not None,
        varies_of=varies,
    )(full)


for _kernel in _KERNELS:
    _enter(_kernel)
