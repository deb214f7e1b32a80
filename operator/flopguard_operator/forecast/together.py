"""Forecast a program: what all of its runs that are planned or go on will cost. Pure.

Lows are added to lows and highs to highs. Nobody knows how the errors of runs depend on
each other; this holds where all err in one direction, and is wider than it has to be
where they do not. The date goes by the pace of the runs that go on now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flopguard_operator.forecast.history import MOST_POINTS, Point
from flopguard_operator.forecast.outlook import Reach, Total

SUM = "Sum"


@dataclass(frozen=True)
class Part:
    """One run that is planned or goes on."""

    upper: int
    """FLOPs that it may have spent."""
    total: Total | None
    """Of the whole run; None where nothing says how long it is."""


@dataclass(frozen=True)
class Ahead:
    """What is to be expected of a program."""

    total: Total | None = None
    reaches: tuple[Reach, ...] = ()
    """The nearest line first, in milliseconds since 1970."""
    why_not: str = "no run of the program is planned or goes on"
    """Why there is no total."""


def total(spent: int, parts: Iterable[Part]) -> tuple[Total | None, str]:
    """Return the FLOPs of a whole program, and why there is no such total.

    Args:
        spent: FLOPs that the program may have spent, imported ones too.
        parts: its runs that are planned or go on.
    """
    listed = tuple(parts)
    known = [(part.upper, part.total) for part in listed if part.total is not None]
    if not known:
        why = "none of the runs that go on has one" if listed else Ahead.why_not
        return None, why
    left = len(listed) - len(known)
    highs = [None if t.high is None else max(0, t.high - up) for up, t in known]
    said = [
        (
            f"the sum over {len(known)} run(s) that are planned or go on: lows to lows"
            " and highs to highs, so it holds where all of them err in one direction,"
            " and is wider than it has to be where they do not"
        )
    ]
    if left:
        said.append(
            f"{left} more run(s) go on without a forecast: what they will spend is not"
            " in it, so there is no upper bound"
        )
    open_ended = left or None in highs
    return Total(
        low=spent + sum(max(0, t.low - up) for up, t in known),
        expected=spent + sum(max(0, t.expected - up) for up, t in known),
        high=None if open_ended else spent + sum(high or 0 for high in highs),
        basis=SUM,
        assumptions=tuple(said),
    ), ""


def merged(histories: Iterable[Sequence[Point]], now: int) -> tuple[Point, ...]:
    """Return what several runs gained together, as one history that ends now.

    Each run's clock has no holds in it, so the clocks are set to agree at their ends.

    Args:
        histories: of runs that go on, the last point of each being now.
        now: milliseconds since 1970.
    """
    steps: list[tuple[int, int]] = []
    for points in histories:
        ahead, before = now - points[-1].at, points[0].upper
        for point in points:
            steps.append((point.at + ahead, point.upper - before))
            before = point.upper
    steps.sort()
    found: list[Point] = []
    upper = 0
    for at, gain in steps:
        upper += gain
        point = Point(at, upper)
        if found and found[-1].at == at:
            found[-1] = point
        else:
            found.append(point)
    return _thinned(found)


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    most = MOST_POINTS
    if len(points) <= most:
        return tuple(points)
    last = len(points) - 1
    return tuple(points[last * n // (most - 1)] for n in range(most))
