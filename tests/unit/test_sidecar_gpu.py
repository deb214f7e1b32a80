"""GPU samples from stand-ins: a small libnvidia-ml, and a dcgm-exporter page.

The real pynvml loads the stand-in library, which tests/standins/nvml.c builds to.
"""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator import energy, finalrecord, observed
from flopguard_operator.observed import Pod
from flopguard_sidecar.dcgm import DcgmSource, read_page
from flopguard_sidecar.gpu import GpuSourceError
from flopguard_sidecar.samples import (
    NOT_ACTIVE,
    GpuReading,
    GpuSample,
    from_dcgm,
    reading,
)
from flopguard_sidecar.serving import DEVICES_HEADER, ENERGY_HEADER
from standins import objects
from standins.sidecars import sidecar, wait_for

STANDINS = Path(__file__).resolve().parents[1] / "standins"
PAGE = (STANDINS / "dcgm_exporter.prom").read_bytes()

# Prints the readings of two samples, as the sidecar's thread takes them.
SAMPLE_TWICE = """
import dataclasses, json
from flopguard_sidecar.sampling import find_source
source = find_source("")
print(json.dumps([dataclasses.asdict(source.sample()) for _ in range(4)]))
"""
# Each look at the clock is five seconds after the one before.
CLOCK = """
import itertools, types
from flopguard_sidecar import nvml
ticks = itertools.count(100.0, 5.0)
nvml.time = types.SimpleNamespace(monotonic=lambda: next(ticks))
"""
NO_PYNVML = "import sys; sys.modules['pynvml'] = None\n"


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the stand-in and return its folder."""
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", library, STANDINS / "nvml.c"],
        check=True,
        timeout=60,
    )
    return folder


def sample(library: Path, code: str = SAMPLE_TWICE, **environment: str) -> list[dict]:  # type: ignore[type-arg] # JSON
    """Return the readings of a process that finds this library."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"LD_LIBRARY_PATH": str(library)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    readings: list[dict] = json.loads(done.stdout)  # type: ignore[type-arg] # JSON
    return readings


FIRST = GpuSample(
    uuid="GPU-00000000-aaaa-bbbb-cccc-dddddddddddd",
    power_watts=612.345,
    energy_joules=987654321.0,
    utilization_ratio=0.97,
    tensor_active_ratio=None,
    sm_clock_hertz=1.98e9,
    memory_used_bytes=64424509440.0,
)


def test_nvml_is_sampled_in_our_units_and_lost_devices_are_left_out(
    nvml: Path,
) -> None:
    """Device 0 answers all, device 1 lacks figures, device 2 is lost."""
    first, *_ = sample(nvml)

    assert first["source"] == "nvml"
    assert first["samples"] == [
        asdict(FIRST),
        asdict(FIRST)
        | {"uuid": "GPU-00000001-aaaa-bbbb-cccc-dddddddddddd", "energy_joules": None},
    ]


def test_tensor_activity_is_that_between_two_samples(nvml: Path) -> None:
    """GPM needs two, and the stand-in refuses to lend more than it got back."""
    ratios = [one["samples"][0]["tensor_active_ratio"] for one in sample(nvml)]

    assert ratios == [None, 0.625, 0.625, 0.625]


@pytest.mark.parametrize(
    ("failing", "seconds"),
    [
        pytest.param("0", [None, 3.125, 6.25, 9.375], id="every sample"),
        pytest.param("1", [None, None, 3.125, 6.25], id="the first one fails"),
        pytest.param("3", [None, 3.125, 3.125, 6.25], id="one in between fails"),
    ],
)
def test_tensor_activity_is_summed_over_the_time_between_samples(
    nvml: Path, failing: str, seconds: list[float | None]
) -> None:
    """A device without the counter has no sum; a failed sample adds nothing."""
    told = sample(nvml, CLOCK + SAMPLE_TWICE, STANDIN_NVML_FAILING_SAMPLE=failing)

    assert [one["samples"][0]["tensor_active_seconds"] for one in told] == seconds
    assert told[-1]["samples"][1]["tensor_active_seconds"] is None


def test_the_sum_over_devices_never_falls() -> None:
    """A device that is lost, and a source that does not answer, keep what they had."""
    both = [
        GpuSample("GPU-a", tensor_active_seconds=2.5),
        GpuSample("GPU-b", tensor_active_seconds=1.0),
    ]
    active = NOT_ACTIVE.after(reading("nvml", both)).after(GpuReading("none"))
    later = active.after(reading("nvml", [replace(both[0], tensor_active_seconds=4.0)]))

    assert active.header() == "nvml 2 3500"
    assert later.header() == "nvml 2 5000"


@pytest.mark.parametrize(
    ("found", "header"),
    [
        (GpuReading("none"), ""),
        (reading("nvml", [FIRST]), ""),
        (GpuReading("dcgm"), "dcgm 0 0"),
    ],
    ids=["no device", "a device without the counter", "the node's devices"],
)
def test_what_is_not_the_pods_own_activity_is_no_figure(
    found: GpuReading, header: str
) -> None:
    """dcgm-exporter's devices are the node's: only the source is told."""
    assert NOT_ACTIVE.after(found).header() == header


def test_marks_and_final_record_carry_what_devices_did(
    nvml: Path, tmp_path: Path
) -> None:
    """The real sidecar on the stand-in, as its thread samples it; once more at the end.

    Each look at the stand-in finds another kilojoule.
    """
    variables = {"LD_LIBRARY_PATH": str(nvml), "STANDIN_NVML_DEVICES": "1"}
    with sidecar(tmp_path, **variables) as running:
        address = f"http://127.0.0.1:{running.port}/marks"

        def header(name: str) -> str:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return str(answer.headers.get(name, ""))

        wait_for("the second sample", lambda: header(DEVICES_HEADER))
        told = re.fullmatch(r"nvml 1 ([0-9]+)", header(DEVICES_HEADER))
        live = energy.told(header(ENERGY_HEADER))
        page = running.get("/metrics").decode()
        running.process.terminate()
        running.process.wait(30)
        pod = words(running.termination_log.read_text())

    assert told is not None
    assert int(told[1]) >= 2000
    assert "flopguard_gpu_tensor_active_seconds_total{uuid=" in page
    last = finalrecord.energy(pod)
    assert live is not None
    assert last is not None
    assert last.devices == (FIRST.uuid,)
    assert (last.whole, last.final, last.since) == (True, True, live.since)
    assert live.millijoules >= 1_000_000
    assert last.millijoules == live.millijoules + 1_000_000
    assert last.until > live.until


def words(message: str) -> Pod:
    """Return a pod that has ended with this final record."""
    return observed.pod(objects.pod(words=message, ended=True))


def test_the_energy_of_a_device_that_mig_splits_is_not_the_pods(nvml: Path) -> None:
    """NVML counts the whole device, whoever uses its other parts."""
    (first, *_), *_ = (one["samples"] for one in sample(nvml, STANDIN_NVML_MIG="1"))

    assert first["energy_joules"] is None
    assert first["power_watts"] == FIRST.power_watts


@pytest.mark.parametrize(
    ("devices", "code"),
    [
        pytest.param("0", SAMPLE_TWICE, id="a driver without a device"),
        pytest.param("1", NO_PYNVML + SAMPLE_TWICE, id="a device without pynvml"),
    ],
)
def test_without_a_device_that_can_be_asked_the_source_is_none(
    nvml: Path, devices: str, code: str
) -> None:
    """Metering goes on; the source says that there is none."""
    assert sample(nvml, code, STANDIN_NVML_DEVICES=devices)[0] == {
        "source": "none",
        "samples": [],
    }


def test_without_the_library_pynvml_is_not_even_imported(tmp_path: Path) -> None:
    """It costs 17 MB, and most pods of a sidecar see no device."""
    code = SAMPLE_TWICE + "import sys; assert 'pynvml' not in sys.modules\n"

    assert sample(tmp_path, code)[0] == {"source": "none", "samples": []}


@contextmanager
def exporter(page: bytes, status: int = 200) -> Iterator[str]:
    """Serve a page as the node's dcgm-exporter would; return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/metrics")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()


def test_dcgm_exporters_page_becomes_samples_in_our_units() -> None:
    """Blanks that it prints as numbers and slices of a MIG device are left out."""
    with exporter(PAGE) as url:
        found = DcgmSource(url).sample()

    assert found == GpuReading(
        "dcgm",
        (
            GpuSample(
                uuid="GPU-11111111-2222-3333-4444-555555555555",
                power_watts=612.345,
                energy_joules=987654321.0,
                utilization_ratio=0.97,
                tensor_active_ratio=0.625,
                sm_clock_hertz=1.98e9,
                memory_used_bytes=61440 * 2**20,
            ),
            GpuSample(
                uuid="GPU-66666666-7777-8888-9999-000000000000",
                power_watts=71.25,
                sm_clock_hertz=345e6,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("page", "status"),
    [
        pytest.param(PAGE, 500, id="an error"),
        pytest.param(PAGE, 302, id="a redirect: not followed"),
        pytest.param(b"DCGM_FI_DEV_POWER_USAGE{gpu=", 200, id="a page cut off"),
        pytest.param(b"\xff\xfe", 200, id="not UTF-8"),
        pytest.param(b"#" * (4 * 1024 * 1024 + 1), 200, id="above 4 MiB"),
    ],
)
def test_an_exporter_that_does_not_answer_well_is_the_one_error(
    page: bytes, status: int
) -> None:
    """The loop then publishes the source `none` and asks again."""
    with exporter(page, status) as url, pytest.raises(GpuSourceError):
        DcgmSource(url).sample()


def test_an_exporter_that_is_not_there_is_the_one_error() -> None:
    """Port 1 is nobody's."""
    with pytest.raises(GpuSourceError, match="ConnectionRefusedError"):
        DcgmSource("http://127.0.0.1:1/metrics").sample()


@pytest.mark.parametrize(
    "url",
    [
        "node:9400",
        "file:///etc/passwd",
        "https://node/",
        "http://",
        "http://[",
        "http://a:b/",
    ],
)
def test_an_address_that_is_not_http_is_refused(url: str) -> None:
    """Only a plain page on the node's network is read."""
    with pytest.raises(GpuSourceError, match="must look like"):
        DcgmSource(url)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="not a number"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param(-1.0, id="negative"),
        pytest.param(2147483632.0, id="a blank int32"),
        pytest.param(140737488355328.0, id="a blank double"),
        pytest.param(9223372036854775794.0, id="a blank int64"),
    ],
)
def test_a_figure_that_means_unknown_is_left_out(value: float) -> None:
    """DCGM's blanks are numbers; a power of 9e18 watts is not a power."""
    series = [
        ("DCGM_FI_DEV_POWER_USAGE", {"UUID": "GPU-a"}, value),
        ("DCGM_FI_DEV_GPU_UTIL", {"UUID": "GPU-a"}, 50.0),
    ]

    assert from_dcgm(series).samples == (GpuSample("GPU-a", utilization_ratio=0.5),)


def test_a_malformed_uuid_is_no_device() -> None:
    """It would be a label of our own page."""
    names = ["", "GPU a", "GPU-ü", 'GPU"', "G" * 81, "GPU-ok"]

    found = reading("dcgm", [GpuSample(name) for name in names])

    assert [one.uuid for one in found.samples] == ["GPU-ok"]


@given(st.text(alphabet='{}",=\\ #\n1eE+-.aDCGM_', max_size=80))
def test_a_hostile_page_is_samples_or_the_one_error(text: str) -> None:
    """Whatever follows the name of a field that we read."""
    try:
        found = read_page(f"DCGM_FI_DEV_SM_CLOCK{text}".encode())
    except GpuSourceError:
        return
    assert found.source == "dcgm"
