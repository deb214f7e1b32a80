"""Charges what torch.compile compiled with inductor, at every call. Shell.

Compiled code runs kernels that no operator stands for, so its cost is counted once,
from the graph, and stored with the artefact: as an attribute of plain tuples, which a
process without the hook loads and ignores; what such a process stored is completed
(`storedgraphs.py`). Neither the graph nor the key of a cache is touched. torch's
compiler is never imported here: the hook waits for the program to.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import torch

from flopguard_hook import graphreading
from flopguard_hook.compiledsteps import Charged, Costs, Steps
from flopguard_hook.graphcost import GraphCost, GraphFigure, schema
from flopguard_hook.imports import when_imported
from flopguard_hook.interrupts import raise_users
from flopguard_hook.storedgraphs import FIGURE, StoredGraphs
from flopguard_hook.wrapping import wrap

if TYPE_CHECKING:
    from types import ModuleType

UNKNOWN_GRAPH = "inductor::graph"


def attach(
    charged: Charged,
    stepped: Charged | None = None,
    uncounted: Callable[[str], None] | None = None,
    optimized: Callable[[Any, bool], None] | None = None,
) -> Callable[[], None]:
    """Charge every call of a graph compiled by inductor, from when it is imported on.

    Args:
        charged: Runs its first argument, muted, and charges what the second returns.
            The second never raises.
        stepped: The same for a compiled optimizer step, a step of its own: not muted,
            for the products within it are charged apart. By default `charged`.
        uncounted: Told an operator whose cost is not known, once per graph, or
            UNKNOWN_GRAPH for a graph whose cost is not: that one is not charged, what
            it dispatches can be.
        optimized: Told each optimizer whose step is compiled, and whether there is a
            formula for its class. By default `uncounted` is told of those without.

    Returns:
        Tells `uncounted` of optimizers whose compiled steps turned out not to be
        charged: to be called before that is reported.
    """
    stored = StoredGraphs()
    when_imported("torch._inductor.codecache", stored.attach)
    graphs = _Graphs(charged, uncounted or _ignore, stored)
    when_imported("torch._inductor.compile_fx", graphs.attach)
    steps = Steps(stepped or charged, uncounted or _ignore, optimized)
    when_imported("torch._dynamo.variables.optimizer", steps.attach_optimizers)
    when_imported("torch._dynamo.output_graph", steps.attach_graphs)
    return steps.tell_lost


def _ignore(_name: str) -> None:
    """Do nothing with the name of what is not counted."""


class _Counter:
    """The cost of one artefact, as kept in it.

    Pickled as the tuple of its figure, so that a process without the hook can load it.
    """

    def __init__(
        self, stored: tuple[Any, ...], uncounted: Callable[[str], None], *, grad: bool
    ) -> None:
        self.figure = GraphFigure(stored)
        self._uncounted = uncounted
        self._grad = grad
        self._told = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (tuple, (self.figure.stored,))

    def costs_at(self, inputs: Sequence[Any]) -> Costs:
        """Return a function that says what a call with these inputs costs.

        The sizes are read now: a compiled graph empties the list of its inputs.
        """
        sizes = tuple(
            int(inputs[symbol.position])
            if symbol.dimension < 0
            else int(inputs[symbol.position].shape[symbol.dimension])
            for symbol in self.figure.symbols
        )
        return functools.partial(self._costs, sizes)

    def _costs(self, sizes: tuple[int, ...]) -> Sequence[GraphCost]:
        try:
            found = self.figure.at(sizes)
            if not self._told:
                self._told = True
                for name in found.uncounted:
                    self._uncounted(name)
            if self._grad:
                return found.costs
            return [
                cost._replace(role="no_grad") if cost.role == "forward" else cost
                for cost in found.costs
            ]
        except Exception as error:
            raise_users(error)
            self._uncounted(UNKNOWN_GRAPH)
            return ()


class _Graphs:
    """Keeps a counter in every artefact of inductor and charges its calls."""

    def __init__(
        self, charged: Charged, uncounted: Callable[[str], None], stored: StoredGraphs
    ) -> None:
        self._charged = charged
        self._stored = stored
        self._uncounted = uncounted
        self._artefact: type = type(None)

    def attach(self, compile_fx: ModuleType) -> None:
        """Wrap what compiles a graph, what loads one, and the call of one."""
        module: Any = compile_fx
        try:
            self._artefact = module.CompiledFxGraph
            # Where it is compiled the figure is set before the artefact is stored;
            # where it was found in a cache without a figure, the graph is at hand too.
            wrap(module, "fx_codegen_and_compile", self._counting)
            if hasattr(module, "_compile_fx_inner"):
                wrap(module, "_compile_fx_inner", self._counting)
            else:  # before torch 2.6
                cache = module.FxGraphCache
                cache.load = staticmethod(self._counting_load(cache.load))
            if hasattr(self._artefact, "post_compile"):
                wrap(self._artefact, "post_compile", self._readying)
            wrap(self._artefact, "__call__", self._charging)
        except AttributeError:  # a torch that is unlike all known ones
            self._uncounted(UNKNOWN_GRAPH)

    def _counting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function of a graph that returns its artefact."""

        def compiles(gm: Any, *args: Any, **kwargs: Any) -> Any:
            # Compiling changes the graph, so it is read before.
            options = next((arg for arg in args if isinstance(arg, dict)), kwargs)
            stored = self._read(gm, options)
            with self._stored.reading(stored):
                artefact = original(gm, *args, **kwargs)
            if isinstance(artefact, self._artefact):
                self._keep(artefact, stored, options)
            return artefact

        return compiles

    def _counting_load(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the same function whose graph comes second."""

        def of_graph(gm: Any, compiles: Any, *args: Any, **kwargs: Any) -> Any:
            return load(compiles, gm, *args, **kwargs)

        counting = self._counting(of_graph)

        def loads(compiles: Any, gm: Any, *args: Any, **kwargs: Any) -> Any:
            return counting(gm, compiles, *args, **kwargs)

        return loads

    def _read(self, gm: Any, options: Mapping[str, Any]) -> tuple[Any, ...] | None:
        try:
            return graphreading.read(
                gm,
                backward=bool(options.get("is_backward")),
                tf32=bool(torch._C._get_cublas_allow_tf32()),
            )
        except Exception as error:
            raise_users(error)
            return None

    def _keep(
        self, artefact: Any, stored: tuple[Any, ...] | None, options: Mapping[str, Any]
    ) -> None:
        """Give an artefact its counter, unless it has one."""
        try:
            found = artefact.__dict__.get(FIGURE)
            if isinstance(found, _Counter):
                return
            grad = torch.is_grad_enabled() or not options.get("is_inference")
            for figure in (stored, found):
                if figure and figure[0] == schema():
                    counter = _Counter(figure, self._uncounted, grad=grad)
                    setattr(artefact, FIGURE, counter)
                    return
        except Exception as error:
            raise_users(error)

    def _readying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what an artefact goes through once it is compiled or loaded."""

        def post_compile(artefact: Any, *args: Any, **kwargs: Any) -> Any:
            self._keep(artefact, None, getattr(artefact, "fx_kwargs", {}))
            return original(artefact, *args, **kwargs)

        return post_compile

    def _charging(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the call of an artefact."""

        def call(artefact: Any, inputs: Any) -> Any:
            costs = self._costs_of(artefact, inputs)
            if costs is None:
                return original(artefact, inputs)
            return self._charged(lambda: original(artefact, inputs), costs)

        return call

    def _costs_of(self, artefact: Any, inputs: Any) -> Costs | None:
        """Return a call's costs; None where it is free or its cost is not known."""
        try:
            counter = artefact.__dict__.get(FIGURE)
            if type(counter) is _Counter:
                return None if counter.figure.is_free else counter.costs_at(inputs)
            if counter != ():
                setattr(artefact, FIGURE, ())  # told once
                self._uncounted(UNKNOWN_GRAPH)
        except Exception as error:
            raise_users(error)
            self._uncounted(UNKNOWN_GRAPH)
        return None
