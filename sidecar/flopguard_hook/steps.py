"""What each optimizer's step costs by its formula, scanned now and then. Shell."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Hashable, Iterable, Sequence

from flopguard_hook import facts
from flopguard_hook.numerics import numeric
from flopguard_hook.optimizers import step_cost
from flopguard_hook.page import cell

if TYPE_CHECKING:
    from flopguard_hook.session import Charges, Session

_SCANNED_EVERY = 64
_MOST_KEPT = 64


class _Known:
    """What is known of one optimizer: charges by what was trained before the step."""

    __slots__ = ("by_trained", "reference", "steps")

    def __init__(self, optimizer: Any) -> None:
        self.reference = weakref.ref(optimizer)
        self.by_trained: dict[Hashable, Charges] = {}
        self.steps = 0


class Steps:
    """The costs of steps: elements that have a gradient, times operations per element.

    Looking at every parameter takes longer than many a step, so it is done again only
    when another family of backwards ran before the step, or once in 64 steps.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[int, _Known] = {}

    def charges(self, optimizer: Any, trained: Sequence[Any]) -> Charges:
        """Return what the next step costs.

        Args:
            optimizer: A `torch.optim.Optimizer`.
            trained: The families of the backwards since the last step; with None among
                them nothing is known of the gradients.
        """
        known = self._known.get(id(optimizer))
        if known is None or known.reference() is not optimizer:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            known = self._known[id(optimizer)] = _Known(optimizer)
        known.steps += 1
        key = (tuple(map(id, trained)), len(optimizer.param_groups))
        found = known.by_trained.get(key)
        if found is None or None in trained or known.steps % _SCANNED_EVERY == 0:
            if len(known.by_trained) >= _MOST_KEPT:
                known.by_trained.clear()
            found = known.by_trained[key] = self._scan(optimizer)
        return found

    def _scan(self, optimizer: Any) -> Charges:
        names = [base.__name__ for base in type(optimizer).__mro__]
        flops: dict[int, int] = {}
        for group in optimizer.param_groups:
            cost = step_cost(names, group)
            if not cost.known:
                self._session.flag("unknown_optimizer")
            for dtype, elements in _elements(group["params"]):
                of = numeric(dtype)
                index = cell("optimizer", of.format)
                charged = cost.per_element * elements * of.factor
                flops[index] = flops.get(index, 0) + charged
        known = self._session.noted("optimizers", [])
        self._session.note("optimizers", facts.with_name(known, names[0]))
        return tuple((index, n) for index, n in flops.items() if n)


def _elements(parameters: Iterable[Any]) -> Iterable[tuple[str, int]]:
    for parameter in parameters:
        if parameter.grad is not None:
            yield str(parameter.dtype), facts.local_elements(parameter)
