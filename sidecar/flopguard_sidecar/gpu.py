"""GPU sampling from the best source there is: NVML, else the node's dcgm-exporter.

Shell. Both are optional: with neither, training is metered all the same.
"""

from typing import Protocol

from flopguard_sidecar.samples import GpuReading

NO_GPU = GpuReading("none")


class GpuSourceError(Exception):
    """A source does not answer, or its address is not one."""


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
