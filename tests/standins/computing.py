"""Processes that compute on a clock, and so know what was really executed.

A step begins, takes its time at a steady rate, and is done: what a page would say of it
and what the devices have executed are both functions of the time. All times are whole
milliseconds of one clock that nobody else reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Counted:
    """What the pages of a pod say, or would say, at one instant."""

    done: int = 0
    begun: int = 0
    steps: int = 0
    pages: int = 0


@dataclass
class Process:
    """One process: equal steps, one after the other, until it ends."""

    start: int
    rate: int  # FLOPs per millisecond
    step: int  # milliseconds
    stop: int | None = None  # killed then, wherever in a step it was

    def _split(self, now: int) -> tuple[int, int, bool]:
        """Return the finished steps, the milliseconds into the next, if it goes on."""
        until = now if self.stop is None else min(now, self.stop)
        finished, into = divmod(max(0, until - self.start), self.step)
        return finished, into, now >= self.start

    def counted(self, now: int) -> Counted:
        """Return what its page says."""
        finished, into, exists = self._split(now)
        if not exists:
            return Counted()
        running = self.stop is None or now < self.stop
        flops = self.rate * self.step
        begun = finished + (1 if into or running else 0)
        return Counted(finished * flops, begun * flops, finished, 1)

    def executed(self, now: int) -> int:
        """Return what its devices have executed."""
        finished, into, _ = self._split(now)
        return self.rate * (finished * self.step + into)


@dataclass
class Computing:
    """The processes of one pod; together they never exceed the peak of its devices."""

    peak: int  # FLOPs per millisecond
    processes: list[Process] = field(default_factory=list)

    def start(self, now: int, rate: int, step: int) -> None:
        """Start a process.

        Raises:
            AssertionError: the devices cannot compute that much.
        """
        running = sum(p.rate for p in self.running())
        assert running + rate <= self.peak
        self.processes.append(Process(now, rate, step))

    def running(self) -> list[Process]:
        """Return the processes that have not ended."""
        return [p for p in self.processes if p.stop is None]

    def kill(self, now: int) -> None:
        """Kill all of them."""
        for process in self.running():
            process.stop = now

    def counted(self, now: int, removed: Iterable[int] = ()) -> Counted:
        """Return what the pages say, without those of the processes removed."""
        gone = set(removed)
        each = [p.counted(now) for i, p in enumerate(self.processes) if i not in gone]
        return Counted(
            sum(c.done for c in each),
            sum(c.begun for c in each),
            sum(c.steps for c in each),
            sum(c.pages for c in each),
        )

    def executed(self, now: int) -> int:
        """Return the FLOPs that were really executed: the truth."""
        return sum(p.executed(now) for p in self.processes)
