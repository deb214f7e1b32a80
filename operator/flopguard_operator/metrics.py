"""Expose the operator's own metrics: what each run used, its limit, and its health.

Gauges, since the ledger's totals are what is shown; Prometheus' counters are the
sidecars' part. Labels are bounded: one set per FineTuneRun.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from flopguard_operator.ledger.note import Head
from flopguard_operator.policy.evaluation import PolicyVerdict

ROOT_BYTES = 6  # what float64 carries exactly
LABELS = ("namespace", "run", "program", "policy")


@dataclass(frozen=True)
class RunSample:
    """The figures of one run after a cycle, in FLOPs (float64 on the way out)."""

    labels: tuple[str, str, str, str]
    measured: int
    upper: int
    limit: Any  # int or Fraction
    crossing_seconds: int | None  # as forecast; None: no crossing in sight
    held: bool
    per_step: int | None = None  # over all workers; None: no step is known
    forecast: int | None = None  # FLOPs of the whole run; None: there is none
    coverage: tuple[int, int] = (0, 0)  # proven and allocated device-milliseconds
    policies: tuple[PolicyVerdict, ...] = ()  # of all rule sets


class Collector:
    """Turn the last cycle's samples into metric families."""

    def __init__(self) -> None:
        self.samples: tuple[RunSample, ...] = ()
        self.cycle_seconds = 0.0
        self.ledger_size = 0
        self.head: Head | None = None  # the newest that was anchored
        self.leads = False

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families, as prometheus_client's registry asks for them."""
        runs = self.samples
        yield _family("run_flops", "FLOPs proven executed", runs, lambda s: s.measured)
        yield _family(
            "run_upper_flops", "FLOPs at most executed", runs, lambda s: s.upper
        )
        yield _family(
            "run_limit_flops", "Nearest limit, FLOPs", runs, lambda s: s.limit
        )
        yield _family("run_held", "1 while the run is held", runs, lambda s: s.held)
        yield _family(
            "run_crossing_seconds",
            "Seconds until the limit, as forecast; absent when none is in sight",
            [s for s in runs if s.crossing_seconds is not None],
            lambda s: s.crossing_seconds,
        )
        yield _family(
            "run_forecast_flops",
            "FLOPs that the whole run is expected to take; absent without a plan",
            [s for s in runs if s.forecast is not None],
            lambda s: s.forecast,
        )
        yield _family(
            "run_flops_per_step",
            "FLOPs of one optimizer step over all workers; absent before the first",
            [s for s in runs if s.per_step is not None],
            lambda s: s.per_step,
        )
        yield _family(
            "run_coverage_ratio",
            "Proven share of the allocated device-seconds; absent before the first",
            [s for s in runs if s.coverage[1]],
            lambda s: s.coverage[0] / s.coverage[1],
        )
        yield from _policies(runs)
        yield _single("cycle_seconds", "Duration of the last cycle", self.cycle_seconds)
        yield _single("ledger_size", "Entries in the ledger", self.ledger_size)
        yield _single("leader", "1 while this operator acts; 0: standby", self.leads)
        if self.head is not None:
            yield from _head(self.head)


def _family(
    name: str, text: str, samples: Iterable[RunSample], value: Any
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"flopguard_{name}", text, labels=LABELS)
    for sample in samples:
        family.add_metric(sample.labels, float(value(sample)))
    return family


def _policies(samples: Iterable[RunSample]) -> Iterator[GaugeMetricFamily]:
    """Yield what each rule set says of each run; label `policy` names the rule set."""
    families: tuple[tuple[str, str, Callable[[PolicyVerdict], Any]], ...] = (
        ("limit_flops", "Legal threshold by this policy, FLOPs", lambda v: v.limit),
        ("counted_flops", "FLOPs that count by this policy", lambda v: v.counted),
        ("exceeded", "1 where this policy's criterion is met", lambda v: v.exceeded),
    )
    kept = list(samples)
    for name, text, value in families:
        full = f"flopguard_run_policy_{name}"
        family = GaugeMetricFamily(full, text, labels=(*LABELS, "governs"))
        for sample in kept:
            *run, governs = sample.labels
            for verdict in sample.policies:
                mine = "true" if verdict.policy == governs else "false"
                labels = (*run, verdict.policy, mine)
                family.add_metric(labels, float(value(verdict)))
        yield family


def _head(head: Head) -> Iterator[GaugeMetricFamily]:
    """Yield the ledger's head: a label with its root would make a series of each."""
    root = int.from_bytes(head.root[:ROOT_BYTES], "big")
    for name, text, value in (
        ("size", "Entries under the newest signed head of the ledger", head.size),
        ("root", f"First {ROOT_BYTES} bytes of that head's root, as a number", root),
    ):
        family = GaugeMetricFamily(f"flopguard_ledger_{name}", text, labels=["origin"])
        family.add_metric([head.origin], float(value))
        yield family


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"flopguard_operator_{name}", text, value=value)


def registry(collector: Collector) -> CollectorRegistry:
    """Return a registry with nothing but the operator's own families."""
    result = CollectorRegistry()
    result.register(collector)
    return result
