"""The loop on the real ledger store, with a stand-in for the Kubernetes API."""

from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import naming, settling
from flopguard_operator.books import utc_now
from flopguard_operator.ledger.entries import (
    Crossing,
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


def test_an_attempt_says_since_when_it_is_known(world: World) -> None:
    """The time of its first entry, which stays."""
    before = utc_now()
    world.once(spent(10))
    first = world.status()["attempts"][0]["startedAt"]
    after = utc_now()
    world.once(spent(700))

    assert before <= first <= after
    assert world.status()["attempts"][0]["startedAt"] == first


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


def test_a_status_that_says_the_same_is_not_written_again(world: World) -> None:
    """A cycle in which nothing happened costs the API server nothing."""
    world.once(spent(10))
    world.once(spent(400))
    assert world.status()["flopsPerSecond"] != "0"
    world.once(spent(400, ended=True), gone=True)
    world.cluster.calls.clear()
    world.once()

    assert world.status()["flopsPerSecond"] == "0"
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
