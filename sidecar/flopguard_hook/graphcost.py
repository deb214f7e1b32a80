"""What a call of a compiled graph costs, as an expression over its sizes. Core.

A `Figure` is what is kept of a graph: plain tuples, strings and integers, so that a
process without the hook can load it with the artefact it is stored in. It names each
charged operator with the shapes of its arguments, so that the table of formulas, not
the figure, says what that costs.
"""

from __future__ import annotations

import functools
import math
import zlib
from typing import Any, Iterable, Mapping, NamedTuple

from flopguard_hook.formulas import find
from flopguard_hook.numerics import numeric
from flopguard_hook.sizes import UnknownSizeError, names_of, value_of
from flopguard_hook.table import FORMULAS
from flopguard_hook.uncounted import WITHOUT_FORMULA

_MOST_SIZES = 1024

# An argument of a call: ("tensor", dtype, device, (dimension, ...)), ("list", ...),
# ("size", expression), ("opaque", type), or a plain value.
Encoded = Any


class GraphCost(NamedTuple):
    """FLOPs of one call of a compiled graph.

    Attributes:
        role: What they are for: `forward` or `no_grad`, by the grad mode in which the
            graph was compiled; `backward`; `recompute`; `optimizer`.
        format: One of `page.FORMATS`.
        flops: How many are executed.
        causal: How many, where a causal kernel skips what it masks.
    """

    role: str
    format: str
    flops: int
    causal: int


class Symbol(NamedTuple):
    """Where a size is found at a call.

    Attributes:
        name: Its name in the expressions.
        position: Of the input that has it.
        dimension: Which one of that tensor's; -1 if the input is the size itself.
    """

    name: str
    position: int
    dimension: int


class Call(NamedTuple):
    """An operator of the graph that is charged, or of which nobody knows the cost.

    Attributes:
        role: `forward`, `backward` or `recompute`.
        operator: Its full name, as in the table of formulas.
        tf32: Whether products of float32 run in TF32 there.
        args: Encoded positional arguments.
        kwargs: Encoded keyword arguments, as pairs.
        times: How often the graph has this very call.
    """

    role: str
    operator: str
    tf32: bool
    args: tuple[Encoded, ...]
    kwargs: tuple[tuple[str, Encoded], ...]
    times: int


class Evaluated(NamedTuple):
    """The cost of a graph at certain sizes.

    Attributes:
        costs: One per role and format; zeros are left out.
        uncounted: Operators without a formula, those whose formula failed, and those
            whose cost depends on data: charged are as much as they can cost.
    """

    costs: tuple[GraphCost, ...]
    uncounted: tuple[str, ...]


@functools.lru_cache(maxsize=1)
def schema() -> str:
    """Return what figures can be read: those made with the same table of operators.

    One made by a hook that knew fewer has calls missing.
    """
    names = "\n".join([*sorted(FORMULAS), *sorted(WITHOUT_FORMULA)])
    return f"1-{zlib.crc32(names.encode()):08x}"


def figure(symbols: Iterable[Symbol], calls: Iterable[Call]) -> tuple[Any, ...]:
    """Return what is stored of a graph: plain tuples, equal calls taken together.

    Raises:
        UnknownSizeError: If a call's shapes need a size that is no symbol.
    """
    places = {symbol.name: symbol for symbol in symbols}
    needed: set[str] = set()
    times: dict[Call, int] = {}
    for call in calls:
        needed |= _names_in((call.args, call.kwargs))
        one = call._replace(times=1)
        times[one] = times.get(one, 0) + call.times
    if missing := needed - set(places):
        msg = f"no input of the graph has the size {min(missing)}"
        raise UnknownSizeError(msg)
    return (
        schema(),
        tuple(tuple(places[name]) for name in sorted(needed)),
        tuple(tuple(call._replace(times=n)) for call, n in times.items()),
    )


class GraphFigure:
    """The cost of one compiled graph, remembered for the sizes seen.

    Attributes:
        stored: The figure that it was made of.
        symbols: The sizes that it depends on, in the order of `at`'s argument.
    """

    def __init__(self, stored: tuple[Any, ...]) -> None:
        made_with, symbols, calls = stored
        if made_with != schema():
            msg = f"a figure of schema {made_with}"
            raise ValueError(msg)
        self.stored = stored
        self.symbols = tuple(Symbol(*symbol) for symbol in symbols)
        self._calls = tuple(Call(*call) for call in calls)
        self._known: dict[tuple[int, ...], Evaluated] = {}

    @property
    def is_free(self) -> bool:
        """Whether the graph has nothing to charge and nothing unknown."""
        return not self._calls

    def at(self, sizes: tuple[int, ...]) -> Evaluated:
        """Return the cost where the symbols have these values."""
        found = self._known.get(sizes)
        if found is None:
            if len(self._known) >= _MOST_SIZES:
                self._known.clear()
            names = [symbol.name for symbol in self.symbols]
            found = evaluated(self._calls, dict(zip(names, sizes)))
            self._known[sizes] = found
        return found


def evaluated(calls: Iterable[Call], sizes: Mapping[str, int]) -> Evaluated:
    """Return what the calls cost; a formula that fails costs only its operator.

    Args:
        calls: Of one graph.
        sizes: The value of every symbol.
    """
    sums: dict[tuple[str, str], list[int]] = {}
    uncounted: dict[str, None] = {}
    for call in calls:
        try:
            cost = _cost_of(call, sizes)
        except Exception:
            uncounted[call.operator] = None
            continue
        if cost.is_bound:
            uncounted[call.operator] = None
        total = sums.setdefault((call.role, cost.format), [0, 0])
        total[0] += cost.flops * call.times
        total[1] += cost.causal * call.times
    costs = (GraphCost(*key, *total) for key, total in sums.items() if total[0])
    return Evaluated(tuple(costs), tuple(uncounted))


class _Cost(NamedTuple):
    format: str
    flops: int
    causal: int
    is_bound: bool


def _cost_of(call: Call, sizes: Mapping[str, int]) -> _Cost:
    kind = find(call.operator)
    if kind is None:
        raise KeyError(call.operator)
    args = [_decoded(arg, sizes) for arg in call.args]
    kwargs = {name: _decoded(arg, sizes) for name, arg in call.kwargs}
    operand = args[kind.operand]
    of = numeric(operand.dtype, tf32=call.tf32 and operand.is_cuda)
    flops = causal = kind.flops_of(args, kwargs) * of.factor
    if kind.causal_of is not None:
        causal = kind.causal_of(args, kwargs) * of.factor
    is_bound = kind.depends_on_data(args, kwargs)
    return _Cost(kind.format or of.format, flops, causal, is_bound)


class Operand:
    """What a formula sees of a tensor: shape and type, no data.

    Attributes:
        shape: Dimensions.
        dtype: Its name, such as `torch.float32`.
        is_cuda: Whether it is on a CUDA device.
    """

    is_nested = False
    is_meta = False

    def __init__(self, shape: tuple[int, ...], dtype: str, device: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.is_cuda = device == "cuda"
        self.ndim = len(shape)

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    def size(self, dimension: int) -> int:
        """Return one dimension."""
        return self.shape[dimension]


def _decoded(argument: Encoded, sizes: Mapping[str, int]) -> Any:
    if not isinstance(argument, tuple):
        return argument
    kind, *rest = argument
    if kind == "tensor":
        dtype, device, shape = rest
        return Operand(tuple(_size(n, sizes) for n in shape), dtype, device)
    if kind == "size":
        return _size(rest[0], sizes)
    if kind == "list":
        return [_decoded(item, sizes) for item in rest]
    return argument  # opaque: a formula that needs it fails


def _size(size: int | str, sizes: Mapping[str, int]) -> int:
    return size if isinstance(size, int) else value_of(size, sizes)


def _names_in(encoded: Encoded) -> set[str]:
    """Return the symbols in the shapes and sizes of encoded arguments."""
    if not isinstance(encoded, tuple):
        return set()
    if encoded[:1] == ("size",):
        return names_of(encoded[1])
    if encoded[:1] == ("tensor",):
        return set().union(*(names_of(n) for n in encoded[3] if isinstance(n, str)))
    return set().union(*(_names_in(item) for item in encoded))
