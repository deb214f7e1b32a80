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


class Steps:
    """Charges optimizer steps that dynamo traced into a graph.

    There the hooks on steps are traced as well, to nothing. But dynamo makes the
    optimizer's state outside of the trace, once for each group of parameters.
    """

    def __init__(self, stepped: Charged, uncounted: Callable[[str], None]) -> None:
        self._stepped = stepped
        self._uncounted = uncounted
        self._traced: weakref.WeakKeyDictionary[Any, dict[int, _Traced]] = (
            weakref.WeakKeyDictionary()
        )

    def attach_optimizers(self, module: ModuleType) -> None:
        """Note each optimizer whose step is traced."""
        variable: Any = module.__dict__["OptimizerVariable"]
        wrap(variable, "map_sources_and_install_guards", self._noting)

    def attach_graphs(self, module: ModuleType) -> None:
        """Charge them at the calls of the graph that they were traced into."""
        wrap(module.__dict__["OutputGraph"], "call_user_compiler", self._stepping)

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
        traced = self._traced.setdefault(context, {})
        if id(optimizer) not in traced:
            traced[id(optimizer)] = _Traced(self._costs_of_step(optimizer))
        groups = max(len(optimizer.param_groups), 1)
        traced[id(optimizer)].groups += 1
        traced[id(optimizer)].steps = -(-traced[id(optimizer)].groups // groups)

    def _costs_of_step(self, optimizer: Any) -> list[GraphCost]:
        """Return the cost of a step over the parameters that have a gradient."""
        flops, known = flops_of_step(optimizer)
        if not known:
            self._uncounted(f"torch.optim::{type(optimizer).__name__}")
        return [GraphCost("optimizer", name, n, n) for name, n in flops.items()]

    def _stepping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def compiles(graph: Any, *args: Any, **kwargs: Any) -> Any:
            compiled = original(graph, *args, **kwargs)
            for traced in self._traced_into(graph):
                compiled = self._stepping_once(compiled, traced)
            return compiled

        return compiles

    def _traced_into(self, graph: Any) -> list[_Traced]:
        try:
            found = self._traced.pop(graph.tracing_context, {})
            return [traced for traced in found.values() for _ in range(traced.steps)]
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
    """A step of an optimizer that dynamo traced."""

    def __init__(self, costs: Sequence[GraphCost]) -> None:
        self.costs = costs
        self.groups = 0
        self.steps = 0
