"""The energy that a pod's devices drew since the sidecar started, as one line of text.

Core. NVML counts millijoules per device since its driver was loaded. What is told is
the growth between this sidecar's samples: never below, never above what was read. A
device whose counter falls (its driver was loaded anew), or grows faster than a device
can draw, loses what lies between two samples, and the line says that it is not whole.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from flopguard_sidecar.samples import GpuReading

MOST_WATTS = 10_000  # of one device; several times what any draws
MOST_MILLIJOULES = 10**18 - 1
_SLACK_SECONDS = 1.0  # the driver renews the counter now and then only


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on two clocks: one to tell, one that is never set."""

    wall: int  # milliseconds since 1970
    monotonic: float  # seconds


@dataclass(frozen=True, slots=True)
class Counter:
    """The counter of one device when it was read last, in mJ since its driver came."""

    millijoules: int
    at: float  # seconds, monotonic


@dataclass(frozen=True, slots=True)
class Energy:
    """What the devices drew since the first sample.

    Attributes:
        since: Of the first sample, in milliseconds since 1970; names this life.
        until: Of the last.
        millijoules: Of all devices together, between the two.
        counters: By UUID.
        is_whole: Every device that was seen has told all of it.
    """

    since: int = 0
    until: int = 0
    millijoules: int = 0
    counters: Mapping[str, Counter] = field(default_factory=dict)
    is_whole: bool = True

    def after(self, now: GpuReading, instant: Instant) -> "Energy":
        """Return the energy after one more reading.

        Only NVML's devices are the pod's own; a device without a counter has a part in
        nothing but `is_whole`.
        """
        if now.source != "nvml":
            return self
        counters, spent, whole = dict(self.counters), self.millijoules, self.is_whole
        for sample in now.samples:
            if sample.energy_joules is None:
                whole = False
                continue
            read = Counter(round(sample.energy_joules * 1000), instant.monotonic)
            before = counters.get(sample.uuid)
            grown = 0 if before is None else _growth(before, read)
            is_late = before is None and bool(self.counters)
            whole = whole and grown is not None and not is_late
            spent += grown or 0
            counters[sample.uuid] = read
        if not counters:
            return self
        return Energy(
            since=self.since or instant.wall,
            until=max(self.since, self.until, instant.wall),
            millijoules=min(spent, MOST_MILLIJOULES),
            counters=counters,
            is_whole=whole,
        )

    def line(self) -> str:
        """Return the line of docs/formats.md; "" if no device has told anything."""
        if not self.counters:
            return ""
        newest = max(counter.at for counter in self.counters.values())
        lost = any(counter.at < newest for counter in self.counters.values())
        head = (
            f"energy/1 nvml {int(self.is_whole and not lost)} {self.since:013d}"
            f" {self.until:013d} {self.millijoules:018d}"
        )
        body = f"{head} {','.join(sorted(self.counters))}"
        return f"{body} {zlib.crc32(body.encode()):08x}"


NO_ENERGY = Energy()


def _growth(before: Counter, now: Counter) -> int | None:
    """Return what was drawn between two readings; None if they cannot both be right."""
    grown = now.millijoules - before.millijoules
    seconds = now.at - before.at + _SLACK_SECONDS
    return grown if 0 <= grown <= MOST_WATTS * 1000 * seconds else None
