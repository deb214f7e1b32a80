"""Follow a total through the entries of a run, or of a program and its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.entries import (
    Entry,
    GapCharged,
    Imported,
    ProgramAdjusted,
    Settlement,
)
from flopguard_operator.ledger.standing import MOVED_IN, left_of
from flopguard_operator.policy.terms import Totals
from flopguard_operator.report.facts import Point


@dataclass
class _Sum:
    """A total that is kept up entry by entry."""

    accounts: dict[str, Account] = field(default_factory=dict)
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)
    adjusted: list[ProgramAdjusted] = field(default_factory=list)
    measured: int = 0
    upper: int = 0

    def take(self, entry: Entry) -> bool:
        """Take in an entry; return whether it can have changed the total."""
        match entry.event:
            case Settlement() | GapCharged() as event:
                before = self.accounts.get(event.run.uid, Account(event.run))
                self.accounts[event.run.uid] = apply(before, event)
                self._renew(event.run.uid)
            case ProgramAdjusted() as event:
                self.adjusted.append(event)
                if event.change == MOVED_IN:
                    moved = Totals(event.done, event.begun, event.gaps)
                    self.measured += moved.measured
                    self.upper += moved.upper
                elif event.of in self.accounts:
                    self._renew(event.of)
            case Imported() as event:
                self.upper += event.high
            case _:
                return False
        return True

    def _renew(self, uid: str) -> None:
        """Put a run's part in the place of the one before."""
        now = left_of(self.accounts[uid], self.adjusted)
        measured, upper = self.parts.get(uid, (0, 0))
        self.parts[uid] = now.measured, now.upper
        self.measured += now.measured - measured
        self.upper += now.upper - upper


def curve(entries: Sequence[Entry]) -> tuple[Point, ...]:
    """Return the total after each entry that changed it, from the first to the last.

    Args:
        entries: of one run; or of a program and all of its runs, in order.
    """
    total, points = _Sum(), list[Point]()
    for entry in entries:
        if total.take(entry) or not points:
            point = Point(entry.at, total.measured, total.upper)
            if not points or _figures(point) != _figures(points[-1]):
                points.append(point)
    if points and entries[-1].at != points[-1].at:
        points.append(Point(entries[-1].at, points[-1].measured, points[-1].upper))
    return tuple(points)


def _figures(point: Point) -> tuple[int, int]:
    return point.measured, point.upper
