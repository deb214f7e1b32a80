"""The loop on the real ledger store, with a stand-in for the Kubernetes API."""

from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import cycle, naming, settling
from flopguard_operator.cluster import ClusterError
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    HoldProven,
    HoldReleased,
    HoldSet,
)
from flopguard_operator.settings import Settings
from standins import objects
from standins.world import World, spent


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def test_a_run_below_its_lines_is_metered_and_left_alone(world: World) -> None:
    """Counting alone changes nothing on the Job."""
    world.once(spent(499, ended=True))

    assert world.status()["flops"]["upper"] == "499"
    assert "suspend" not in world.cluster.calls
    assert world.condition("Warned")["status"] == "False"


def test_a_warning_line_is_said_once_on_run_and_job(world: World) -> None:
    """One Event per target, one crossing in the ledger, annotations on the Job."""
    world.once(spent(500))
    world.once(spent(501))

    assert world.cluster.events == [
        ("FineTuneRun", "BudgetWarning"),
        ("Job", "BudgetWarning"),
    ]
    assert [c.percent for c in world.recorded(Crossing)] == [50]
    assert world.cache.jobs["ml", "train"].reason == "BudgetWarning at 50 %"


def test_only_the_gravest_of_several_lines_is_an_event(world: World) -> None:
    """A run that jumps over a warning into the breach is told of the breach."""
    world.once(spent(1000))

    told = [reason for kind, reason in world.cluster.events if kind == "Job"]
    assert told == ["BudgetExceeded", "HoldSet"]
    assert len(world.recorded(Crossing)) == 2


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


def test_a_status_that_says_the_same_is_not_written_again(world: World) -> None:
    """A cycle in which nothing happened costs the API server nothing."""
    world.once(spent(10))
    world.once()
    world.cluster.calls.clear()
    world.once()

    assert [call for call in world.cluster.calls if call != "status"] == []
    assert world.cluster.calls == []


def test_why_a_pod_was_not_injected_is_quoted(world: World) -> None:
    """Deleting such a pod would help nobody."""
    raw = objects.pod()
    del raw["spec"]["initContainers"]
    raw["metadata"]["annotations"] = {naming.NOT_INJECTED_ANNOTATION: "hook is Off"}
    world.cache.see_job("MODIFIED", objects.job(active=1))
    world.once(raw)

    condition = world.condition("MeteringIncomplete")
    assert condition["reason"] == "InjectionRefused"
    assert condition["message"].endswith("hook is Off")


def test_a_restarted_operator_suspends_nothing_twice(world: World) -> None:
    """All it needs is in the ledger: same totals, same hold, no new entry for it."""
    world.once(spent(1000))
    world.start()
    world.once(spent(1000))

    assert len(world.recorded(HoldSet)) == 1
    assert world.cluster.calls.count("suspend") == 1
    assert world.status()["flops"]["upper"] == "1000"


def test_an_older_sample_lowers_nothing(world: World) -> None:
    """Marks merge by maximum: a replayed one changes neither total nor ledger."""
    world.once(spent(700))
    world.once(spent(600))

    assert world.status()["flops"]["upper"] == "700"


def test_a_full_disk_stops_deciding_and_says_what_to_do(world: World) -> None:
    """Nothing is acted on that is not in the ledger; it goes on when there is room."""
    world.fails = True
    world.once(spent(1000))
    assert world.condition("LedgerAvailable")["reason"] == "LedgerUnavailable"
    assert "make room" in world.condition("LedgerAvailable")["message"]
    assert "suspend" not in world.cluster.calls

    world.fails = False
    world.once(spent(1000))

    assert world.condition("LedgerAvailable")["status"] == "True"
    assert "suspend" in world.cluster.calls


def test_an_unreadable_ledger_lifts_no_hold(world: World) -> None:
    """An operator that starts on a full disk knows nothing: it must not say so."""
    world.once(spent(1000, ended=True), gone=True)
    world.start()
    world.fails = True
    world.once()

    assert world.status()["holds"]
    assert world.condition("Held")["reason"] != "BelowAllLines"
    assert world.condition("LedgerAvailable")["status"] == "False"
    assert "resume" not in world.cluster.calls


def test_a_run_that_cannot_be_judged_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with one run, the next one is settled."""
    other = objects.run("other", "run-0")
    other["spec"]["workload"]["name"] = "elsewhere"
    world.cache.see_run("ADDED", other)
    judge = settling.plan

    def plan(view: settling.RunView, *rest: Any, **more: Any) -> settling.Plan:
        if view.ref.name == "other":
            message = "a bug"
            raise RuntimeError(message)
        return judge(view, *rest, **more)

    monkeypatch.setattr(settling, "plan", plan)
    world.once(spent(500))

    assert world.cache.runs["run-1"]["status"]["flops"]["upper"] == "500"


def test_an_unknown_base_model_is_said_and_the_default_line_governs(
    world: World,
) -> None:
    """The run goes on, under 3.3e22, and its owner reads what to give."""
    world.once()

    condition = world.condition("BaseModelKnown")
    assert condition["status"] == "False"
    assert "spec.baseModel.pretrainingFlops" in condition["message"]
    assert world.status()["threshold"]["limit"] == str(33 * 10**21)


def test_a_missing_workload_is_said(world: World) -> None:
    """A run may be applied before its Job."""
    world.cache.see_job("DELETED", objects.job())
    world.once()

    assert world.condition("WorkloadFound")["reason"] == "WorkloadNotFound"


def test_the_younger_of_two_claimants_meters_nothing(world: World) -> None:
    """Both would hold the same Job: the older run wins, the other says so."""
    younger = objects.run("late", "run-2")
    younger["metadata"]["creationTimestamp"] = "2026-11-22T05:00:00Z"
    world.cache.see_run("ADDED", younger)
    world.once(spent(500))

    (condition,) = world.cache.runs["run-2"]["status"]["conditions"]
    assert condition["reason"] == "WorkloadConflict"
    assert world.cache.runs["run-1"]["status"]["flops"]["upper"] == "500"


def test_active_pods_without_the_meter_are_said(world: World) -> None:
    """A Job applied before its run has pods that nobody injected."""
    world.cache.see_job("MODIFIED", objects.job(active=2))
    world.once(spent(10))

    message = world.condition("MeteringIncomplete")["message"]
    assert message.startswith("1 pod(s) of Job train run without the meter")


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


def test_an_unreachable_prometheus_is_said(world: World) -> None:
    """The loop goes on from the sidecars; the condition names the address."""
    settings = Settings(
        ledger=world.path, prometheus_url="http://127.0.0.1:9", settle_seconds=0
    )
    world.cycle.settings = settings
    world.once(spent(500))

    condition = world.condition("PrometheusAvailable")
    assert condition["reason"] == "NotAnswering"
    assert "127.0.0.1:9" in condition["message"]
    assert world.status()["flops"]["upper"] == "500"
