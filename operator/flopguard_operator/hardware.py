"""What the devices' own counters say beside the hook's count. Pure.

A plausibility check and never a count: a counter tells in which part of the cycles a
tensor pipe was active, not what was computed in them, and its maker gives no conversion
(NVIDIA/DCGM issue 164). Times the dense peak it is more than was computed, as a rule: a
pipe that waits or multiplies padding is active too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from flopguard_operator import peaks
from flopguard_operator.flops import display
from flopguard_operator.processes import Process

TENSOR_FORMATS = ("tf32", "bf16", "fp16", "fp8", "int8", "int4")
"""Formats whose products run on tensor cores. fp32 does not; fp64 may or may not."""
LAG_SECONDS = 15  # the newest sample is that old, and kernels run after their dispatch
MOST_ABOVE = Fraction(11, 10)  # of the hook over the hardware, before it is told
MOST_BELOW = 10  # of the hardware over the hook, the same

_HEADER = re.compile(r"(nvml|dcgm) ([0-9]{1,3}) ([0-9]{1,12})", re.ASCII)
_MOST_NAME = 60
_MOST_NAMED = 2


@dataclass(frozen=True)
class Told:
    """What a sidecar tells of its devices, since it was started."""

    source: str  # nvml | dcgm
    devices: int
    milliseconds: int  # of tensor activity, summed over the devices


@dataclass(frozen=True)
class Watched:
    """The devices of one stream over its life, beside what its hook counted.

    Attributes:
        stream: Pod UID.
        last: What the sidecar told last.
        before: Milliseconds of the sidecars before this one, which were restarted.
        restarts: How many.
        by_format: The hook's FLOPs by numeric format, told at the same time.
    """

    stream: str
    last: Told
    before: int = 0
    restarts: int = 0
    by_format: Mapping[str, int] = field(default_factory=dict)

    @property
    def milliseconds(self) -> int:
        """Tensor activity over the life of the stream, as far as it was heard."""
        return self.before + self.last.milliseconds


@dataclass(frozen=True)
class Row:
    """The hardware's figure, the hook's for the same pods, and what to say of them."""

    flops: int = 0
    hook: int = 0
    note: str = ""


def told(header: str) -> Told | None:
    """Return what the header of `/marks` says; None if it is malformed."""
    found = _HEADER.fullmatch(header)
    if found is None:
        return None
    return Told(found[1], int(found[2]), int(found[3]))


def follow(
    known: Watched | None, stream: str, now: Told, by_format: Mapping[str, int]
) -> Watched:
    """Return what is known of a stream's devices; a fall means a new sidecar."""
    if known is None:
        return Watched(stream, now, by_format=by_format)
    if now.milliseconds < known.last.milliseconds:
        restarts = known.restarts + 1
        known = replace(known, before=known.milliseconds, restarts=restarts)
    return replace(known, last=now, by_format=by_format)


@dataclass(frozen=True)
class _Part:
    """One stream that has a figure."""

    watched: Watched
    peak: peaks.Peak  # of one device
    hook: int

    @property
    def flops(self) -> int:
        return self.peak.flops_per_second * self.watched.milliseconds // 1000

    @property
    def lag(self) -> int:
        """Return what the devices can compute before the next sample shows it."""
        return self.peak.flops_per_second * self.watched.last.devices * LAG_SECONDS


def row(watched: Iterable[Watched], processes: Iterable[Process]) -> Row:
    """Return the sum over the streams of a run; without FLOPs if there is no figure.

    The note then says why not; it is "" where no process tells of a device.
    """
    names: dict[str, set[str]] = {}
    for process in processes:
        if process.facts and process.facts.gpus:
            names.setdefault(process.stream, set()).update(process.facts.gpus)
    parts, why_not = [], set()
    for one in watched:
        hook = sum(one.by_format.get(name, 0) for name in TENSOR_FORMATS)
        if one.stream not in names or not hook:
            continue
        peak = _peak(one, names[one.stream])
        if isinstance(peak, str):
            why_not.add(peak)
        else:
            parts.append(_Part(one, peak, hook))
    missing = sorted(why_not)[:_MOST_NAMED]
    said = [*_told(parts), *missing] if parts else missing
    return Row(sum(p.flops for p in parts), sum(p.hook for p in parts), "; ".join(said))


def _peak(one: Watched, names: set[str]) -> peaks.Peak | str:
    """Return the peak of one device of a stream, the fastest; else why there is none.

    It is that of the format with most FLOPs: the counter does not tell formats apart.
    """
    if one.last.source != "nvml":
        return "no hardware: dcgm tells of all devices of the node, not of the pod's"
    most = max(TENSOR_FORMATS, key=lambda name: one.by_format.get(name, 0))
    found = []
    for name in sorted(names):
        shown = name[:_MOST_NAME]
        try:
            known = peaks.row(name).gigaflops
        except peaks.UnknownDeviceError:
            return f'no hardware: the peak of "{shown}" is not known'
        # What a device has no unit for is unpacked to 16 bits.
        used = next((f for f in (most, "bf16", "fp16") if f in known), "")
        if not used:
            return f'no hardware: "{shown}" has no peak for {most}'
        found.append(peaks.Peak(known[used] * peaks.GIGA, f"{shown} ({used})"))
    return max(found, key=lambda peak: peak.flops_per_second)


def _told(parts: list[_Part]) -> list[str]:
    """Say what the figure is made from, what it is worth, and if it is implausible."""
    seconds = sum(part.watched.milliseconds for part in parts) // 1000
    devices = sum(part.watched.last.devices for part in parts)
    names = sorted({part.peak.devices for part in parts})[:_MOST_NAMED]
    hook = display(sum(part.hook for part in parts), 4)
    said = [
        f"nvml: tensor cores active for {seconds} s on {devices} device(s)",
        f"times the dense peak of {', '.join(names)}",
        f"beside {hook} FLOPs of the hook in the formats of tensor cores",
        "a plausibility check: active cycles are not FLOPs",
        _implausible(parts),
    ]
    if any(part.watched.restarts for part in parts):
        said.append("a sidecar was restarted: a part is missing")
    return [sentence for sentence in said if sentence]


def _implausible(parts: list[_Part]) -> str:
    """Return a sentence if the figures are far apart, with a wide margin."""
    flops, hook = sum(p.flops for p in parts), sum(p.hook for p in parts)
    lag = sum(part.lag for part in parts)
    if hook > MOST_ABOVE * flops + lag:
        return "IMPLAUSIBLE: the hook counted more than the devices can have computed"
    if flops > MOST_BELOW * hook + lag:
        return (
            "IMPLAUSIBLE: the devices were far busier than the hook counted: work that "
            "is not counted, or other users of the devices"
        )
    return ""
