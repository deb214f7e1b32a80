"""A stand-in for Prometheus: it scrapes pods on a virtual clock, and forgets."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator.prometheus import PrometheusError
from standins.clock import Clock
from standins.fleet import Pod, age, rounded

KEEPS = 900_000  # milliseconds of `max_over_time`
STALE = 300_000


@dataclass
class Sample:
    """One scrape of one pod."""

    at: int
    values: dict[str, float]
    age: int


@dataclass
class Prometheus:
    """One or two replicas behind one address; the second lags behind."""

    clock: Clock
    rng: random.Random
    replicas: int = 1
    down: bool = False
    forged: bool = False
    _samples: list[dict[str, list[Sample]]] = field(default_factory=lambda: [{}, {}])

    def scrape(self, pod: Pod) -> None:
        """Take a sample of a pod that answers."""
        now = self.clock.now
        for replica in range(self.replicas):
            if replica and self.rng.random() < 0.5:
                continue
            old = age(now)
            said = pod.counted(now - old)
            done, begun = rounded(said)
            values = {**done, "begun": begun, "pages": float(said.pages)}
            sample = Sample(now, values, old)
            self._samples[replica].setdefault(pod.uid, []).append(sample)

    def wipe(self) -> None:
        """Lose all data."""
        self._samples = [{}, {}]

    async def query(self, url: str, expression: str = "") -> list[Mapping[str, Any]]:
        """Answer the operator's query as `prometheus.query` does."""
        assert url
        assert "flopguard" in expression or not expression
        if self.down:
            message = f"Prometheus at {url} did not answer"
            raise PrometheusError(message)
        return [
            series
            for replica, pods in enumerate(self._samples)
            for uid, samples in pods.items()
            for series in self._series(replica, uid, samples)
        ]

    def _series(
        self, replica: int, uid: str, samples: list[Sample]
    ) -> list[dict[str, Any]]:
        now = self.clock.now
        kept = [s for s in samples if now - s.at <= KEEPS]
        if not kept:
            return []
        names = kept[-1].values.keys() - {"pages"}
        told = {name: max(s.values[name] for s in kept) for name in names}
        last = kept[-1]
        if now - last.at <= STALE:
            told |= {"pages": last.values["pages"], "seen": last.at / 1000}
            told["age"] = last.age / 1000
        own = {"pod_uid": uid, "namespace": "ml", "pod": f"train-{uid}"}
        own |= {"replica": str(replica)} if self.replicas > 1 else {}
        found: list[dict[str, Any]] = [
            {"metric": {**own, "category": name}, "value": [now / 1000, repr(value)]}
            for name, value in told.items()
        ]
        if self.forged:  # scraped from a pod that claims to be this one
            other = {**own, "pod": "somebody-else"}
            found += [
                {"metric": {**other, "category": name}, "value": [now / 1000, text]}
                for name, text in (("forward", "1e33"), ("seen", repr(now / 1000)))
            ]
        return found
