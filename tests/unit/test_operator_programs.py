"""What do a program's runs together, and people's decisions, do to each run?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import settling
from flopguard_operator.ledger.entries import (
    DecisionExpired,
    DecisionRecorded,
    HoldProven,
    HoldReleased,
    Imported,
    ProgramAdjusted,
    ProgramSet,
)
from standins import objects
from standins.objects import Raw
from standins.world import World

BUDGET = {"maxFlops": "1000", "warnAtPercent": [50]}
BASE = {"name": "example/base", "pretrainingFlops": "1e23", "source": "model card"}
LIMIT = 3 * 10**22  # of that base, under the default policy
REVIEW = 90 * LIMIT // 100


def other(raw: Raw, name: str, uid: str) -> Raw:
    """Return the run, or the pod, of a second Job."""
    raw["metadata"] |= {"name": name, "uid": uid}
    return raw


def run(name: str, **spec: Any) -> Raw:
    """Return a run of the program, of the Job of its own name, without a budget."""
    workload = {"apiVersion": "batch/v1", "kind": "Job", "name": name}
    made = objects.run(name, f"run-{name}", workload=workload, program="support-bot")
    del made["spec"]["budget"]
    made["spec"] |= spec
    return made


def pod(name: str, flops: int, *, ended: bool = False) -> Raw:
    """Return the pod of a run, of which so many FLOPs are said."""
    words = objects.final_record(flops)
    made = objects.pod(f"pod-{name}", job_uid=f"job-{name}", ended=ended, words=words)
    labels = made["metadata"]["labels"]
    labels["flopguard.dev/run"] = name
    labels["batch.kubernetes.io/job-name"] = name
    return made


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with two runs of one program, and a Job for each."""
    made = World(tmp_path)
    planner = made.cycle.planner
    planner.settings = replace(planner.settings, settle_seconds=300)
    made.cache.runs.clear()
    made.cache.jobs.clear()
    for name in ("first", "second"):
        made.cache.see_run("ADDED", run(name))
        made.cache.see_job("ADDED", objects.job(f"job-{name}", name=name))
    return made


def program(world: World, **spec: Any) -> None:
    """Apply the program, or change its spec."""
    raw = objects.program(**spec)
    raw["metadata"]["generation"] = len(world.recorded(ProgramSet)) + 1
    known = world.cache.programs.get("support-bot")
    if known is not None:
        raw["status"] = known.get("status", {})
    world.cache.see_program("MODIFIED", raw)


def decide(world: World, kind: str, uid: str = "decision-1", **spec: Any) -> None:
    """Make a decision."""
    world.cache.see_decision("ADDED", objects.decision(kind, uid, **spec))


def verified(world: World) -> list[str]:
    """Return what is wrong with the ledger, as a stranger sees it."""
    return [c.message for c in world.verified().checks if c.outcome != "ok"]


def held(world: World) -> set[str]:
    """Return the names of the runs that are held."""
    runs = world.cache.runs.values()
    return {r["metadata"]["name"] for r in runs if r["status"].get("holds")}


def test_a_run_is_held_because_of_what_its_sibling_spent(world: World) -> None:
    """And the message says so; both Jobs are suspended, and the ledger verifies."""
    program(world, budget=BUDGET)
    world.once(pod("first", 700), pod("second", 200))
    assert held(world) == set()

    world.once(pod("first", 850))

    assert held(world) == {"first", "second"}
    (hold,) = world.status_of("run-second")["holds"]
    assert hold["reason"] == "ProgramBudgetExceeded"
    assert hold["message"].startswith("program support-bot, all of its runs together:")
    assert world.cache.jobs["ml", "second"].suspended
    assert world.cache.programs["support-bot"]["status"]["upper"] == "1050"
    assert verified(world) == []


def test_a_new_run_starts_from_what_is_already_spent(world: World) -> None:
    """It is held before its first FLOP."""
    program(world, budget=BUDGET)
    world.once(pod("first", 1000, ended=True))
    world.cache.see_run("ADDED", run("third"))
    world.cache.see_job("ADDED", objects.job("job-third", name="third"))

    world.once()

    assert "third" in held(world)
    assert world.status_of("run-third")["flops"]["upper"] == "0"
    assert verified(world) == []


def test_the_overshoot_of_a_programs_hold_is_the_programs(world: World) -> None:
    """What all of its runs spent above the line, not one of them."""
    program(world, budget=BUDGET)
    world.once(pod("first", 600), pod("second", 450))
    last = pod("first", 650, ended=True), pod("second", 450, ended=True)
    world.once(*last, gone=True)
    world.once()

    proven = world.recorded(HoldProven)
    assert {(one.upper, one.overshoot) for one in proven} == {(650, 100), (450, 100)}
    assert verified(world) == []


def test_a_raised_program_budget_releases_all_of_its_runs(world: World) -> None:
    """Nobody has to touch the runs."""
    program(world, budget=BUDGET)
    world.once(pod("first", 600, ended=True), pod("second", 450, ended=True))
    world.once()
    program(world, budget={"maxFlops": "5000"})
    world.once()
    world.once()

    assert held(world) == set()
    assert len(world.recorded(HoldReleased)) == 2
    assert verified(world) == []


def test_a_review_is_due_at_ninety_percent_until_a_decision_covers_it(
    world: World,
) -> None:
    """No budget is needed; the decision lets the runs go on below its limit."""
    program(world, baseModel=BASE)
    world.once(pod("first", REVIEW - 10), pod("second", 10))
    assert held(world) == {"first", "second"}
    assert world.status_of("run-first")["holds"][0]["reason"] == (
        "ProgramThresholdApproached"
    )

    decide(world, "Proceed", toFlops=str(REVIEW + 1000))
    world.once()
    world.once()

    assert held(world) == set()
    assert world.cache.programs["support-bot"]["status"]["allowed"] == str(
        REVIEW + 1000
    )
    (status,) = world.cache.decisions["decision-1"]["status"]["conditions"]
    assert (status["type"], status["status"]) == ("Recorded", "True")
    world.once(pod("first", REVIEW + 1000))
    assert held(world) == {"first", "second"}
    assert verified(world) == []


def test_a_decision_that_expires_holds_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its end everything is as it was before it."""
    program(world, baseModel=BASE)
    far = str(LIMIT)
    decide(world, "Proceed", toFlops=far, expires="2999-01-01T00:00:00Z")
    world.once(pod("first", REVIEW))
    assert held(world) == set()

    monkeypatch.setattr(
        "flopguard_operator.planning.utc_now", lambda: "2999-01-01T00:00:00.000Z"
    )
    monkeypatch.setattr(
        "flopguard_operator.books.utc_now", lambda: "2999-01-01T00:00:00.000Z"
    )
    world.once()

    assert held(world) == {"first", "second"}
    assert [one.decision for one in world.recorded(DecisionExpired)] == ["decision-1"]
    assert verified(world) == []


def test_an_expired_decision_that_stays_in_force_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator that forgets to end it cannot hide that."""
    program(world, baseModel=BASE)
    decide(world, "Proceed", toFlops=str(LIMIT), expires="2999-01-01T00:00:00Z")
    world.once(pod("first", 10))
    monkeypatch.setattr(
        "flopguard_operator.books.utc_now", lambda: "2999-01-01T00:00:00.001Z"
    )
    planner = world.cycle.planner
    planner.settings = replace(planner.settings, settle_seconds=0)
    world.once(pod("first", 20))

    (wrong,) = verified(world)
    assert "'decision-1' has expired at 2999-01-01T00:00:00.000Z" in wrong


def test_a_decision_to_stop_holds_a_program_far_from_any_line(world: World) -> None:
    """A later decision to proceed lifts it."""
    program(world, baseModel=BASE)
    decide(world, "Stop")
    world.once(pod("first", 1))
    assert held(world) == {"first", "second"}
    assert (
        "counsel@example.org decided to stop: looked at it"
        in (world.status_of("run-first")["holds"][0]["message"])
    )

    decide(world, "Proceed", "decision-2", toFlops="1e20", made="2026-11-22T02:00:00Z")
    world.once()
    world.once()

    assert held(world) == set()
    assert verified(world) == []


def test_a_decision_on_a_run_without_a_program_lifts_its_hold(world: World) -> None:
    """Held at its own 95 percent; the decision is an entry of the run."""
    alone = run("alone", baseModel=BASE)
    del alone["spec"]["program"]
    world.cache.see_run("ADDED", alone)
    world.cache.see_job("ADDED", objects.job("job-alone", name="alone"))
    world.once(pod("alone", 96 * LIMIT // 100))
    assert "alone" in held(world)

    decide(world, "Proceed", run="alone", toFlops=str(LIMIT))
    world.once()
    world.once()

    assert "alone" not in held(world)
    (decision,) = world.recorded(DecisionRecorded)
    assert decision.run.name == "alone"
    assert verified(world) == []


def test_a_decision_from_before_a_run_says_nothing_about_it(world: World) -> None:
    """A run deleted and made anew under its name is another one."""
    program(world, baseModel=BASE)
    decide(world, "Stop", run="first", made="2026-11-21T23:59:59Z")
    world.once(pod("first", 1))

    assert world.recorded(DecisionRecorded) == []
    (status,) = world.cache.decisions["decision-1"]["status"]["conditions"]
    assert (status["status"], status["reason"]) == ("False", "NoSubject")


def test_an_excluded_run_stays_visible_and_counts_no_more(world: World) -> None:
    """What it spent is taken out with the reason that a person gave."""
    program(world, budget=BUDGET)
    world.once(pod("first", 700), pod("second", 200))
    decide(world, "Exclude", run="first")
    world.once()

    (out,) = world.recorded(ProgramAdjusted)
    assert (out.change, out.of, out.begun) == ("Excluded", "run-first", 700)
    assert world.cache.programs["support-bot"]["status"]["upper"] == "200"
    assert world.status_of("run-first")["flops"]["upper"] == "700"
    assert verified(world) == []


def test_a_move_is_two_entries_that_sum_to_zero(world: World) -> None:
    """What is moved twice is moved once."""
    program(world, budget=BUDGET)
    world.cache.see_program("ADDED", objects.program("other", "program-2"))
    world.once(pod("first", 700), pod("second", 200))
    decide(world, "Move", run="first", toProgram="other")
    decide(world, "Move", "decision-2", run="first", toProgram="other")
    world.once()

    moved = {
        (one.run.name, one.change, one.begun) for one in world.recorded(ProgramAdjusted)
    }
    assert moved == {
        ("support-bot", "MovedOut", 700),
        ("other", "MovedIn", 700),
        ("support-bot", "MovedOut", 0),
        ("other", "MovedIn", 0),
    }
    uppers = {n: p["status"]["upper"] for n, p in world.cache.programs.items()}
    assert uppers == {"support-bot": "200", "other": "700"}
    assert verified(world) == []


def test_an_imported_job_counts_with_its_high_estimate(world: World) -> None:
    """And is never mixed up with what was measured."""
    program(world, budget=BUDGET)
    job = {
        "name": "march",
        "method": "TrainerState",
        "low": "300",
        "flops": "400",
        "high": "500",
        "digest": "ab" * 32,
    }
    decide(world, "Import", imported=job)
    world.once(pod("first", 450))
    assert held(world) == set()
    world.once(pod("first", 500))

    assert held(world) == {"first", "second"}
    status = world.cache.programs["support-bot"]["status"]
    assert (status["measured"], status["imported"], status["upper"]) == (
        "500",
        "500",
        "1000",
    )
    (entry,) = world.recorded(Imported)
    assert (entry.low, entry.flops, entry.high) == (300, 400, 500)
    assert verified(world) == []


def test_without_its_owners_a_program_starts_nothing(world: World) -> None:
    """Where it asks for them; else a missing one is a condition."""
    program(world)
    world.once(pod("first", 1))
    (told,) = [
        one
        for one in world.cache.programs["support-bot"]["status"]["conditions"]
        if one["type"] == "OwnersNamed"
    ]
    assert (told["status"], told["reason"]) == ("False", "NotNamed")
    assert held(world) == set()

    program(world, requireOwners=True)
    world.once()
    assert world.status_of("run-first")["holds"][0]["reason"] == "ProgramOwnersMissing"

    owners = {"compliance": "counsel", "model": "scientist", "product": "lead"}
    program(world, requireOwners=True, owners=owners, rollbackPlan="weights of May")
    world.once()
    world.once()
    assert held(world) == set()
    assert verified(world) == []


def test_a_program_made_anew_goes_on_from_what_was_spent(world: World) -> None:
    """Deleting it hides nothing; what was decided of the old one is gone."""
    program(world, baseModel=BASE)
    decide(world, "Proceed", toFlops=str(LIMIT))
    world.once(pod("first", REVIEW))
    assert held(world) == set()

    world.cache.see_program("DELETED", objects.program())
    again = objects.program(uid="program-2", baseModel=BASE)
    again["metadata"]["creationTimestamp"] = "2026-11-22T05:00:00Z"
    world.cache.see_program("ADDED", again)
    world.once()

    assert held(world) == {"first", "second"}
    assert verified(world) == []


def test_a_start_remembers_programs_and_decisions(world: World) -> None:
    """A new operator process reads them from the ledger alone."""
    program(world, baseModel=BASE)
    decide(world, "Proceed", toFlops=str(LIMIT))
    world.once(pod("first", REVIEW))
    world.cache.decisions.clear()
    world.start()
    world.once()

    assert held(world) == set()
    assert len(world.recorded(DecisionRecorded)) == 1
    assert len(world.recorded(ProgramSet)) == 1


def test_a_run_that_cannot_be_planned_counts_as_far_as_it_is_settled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its siblings are judged on what the ledger holds of it, and so is the ledger."""
    program(world, budget=BUDGET)
    world.once(pod("first", 100), pod("second", 200))
    planned = settling.plan

    def plan(view: Any, *args: Any, **more: Any) -> Any:
        if view.ref.name == "second":
            message = "a bug"
            raise RuntimeError(message)
        return planned(view, *args, **more)

    monkeypatch.setattr(settling, "plan", plan)
    world.once(pod("first", 700), pod("second", 500))
    assert held(world) == set()
    world.once(pod("first", 800))
    assert held(world) == {"first"}
    assert verified(world) == []

    monkeypatch.setattr(settling, "plan", planned)
    world.once()
    assert held(world) == {"first", "second"}
    assert verified(world) == []


def test_a_program_that_cannot_be_read_says_why(world: World) -> None:
    """Its runs are refused with the same sentence."""
    program(world, baseModel={"name": "x", "pretrainingFlops": "1e23"})
    world.once()

    status = world.cache.programs["support-bot"]["status"]
    assert status["state"] == "Refused"
    assert "source" in status["conditions"][0]["message"]
