"""Charges optimizer steps that torch.compile traced into a graph. Shell."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Callable, Sequence

from flopguard_hook.graphcost import GraphCost
from flopguard_hook.interrupts import raise_users
from flopguard_hook.steps import flops_of_step
from flopguard_hook.wrapping import wrap

if TYPE_CHECKING:
    from types import ModuleType

Costs = Callable[[], Sequence[GraphCost]]
Charged = Callable[[Callable[[], Any], Costs], Any]


# Dynamo's ways to read an attribute of an object, by version.
_READS = ("tp_getattro_impl", "var_getattr")
_READ_ONCE_A_STEP = "_optimizer_step_pre_hooks"


class Steps:
    """Charges optimizer steps that dynamo traced into a graph.

    There the hooks on steps are traced as well, to nothing. But dynamo makes the
    optimizer's state outside of the trace, once for each group of parameters, if the
    optimizer is made like those of torch; and it reads the list of hooks of any.

    Args:
        stepped: Runs its first argument, a step, and charges what the second returns.
        uncounted: Told the name of an optimizer whose step cannot be charged.
        noted: Told each optimizer, and whether there is a formula for its class.
    """

    def __init__(
        self,
        stepped: Charged,
        uncounted: Callable[[str], None],
        noted: Callable[[Any, bool], None] | None = None,
    ) -> None:
        self._stepped = stepped
        self._uncounted = uncounted
        self._noted = noted
        self._lost: set[str] = set()
        self._traced: weakref.WeakKeyDictionary[Any, dict[int, _Traced]] = (
            weakref.WeakKeyDictionary()
        )

    def attach_optimizers(self, module: ModuleType) -> None:
        """Note each optimizer whose step is traced."""
        variable: Any = module.__dict__["OptimizerVariable"]
        wrap(variable, "map_sources_and_install_guards", self._noting)
        for name in _READS:
            if hasattr(variable, name):
                wrap(variable, name, self._reading)

    def attach_graphs(self, module: ModuleType) -> None:
        """Charge them at the calls of the graph that they were traced into."""
        graph: Any = module.__dict__["OutputGraph"]
        wrap(graph, "call_user_compiler", self._stepping)
        if hasattr(graph, "compile_subgraph"):
            wrap(graph, "compile_subgraph", self._ending)

    def _reading(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def reading(
            variable: Any, tx: Any, name: Any, *args: Any, **kwargs: Any
        ) -> Any:
            if name == _READ_ONCE_A_STEP:
                try:
                    self._of(variable.value, tx.output.tracing_context).hooked += 1
                except Exception as error:
                    raise_users(error)
            return original(variable, tx, name, *args, **kwargs)

        return reading

    def _ending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the end of a trace: what it steps and has no graph runs uncharged.

        Where dynamo breaks off before the operators of a step, those of torch are still
        traced into a graph of their own, with the state that they make there. Fused
        kernels and other classes are not.
        """

        def ends(graph: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(graph, *args, **kwargs)
            for traced in self._traced_into(graph):
                self._lost.add(traced.name)
                if not traced.is_traced_apart:
                    self.tell_lost()
            return result

        return ends

    def tell_lost(self) -> None:
        """Tell which optimizers step in compiled code and are not charged."""
        while self._lost:
            self._uncounted(f"torch.optim::{self._lost.pop()}")

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def noting(variable: Any, tx: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(variable, tx, *args, **kwargs)
            try:
                self._note(variable.value, tx.output.tracing_context)
            except Exception as error:
                raise_users(error)
            return result

        return noting

    def _note(self, optimizer: Any, context: Any) -> None:
        traced = self._of(optimizer, context)
        traced.groups += 1
        traced.made = -(-traced.groups // max(len(optimizer.param_groups), 1))

    def _of(self, optimizer: Any, context: Any) -> _Traced:
        traced = self._traced.setdefault(context, {})
        if id(optimizer) not in traced:
            costs = self._costs_of_step(optimizer)
            traced[id(optimizer)] = _Traced(optimizer, costs)
        return traced[id(optimizer)]

    def _costs_of_step(self, optimizer: Any) -> list[GraphCost]:
        """Return the cost of a step over the parameters that have a gradient."""
        flops, known = flops_of_step(optimizer)
        if self._noted is not None:
            self._noted(optimizer, known)
        elif not known:
            self._uncounted(f"torch.optim::{type(optimizer).__name__}")
        return [GraphCost("optimizer", name, n, n) for name, n in flops.items()]

    def _stepping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def compiles(graph: Any, *args: Any, **kwargs: Any) -> Any:
            compiled = original(graph, *args, **kwargs)
            for traced in self._traced_into(graph):
                self._lost.discard(traced.name)
                compiled = self._stepping_once(compiled, traced)
            return compiled

        return compiles

    def _traced_into(self, graph: Any) -> list[_Traced]:
        try:
            found = self._traced.pop(graph.tracing_context, {})
            return [traced for traced in found.values() for _ in range(traced.steps())]
        except Exception as error:
            raise_users(error)
            return []

    def _stepping_once(
        self, compiled: Callable[..., Any], traced: _Traced
    ) -> Callable[..., Any]:
        # Not `functools.wraps`: dynamo would unwrap what has the marks of its own.
        def steps(*args: Any) -> Any:
            return self._stepped(lambda: compiled(*args), lambda: traced.costs)

        return steps


class _Traced:
    """The steps of an optimizer that dynamo traced into one graph."""

    def __init__(self, optimizer: Any, costs: Sequence[GraphCost]) -> None:
        self.name = type(optimizer).__name__
        self.is_traced_apart = hasattr(optimizer, "_init_group") and not any(
            group.get("fused") for group in optimizer.param_groups
        )
        self.costs = costs
        self.groups = 0
        self.made = 0
        self.hooked = 0

    def steps(self) -> int:
        """Return how many: some run without their hooks, some make no state."""
        return max(self.made, self.hooked)
