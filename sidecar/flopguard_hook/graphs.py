"""Charges what torch.compile compiled: a graph says itself what it costs. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from flopguard_hook.dispatch import Meter, meter_on_stack
from flopguard_hook.glue import is_forward
from flopguard_hook.metering import engine_is_running
from flopguard_hook.page import cell
from flopguard_hook.session import MASKED
from flopguard_hook.steps import note_optimizer
from flopguard_hook.threads import INSIDE

if TYPE_CHECKING:
    from flopguard_hook.graphcost import GraphCost
    from flopguard_hook.metering import Metering

Costs = Callable[[], Sequence["GraphCost"]]


class Graphs:
    """Runs compiled graphs, charged."""

    def __init__(self, metering: Metering) -> None:
        self._metering = metering

    def run(self, run: Callable[[], Any], costs: Costs) -> Any:
        """Run a graph; what it dispatches is not counted beside it."""
        session = self._metering.session
        if not session.armed:
            return run()
        meter = meter_on_stack()
        thread = self._metering.threads.current
        if meter is None and (thread.state == INSIDE or engine_is_running()):
            return run()  # what is replayed contains it
        charges = _charges(meter, costs())
        if meter is None:
            session.begin(charges)
            out = run()
            session.finish(charges)
            if is_forward(charges):
                thread.add_pending(hash(charges))
            return out
        meter.add(charges)
        meter.muted += 1
        try:
            out = run()
        finally:
            meter.muted -= 1
        meter.added(charges)
        return out

    def run_step(self, run: Callable[[], Any], costs: Costs) -> Any:
        """Run a graph that an optimizer's step was traced into."""
        session = self._metering.session
        if not session.armed:
            return run()
        charges = _charges(None, costs())
        self._metering.note_step(self._metering.threads.current)
        session.begin(charges)
        out = run()
        session.finish_step(charges, outermost=True)
        return out

    def note_optimizer(self, optimizer: Any, known: bool) -> None:  # noqa: FBT001 # as told
        """Note an optimizer whose step was compiled."""
        note_optimizer(self._metering.session, optimizer, known=known)

    def note_uncounted(self, name: str) -> None:
        """Note an operator within a graph that cannot be counted."""
        self._metering.operators.note_unknown(name).calls += 1


def _charges(
    meter: Meter | None, costs: Sequence[GraphCost]
) -> tuple[tuple[int, int], ...]:
    charges: dict[int, int] = {}
    for cost in costs:
        category = cost.role
        if meter is not None and category in {"forward", "no_grad"}:
            category = meter.windows.category(grad=category == "forward")
        index = cell(category, cost.format)
        charges[index] = charges.get(index, 0) + cost.flops
        if cost.causal != cost.flops and category in {"forward", "backward"}:
            charges[MASKED] = charges.get(MASKED, 0) + cost.flops - cost.causal
    return tuple(sorted(charges.items()))
