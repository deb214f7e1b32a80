"""Forecast one run: its total, and when it reaches each line. Pure.

The total comes from the plan; once the run has steps and the plan says how many there
are, from what its own steps cost. The dates come from its pace.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from flopguard_operator.forecast.chance import Chance
from flopguard_operator.forecast.history import Point
from flopguard_operator.forecast.paths import PATHS, Habit, Path, habit, middle
from flopguard_operator.forecast.planned import Projection

PROGRESS, MEASURED = "Progress", "Measured"
_FEWEST_STEPS = 8
_TRIED = (0.4, 0.55, 0.7, 0.85)  # parts of the history that are forecast from
_FEW_PATHS = 60
_WIDEST = 4.0
_INNER = (0.05, 0.5, 0.95)  # where a plan's low, expected and high are taken to lie


@dataclass(frozen=True)
class Total:
    """FLOPs of the whole run; `high` is None where it has outrun its plan."""

    low: int
    expected: int
    high: int | None
    basis: str  # ClosedForm, RuleOfThumb, Progress or Measured
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reach:
    """When a line is reached, in milliseconds, with a 90 % interval."""

    line: str
    earliest: int
    at: int
    latest: int

    def after(self, moment: int) -> "Reach":
        """Return the same, counted from so many milliseconds before."""
        return replace(
            self,
            earliest=moment + self.earliest,
            at=moment + self.at,
            latest=moment + self.latest,
        )


@dataclass(frozen=True)
class Outlook:
    """What is to be expected of a run; dates are milliseconds since 1970."""

    total: Total | None
    reaches: tuple[Reach, ...] = ()  # the nearest line first


def total(
    projection: Projection | None, points: Sequence[Point], steps: int | None
) -> Total | None:
    """Return the FLOPs of the whole run; None where nothing says how long it is.

    Args:
        projection: of its plan, if it has one.
        points: of its history, the last of them now; at least one.
        steps: of the optimizer that are planned; None where that is not known.
    """
    upper = points[-1].upper
    if steps is not None:
        found = _by_progress(points, steps)
        if found is not None:
            return found
    if projection is None:
        return None
    plan = projection.total
    said = (projection.basis, projection.assumptions)
    if upper <= plan.low:
        return Total(plan.low, plan.expected, plan.high, *said)
    bounds = _beyond(upper, (plan.low, plan.expected, plan.high))
    if bounds is None:
        outrun = "the run has spent more than its plan may cost: correct spec.plan"
        return Total(upper, upper, None, said[0], (outrun, *said[1]))
    return Total(*bounds, *said)


def spent(upper: int) -> Total:
    """Return the total of a run that is over."""
    return Total(upper, upper, upper, MEASURED)


def _by_progress(points: Sequence[Point], steps: int) -> Total | None:
    """Return the total from what each step of the plan has cost so far."""
    newest = {point.step: point.upper for point in points}  # work done twice costs
    if points[-1].step >= steps:
        return spent(points[-1].upper)
    xs = sorted(newest)
    if len(xs) < _FEWEST_STEPS:
        return None
    own = habit(xs, [newest[x] for x in xs], breaks=False)
    if own is None:
        return None
    chance = Chance(f"total {steps} {points[-1]}")
    gained = points[-1].upper - newest[xs[-1]]
    left = (steps - xs[-1]) / own.width
    drawn = sorted(Path(own, chance).over(left) for _ in range(PATHS))
    upper = newest[xs[-1]]
    low, expected, high = (upper + int(max(gained, each)) for each in middle(drawn))
    said = f"{xs[-1]} of {steps} planned steps are made; the rest costs like these"
    return Total(low, expected, high, PROGRESS, (said,))


def _beyond(upper: int, plan: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """Return the plan's bounds given that `upper` is spent and the run goes on.

    The plan is taken as a distribution of the total's logarithm, with its bounds at 5,
    50 and 95 % and straight lines between them and beyond: what is left of it above
    `upper` is the forecast. None where nothing is left.
    """
    logs = [math.log(max(1, each)) for each in plan]
    if logs[0] == logs[2]:
        return None
    places = _ends(logs)
    passed = _share(math.log(upper), places)
    if passed >= 1:
        return None
    low, expected, high = (
        int(math.exp(_quantile(passed + part * (1 - passed), places)))
        for part in _INNER
    )
    return max(upper, low), max(upper, expected), max(upper, high)


def _ends(logs: list[float]) -> list[tuple[float, float]]:
    """Return (log total, share below it), from 0 to 1, rising."""
    low, expected, high = logs
    part = _INNER[0] / (_INNER[1] - _INNER[0])
    return [
        (low - part * (expected - low), 0.0),
        *zip(logs, _INNER, strict=True),
        (high + part * (high - expected), 1.0),
    ]


def _share(value: float, places: list[tuple[float, float]]) -> float:
    for (x0, y0), (x1, y1) in pairwise(places):
        if value <= x1:
            return y0 if x1 == x0 else y0 + (y1 - y0) * max(0.0, value - x0) / (x1 - x0)
    return 1.0


def _quantile(share: float, places: list[tuple[float, float]]) -> float:
    for (x0, y0), (x1, y1) in pairwise(places):
        if share <= y1:
            return x0 + (x1 - x0) * (share - y0) / (y1 - y0)
    return places[-1][0]


def reaches(
    points: Sequence[Point], lines: Iterable[tuple[str, int | Fraction]]
) -> tuple[Reach, ...]:
    """Return how long until each line that is not reached yet, the nearest first.

    Args:
        points: of the history, the last of them now; at least one.
        lines: (name, FLOPs).
    """
    upper = points[-1].upper
    ahead = sorted(
        ((name, float(flops - upper)) for name, flops in lines if flops > upper),
        key=lambda each: each[1],
    )
    own = _habit(points)
    if own is None or not ahead:
        return ()
    wider = max([1.0, *(_missed(points, part) for part in _TRIED)])
    found = []
    drawn = _drawn(own, points, [gain for _, gain in ahead], PATHS)
    for (name, _), (early, likely, late) in zip(ahead, drawn, strict=True):
        ends = [int(likely * (end / likely) ** wider) for end in (early, late)]
        found.append(Reach(name, ends[0], int(likely), ends[1]))
    return tuple(found)


def _drawn(
    own: Habit, points: Sequence[Point], wanted: Sequence[float], paths: int
) -> list[tuple[float, float, float]]:
    """Return 5, 50 and 95 % of how long some rising gains take."""
    chance = Chance(f"crossing {len(points)} {points[0]} {points[-1]}")
    drawn = [Path(own, chance).until(wanted) for _ in range(paths)]
    return [middle(sorted(each)) for each in zip(*drawn, strict=True)]


def _missed(points: Sequence[Point], part: float) -> float:
    """Return how much wider an earlier interval had to be to hold what came of it.

    The forecast is made as it would have been after a part of the history, of what was
    gained since: conformal calibration (Romano, Patterson and Candes 2019), in time.
    Below 1 the interval was wide enough.
    """
    known = points[: int(len(points) * part)]
    gain = points[-1].upper - known[-1].upper if known else 0
    own = _habit(known) if gain > 0 else None
    if own is None:
        return 0.0
    ((early, likely, late),) = _drawn(own, known, [float(gain)], _FEW_PATHS)
    truth = points[-1].at - known[-1].at
    end = early if truth < likely else late
    if not truth or min(early, likely) <= 0 or end == likely:
        return 0.0
    return min(_WIDEST, math.log(truth / likely) / math.log(end / likely))


def _habit(points: Sequence[Point]) -> Habit | None:
    return habit([one.at for one in points], [one.upper for one in points])
