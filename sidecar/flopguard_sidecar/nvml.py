"""GPU samples from NVML: the devices that the driver shows to this container. Shell."""

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flopguard_sidecar.gpu import GpuSourceError
from flopguard_sidecar.samples import GpuReading, GpuSample, reading

_LIBRARY = "libnvidia-ml.so.1"
_LOST = "NVML answers for no device any more"


class NvmlSource:
    """The devices that NVML shows to this container."""

    def __init__(self, nvml: Any, handles: list[object]) -> None:
        self._nvml = nvml
        self._devices = [_Device(nvml, handle) for handle in handles]

    @classmethod
    def open(cls) -> "NvmlSource | None":
        """Load NVML; None without the library, the driver or a device."""
        nvml = _load()
        if nvml is None:
            return None
        try:
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
            handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        except nvml.NVMLError:
            return None
        return cls(nvml, handles) if handles else None

    def sample(self) -> GpuReading:
        """Sample the devices; one that fell off the bus is left out.

        Raises:
            GpuSourceError: No device answers.
        """
        samples = []
        for device in self._devices:
            with suppress(self._nvml.NVMLError):
                samples.append(device.sample())
        if not samples:
            raise GpuSourceError(_LOST)
        return reading("nvml", samples)


def _load() -> Any:
    """Import pynvml if there is a library for it; None otherwise."""
    try:
        ctypes.CDLL(_LIBRARY)
        import pynvml  # noqa: PLC0415 - 17 MB that a pod without a device does not need
    except (OSError, ImportError):
        return None
    return pynvml


@dataclass(frozen=True, slots=True)
class _Taken:
    """A GPM sample, and when it was taken on the monotonic clock."""

    sample: object
    at: float


class _Device:
    """One NVML device, its last GPM sample (Hopper and later) and what they add up to.

    A device may be lost for some samples: the seconds are those between two GPM samples
    of its own, whatever the loop's interval is.
    """

    def __init__(self, nvml: Any, handle: object) -> None:
        self._nvml = nvml
        self._handle = handle
        self._gpm: _Taken | None = None
        self._active_seconds: float | None = None

    def sample(self) -> GpuSample:
        """Sample the device.

        Raises:
            pynvml.NVMLError: The device does not even tell its name.
        """
        nvml, handle = self._nvml, self._handle
        tensor_active = self._ask(self._tensor_active)
        return GpuSample(
            uuid=nvml.nvmlDeviceGetUUID(handle),
            power_watts=self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
            energy_joules=None if self._is_split() else self._ask(self._energy),
            utilization_ratio=self._ask(
                lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 1e2
            ),
            tensor_active_ratio=tensor_active,
            sm_clock_hertz=self._ask(
                lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) * 1e6
            ),
            memory_used_bytes=self._ask(
                lambda: float(nvml.nvmlDeviceGetMemoryInfo(handle).used)
            ),
            tensor_active_seconds=self._active_seconds,
        )

    def _energy(self) -> float:
        """Return the joules since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3

    def _is_split(self) -> bool:
        """Say whether MIG splits the device: its energy is not this pod's alone."""
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(self._handle)[0])
        except self._nvml.NVMLError:
            return False

    def _ask(self, question: Callable[[], float | None]) -> float | None:
        """Return a figure; None if device, driver or MIG slice does not have it."""
        try:
            return question()
        except self._nvml.NVMLError:
            return None

    def _tensor_active(self) -> float | None:
        """Return the part of the time since the last sample; None at the first one."""
        nvml = self._nvml
        if not nvml.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice:
            return None
        now = self._take()
        before, self._gpm = self._gpm, now
        if before is None:
            return None
        try:
            ratio = self._tensor_ratio(before.sample, now.sample)
        finally:
            nvml.nvmlGpmSampleFree(before.sample)
        if ratio is not None and 0 <= ratio <= 1:  # false for what is no number
            seconds = ratio * (now.at - before.at)
            self._active_seconds = (self._active_seconds or 0.0) + seconds
        return ratio

    def _take(self) -> _Taken:
        nvml = self._nvml
        sample = nvml.nvmlGpmSampleAlloc()
        try:
            nvml.nvmlGpmSampleGet(self._handle, sample)
        except nvml.NVMLError:
            nvml.nvmlGpmSampleFree(sample)
            raise
        return _Taken(sample, time.monotonic())

    def _tensor_ratio(self, before: object, now: object) -> float | None:
        """Return the tensor activity between two samples; NVML has it in percent."""
        nvml = self._nvml
        question = nvml.c_nvmlGpmMetricsGet_t()
        question.version = nvml.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = 1
        question.sample1, question.sample2 = before, now
        question.metrics[0].metricId = nvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL
        answer = nvml.nvmlGpmMetricsGet(question).metrics[0]
        is_answered = answer.nvmlReturn == nvml.NVML_SUCCESS
        return float(answer.value) / 1e2 if is_answered else None
