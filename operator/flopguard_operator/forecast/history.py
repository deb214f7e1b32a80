"""Follow one run through its entries: what had been spent when, and how far it was.

Entries come in their order; what has one time was committed together and makes one
point. Time in which flopguard itself held the run is cut out. How far a run is, is the
optimizer step that its newest attempt has reached: weights that are loaded again take
it back to where they were saved, so that work done twice is no progress.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Entry,
    FactChanged,
    GapCharged,
    HoldReleased,
    HoldSet,
    Settlement,
    WeightsSaved,
)

MOST_POINTS = 256


@dataclass(frozen=True)
class Point:
    """A run at one moment."""

    at: int  # milliseconds since 1970, less those of the holds before
    upper: int  # FLOPs
    step: int = 0  # of the optimizer, that the run has reached


@dataclass
class Track:
    """The past of one run, as far as a forecast needs it."""

    points: list[Point] = field(default_factory=list)
    upper: int = 0
    step: int = 0
    vague: bool = False  # an attempt went on from nobody knows where
    held: int = 0  # milliseconds, of the holds that ended
    held_since: int | None = None
    _uppers: dict[str, int] = field(default_factory=dict)  # of marks, by stream
    _charged: dict[str, int] = field(default_factory=dict)  # by gaps, by stream
    _begins: dict[str, int] = field(default_factory=dict)  # stream → first step
    _saved: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Follow one more entry of the run."""
        at = milliseconds(entry.at)
        if at is None:
            return
        match entry.event:
            case Settlement() as event:
                self._settled(event)
            case GapCharged() as event:
                self.upper += event.flops - self._charged.get(event.stream, 0)
                self._charged[event.stream] = event.flops
            case AttemptOpened() as event:
                self._opened(event)
            case WeightsSaved() as event:
                begin = self._begins.get(event.stream, 0)
                self._saved[event.stream, event.path] = begin + event.step
            case HoldSet():
                self.held_since = at if self.held_since is None else self.held_since
            case HoldReleased():
                self.held += max(0, at - (self.held_since or at))
                self.held_since = None
            case FactChanged():
                self.points = self.points[-1:]  # the run is another from here on
            case _:
                return
        self._point(at)

    def until(self, now: int, upper: int) -> tuple[Point, ...]:
        """Return the points with one of this moment; none moves back.

        Args:
            now: milliseconds since 1970.
            upper: FLOPs of the run by now.
        """
        end = Point(self._cut(now), max(upper, self.upper), self.step)
        points = [one for one in self.points if one.at < end.at]
        least, falling = end.upper, []
        for one in reversed([*points, end]):  # late evidence took FLOPs back
            least = min(least, one.upper)
            falling.append(Point(one.at, least, one.step))
        return tuple(reversed(falling))

    def _settled(self, event: Settlement) -> None:
        before = self._uppers.get(event.stream, 0)
        after = max(before, event.begun, sum(event.done.values()))
        self._uppers[event.stream] = after
        self.upper += after - before
        begin = self._begins.get(event.stream, 0)
        self.step = max(self.step, begin + event.steps // max(1, event.pages))

    def _opened(self, event: AttemptOpened) -> None:
        if not event.predecessor:
            return
        known = self._saved.get((event.predecessor, event.weights))
        if known is None:
            self.vague = True
        self._begins[event.stream] = known or 0

    def _cut(self, at: int) -> int:
        running = at if self.held_since is None else min(at, self.held_since)
        return running - self.held

    def _point(self, at: int) -> None:
        point = Point(self._cut(at), self.upper, self.step)
        if self.points and point.at <= self.points[-1].at:
            self.points[-1] = Point(self.points[-1].at, point.upper, point.step)
        else:
            self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.points = [*self.points[:-1:2], self.points[-1]]


def milliseconds(at: str) -> int | None:
    """Return a time as milliseconds since 1970; None for a text that is no time."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(
        1970, 1, 1, tzinfo=UTC
    )
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
