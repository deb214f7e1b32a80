"""Paired comparisons of two arms, with their intervals. Core.

A session is one process per arm; a round is one block of each, one after the other.
Processes differ from each other even without a hook (memory layout), so the interval
resamples sessions first and rounds within them second (a bootstrap in two levels).
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

Pair = tuple[int, int]  # nanoseconds of a block: without, with
Sessions = Sequence[Sequence[Pair]]

_DRAWS = 1000
_TAIL = 0.025  # on each side: 95 %


class Estimate(NamedTuple):
    """A figure with its 95 % interval.

    Attributes:
        value: From the totals over all rounds, so rare costs are in it.
        low: Lower end.
        high: Upper end.
        median: Of the rounds: the cost of an ordinary one.
        rounds: How many.
    """

    value: float
    low: float
    high: float
    median: float
    rounds: int


def overhead(sessions: Sessions) -> Estimate:
    """Return by how many percent the second arm takes longer.

    Args:
        sessions: Rounds of each session; at least one round in all.
    """
    return _estimate(sessions, lambda without, with_: 100 * (with_ / without - 1))


def difference(sessions: Sessions, per_block: int) -> Estimate:
    """Return how many microseconds longer the second arm takes per unit.

    Args:
        sessions: Rounds of each session; at least one round in all.
        per_block: Units (steps, calls) in a block.
    """
    return _estimate(sessions, lambda a, b: (b - a) / per_block / 1000)


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean of independent figures, with its interval."""
    generator = random.Random(0)  # noqa: S311 # the same input gives the same interval
    count = len(values)
    draws = sorted(
        sum(generator.choices(values, k=count)) / count for _ in range(_DRAWS)
    )
    return Estimate(sum(values) / count, *_ends(draws), _median(values), count)


def _estimate(sessions: Sessions, of: Callable[[float, float], float]) -> Estimate:
    sessions = [rounds for rounds in sessions if rounds]
    pairs = [pair for rounds in sessions for pair in rounds]
    generator = random.Random(0)  # noqa: S311 # the same input gives the same interval
    draws = sorted(of(*_means(_drawn(sessions, generator))) for _ in range(_DRAWS))
    median = _median([of(*pair) for pair in pairs])
    return Estimate(of(*_means(pairs)), *_ends(draws), median, len(pairs))


def _drawn(sessions: Sessions, generator: random.Random) -> list[Pair]:
    chosen = generator.choices(sessions, k=len(sessions))
    return [
        pair for rounds in chosen for pair in generator.choices(rounds, k=len(rounds))
    ]


def _means(pairs: Sequence[Pair]) -> tuple[float, float]:
    count = len(pairs)
    return sum(a for a, _ in pairs) / count, sum(b for _, b in pairs) / count


def _ends(draws: Sequence[float]) -> tuple[float, float]:
    cut = int(len(draws) * _TAIL)
    return draws[cut], draws[-1 - cut]


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
