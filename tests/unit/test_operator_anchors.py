"""What Prometheus remembers of the ledger's head, and when heads are published."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from flopguard_operator import metrics, prometheus
from flopguard_operator.anchors import Anchoring, PrometheusAnchor
from flopguard_operator.ledger.errors import LedgerUnavailableError
from flopguard_operator.ledger.note import Head
from standins.world import World, spent

ROOT = bytes(range(200, 232))


def test_the_gauges_carry_the_head() -> None:
    """Six bytes of the root, exactly, and the size."""
    collector = metrics.Collector()
    PrometheusAnchor("", "flopguard", "o", collector).publish(Head("o", 9, ROOT), "")
    text = generate_latest(metrics.registry(collector)).decode()
    root = text.rpartition('flopguard_ledger_root{origin="o"} ')[2].split()[0]

    assert int(float(root)).to_bytes(6, "big") == ROOT[:6]
    assert 'flopguard_ledger_size{origin="o"} 9.0' in text


def test_what_was_scraped_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each operator that ever told, the newest; what lacks a half is left out."""
    first = str(float(int.from_bytes(ROOT[:6], "big")))
    told = [
        {"metric": {"pod": "a"}, "value": [0, "9"]},
        {"metric": {"pod": "a", "part": "root"}, "value": [0, first]},
        {"metric": {"pod": "b"}, "value": [0, "7"]},
        {"metric": {"pod": "c", "part": "root"}, "value": [0, first]},
        {"metric": {"pod": "d"}, "value": [0, "NaN"]},
        {"metric": {"pod": "d", "part": "root"}, "value": [0, first]},
        {"metric": None, "value": None},
        {"metric": {"pod": "e"}, "value": [0, "3"]},
        {"metric": {"pod": "e", "part": "root"}, "value": [0, "1e30"]},
    ]
    asked: list[str] = []

    async def query(_url: str, expression: str) -> list[Any]:
        asked.append(expression)
        return told

    monkeypatch.setattr(prometheus, "query", query)
    anchor = PrometheusAnchor("http://x", "flopguard", "o", metrics.Collector())
    (known,) = anchor.known()

    assert (known.size, known.root) == (9, ROOT[:6])
    assert known.is_of(ROOT)
    assert 'namespace="flopguard",origin="o"' in asked[0]


def test_without_an_answer_the_start_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus is a witness, and there are others."""

    async def query(_url: str, _expression: str) -> list[Any]:
        message = "no answer"
        raise prometheus.PrometheusError(message)

    monkeypatch.setattr(prometheus, "query", query)
    collector = metrics.Collector()

    assert list(PrometheusAnchor("http://x", "f", "o", collector).known()) == []
    assert list(PrometheusAnchor("", "f", "o", collector).known()) == []


class Place:
    """An anchor that remembers, or does not answer."""

    name = "a place"

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.away = False

    def known(self) -> list[Any]:
        """Return nothing: nobody asks here."""
        return []

    def publish(self, head: Head, vkey: str) -> None:
        """Remember a head."""
        assert vkey
        if self.away:
            message = "no answer"
            raise LedgerUnavailableError(message)
        self.heads.append(head)


def test_each_newer_head_is_published_once(tmp_path: Path) -> None:
    """Once more where the place did not answer; never by who does not lead."""
    world, place = World(tmp_path), Place()
    leading = [True]
    anchoring = Anchoring(world.books, (place,), lambda: leading[0])
    asyncio.run(anchoring.once())
    assert place.heads == []
    world.once(spent(100))
    place.away = True
    asyncio.run(anchoring.once())
    place.away = False
    for _ in range(2):
        asyncio.run(anchoring.once())
    assert place.heads == [world.books.head]
    world.once(spent(200))
    leading[0] = False
    asyncio.run(anchoring.once())
    assert len(place.heads) == 1
    leading[0] = True
    asyncio.run(anchoring.once())
    assert place.heads[-1] == world.books.head
    assert len(place.heads) == 2
