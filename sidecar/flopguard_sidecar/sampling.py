"""The GPU sampling loop, in a thread of its own: a driver that hangs stalls no mark.

Shell.
"""

import threading
import time

from flopguard_sidecar.dcgm import DcgmSource
from flopguard_sidecar.energy import NO_ENERGY, Instant
from flopguard_sidecar.gpu import NO_GPU, GpuSourceError, NoSource, Source
from flopguard_sidecar.logs import Logger
from flopguard_sidecar.nvml import NvmlSource
from flopguard_sidecar.samples import NOT_ACTIVE

INTERVAL_SECONDS = 5.0


def find_source(dcgm_url: str) -> Source:
    """Return NVML if it sees a device, else the exporter at `dcgm_url`, else nothing.

    Raises:
        GpuSourceError: `dcgm_url` is not an http:// address.
    """
    nvml = NvmlSource.open()
    if nvml is not None:
        return nvml
    return DcgmSource(dcgm_url) if dcgm_url else NoSource()


class Sampler:
    """Keeps the last GPU reading, `none` until a source has answered, and the sums."""

    def __init__(self, dcgm_url: str, log: Logger) -> None:
        self._dcgm_url = dcgm_url
        self._log = log
        self.reading = NO_GPU
        self.active = NOT_ACTIVE
        self.energy = NO_ENERGY
        self._said = ""
        self._ending = threading.Event()

    def start(self) -> None:
        """Sample until the process ends, or `end` is called."""
        threading.Thread(target=self._run, name="gpu", daemon=True).start()

    def end(self) -> None:
        """Sample a last time, soon; nobody waits for a driver that hangs."""
        self._ending.set()

    def _run(self) -> None:
        try:
            source = find_source(self._dcgm_url)
        except GpuSourceError as error:
            self._say("none", str(error))
            return
        while not self._ending.is_set():
            self._sample(source)
            self._ending.wait(INTERVAL_SECONDS)
        self._sample(source)

    def _sample(self, source: Source) -> None:
        try:
            self.reading = source.sample()
            self.active = self.active.after(self.reading)
            now = Instant(time.time_ns() // 1_000_000, time.monotonic())
            self.energy = self.energy.after(self.reading, now)
        except GpuSourceError as error:
            self.reading = NO_GPU
            self._say("none", str(error))
            return
        if self.reading.source == "none":
            self._say("none", "NVML shows no device and FLOPGUARD_DCGM_URL is not set")
        else:
            self._say(self.reading.source, f"{len(self.reading.samples)} devices")

    def _say(self, source: str, detail: str) -> None:
        """Log the source when it changes, not at every sample."""
        if self._said != source:
            self._said = source
            self._log.info("gpu source", source=source, detail=detail)
