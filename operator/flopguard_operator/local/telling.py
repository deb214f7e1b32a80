"""Say how far a program is: the live line, its rate, what was not counted. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from flopguard_operator.flops import display, percent
from flopguard_operator.marks import Mark
from flopguard_operator.processes import Process

RATE_SECONDS = 60.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass
class Rate:
    """FLOP/s over the last minute, from totals as they were seen."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)  # seconds, FLOPs

    def take(self, seconds: float, flops: int) -> int:
        """Return the rate with one more total; 0 where nothing is known yet.

        Args:
            seconds: on a monotonic clock.
            flops: the total then.
        """
        self.seen.append((seconds, flops))
        while len(self.seen) > 2 and seconds - self.seen[1][0] >= RATE_SECONDS:  # noqa: PLR2004 - a rate takes two
            self.seen.popleft()
        since, before = self.seen[0]
        if seconds <= since or flops <= before:
            return 0
        return int((flops - before) / Fraction(seconds - since))


@dataclass(frozen=True)
class Progress:
    """Where a program stands at one instant."""

    program: str
    measured: int
    upper: int
    used: int  # of the limit: of a threshold only what its policy counts
    limit: int | Fraction  # the nearest
    flops_per_second: int

    @property
    def seconds_left(self) -> int | None:
        """Seconds to the limit at this rate; None where it is not in sight."""
        if self.used >= self.limit or self.flops_per_second <= 0:
            return None
        return int((self.limit - self.used) / self.flops_per_second)

    @property
    def line(self) -> str:
        """One line for people."""
        text = (
            f"{display(self.used)} of {display(self.limit)} FLOPs"
            f" ({percent(self.used, self.limit)} %)"
        )
        if self.flops_per_second:
            text += f", {display(self.flops_per_second)} FLOP/s"
        if self.seconds_left is not None:
            text += f", limit in {duration(self.seconds_left)}"
        return text

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs; FLOPs are strings of digits."""
        return {
            "program": self.program,
            "measured": str(self.measured),
            "upper": str(self.upper),
            "used": str(self.used),
            "limit": str(self.limit),
            "percent": percent(self.used, self.limit),
            "flopsPerSecond": str(self.flops_per_second),
            "secondsToLimit": self.seconds_left,
        }


def duration(seconds: int) -> str:
    """Return a duration in at most two units: "45s", "9m", "2h10m", "12d"."""
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h{seconds % _HOUR // _MINUTE}m"
    return f"{seconds // _DAY}d"


def doubts(mark: Mark, processes: Iterable[Process]) -> list[str]:
    """Return what the count of a command lacks, in sentences; nothing is good."""
    return list(dict.fromkeys(_doubts(mark, processes)))


def _doubts(mark: Mark, processes: Iterable[Process]) -> Iterator[str]:
    if not mark.pages:
        yield (
            "NOT METERED: no process of the command counted anything. Either it does"
            " not use torch, or its Python ignores PYTHONPATH (python -I, -E or -S,"
            " or an environment that was emptied)."
        )
    for process in processes:
        for error in process.errors:
            yield f"process {process.nonce[:8]} is not counted whole: {error}"
        for one in process.unknown_operators:
            yield f"operator {one.name} ran {one.calls} times and is not counted"
