"""Draw possible continuations of a history that only grows.

A history is a quantity (FLOPs) over an axis (time, or steps of the plan). What behaves
in its own way is told apart:

- **breaks**: on the axis of time, stretches without work (pauses, restarts). They come
  at a rate that is drawn from a gamma distribution (Jeffreys' prior: a history without
  any leaves one possible), and last about as long as those that were seen;
- the **pace** of the rest, in blocks of equal width: its logarithm has a level, a trend
  and residuals. Level and trend are drawn from what the history leaves open of them
  (batch means, with Student's t, since neighbours are alike); the trend is damped, as
  Gardner and McKenzie (1985) advise for long horizons; the residuals come in stretches
  as they were (stationary bootstrap: Politis and Romano 1994), so that bursts stay
  bursts.

Every draw is one path; quantiles over the paths are the interval. Floats are good
enough here: nothing is charged or held by an interval of dates.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from flopguard_operator.forecast.chance import Chance

MOST_BLOCKS, FEWEST_BLOCKS = 32, 4
PATHS = 200
_QUIET = 0.5  # of the pace around it: below it, an interval has a break in it
_BRIEF = 0.2  # of a block: a shorter break is part of the pace
_AROUND = 5  # intervals on each side
_ALIKE = 4  # the fewest blocks that a mean is taken to rest on
_WAS_NONE = 2
_BATCHES = 5  # the fewest that a variance is taken from
_FAR = 4  # times the history's length; beyond it, each path keeps its mean pace
_LEVEL_FLOOR, _TREND_FLOOR = 0.02, 0.05  # no history proves more than this
_USUAL_TREND = 0.5  # of the log pace, over the history: one standard deviation
_SPREAD = 0.7  # of the logarithm of a break's length
_UNSEEN = 8  # a break that was never seen lasts about this part of the history


@dataclass(frozen=True)
class Habit:
    """What a history tells of how it may go on; `width` is that of a block."""

    width: float
    residuals: tuple[float, ...]  # of the blocks' log pace, in order
    level: float  # mean of the log FLOPs per block, in the middle of the history
    level_error: float  # beside the trend
    plain_error: float  # where there is no trend, and the level alone varies
    trend: float  # of the log pace, per block
    trend_error: float
    freedom: int  # degrees, of both errors
    breaks: tuple[float, ...]  # their lengths in blocks
    paused: float  # blocks since the break began that goes on; 0: none does


def habit(
    xs: Sequence[float], ys: Sequence[float], *, breaks: bool = True
) -> Habit | None:
    """Return what a history tells; None where it is too short to tell anything.

    Args:
        xs: the axis, rising strictly.
        ys: FLOPs, not falling; as many.
        breaks: whether stretches with next to no work are breaks, as in time.
    """
    if len(xs) <= FEWEST_BLOCKS or ys[-1] <= ys[0]:
        return None
    lost = _breaks(xs, ys) if breaks else [0.0] * (len(xs) - 1)
    begun = next((n for n, each in enumerate(lost) if not each), 0)
    xs, ys, lost = xs[begun:], ys[begun:], lost[begun:]  # waiting at first is no break
    active, moments = 0.0, [0.0]
    for (before, after), gone in zip(pairwise(xs), lost, strict=True):
        active += after - before - gone
        moments.append(active)
    blocks = min(MOST_BLOCKS, sum(y1 > y0 for y0, y1 in pairwise(ys)))
    if blocks < FEWEST_BLOCKS or active <= 0:
        return None
    width = active / blocks
    edges = [width * n for n in range(blocks)] + [active]
    gains = [y1 - y0 for y0, y1 in pairwise(_at(moments, ys, edges))]
    least = sum(gains) / blocks / 1_000  # a block without work has no logarithm
    logs = [math.log(max(least, gain)) for gain in gains]
    ended, paused = _joined(lost)
    return _fitted(width, logs, [b / width for b in ended], paused / width)


def _breaks(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    """Return how much of each interval was a break, judged by the pace around it."""
    paces = [(y1 - y0) / (x1 - x0) for (x0, x1), (y0, y1) in _intervals(xs, ys)]
    working = [pace for pace in paces if pace > 0]
    whole, found = median(working), []
    for place, ((x0, x1), (y0, y1)) in enumerate(_intervals(xs, ys)):
        near = paces[max(0, place - _AROUND) : place + _AROUND + 1]
        usual = max(median(near), whole * _QUIET / 2)
        lost = (x1 - x0) - (y1 - y0) / usual
        found.append(lost if paces[place] < _QUIET * usual else 0.0)
    least = (xs[-1] - xs[0]) / MOST_BLOCKS * _BRIEF
    return [lost if lost > least else 0.0 for lost in found]


def _intervals(
    xs: Sequence[float], ys: Sequence[float]
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    return zip(pairwise(xs), pairwise(ys), strict=True)


def _joined(lost: Sequence[float]) -> tuple[list[float], float]:
    """Return the lengths of the breaks that ended, and of the one that goes on."""
    found, length = [], 0.0
    for each in lost:
        if not each and length:
            found.append(length)
            length = 0.0
        length += each
    return found, length


def _fitted(
    width: float, logs: list[float], breaks: list[float], paused: float
) -> Habit:
    """Fit level and trend of the log pace by least squares."""
    count = len(logs)
    centre, mean = (count - 1) / 2, fmean(logs)
    spread = sum((n - centre) ** 2 for n in range(count))
    slope = sum((n - centre) * y for n, y in enumerate(logs)) / spread
    residuals = [y - mean - slope * (n - centre) for n, y in enumerate(logs)]
    variance, freedom = _long_run(residuals)
    raw = [y - mean for y in logs]
    plain, _ = _long_run(raw)
    # A trend is rarely steep: what the history tells is weighed against that.
    usual, error = (_USUAL_TREND / count) ** 2, variance / spread
    trust = usual / (usual + error)
    return Habit(
        width=width,
        residuals=tuple(residuals),
        level=mean,
        level_error=math.sqrt(variance / count),
        plain_error=math.sqrt(max(plain / count, fmean(r * r for r in raw) / _ALIKE)),
        trend=slope * trust,
        trend_error=math.sqrt(error * trust),
        freedom=freedom,
        breaks=tuple(breaks),
        paused=paused,
    )


def _long_run(residuals: list[float]) -> tuple[float, int]:
    """Return the variance that means of neighbours have, and its degrees of freedom."""
    count, found = len(residuals), []
    for size in sorted({1, math.isqrt(count), max(1, count // _BATCHES)}):
        ends = range(0, count - size + 1, size)
        batches = [fmean(residuals[n : n + size]) for n in ends]
        freedom = max(1, len(batches) - 2)
        found.append((size * sum(b * b for b in batches) / freedom, max(2, freedom)))
    return max(found)


def _at(
    xs: Sequence[float], ys: Sequence[float], edges: Sequence[float]
) -> Iterator[float]:
    """Yield the quantity at rising places, on straight lines between the points."""
    place = 0
    for edge in edges:
        while place < len(xs) - 2 and xs[place + 1] <= edge:
            place += 1
        wide = xs[place + 1] - xs[place]
        part = (edge - xs[place]) / wide if wide > 0 else 1.0
        yield ys[place] + min(1.0, max(0.0, part)) * (ys[place + 1] - ys[place])


def middle(drawn: Sequence[float]) -> tuple[float, float, float]:
    """Return the 5, 50 and 95 % quantiles of sorted draws."""
    count = len(drawn)
    return drawn[count // 20], drawn[count // 2], drawn[count - 1 - count // 20]


@dataclass
class Path:
    """One possible continuation, block by block."""

    own: Habit
    chance: Chance

    def __post_init__(self) -> None:
        """Draw what stays the same on the whole path."""
        own, chance = self.own, self.chance
        self._blocks = len(own.residuals)
        count = len(own.breaks) + bool(own.paused)
        self._rate = min(0.9, chance.gamma(count + 0.5) / self._blocks)
        trend = own.trend + own.trend_error * chance.student(own.freedom)
        trend += _TREND_FLOOR / self._blocks * chance.normal()
        # Nobody knows what becomes of a trend: it goes on, or stops, or was none.
        fate = chance.below(3)
        error = own.plain_error if fate == _WAS_NONE else own.level_error
        level = own.level + error * chance.student(own.freedom)
        level += _LEVEL_FLOOR * chance.normal()
        self._trend = trend if fate == 0 else 0.0
        # It turns around the middle of the history, where the level is.
        self._level = level + (
            0.0 if fate == _WAS_NONE else trend * (self._blocks - 1) / 2
        )
        self._drift = own.trend if fate == _WAS_NONE else 0.0
        self._place = chance.below(self._blocks)
        # How long a stretch stays as it is, a short history hardly tells.
        self._stretch = (math.sqrt(self._blocks), self._blocks / 2)[chance.below(2)]
        self._ahead = 0.0
        self._known = (*own.breaks, own.paused) if own.paused else own.breaks

    def gain(self) -> float:
        """Return the FLOPs of the next block of work."""
        own, chance = self.own, self.chance
        damping = 1 - 1 / self._blocks
        self._ahead = (self._ahead + 1) * damping  # tends to the history's length
        if chance.uniform() * self._stretch < 1:
            self._place = chance.below(self._blocks)
        middle = (self._blocks - 1) / 2
        residual = own.residuals[self._place] + self._drift * (self._place - middle)
        self._place = (self._place + 1) % self._blocks
        return math.exp(min(300.0, self._level + self._trend * self._ahead + residual))

    def rest(self) -> float:
        """Return the blocks that pass in a break before the next block of work."""
        return self._length() if self.chance.uniform() < self._rate else 0.0

    def first(self) -> float:
        """Return how long the break still lasts in which the history ends."""
        if not self.own.paused:
            return 0.0
        return max(0.0, self._length() - self.own.paused) or self._length() / 2

    def _length(self) -> float:
        chance = self.chance
        if not self._known:
            return chance.exponential() * self._blocks / _UNSEEN
        usual = self._known[chance.below(len(self._known))]
        return usual * math.exp(_SPREAD * chance.normal())

    def over(self, blocks: float) -> float:
        """Return the FLOPs of so many further blocks, without breaks."""
        near = min(blocks, _FAR * self._blocks)
        gained = sum(self.gain() for _ in range(int(near)))
        gained += self.gain() * (near - int(near))
        return gained * blocks / near if near else 0.0

    def until(self, wanted: Sequence[float]) -> list[float]:
        """Return the axis' distance to each of some rising gains."""
        passed, gained, found = self.first(), 0.0, []
        left = list(wanted)
        for _ in range(_FAR * self._blocks):
            if not left:
                break
            passed += self.rest()
            gain = self.gain()
            while left and gained + gain >= left[0]:
                found.append((passed + (left.pop(0) - gained) / gain) * self.own.width)
            passed, gained = passed + 1, gained + gain
        found += [passed * need / gained * self.own.width for need in left]
        return found
