"""The mark as Prometheus metrics, from a registry of its own.

Shell, since it feeds prometheus-client; the rounding is core. Prometheus carries
float64: done is rounded down and begun up, so no figure claims more than is proven.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from flopguard_sidecar.meter import Mark
from flopguard_sidecar.samples import GpuReading, GpuSample


@dataclass(frozen=True, slots=True)
class State:
    """What is exposed at one instant.

    Attributes:
        mark: The last mark.
        errors: Errors of hook and sidecar that appeared so far.
        age_seconds: Since all pages were last read.
        gpu: The last GPU samples.
    """

    mark: Mark
    errors: int
    age_seconds: float
    gpu: GpuReading


def round_down(flops: int) -> float:
    """Return the largest float64 that is not above a count."""
    nearest = float(flops)
    return math.nextafter(nearest, 0.0) if int(nearest) > flops else nearest


def round_up(flops: int) -> float:
    """Return the smallest float64 that is not below a count."""
    nearest = float(flops)
    return math.nextafter(nearest, math.inf) if int(nearest) < flops else nearest


class PodCollector:
    """Turn the state of now into metric families; a prometheus-client collector."""

    def __init__(self, pod_uid: str, state: Callable[[], State]) -> None:
        self._pod_uid = pod_uid
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Return the metric families of docs/formats.md."""
        state = self._state()
        mark = state.mark
        done = CounterMetricFamily(
            "flopguard_pod_flops",
            "FLOPs of work that returned, rounded down.",
            labels=["category", "pod_uid"],
        )
        for category, flops in mark.done.items():
            done.add_metric([category, self._pod_uid], round_down(flops))
        yield done
        yield self._one(
            CounterMetricFamily,
            "flopguard_pod_flops_begun",
            "FLOPs of work that was dispatched, rounded up.",
            round_up(mark.begun_total),
        )
        yield self._one(
            CounterMetricFamily,
            "flopguard_pod_steps",
            "Optimizer steps.",
            round_down(mark.steps),
        )
        yield self._one(
            GaugeMetricFamily,
            "flopguard_pod_pages",
            "Pages in the mark, one for each process that counted.",
            len(mark.pages),
        )
        yield self._one(
            CounterMetricFamily,
            "flopguard_hook_errors",
            "Errors of hook and sidecar that appeared.",
            state.errors,
        )
        yield self._one(
            GaugeMetricFamily,
            "flopguard_mark_age_seconds",
            "Seconds since all pages were last read.",
            state.age_seconds,
        )
        yield from _gpu_families(state.gpu)

    def _one(
        self,
        family: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        text: str,
        value: float,
    ) -> Metric:
        metric = family(name, text, labels=["pod_uid"])
        metric.add_metric([self._pod_uid], value)
        return metric


def _gpu_families(gpu: GpuReading) -> Iterator[Metric]:
    source = GaugeMetricFamily(
        "flopguard_gpu_source", "Where GPU figures are from.", labels=["source"]
    )
    source.add_metric([gpu.source], 1)
    yield source
    for field in fields(GpuSample)[1:]:
        is_summed = field.name == _SUMMED
        kind: type[CounterMetricFamily | GaugeMetricFamily]
        kind = CounterMetricFamily if is_summed else GaugeMetricFamily
        family = kind(
            f"flopguard_gpu_{field.name}", _GPU_TEXT[field.name], labels=["uuid"]
        )
        for uuid, value in _values(gpu, field.name):
            if value is not None:
                family.add_metric([uuid], value)
        if family.samples:
            yield family


def _values(gpu: GpuReading, name: str) -> list[tuple[str, float | None]]:
    """Return one figure of each device; six figures a device and no more.

    The summed tensor activity takes the place of the ratio, which is its rate.
    """
    return [
        (sample.uuid, getattr(sample, name))
        for sample in gpu.samples
        if name != _RATIO or sample.tensor_active_seconds is None
    ]


_SUMMED, _RATIO = "tensor_active_seconds", "tensor_active_ratio"
_GPU_TEXT = {
    "power_watts": "Power drawn by the device.",
    "energy_joules": "Energy the device used since its driver was loaded.",
    "utilization_ratio": "Part of the time in which any kernel ran.",
    "tensor_active_ratio": "Part of the time in which tensor cores worked.",
    "sm_clock_hertz": "Clock of the multiprocessors.",
    "memory_used_bytes": "Device memory that is allocated.",
    _SUMMED: "Seconds in which tensor cores worked: their part of the time, summed.",
}


def metrics_page(collector: PodCollector) -> Callable[[], bytes]:
    """Return a function that renders the collector, and only it, as a metrics page."""
    registry = CollectorRegistry()
    registry.register(collector)
    return lambda: generate_latest(registry)
