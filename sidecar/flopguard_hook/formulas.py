"""The table of operators: name to FLOPs, from the shapes of the inputs alone.

Core: operands are anything with a `shape`; torch is never imported. A multiplication
and an addition are two FLOPs; what is not a sum of products (bias, activation, norm) is
not counted. Every cost is known before the operator runs, so that it can be charged
as begun before it is dispatched.
"""

from __future__ import annotations

import math
import re
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from flopguard_hook.uncounted import HARMLESS, KNOWN_NAMESPACES, WITHOUT_FORMULA

Arguments = Sequence[Any]
Options = Mapping[str, Any]
FlopsOf = Callable[[Arguments, Options], int]


class Formula(NamedTuple):
    """How one operator is charged.

    Attributes:
        flops_of: Positional and keyword arguments of the operator to FLOPs.
        operand: Position of the argument whose dtype gives the numeric format.
        format: The numeric format where the operand's dtype does not give it: one of
            `page.FORMATS`. The narrower operand's: a product with 4-bit weights is
            `int4`, also where the kernel widens them first.
        causal_of: Arguments to FLOPs when a kernel skips what a causal mask hides;
            None where nothing is ever hidden.
        varies: Whether the figure may depend on what tensors hold, not on shapes alone.
        varies_of: Whether it does for these arguments; None where `varies` decides.
    """

    flops_of: FlopsOf
    operand: int = 0
    format: str | None = None
    causal_of: FlopsOf | None = None
    varies: bool = False
    varies_of: Callable[[Arguments, Options], bool] | None = None

    def depends_on_data(self, args: Arguments, kwargs: Options) -> bool:
        """Say whether this call's figure depends on what its tensors hold."""
        if self.varies and self.varies_of is not None:
            return self.varies_of(args, kwargs)
        return self.varies


FORMULAS: dict[str, Formula] = {}

_MATRIX = 2  # dimensions

# Kernels that are built by a hub carry a hash in their namespace, a new one each build.
_HASHED = (
    (re.compile(r"_?(?:vllm_)?flash_attn_?3(?:_\w+)?::"), "flash_attn_3::"),
    (re.compile(r"_?(?:vllm_)?flash_attn_?2(?:_\w+)?::"), "flash_attn_2::"),
    (re.compile(r"_flash_attn_[0-9a-z]+(?:_dirty)?::"), "flash_attn_2::"),
)


def formula(
    *names: str,
    operand: int = 0,
    format: str | None = None,  # noqa: A002 # the field's name
    causal_of: FlopsOf | None = None,
    varies: bool = False,
    varies_of: Callable[[Arguments, Options], bool] | None = None,
) -> Callable[[FlopsOf], FlopsOf]:
    """Enter a function into the table under the operators' full names.

    Args:
        names: Namespace and name, as in `aten::mm`; all overloads are meant.
        operand: As in `Formula`, like the rest.
        format: Likewise.
        causal_of: Likewise.
        varies: Likewise.
        varies_of: Likewise.
    """
    entry = Formula(_of_nothing, operand, format, causal_of, varies, varies_of)

    def enter(flops_of: FlopsOf) -> FlopsOf:
        for name in names:
            FORMULAS[name] = entry._replace(flops_of=flops_of)
        return flops_of

    return enter


def _of_nothing(_args: Arguments, _kwargs: Options) -> int:
    return 0


def prod(shape: Sequence[Any]) -> int:
    """Return the product of a shape as a plain integer."""
    return int(math.prod(shape))


def argument(args: Arguments, position: int, default: Any = None) -> Any:
    """Return a positional argument; torch leaves out trailing ones at their default."""
    return args[position] if position < len(args) else default


def find(name: str) -> Formula | None:
    """Return an operator's formula, None where it has none.

    Args:
        name: Namespace and name; a hash in the namespace is seen through.
    """
    if name in FORMULAS:
        return FORMULAS[name]
    for namespace, known in _HASHED:
        if namespace.match(name):
            return FORMULAS.get(namespace.sub(known, name, count=1))
    return None


def is_uncounted(name: str) -> bool:
    """Say whether an operator may multiply while no formula covers it."""
    if name in HARMLESS or find(name) is not None:
        return False
    namespace = name.split("::", maxsplit=1)[0]
    return name in WITHOUT_FORMULA or namespace not in KNOWN_NAMESPACES


def linear_estimate(weight_shape: Sequence[Any], input_shape: Sequence[Any]) -> int:
    """Return what a Linear-like module costs that ran on a kernel without formula.

    Args:
        weight_shape: Its weight as if it were not packed, [out, in].
        input_shape: [..., in].

    Returns:
        FLOPs of one forward; 0 where the shapes are those of no linear layer.
    """
    if len(weight_shape) != _MATRIX or not input_shape:
        return 0
    if int(weight_shape[1]) != int(input_shape[-1]):
        return 0
    return 2 * prod(input_shape) * int(weight_shape[0])
