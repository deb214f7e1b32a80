"""A program's forecast: the sum over its runs, no narrower than anybody can know."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.cli import main
from flopguard_operator.forecast.history import MOST_POINTS, Point, Track
from flopguard_operator.forecast.outlook import Total, reaches
from flopguard_operator.forecast.together import Part, merged, total
from standins import objects
from standins.world import World
from unit.test_operator_programs import pod, program, run, world

__all__ = ["world"]

HOUR = 3_600_000
PLAN = {"method": "Full", "parameters": "1"}  # 6 FLOPs a token, 3 to 12


def bounds(low: int, expected: int, high: int | None) -> Total:
    """Return a run's total."""
    return Total(low, expected, high, "ClosedForm")


SUMS: dict[str, tuple[tuple[Part, ...], tuple[int, int, int | None] | None]] = {
    "no run goes on": ((), None),
    "none of them has a forecast": ((Part(9, None),), None),
    "one that is planned": ((Part(0, bounds(1, 2, 4)),), (101, 102, 104)),
    "one that has spent a part": ((Part(2, bounds(3, 5, 9)),), (101, 103, 107)),
    "one that has spent more than its low": (
        (Part(4, bounds(3, 5, 9)),),
        (100, 101, 105),
    ),
    "two": ((Part(0, bounds(1, 2, 4)), Part(2, bounds(3, 5, 9))), (102, 105, 111)),
    "one that has outrun its plan": (
        (Part(0, bounds(1, 2, 4)), Part(9, bounds(9, 9, None))),
        (101, 102, None),
    ),
    "one of two without a forecast": (
        (Part(0, bounds(1, 2, 4)), Part(9, None)),
        (101, 102, None),
    ),
}


@pytest.mark.parametrize(("parts", "right"), SUMS.values(), ids=SUMS)
def test_lows_are_added_to_lows_and_highs_to_highs(
    parts: tuple[Part, ...], right: tuple[int, int, int | None] | None
) -> None:
    """To what is spent; what nobody knows has no upper bound, and is named."""
    found, why_not = total(100, parts)

    if right is None:
        assert found is None
        assert why_not
        return
    assert found is not None
    assert (found.low, found.expected, found.high) == right
    assert any("without a forecast" in said for said in found.assumptions) == any(
        part.total is None for part in parts
    )


histories = st.lists(
    st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9)), min_size=1, max_size=9),
    min_size=1,
    max_size=5,
)


@given(histories)
def test_histories_are_added_up_and_end_now(made: list[list[tuple[int, int]]]) -> None:
    """Nothing falls, and what was gained together is the sum of the gains."""
    told, gained = [], 0
    for steps in made:
        at, upper, points = 0, 1_000, []
        for pause, gain in steps:
            at, upper = at + pause, upper + gain
            points.append(Point(at, upper))
        told.append(points)
        gained += points[-1].upper - points[0].upper
    found = merged(told, 10_000)

    assert found[-1] == Point(10_000, gained)
    assert [p.at for p in found] == sorted({p.at for p in found})
    assert [p.upper for p in found] == sorted(p.upper for p in found)


def test_many_long_histories_stay_bounded() -> None:
    """And still begin and end where they do."""
    points = [Point(n, n) for n in range(1_000)]
    found = merged([points, points], 999)

    assert len(found) == MOST_POINTS
    assert (found[0].at, found[-1]) == (0, Point(999, 1_998))


def test_runs_that_go_on_together_reach_a_line_together() -> None:
    """Two at one FLOP an hour each: ten more take five hours."""
    points = [Point(n * HOUR, n) for n in range(40)]
    late = [Point(n * HOUR + 7, n) for n in range(20)]  # started 20 hours later
    (reach,) = reaches(merged([points, late], 100 * HOUR), [("Budget", 68)])

    assert reach.earliest <= 5 * HOUR <= reach.latest


def forecast(world: World) -> dict[str, Any]:
    """Return the program's status.forecast."""
    found: dict[str, Any] = world.cache.programs["support-bot"]["status"]["forecast"]
    return found


def condition(world: World, kind: str) -> tuple[str, str]:
    """Return status and reason of a condition of the program."""
    told = world.cache.programs["support-bot"]["status"]["conditions"]
    (found,) = [one for one in told if one["type"] == kind]
    return found["status"], found["reason"]


def plan(world: World, name: str, tokens: int) -> None:
    """Let a run plan for so many tokens, on one parameter."""
    raw = run(name, plan={**PLAN, "trainingTokens": str(tokens)})
    raw["status"] = world.cache.runs[f"run-{name}"].get("status", {})
    world.cache.see_run("MODIFIED", raw)


STATES = {
    "below": (100_000, "False", "BelowAllLines"),
    "at most above": (1_000, "Unknown", "WithinInterval"),
    "above": (900, "True", "ForecastExceedsBudget"),
}


@pytest.mark.parametrize(("budget", "status", "reason"), STATES.values(), ids=STATES)
def test_a_program_says_what_its_runs_will_cost(
    world: World, budget: int, status: str, reason: str
) -> None:
    """Two planned runs, of which one has spent a part; nothing is held for it."""
    plan(world, "first", 50)  # 150, 300, 600
    plan(world, "second", 100)  # 300, 600, 1200
    program(world, budget={"maxFlops": str(budget), "warnAtPercent": [99]})
    world.once(pod("first", 100))
    world.once()

    found = forecast(world)
    assert found["basis"] == "Sum"
    assert int(found["total"]["low"]) == 150 + 300
    assert int(found["total"]["expected"]) == 900
    assert int(found["total"]["high"]) == 600 + 1200
    assert condition(world, "ForecastExceedsBudget") == (status, reason)
    assert condition(world, "ForecastExceedsThreshold")[0] == "False"
    assert not world.cache.programs["support-bot"]["status"].get("holds")


def test_a_run_that_has_ended_adds_nothing(world: World) -> None:
    """Its Job is gone, whatever its plan said; without others there is no forecast."""
    plan(world, "first", 50)
    del world.cache.runs["run-second"]
    program(world)
    world.once(pod("first", 100, ended=True))
    world.once(pod("first", 100, ended=True), gone=True)
    world.cache.see_job("DELETED", objects.job("job-first", name="first"))
    world.once()

    status, reason = condition(world, "ForecastExceedsThreshold")
    assert (status, reason) == ("Unknown", "NoForecast")
    assert "forecast" not in {
        key
        for key, value in world.cache.programs["support-bot"]["status"].items()
        if value is not None
    }


def test_a_program_says_when_it_crosses_at_the_pace_of_its_runs(world: World) -> None:
    """Two runs of ten FLOPs an hour each, 600 from the budget: in thirty hours."""
    program(world, budget={"maxFlops": "1000", "warnAtPercent": [99]})
    world.once(pod("first", 200), pod("second", 200))
    for name in ("first", "second"):
        track = Track(upper=200)
        now = world.books.tracks[f"run-{name}"].points[-1].at
        track.points = [Point(now - (20 - n) * HOUR, 10 * n) for n in range(21)]
        world.books.tracks[f"run-{name}"] = track
    world.once()

    found = forecast(world)
    assert found["line"] == "Budget"
    times = ("crossesAtEarliest", "crossesAt", "crossesAtLatest")
    early, likely, late = (datetime.fromisoformat(found[name]) for name in times)
    hours = (likely - datetime.fromtimestamp(now / 1000, UTC)).total_seconds() / 3600
    assert early <= likely <= late
    assert 24 < hours < 36


def test_the_report_has_the_same_sum(tmp_path: Path, world: World) -> None:
    """From what the ledger noted of the runs last."""
    plan(world, "first", 50)
    plan(world, "second", 100)
    program(world, budget={"maxFlops": "900", "warnAtPercent": [99]})
    world.once()
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(world.exported())
    command = ["report", "support-bot", "--ledger", str(file), "--format"]
    told = json.loads(CliRunner().invoke(main, [*command, "json"]).output)
    words = CliRunner().invoke(main, [*command, "md"]).output

    (found,) = told["programs"]
    assert found["forecast_total"] == {
        "low": "450",
        "expected": "900",
        "high": "1800",
        "basis": "Sum",
    }
    sentence = "900 FLOPs, at least 450, at most 1.8e3 (Sum); it crosses the budget."
    assert any(sentence in said for said in found["forecast"])
    assert "900 FLOPs, at least 450, at most 1.8e3" in words


def test_a_forecast_that_was_withdrawn_is_no_total(
    tmp_path: Path, world: World
) -> None:
    """Of a run whose plan was taken back the ledger has a note without an end."""
    plan(world, "first", 50)
    program(world)
    world.once()
    before = reported(tmp_path, world)
    raw = run("first")
    raw["status"] = world.cache.runs["run-first"].get("status", {})
    world.cache.see_run("MODIFIED", raw)
    world.once()

    assert before["forecast_total"]["expected"] == "300"
    assert reported(tmp_path, world)["forecast_total"] is None


def reported(folder: Path, world: World) -> dict[str, Any]:
    """Return what a report says of the first run."""
    file = folder / "ledger.jsonl"
    file.write_bytes(world.exported())
    command = ["report", "ml/first", "--ledger", str(file), "--format", "json"]
    (found,) = json.loads(CliRunner().invoke(main, command).output)["runs"]
    return dict(found)
