"""What each optimizer's step costs by its formula, scanned now and then. Shell."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Hashable, Sequence

from flopguard_hook import facts
from flopguard_hook.numerics import numeric
from flopguard_hook.optimizers import step_cost
from flopguard_hook.session import charge

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
        flops, known = flops_of_step(optimizer)
        note_optimizer(self._session, optimizer, known=known)
        return tuple(charge("optimizer", kind, n) for kind, n in flops.items())


def note_optimizer(session: Session, optimizer: Any, *, known: bool) -> None:
    """Note an optimizer, and flag one for whose class there is no formula."""
    if not known:
        session.flag("unknown_optimizer")
    names = session.noted("optimizers", [])
    session.note("optimizers", facts.with_name(names, type(optimizer).__name__))


def flops_of_step(optimizer: Any) -> tuple[dict[str, int], bool]:
    """Return a step's FLOPs by numeric format, over what has a gradient now.

    The second value is False if a group was charged as AdamW, for want of a formula.
    """
    names = [base.__name__ for base in type(optimizer).__mro__]
    flops: dict[str, int] = {}
    known = True
    for group in optimizer.param_groups:
        cost = step_cost(names, group)
        known &= cost.known
        for parameter in group["params"]:
            if parameter.grad is not None:
                of = numeric(str(parameter.dtype))
                n = cost.per_element * facts.local_elements(parameter) * of.factor
                flops[of.format] = flops.get(of.format, 0) + n
    return {name: n for name, n in flops.items() if n}, known
