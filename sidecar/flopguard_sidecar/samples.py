"""GPU samples: one observation of one device, whatever the source. Core."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_DEVICES = 32

_UUID = re.compile(r"[0-9A-Za-z-]{1,80}", re.ASCII)

# dcgm-exporter's field → ours, and what turns its unit into ours
DCGM_FIELDS: Mapping[str, tuple[str, float]] = {
    "DCGM_FI_DEV_POWER_USAGE": ("power_watts", 1.0),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy_joules", 1e-3),  # mJ
    "DCGM_FI_DEV_GPU_UTIL": ("utilization_ratio", 1e-2),  # percent
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("tensor_active_ratio", 1.0),
    "DCGM_FI_DEV_SM_CLOCK": ("sm_clock_hertz", 1e6),  # MHz
    "DCGM_FI_DEV_FB_USED": ("memory_used_bytes", 1024.0 * 1024.0),  # MiB
}


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One device at one instant; None where the device does not say.

    Attributes:
        uuid: The device, as NVML names it.
        power_watts: Power drawn now.
        energy_joules: Energy since the driver was loaded.
        utilization_ratio: Part of the time in which any kernel ran.
        tensor_active_ratio: Part of the time in which tensor cores worked.
        sm_clock_hertz: Clock of the multiprocessors.
        memory_used_bytes: Memory that is allocated.
        tensor_active_seconds: `tensor_active_ratio` times seconds, summed since the
            source was opened; only of devices that are the pod's own.
    """

    uuid: str
    power_watts: float | None = None
    energy_joules: float | None = None
    utilization_ratio: float | None = None
    tensor_active_ratio: float | None = None
    sm_clock_hertz: float | None = None
    memory_used_bytes: float | None = None
    tensor_active_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """All devices at one instant, and where the figures are from.

    Attributes:
        source: `nvml`, `dcgm` or `none`.
        samples: At most MAX_DEVICES, sorted by UUID.
    """

    source: str
    samples: tuple[GpuSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Active:
    """The tensor activity of all devices since the source was opened.

    A device that is lost keeps what it had: the sum never falls.

    Attributes:
        source: `nvml`, `dcgm`, or "" until there is something to tell.
        seconds: By UUID; none from `dcgm`, whose devices are not the pod's alone.
    """

    source: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    def after(self, now: GpuReading) -> "Active":
        """Return the activity after one more reading."""
        summed = {
            sample.uuid: sample.tensor_active_seconds
            for sample in now.samples
            if sample.tensor_active_seconds is not None
        }
        if not summed and now.source != "dcgm":
            return self
        return Active(now.source, {**self.seconds, **summed})

    def header(self) -> str:
        """Return source, devices and milliseconds; "" if there is nothing to tell."""
        if not self.source:
            return ""
        milliseconds = int(1000 * sum(self.seconds.values()))
        return f"{self.source} {len(self.seconds)} {milliseconds}"


NOT_ACTIVE = Active()


def _is_blank(value: float) -> bool:
    """Return whether DCGM means "unknown": dcgm-exporter prints its blanks as numbers.

    DCGM's dcgm_structs.h has 0x7ffffff0, 2**47 and 0x7ffffffffffffff0 for the three
    types, each plus 0 to 3 for the reason. Power, clocks, memory and energy stay below.
    """
    is_int32_blank = 0x7FFFFFF0 <= value <= 0x7FFFFFF3  # noqa: PLR2004 - see above
    return not 0 <= value < 2**47 or is_int32_blank


def reading(source: str, samples: Iterable[GpuSample]) -> GpuReading:
    """Return a reading within its bounds; a malformed UUID is left out."""
    valid = {s.uuid: s for s in samples if _UUID.fullmatch(s.uuid)}
    ordered = sorted(valid.values(), key=lambda sample: sample.uuid)
    return GpuReading(source, tuple(ordered[:MAX_DEVICES]))


def from_dcgm(series: Iterable[tuple[str, Mapping[str, str], float]]) -> GpuReading:
    """Return the whole devices of a dcgm-exporter page.

    Args:
        series: Name, labels and value of each series; may be hostile.
    """
    devices: dict[str, dict[str, float]] = {}
    for name, labels, value in series:
        field, scale = DCGM_FIELDS.get(name, ("", 0.0))
        # A MIG instance repeats the UUID of its device.
        is_whole = not labels.get("GPU_I_ID")
        if field and is_whole and not _is_blank(value):
            devices.setdefault(labels.get("UUID", ""), {})[field] = value * scale
    return reading("dcgm", (GpuSample(uuid, **f) for uuid, f in devices.items()))
