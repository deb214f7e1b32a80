"""When does the loop hold a run, when is a hold proven, and what releases it?"""

from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import cycle, naming
from flopguard_operator.cluster import ClusterError
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    HoldProven,
    HoldReleased,
    HoldSet,
)
from standins import objects
from standins.world import World, spent


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def test_a_spent_budget_publishes_the_hold_before_it_suspends(world: World) -> None:
    """The API server's lock reads the status, so the status comes first."""
    world.once(spent(1000))

    calls = [c for c in world.cluster.calls if c in ("status", "suspend")]
    assert calls == ["status", "suspend"]
    assert world.status()["holds"][0]["reason"] == "BudgetExceeded"
    assert world.status()["state"] == "Holding"


def test_a_hold_is_proven_only_when_no_pod_is_left(world: World) -> None:
    """The field that asked for it proves nothing; the overshoot is what came after."""
    world.cluster.pods_running = 1
    world.once(spent(1000))
    world.once(spent(1010))
    assert world.recorded(HoldProven) == []

    world.cluster.pods_running = 0
    world.once(spent(1030, ended=True), gone=True)

    (proven,) = world.recorded(HoldProven)
    assert (proven.upper, proven.overshoot) == (1030, 30)
    assert world.condition("Held")["status"] == "True"
    assert world.status()["overshoot"] == "30"


def test_a_hold_is_proven_although_a_deletion_was_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kopf says nothing of a pod that vanished while its watch was down."""
    world.once(spent(1000))
    world.once()
    assert world.recorded(HoldProven) == []

    monkeypatch.setattr(cycle, "WAITING_SECONDS", 0.0)
    world.once()

    assert len(world.recorded(HoldProven)) == 1


def test_a_raised_budget_releases_and_the_total_goes_on(world: World) -> None:
    """The release survives the lag of the lock's cache."""
    world.once(spent(1000, ended=True), gone=True)
    world.once()
    world.cluster.refusals = 2
    world.revise(budget={"maxFlops": "5000"})
    world.once()
    assert world.cache.wake.is_set()
    world.once()
    world.once()

    assert not world.cache.jobs["ml", "train"].suspended
    assert len(world.recorded(HoldReleased)) == 1
    world.once(spent(300, "pod-2", created="2026-11-22T00:09:00Z"))
    assert world.status()["flops"]["upper"] == "1300"
    causes = [a.cause for a in world.recorded(AttemptOpened)]
    assert causes == ["Started", "Resumed"]


def test_a_users_own_suspend_is_never_undone(world: World) -> None:
    """A Job that its user had suspended stays so after the release."""
    world.cache.see_job("MODIFIED", objects.job(suspend=True))
    world.once(spent(1000, ended=True), gone=True)
    world.revise(budget={"maxFlops": "5000"})
    world.once()

    assert "resume" not in world.cluster.calls
    assert world.cache.jobs["ml", "train"].suspended


def test_a_job_that_its_user_recreates_suspended_stays_suspended(
    world: World,
) -> None:
    """Whoever suspends a Job while it is held keeps it suspended after the release."""
    world.once(spent(1000, ended=True), gone=True)
    world.cache.see_job("DELETED", objects.job(suspend=True))
    world.cache.see_job("ADDED", objects.job("job-2", suspend=True))
    world.once()
    world.revise(budget={"maxFlops": "5000"})
    world.once()

    assert world.cache.jobs["ml", "train"].suspended


def test_a_continuation_job_is_held_and_released_too(world: World) -> None:
    """A Job under another name whose pod template names the run is part of it."""
    world.cache.see_job("ADDED", objects.job("job-2", name="more", run_label="sft"))
    world.once(spent(1000, ended=True), gone=True)
    assert world.cache.jobs["ml", "more"].suspended

    world.revise(budget={"maxFlops": "5000"})
    world.once()

    assert not world.cache.jobs["ml", "more"].suspended


def test_a_run_pointed_at_a_decoy_still_holds_the_job_of_its_pods(
    world: World,
) -> None:
    """Changing spec.workload.name before the limit does not get a Job around it."""
    world.once(spent(10))
    world.revise(
        workload={"apiVersion": "batch/v1", "kind": "Job", "name": "decoy"},
    )
    world.once(spent(1000))

    assert world.cache.jobs["ml", "train"].suspended


def test_a_refused_suspend_proves_no_hold(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods gone at one instant prove nothing while the Job may start others."""

    def refuse(*_: Any) -> None:
        raise ClusterError(403, "another policy says no")

    with monkeypatch.context() as patched:
        patched.setattr(world.cluster, "patch_job", refuse)
        world.once(spent(1000, ended=True), gone=True)
        world.once()
    assert world.recorded(HoldProven) == []

    world.once()
    world.once()

    assert len(world.recorded(HoldProven)) == 1


def test_a_mark_after_the_proof_adds_to_the_overshoot(world: World) -> None:
    """Late evidence is not lost: the hold is proven anew, with what it adds."""
    world.once(spent(1000), gone=True)
    world.once()
    world.once(spent(1200), gone=True)

    assert [p.overshoot for p in world.recorded(HoldProven)] == [0, 200]
    assert world.status()["overshoot"] == "200"


def test_a_failed_release_keeps_the_run_until_it_worked(world: World) -> None:
    """Once the run is gone nobody would release its Job any more."""
    world.once(spent(1000, ended=True), gone=True)
    (raw,) = world.cache.runs.values()
    raw["metadata"]["deletionTimestamp"] = "2026-11-22T01:00:00Z"
    world.cluster.refusals = 1
    world.revise(onDelete="Release")
    world.once()
    (raw,) = world.cache.runs.values()
    assert raw["metadata"]["finalizers"] == [naming.HOLD_FINALIZER]

    world.once()
    world.once()

    assert not world.cache.jobs["ml", "train"].suspended
    assert raw["metadata"]["finalizers"] == []


def test_a_restarted_operator_suspends_nothing_twice(world: World) -> None:
    """All it needs is in the ledger: same totals, same hold, no new entry for it."""
    world.once(spent(1000))
    world.start()
    world.once(spent(1000))

    assert len(world.recorded(HoldSet)) == 1
    assert world.cluster.calls.count("suspend") == 1
    assert world.status()["flops"]["upper"] == "1000"


def test_deleting_a_held_run_keeps_the_hold(world: World) -> None:
    """The finalizer keeps the object, and with it the lock, until a release."""
    world.once(spent(1000, ended=True), gone=True)
    (raw,) = world.cache.runs.values()
    assert raw["metadata"]["finalizers"] == [naming.HOLD_FINALIZER]
    raw["metadata"]["deletionTimestamp"] = "2026-11-22T01:00:00Z"
    world.once()
    assert world.status()["holds"]

    world.revise(onDelete="Release")
    world.once()
    world.once()

    assert world.status()["holds"] == []
    assert "resume" in world.cluster.calls
    (raw,) = world.cache.runs.values()
    assert raw["metadata"]["finalizers"] == []


def test_a_terminating_namespace_releases(world: World) -> None:
    """A finalizer must not keep a namespace from being deleted."""
    world.once(spent(1000, ended=True), gone=True)
    (raw,) = world.cache.runs.values()
    raw["metadata"]["deletionTimestamp"] = "2026-11-22T01:00:00Z"
    world.cluster.terminating = True
    world.once()

    (released,) = world.recorded(HoldReleased)
    assert released.reason == "NamespaceTerminating"


def test_a_job_recreated_while_held_is_suspended_too(world: World) -> None:
    """The hold is on the run: whoever makes the Job anew finds it in force."""
    world.once(spent(1000, ended=True), gone=True)
    world.cache.see_job("DELETED", objects.job(suspend=True))
    world.cache.see_job("ADDED", objects.job("job-2"))
    world.once()

    assert world.cache.jobs["ml", "train"].suspended
