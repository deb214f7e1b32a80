"""The metrics page, read back by prometheus-client's own parser."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flopguard_hook.page import CATEGORIES
from flopguard_sidecar import meter
from flopguard_sidecar.exposition import (
    PodCollector,
    State,
    metrics_page,
    round_down,
    round_up,
)
from flopguard_sidecar.samples import GpuReading, GpuSample, reading
from standins.pages import NONCE, file_bytes, page

UID = "7f0c2a1e-0000-4000-8000-000000000001"
Labels = frozenset[tuple[str, str]]


def render(
    flops: int = 0, begun: int | None = None, gpu: GpuReading | None = None
) -> dict[tuple[str, Labels], float]:
    """Return the series of a pod with this much forward work."""
    started = flops if begun is None else begun
    written = page(
        {"forward": {"bf16": flops}}, {"forward": {"bf16": started}}, steps=7
    )
    mark = meter.total([meter.read(NONCE, file_bytes(written))])
    state = State(mark, 2, 0.25, gpu or GpuReading("none"))
    text = metrics_page(PodCollector(UID, lambda: state))().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def label(**labels: str) -> Labels:
    """Return labels as a key."""
    return frozenset(labels.items())


POD = label(pod_uid=UID)


def test_the_page_has_exactly_the_documented_series() -> None:
    """No `_created`, no process metrics: 11 series a pod, 12 are allowed."""
    series = render(5, 9)

    categories = {
        ("flopguard_pod_flops_total", label(category=c, pod_uid=UID)): 0.0
        for c in CATEGORIES
    }
    assert series == categories | {
        ("flopguard_pod_flops_total", label(category="forward", pod_uid=UID)): 5.0,
        ("flopguard_pod_flops_begun_total", POD): 9.0,
        ("flopguard_pod_steps_total", POD): 7.0,
        ("flopguard_pod_pages", POD): 1.0,
        ("flopguard_hook_errors_total", POD): 2.0,
        ("flopguard_mark_age_seconds", POD): 0.25,
        ("flopguard_gpu_source", label(source="none")): 1.0,
    }
    assert len(series) <= 12


def test_a_device_adds_six_series_and_what_it_lacks_is_absent() -> None:
    """A zero would be a claim."""
    full = GpuSample("GPU-a", 612.3, 987654.3, 0.97, 0.62, 1.98e9, 6.4e10)
    gpu = reading("nvml", [full, GpuSample("GPU-b", power_watts=70.0)])

    series = render(gpu=gpu)

    assert {key: value for key, value in series.items() if key[1] != POD}.items() >= {
        ("flopguard_gpu_source", label(source="nvml")): 1.0,
        ("flopguard_gpu_power_watts", label(uuid="GPU-a")): 612.3,
        ("flopguard_gpu_energy_joules", label(uuid="GPU-a")): 987654.3,
        ("flopguard_gpu_utilization_ratio", label(uuid="GPU-a")): 0.97,
        ("flopguard_gpu_tensor_active_ratio", label(uuid="GPU-a")): 0.62,
        ("flopguard_gpu_sm_clock_hertz", label(uuid="GPU-a")): 1.98e9,
        ("flopguard_gpu_memory_used_bytes", label(uuid="GPU-a")): 6.4e10,
        ("flopguard_gpu_power_watts", label(uuid="GPU-b")): 70.0,
    }.items()
    assert len(series) == 11 + 6 + 1


def test_the_summed_activity_takes_the_place_of_its_rate() -> None:
    """Six series a device, from either source."""
    full = GpuSample("GPU-a", 612.3, 987654.3, 0.97, 0.62, 1.98e9, 6.4e10, 3600.5)

    series = render(gpu=reading("nvml", [full]))

    name, key = "flopguard_gpu_tensor_active_seconds_total", label(uuid="GPU-a")
    assert series[name, key] == 3600.5
    assert ("flopguard_gpu_tensor_active_ratio", key) not in series
    assert len(series) == 11 + 6


def test_devices_are_bounded() -> None:
    """A node with a thousand devices is a lie."""
    gpu = reading("dcgm", [GpuSample(f"GPU-{n:04d}", 1.0) for n in range(1000)])

    assert len(render(gpu=gpu)) == 11 + 32


@pytest.mark.parametrize(
    ("flops", "down", "up"),
    [
        pytest.param(0, 0.0, 0.0, id="zero"),
        pytest.param(2**53, 2.0**53, 2.0**53, id="the last exact integer"),
        pytest.param(2**53 + 1, 2.0**53, 2.0**53 + 2, id="the first inexact one"),
        pytest.param(2**53 + 3, 2.0**53 + 2, 2.0**53 + 4, id="nearest is above"),
        pytest.param(
            10**25,
            math.nextafter(1e25, 0),
            1e25,
            id="1e25: the float of that name is above it",
        ),
        pytest.param(2**128, 2.0**128, 2.0**128, id="a power of two"),
        pytest.param(
            2**128 - 1,
            math.nextafter(2.0**128, 0),
            2.0**128,
            id="a full counter",
        ),
    ],
)
def test_done_is_rounded_down_and_begun_up(flops: int, down: float, up: float) -> None:
    """So no figure of the live view claims more than is proven."""
    assert round_down(flops) == down
    assert round_up(flops) == up
    series = render(flops) if flops < 2**128 else {}
    key = ("flopguard_pod_flops_total", label(category="forward", pod_uid=UID))
    assert series.get(key, down) == down
    assert series.get(("flopguard_pod_flops_begun_total", POD), up) == up


@given(st.integers(0, 10**44))
def test_rounding_brackets_the_count_as_tightly_as_float64_can(flops: int) -> None:
    """Neighbours, or the count itself."""
    down, up = round_down(flops), round_up(flops)

    assert int(down) <= flops <= int(up)
    assert up in (down, math.nextafter(down, math.inf))


@given(st.integers(0, 2**128 - 1))
def test_the_text_format_loses_nothing_of_the_float(flops: int) -> None:
    """The page prints the shortest text that reads back as the same float64."""
    key = ("flopguard_pod_flops_total", label(category="forward", pod_uid=UID))

    assert render(flops)[key] == round_down(flops)


def test_a_hostile_pod_uid_stays_a_label() -> None:
    """It is escaped, whoever set it."""
    mark = meter.total([])
    state = State(mark, 0, 0.0, GpuReading("none"))
    uid = 'x"} 1\nevil 1'

    text = metrics_page(PodCollector(uid, lambda: state))().decode()

    names = {family.name for family in text_string_to_metric_families(text)}
    assert "evil" not in names
    assert json.dumps(uid)[1:-1] in text
