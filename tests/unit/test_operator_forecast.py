"""What the loop makes of a plan: status, conditions, holds, and what lasts."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.ledger.entries import ForecastNoted, HoldReleased, HoldSet
from flopguard_operator.ledger.store import SqliteStore
from standins import objects
from standins.ledgers import assert_whole
from standins.world import World, spent

ROUGH = {"method": "Full", "parameters": "1"}  # 6 FLOPs a token, 3 to 12
SYSTEMIC = {
    "name": "example/base",
    "pretrainingFlops": "1000",
    "source": "a letter",
    "systemicRisk": True,
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def planned(world: World, tokens: int, **plan: Any) -> None:
    """Let the run plan for so many tokens, on one parameter, and run a cycle."""
    world.revise(plan={**ROUGH, "trainingTokens": str(tokens), **plan})
    world.once()


def test_a_plan_is_forecast_before_any_pod(world: World) -> None:
    """Three figures, what they are made of, and conditions of both lines."""
    planned(world, 50)

    forecast = world.status()["forecast"]
    assert forecast["total"] == {"low": "150", "expected": "300", "high": "600"}
    assert forecast["basis"] == "RuleOfThumb"
    assert "6 FLOPs per parameter and token" in forecast["assumptions"][0]
    assert world.condition("ForecastExceedsBudget")["status"] == "False"
    assert world.condition("ForecastExceedsThreshold")["status"] == "False"


STATES = {
    "below the budget at most": (83, "False", "BelowAllLines"),
    "above it at most": (84, "Unknown", "WithinInterval"),
    "just below it": (166, "Unknown", "WithinInterval"),
    "above it": (167, "True", "ForecastExceedsBudget"),
}


@pytest.mark.parametrize(
    ("tokens", "status", "reason"), STATES.values(), ids=STATES.keys()
)
def test_the_condition_says_whether_the_budget_holds_the_plan(
    world: World, tokens: int, status: str, reason: str
) -> None:
    """The budget is 1,000 FLOPs; the expected total is compared, as ≥."""
    planned(world, tokens)

    found = world.condition("ForecastExceedsBudget")
    assert (found["status"], found["reason"]) == (status, reason)


def test_without_a_plan_nobody_knows(world: World) -> None:
    """And nothing is noted."""
    world.once(spent(10))

    found = world.condition("ForecastExceedsBudget")
    assert (found["status"], found["reason"]) == ("Unknown", "NoForecast")
    assert "no spec.plan" in found["message"]
    assert world.recorded(ForecastNoted) == []


def test_annotate_tells_and_nothing_keeps_still(world: World) -> None:
    """One Event for a forecast that crosses; none where nobody wants one."""
    planned(world, 500)
    world.once()

    said = [one for one in world.cluster.events if one[1].startswith("Forecast")]
    assert said == [(kind, "ForecastExceedsBudget") for kind in ("FineTuneRun", "Job")]
    assert world.recorded(HoldSet) == []

    planned(world, 600, onForecastBreach="Nothing")
    again = [one for one in world.cluster.events if one[1].startswith("Forecast")]
    assert again == said


def test_hold_holds_before_the_first_pod(world: World) -> None:
    """The Job is suspended; a smaller plan lets it go."""
    planned(world, 500, onForecastBreach="Hold")

    assert world.cache.jobs["ml", "train"].suspended
    (hold,) = world.status()["holds"]
    assert hold["reason"] == "ForecastExceedsBudget"
    assert "3e3 (1.5e3 to 6e3) FLOPs" in hold["message"]

    planned(world, 10, onForecastBreach="Hold")
    world.once()

    assert not world.cache.jobs["ml", "train"].suspended
    assert len(world.recorded(HoldReleased)) == 1


def test_annotate_releases_a_hold_for_a_forecast(world: World) -> None:
    """What the message offers works."""
    planned(world, 500, onForecastBreach="Hold")
    planned(world, 500, onForecastBreach="Annotate")
    world.once()

    assert not world.cache.jobs["ml", "train"].suspended


UNUSABLE = {
    "no amount": {"onForecastBreach": "Hold"},
    "a configuration that is none": {
        "onForecastBreach": "Hold",
        "trainingTokens": "10",
        "modelConfig": "{",
    },
    "a layer that is not there": {
        "onForecastBreach": "Hold",
        "trainingTokens": "10",
        "method": "LoRA",
        "loraTargets": ["nothing"],
        "modelConfig": '{"model_type": "llama", "hidden_size": 8, '
        '"num_hidden_layers": 1, "intermediate_size": 8, "num_attention_heads": 1}',
    },
}


@pytest.mark.parametrize("plan", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_hold_without_a_forecast_leaves_the_field_out(
    world: World, plan: dict[str, Any]
) -> None:
    """The API server's lock refuses the pods then; the condition says what to give."""
    world.revise(plan=plan)
    world.once(spent(10))
    world.once(spent(20))

    assert world.status().get("forecast") is None
    message = world.condition("ForecastExceedsBudget")["message"]
    assert "spec.plan" in message
    assert "the API server refuses the run's pods" in message
    assert world.status()["flops"]["upper"] == "20"  # it is metered all the same


def test_only_what_is_new_is_noted(world: World) -> None:
    """Not each cycle, and not for a twentieth more."""
    planned(world, 100)
    world.once()
    planned(world, 105)
    assert len(world.recorded(ForecastNoted)) == 1

    planned(world, 120)
    assert len(world.recorded(ForecastNoted)) == 2

    planned(world, 120, onForecastBreach="Hold")
    assert len(world.recorded(ForecastNoted)) == 3


def test_the_notice_keeps_its_date_over_restarts_and_changes(world: World) -> None:
    """Two weeks from the first forecast that crosses, on a base with systemic risk."""
    world.revise(baseModel=SYSTEMIC)
    planned(world, 100)  # 600 expected; 30 % of the base are 300
    (first,) = world.recorded(ForecastNoted)
    due = datetime.fromisoformat(first.first_known) + timedelta(days=14)

    world.start()
    planned(world, 10)
    withdrawn = world.condition("NotificationDue")
    planned(world, 200)

    assert withdrawn["status"] == "False"
    assert f"{due:%Y-%m-%d}" in withdrawn["message"]
    found = world.condition("NotificationDue")
    assert found["status"] == "True"
    assert f"by {due:%Y-%m-%d}" in found["message"]
    assert world.status()["forecast"]["noticeDueAt"] == f"{due:%Y-%m-%dT%H:%M:%SZ}"
    assert {e.first_known for e in world.recorded(ForecastNoted)} == {first.first_known}


def test_what_is_spent_opens_the_notice_without_a_plan(world: World) -> None:
    """A line that is crossed needs no forecast to be known of."""
    world.revise(baseModel=SYSTEMIC)
    world.once(spent(301))

    assert world.condition("NotificationDue")["status"] == "True"
    (noted,) = world.recorded(ForecastNoted)
    assert (noted.basis, noted.expected) == ("Measured", 301)


def test_a_run_that_is_over_has_spent_its_total(world: World) -> None:
    """Whatever its plan said."""
    planned(world, 100)
    world.once(spent(90, ended=True), gone=True)
    done = objects.job()
    done["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    world.cache.see_job("MODIFIED", done)
    world.once()

    total = world.status()["forecast"]["total"]
    assert total == {"low": "90", "expected": "90", "high": "90"}


def test_all_of_it_verifies(world: World) -> None:
    """Holds for forecasts, notices and releases: the replay finds nothing wrong."""
    world.revise(baseModel=SYSTEMIC)
    planned(world, 500, onForecastBreach="Hold")
    planned(world, 10, onForecastBreach="Hold")
    world.once(spent(301))

    store = SqliteStore(world.path, world.key)
    assert_whole(store)
    store.close()
