"""Histories of runs, recorded and simulated, as the ledger would hold them.

The simulated ones are made by a model that knows nothing of the forecast's: steps of
the optimizer, one after another, at a speed, with what befalls them. A point is made
every five minutes in which anything was counted.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from flopguard_operator.forecast.history import Point

RECORDED = Path(__file__).resolve().parents[1] / "vectors" / "histories.json"
KINDS = ("steady", "slowing", "bursts", "pauses", "retries")
TICK = 300_000  # milliseconds between two points
PER_STEP = 10**15  # FLOPs


@dataclass(frozen=True)
class History:
    """A whole run, from its first point to its last."""

    points: tuple[Point, ...]
    steps: int  # that were planned, and made

    def until(self, part: float) -> tuple[Point, ...]:
        """Return the points of the first part of its time, and one of that moment.

        As the operator sees it, which also reads what is not settled yet: where the
        next point follows soon, work is under way; else the run stands still.
        """
        now = int(self.points[-1].at * part)
        known = [point for point in self.points if point.at < now]
        before, after = known[-1], self.points[len(known)]
        spaces = sorted(b.at - a.at for a, b in pairwise(self.points))
        upper, space = before.upper, after.at - before.at
        if 2 * space <= 3 * spaces[len(spaces) // 2]:
            upper += (after.upper - before.upper) * (now - before.at) // space
        return (*known, replace(before, at=now, upper=upper))


def recorded() -> dict[str, History]:
    """Return the recorded histories by kind (`python -m foresight.record`)."""
    found = json.loads(RECORDED.read_text())
    return {
        kind: History(
            tuple(Point(at, int(upper), step) for at, upper, step in rows),
            rows[-1][2],
        )
        for kind, rows in found.items()
    }


@dataclass
class _Run:
    """A run as it is simulated, tick by tick."""

    kind: str
    chance: random.Random
    steps: int = field(init=False)
    speed: float = field(init=False)  # steps in a tick

    def __post_init__(self) -> None:
        """Draw how long the run is, and what befalls it."""
        draw = self.chance
        self.steps = draw.randint(800, 6_000)
        self.speed = self.steps / draw.randint(60, 300)
        self.noise = draw.uniform(0.005, 0.05)
        self.slower = draw.uniform(0.3, 0.8)  # speed at the end, of that at the start
        self.chance_of_burst = draw.uniform(0.02, 0.1)
        self.burst = draw.choice((0.4, 0.6, 1.8, 2.5))
        self.burst_ticks = draw.randint(3, 12)
        ticks = int(self.steps / self.speed)
        self.events = sorted(
            draw.uniform(0.02, 0.98) for _ in range(draw.randint(1, 6))
        )
        self.pause_ticks = draw.randint(2, max(3, ticks // 12))
        self.saved_every = max(20, self.steps // draw.randint(10, 60))

    def points(self) -> Iterator[Point]:
        """Yield the points of the run."""
        at, upper, step, done, waits, bursts = 0, 0, 0.0, 0.0, 0, 0
        events = list(self.events)
        yield Point(0, 0, 0)
        while step < self.steps:
            at += TICK
            if waits:
                waits -= 1
                continue
            speed = self.speed * self.chance.lognormvariate(0, self.noise)
            cost = 1.0
            if self.kind == "slowing":
                speed *= self.slower ** (step / self.steps)
            if self.kind == "bursts":
                bursts = self._burst(bursts)
                cost = self.burst if bursts else 1.0
            done = min(speed, self.steps - step)
            step += done
            upper += int(done * cost * PER_STEP * self.chance.lognormvariate(0, 0.02))
            yield Point(at, upper, int(step))
            if events and step >= events[0] * self.steps:
                events.pop(0)
                if self.kind == "pauses":
                    waits = self.chance.randint(1, self.pause_ticks)
                if self.kind == "retries":
                    again = step % self.saved_every
                    waits = self.chance.randint(0, 2)
                    for _ in range(int(again / self.speed)):
                        at += TICK
                        upper += int(self.speed * PER_STEP)
                        yield Point(at, upper, int(step))

    def _burst(self, left: int) -> int:
        if left:
            return left - 1
        return self.burst_ticks if self.chance.random() < self.chance_of_burst else 0


def simulated(kind: str, seed: int) -> History:
    """Return a run of a kind; the same one for the same seed."""
    run = _Run(kind, random.Random(f"{kind} {seed}"))  # noqa: S311 - no secret
    points = list(run.points())
    last = points[-1]
    points[-1] = Point(last.at, last.upper, run.steps)
    return History(tuple(points), run.steps)
