"""The operator notes documents for evidence, and counts the entries of runs."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.books import Books
from flopguard_operator.documents import MOST_EVENTS_A_RUN
from flopguard_operator.evidence import pack, zipped
from flopguard_operator.evidence.source import opened
from flopguard_operator.evidence.verify import verify_pack
from flopguard_operator.ledger.entries import DocumentNoted, RunsCounted
from flopguard_operator.ledger.errors import LedgerUnavailableError
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.reading import read_document
from standins.world import World, spent


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def noted(world: World, kind: str) -> list[dict[str, Any]]:
    """Return the texts that the ledger keeps of one kind, in order."""
    found = []
    for event in world.recorded(DocumentNoted):
        data = read_document(world.path, event.digest)
        assert data is not None
        assert hashlib.sha256(data).hexdigest() == event.digest
        assert len(data) == event.size
        if event.kind == kind:
            found.append(json.loads(data))
    return found


def happening(uid: str, reason: str, about: str = "pod-1") -> dict[str, Any]:
    """Return a Kubernetes Event as the API server has it."""
    return {
        "metadata": {"name": f"train.{uid}", "uid": uid},
        "reason": reason,
        "type": "Warning",
        "message": "0/3 nodes are available",
        "involvedObject": {"kind": "Pod", "uid": about},
        "count": 1,
    }


def test_run_and_workload_are_noted_once_and_at_each_change(world: World) -> None:
    """What was demanded, when; our own status and annotations are no change."""
    world.once(spent(10))
    world.once(spent(600))
    world.once(spent(700))
    assert len(noted(world, "FineTuneRun")) == len(noted(world, "Job")) == 1

    world.revise(budget={"maxFlops": "5000"})
    world.once(spent(700))

    budgets = [doc["spec"]["budget"]["maxFlops"] for doc in noted(world, "FineTuneRun")]
    assert budgets == ["1000", "5000"]


def test_a_hold_shows_in_the_workloads_history(world: World) -> None:
    """The Job before, and the Job that is suspended."""
    world.once(spent(10))
    world.once(spent(1000))
    world.once()

    assert [doc["spec"]["suspend"] for doc in noted(world, "Job")] == [False, True]


def test_who_changed_a_run_stands_in_the_entry(world: World) -> None:
    """Its field manager; the status and flopguard's own fields do not count."""
    world.once(spent(10))
    (raw,) = world.cache.runs.values()
    changed = copy.deepcopy(dict(raw))
    changed["metadata"]["generation"] = 2
    changed["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Apply", "time": "2026-11-22T00:00:00Z"},
        {"manager": "flopguard", "operation": "Update", "time": "2026-11-23T00:00:00Z"},
        {"manager": "x", "subresource": "status", "time": "2026-11-24T00:00:00Z"},
    ]
    world.cache.see_run("MODIFIED", changed)
    world.once(spent(10))

    by = [e.by for e in world.recorded(DocumentNoted) if e.kind == "FineTuneRun"]
    assert by == ["", "kubectl"]


def test_a_pod_is_noted_as_it_runs_and_as_it_ended(world: World) -> None:
    """Not while it waits, and twice at most."""
    raw = spent(10)
    raw["status"]["phase"] = "Pending"
    world.once(raw)
    assert noted(world, "Pod") == []

    for phase in ("Running", "Running", "Succeeded", "Succeeded"):
        raw = spent(20)
        raw["status"]["phase"] = phase
        raw["metadata"]["labels"]["step"] = phase
        world.once(raw)

    phases = [doc["status"]["phase"] for doc in noted(world, "Pod")]
    assert phases == ["Running", "Succeeded"]


def test_events_about_scheduling_are_noted_once(world: World) -> None:
    """Those of the run's objects, whatever their count says, and a bounded number."""
    world.cluster.happened = [
        happening("e1", "FailedScheduling"),
        happening("e2", "Pulled"),
        happening("e3", "Preempted", about="a stranger's pod"),
    ]
    world.once(spent(10))
    world.cluster.happened[0]["count"] = 99
    world.start()
    world.once(spent(20))
    assert [doc["reason"] for doc in noted(world, "Event")] == ["FailedScheduling"]

    world.cluster.happened = [happening(f"f{n}", "Evicted") for n in range(500)]
    world.start()
    for flops in range(30, 40):
        world.once(spent(flops))
    assert len(noted(world, "Event")) == MOST_EVENTS_A_RUN


def test_a_restart_notes_nothing_twice(world: World) -> None:
    """What is in the ledger is known, and not what a process remembers."""
    world.once(spent(10))
    before = len(world.recorded(DocumentNoted))
    world.start()
    world.once(spent(10))

    assert len(world.recorded(DocumentNoted)) == before > 0


def test_a_failed_commit_loses_no_document(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written is gathered again."""
    world.once()
    world.revise(budget={"maxFlops": "3000"})
    monkeypatch.setattr(Books, "commit", _full)
    world.once(spent(10))
    monkeypatch.undo()
    world.once(spent(11))

    budgets = [doc["spec"]["budget"]["maxFlops"] for doc in noted(world, "FineTuneRun")]
    assert budgets == ["1000", "3000"]


async def _full(*_: object) -> None:
    message = "the disk is full"
    raise LedgerUnavailableError(message)


def test_hostile_objects_stop_no_metering(world: World) -> None:
    """Depth, size, types and surrogates: noted shortened, or not at all."""
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    raw = spent(500)
    raw["status"]["phase"] = "Running"
    raw["metadata"]["labels"]["deep"] = deep
    raw["metadata"]["managedFields"] = [{"manager": 7}, "x", {"manager": "\ud800"}]
    raw["spec"]["more"] = ["y" * 5000] * 5000
    world.once(raw)

    assert world.status()["flops"]["upper"] == "500"


def test_entries_are_counted_when_somebody_may_ask(world: World) -> None:
    """With terms, crossings and holds; in between after a while only."""
    world.once(spent(10))
    counts = len(world.recorded(RunsCounted))
    world.once(spent(20))
    assert len(world.recorded(RunsCounted)) == counts == 1

    world.once(spent(600))
    assert len(world.recorded(RunsCounted)) == 2


def test_a_pack_of_what_the_operator_wrote_is_whole(
    world: World, tmp_path: Path
) -> None:
    """With its documents and a count, to the last telling entry."""
    world.once(spent(10))
    world.once(spent(1000, ended=True), gone=True)
    world.once()
    path = tmp_path / "pack.tar"
    with opened(world.path) as source, path.open("wb") as out:
        made = pack.make(source, pack.Request("ml/sft", "0", zipped.build()), out)
    with path.open("rb") as stream:
        report = verify_pack(stream, check_signature, world.key.verifier.text)

    assert (made.complete, made.lacking, made.later) == (True, 0, 0)
    assert {c.name: c.message for c in report.checks if c.outcome != "ok"} == {}
