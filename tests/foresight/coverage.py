"""Hold forecasts to what came of it: how often the 90 % interval has the truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from flopguard_operator.forecast.history import Point
from flopguard_operator.forecast.outlook import reaches, total
from foresight.histories import History

PARTS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)  # of a run's time, at which it is forecast


@dataclass(frozen=True)
class Held:
    """One forecast beside the truth, both in the same unit."""

    low: float
    high: float
    truth: float

    @property
    def covers(self) -> bool:
        """Whether the interval has the truth."""
        return self.low <= self.truth <= self.high


def totals(history: History, parts: Sequence[float] = PARTS) -> Iterable[Held]:
    """Yield forecasts of the total, made at some moments of a run."""
    for part in parts:
        known = history.until(part)
        found = total(None, known, history.steps) if known else None
        if found is not None and found.high is not None:
            yield Held(found.low, found.high, history.points[-1].upper)


def crossings(
    history: History, parts: Sequence[float] = PARTS, lines: Sequence[float] = (1.0,)
) -> Iterable[Held]:
    """Yield forecasts of when lines are crossed, in milliseconds from then.

    Args:
        history: of a run.
        parts: of its time at which it is forecast.
        lines: parts of the run's total.
    """
    end = history.points[-1].upper
    for part in parts:
        known = history.until(part)
        if not known:
            continue
        limits = [(str(line), int(line * end)) for line in lines]
        for reach in reaches(known, limits):
            truth = crossed(history.points, dict(limits)[reach.line])
            yield Held(reach.earliest, reach.latest, truth - known[-1].at)


def crossed(points: Sequence[Point], limit: int) -> float:
    """Return when a history reaches a line, on a straight line between its points."""
    for before, after in pairwise(points):
        if after.upper >= limit:
            part = (limit - before.upper) / max(1, after.upper - before.upper)
            return before.at + max(0.0, part) * (after.at - before.at)
    return float(points[-1].at)


def told(name: str, found: Sequence[Held]) -> str:
    """Return the coverage and the usual width of intervals in a line."""
    share = sum(each.covers for each in found) / max(1, len(found))
    width = median((e.high - e.low) / max(1.0, e.truth) for e in found)
    return f"{name:22} {100 * share:5.1f} % of {len(found)}, width {100 * width:.0f} %"
