"""GPU samples from the node's dcgm-exporter: all devices of the node, not the pod's.

Shell. The page is bounded in size and time, and plain http on the node's network.
"""

import http.client
from http import HTTPStatus
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from flopguard_sidecar.gpu import GpuSourceError
from flopguard_sidecar.samples import GpuReading, from_dcgm

_TIMEOUT_SECONDS = 2.0
_MAX_PAGE_BYTES = 4 * 1024 * 1024
_PREFIX = "DCGM_FI_"
_BAD_URL = "FLOPGUARD_DCGM_URL must look like http://node:9400/metrics"


class DcgmSource:
    """The node's dcgm-exporter.

    Raises:
        GpuSourceError: The address is not an http:// address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, self._port = parts.hostname, parts.port
        except ValueError as error:
            raise GpuSourceError(_BAD_URL) from error
        if parts.scheme != "http" or not host:
            raise GpuSourceError(_BAD_URL)
        self._host = host
        self._path = parts.path or "/metrics"

    def sample(self) -> GpuReading:
        """Read the exporter's page.

        Raises:
            GpuSourceError: No answer, or not a page of metrics.
        """
        try:
            page = self._get()
        except (OSError, http.client.HTTPException) as error:
            msg = f"dcgm-exporter does not answer: {type(error).__name__}"
            raise GpuSourceError(msg) from error
        return read_page(page)

    def _get(self) -> bytes:
        connection = http.client.HTTPConnection(
            self._host, self._port, timeout=_TIMEOUT_SECONDS
        )
        try:
            connection.request("GET", self._path)
            response = connection.getresponse()
            body = response.read(_MAX_PAGE_BYTES + 1)
        finally:
            connection.close()
        if response.status != HTTPStatus.OK or len(body) > _MAX_PAGE_BYTES:
            msg = f"status {response.status}, {len(body)} bytes or more"
            raise GpuSourceError(msg)
        return body


def read_page(page: bytes) -> GpuReading:
    """Read the fields of `samples.DCGM_FIELDS` from an exporter's page.

    Raises:
        GpuSourceError: A line that names a field is not a line of metrics.
    """
    try:
        lines = page.decode().split("\n")
        fields = "\n".join(line for line in lines if line.startswith(_PREFIX))
        families = text_string_to_metric_families(fields)
        samples = [sample for family in families for sample in family.samples]
    except ValueError as error:
        msg = f"dcgm-exporter's page is not one of metrics: {type(error).__name__}"
        raise GpuSourceError(msg) from error
    return from_dcgm((s.name, s.labels, s.value) for s in samples)
