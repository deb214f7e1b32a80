"""Peers of the live view: doubled, wiped or forged, Prometheus adds nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import prometheus, sidecars
from flopguard_operator.observed import Pod, pod
from flopguard_operator.settings import Settings
from standins import objects
from standins.world import World

NOW = 1_763_769_600.0


def sample(category: str, value: float | str, **labels: str) -> dict[str, Any]:
    """Return a series of pod-1 as Prometheus answers it."""
    own = {"namespace": "ml", "pod": "train-pod-1", "pod_uid": "pod-1"}
    return {
        "metric": {"category": category, **own, **labels},
        "value": [NOW, str(value)],
    }


SCRAPED = [
    sample("forward", 300),
    sample("begun", 300),
    sample("pages", 1),
    sample("seen", NOW - 1),
    sample("age", 0.5),
]
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "an HA pair": [
        *({**s, "metric": {**s["metric"], "replica": r}} for s in SCRAPED for r in "ab")
    ],
    "a federation of both, and the origin": [
        *SCRAPED,
        *({**s, "metric": {**s["metric"], "prometheus": "other"}} for s in SCRAPED),
    ],
    "one of a pair that is behind": [*SCRAPED, sample("forward", 200, replica="b")],
    "a wiped time-series database": [],
    "relabelled: another pod's name": [
        *SCRAPED,
        sample("forward", 10**6, pod="somebody-else"),
    ],
    "relabelled: another namespace": [
        *SCRAPED,
        sample("forward", 10**6, namespace="other"),
    ],
    "forged: a pod that is not there": [
        *SCRAPED,
        sample("forward", 10**6, pod_uid="pod-7"),
    ],
    "forged: an unknown category": [*SCRAPED, sample("total", 10**6)],
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_totals_are_the_same_whatever_prometheus_repeats(
    answer: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod was at 300 in the cycle before, and is in this one."""
    answers = [SCRAPED, answer]

    async def query(_: str) -> list[dict[str, Any]]:
        return answers.pop(0)

    async def silent(_: object) -> dict[str, sidecars.Heard]:
        return {}

    monkeypatch.setattr(prometheus, "query", query)
    monkeypatch.setattr(sidecars, "read", silent)
    monkeypatch.setattr(sidecars, "listen", silent)
    world = World(tmp_path)
    url = "http://prometheus"
    world.cycle.settings = Settings(
        ledger=world.path, prometheus_url=url, settle_seconds=0
    )
    world.once(objects.pod())
    world.once()

    assert world.status()["flops"]["measured"] == "300"
    assert world.status()["flops"]["upper"] == "300"


def pods() -> dict[str, Pod]:
    """Return the one pod that there is."""
    return {"pod-1": pod(objects.pod())}


@pytest.mark.parametrize(
    ("series", "age"),
    [
        ([sample("seen", NOW - 2), sample("age", 0.25)], 2_250),
        ([sample("seen", NOW - 2)], 7_000),
        ([sample("seen", NOW - 9), sample("seen", NOW - 2), sample("age", 1)], 3_000),
        ([sample("seen", NOW - 2), sample("age", 1), sample("age", 30)], 32_000),
        ([sample("seen", NOW + 0.5), sample("age", 1)], 1_000),
        ([sample("seen", NOW + 3600), sample("age", 1)], None),
        ([sample("age", 1)], None),
        ([sample("seen", NOW - 2), sample("age", "-5")], 7_000),
        ([sample("seen", NOW - 2, pod="else"), sample("age", 1)], None),
    ],
    ids=[
        "sample and reading",
        "an older sidecar does not say",
        "the newest sample of a pair",
        "the longest reading of a pair",
        "a clock a little ahead",
        "a clock an hour ahead is none",
        "not scraped",
        "a reading below zero is none",
        "another pod's scrape",
    ],
)
def test_how_old_a_sample_is(series: list[dict[str, Any]], age: int | None) -> None:
    """Too old rather than too young: the time is charged."""
    assert prometheus.ages(series, pods()).get("pod-1") == age


def test_an_old_sample_never_looks_like_removed_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only two direct reads of a sidecar can show that."""
    answers = [SCRAPED, [sample("forward", 5), sample("begun", 5)]]

    async def query(_: str) -> list[dict[str, Any]]:
        return answers.pop(0)

    async def silent(_: object) -> dict[str, sidecars.Heard]:
        await asyncio.sleep(0)
        return {}

    monkeypatch.setattr(prometheus, "query", query)
    monkeypatch.setattr(sidecars, "read", silent)
    monkeypatch.setattr(sidecars, "listen", silent)
    world = World(tmp_path)
    world.cycle.settings = Settings(
        ledger=world.path, prometheus_url="http://p", settle_seconds=0
    )
    world.once(objects.pod())
    world.once()

    assert world.condition("MeterRegressed")["status"] == "False"
