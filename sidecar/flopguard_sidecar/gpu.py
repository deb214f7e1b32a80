"""GPU sampling from the best source there is: NVML, else the node's dcgm-exporter.

Shell. Both are optional: with neither, training is metered all the same.
"""

import http.client
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from flopguard_sidecar.samples import GpuReading, GpuSample, from_dcgm, reading

try:
    import pynvml
except ImportError:  # a laptop needs no NVIDIA library
    pynvml = None

NO_GPU = GpuReading("none")

_TIMEOUT_SECONDS = 2.0
_MAX_PAGE_BYTES = 4 * 1024 * 1024


class GpuSourceError(Exception):
    """A source that was found does not answer."""


class Source(Protocol):
    """Where samples come from."""

    def sample(self) -> GpuReading:
        """Sample all devices now.

        Raises:
            GpuSourceError: The source does not answer.
        """


class NoSource:
    """Neither NVML nor dcgm-exporter."""

    def sample(self) -> GpuReading:
        """Return no samples."""
        return NO_GPU


def find_source(dcgm_url: str) -> Source:
    """Return NVML if it sees a device, else the exporter at `dcgm_url`, else nothing.

    Raises:
        GpuSourceError: `dcgm_url` is not an http:// address.
    """
    nvml = NvmlSource.open()
    if nvml is not None:
        return nvml
    return DcgmSource(dcgm_url) if dcgm_url else NoSource()


class NvmlSource:
    """The devices that NVML shows to this container."""

    def __init__(self, handles: list[object]) -> None:
        self._devices = [_NvmlDevice(handle) for handle in handles]

    @classmethod
    def open(cls) -> "NvmlSource | None":
        """Load NVML; None without the library, the driver or a device."""
        if pynvml is None:
            return None
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        except pynvml.NVMLError:
            return None
        return cls(handles) if handles else None

    def sample(self) -> GpuReading:
        """Sample the devices; one that fell off the bus is left out.

        Raises:
            GpuSourceError: No device answers.
        """
        samples = []
        for device in self._devices:
            with suppress(pynvml.NVMLError):
                samples.append(device.sample())
        if not samples:
            msg = "NVML answers for no device any more"
            raise GpuSourceError(msg)
        return reading("nvml", samples)


class _NvmlDevice:
    """One NVML device and its last GPM sample (Hopper and later)."""

    def __init__(self, handle: object) -> None:
        self._handle = handle
        self._gpm: object | None = None

    def sample(self) -> GpuSample:
        """Sample the device.

        Raises:
            pynvml.NVMLError: The device does not even tell its name.
        """
        handle = self._handle
        return GpuSample(
            uuid=pynvml.nvmlDeviceGetUUID(handle),
            power_watts=_ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
            energy_joules=_ask(
                lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
            ),
            utilization_ratio=_ask(
                lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 1e2
            ),
            tensor_active_ratio=_ask(self._tensor_active),
            sm_clock_hertz=_ask(
                lambda: (
                    pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 1e6
                )
            ),
            memory_used_bytes=_ask(
                lambda: float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
            ),
        )

    def _tensor_active(self) -> float | None:
        """Return the part of the time since the last sample; None at the first one."""
        if not pynvml.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice:
            return None
        now = pynvml.nvmlGpmSampleAlloc()
        before, self._gpm = self._gpm, now
        try:
            pynvml.nvmlGpmSampleGet(self._handle, now)
            return None if before is None else _tensor_ratio(before, now)
        finally:
            if before is not None:
                pynvml.nvmlGpmSampleFree(before)


def _tensor_ratio(before: object, now: object) -> float | None:
    """Return the tensor activity between two GPM samples; NVML says it in percent."""
    question = pynvml.c_nvmlGpmMetricsGet_t()
    question.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    question.numMetrics = 1
    question.sample1, question.sample2 = before, now
    question.metrics[0].metricId = pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL
    answer = pynvml.nvmlGpmMetricsGet(question).metrics[0]
    is_answered = answer.nvmlReturn == pynvml.NVML_SUCCESS
    return float(answer.value) / 1e2 if is_answered else None


def _ask(question: Callable[[], float | None]) -> float | None:
    """Return the figure; None if this device, driver or MIG slice does not have it."""
    try:
        return question()
    except pynvml.NVMLError:
        return None


class DcgmSource:
    """The node's dcgm-exporter: all devices of the node, also those of other pods.

    Raises:
        GpuSourceError: The address is not an http:// address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname, parts.port
        except ValueError as error:
            raise GpuSourceError(_BAD_URL) from error
        if parts.scheme != "http" or not self._host:
            raise GpuSourceError(_BAD_URL)
        self._path = parts.path or "/metrics"

    def sample(self) -> GpuReading:
        """Read the exporter's page.

        Raises:
            GpuSourceError: No answer, or not a page of metrics.
        """
        try:
            page = self._get().decode()
            families = text_string_to_metric_families(page)
            samples = [sample for family in families for sample in family.samples]
        except (OSError, http.client.HTTPException, ValueError) as error:
            msg = f"dcgm-exporter did not answer with metrics: {type(error).__name__}"
            raise GpuSourceError(msg) from error
        return from_dcgm((s.name, s.labels, s.value) for s in samples)

    def _get(self) -> bytes:
        connection = http.client.HTTPConnection(
            str(self._host), self._port, timeout=_TIMEOUT_SECONDS
        )
        try:
            connection.request("GET", self._path)
            response = connection.getresponse()
            body = response.read(_MAX_PAGE_BYTES + 1)
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK or len(body) > _MAX_PAGE_BYTES:
            msg = "not a page of bounded size"
            raise ValueError(msg)
        return body


_BAD_URL = "FLOPGUARD_DCGM_URL must look like http://node:9400/metrics"
