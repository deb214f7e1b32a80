"""The forecast during a run: its 90 % intervals hold what came of it.

Every figure is printed (`pytest -s`), and docs/forecast.md quotes them.
"""

from collections.abc import Callable, Iterable
from statistics import median

import pytest

from flopguard_operator.forecast.chance import Chance
from flopguard_operator.forecast.history import Point
from flopguard_operator.forecast.outlook import reaches, spent, total
from flopguard_operator.forecast.plan import Plan
from flopguard_operator.forecast.planned import of_plan
from foresight import coverage
from foresight.coverage import Held
from foresight.histories import KINDS, PER_STEP, TICK, History, recorded, simulated

LEAST = 0.85
RUNS = 16
RECORDED_PARTS = tuple(n / 20 for n in range(3, 19))
Forecasts = Callable[[History], Iterable[Held]]


def crossings_of(history: History) -> Iterable[Held]:
    """Return forecasts of a recorded run's crossings of three lines."""
    return coverage.crossings(history, RECORDED_PARTS, (0.5, 0.75, 1.0))


def totals_of(history: History) -> Iterable[Held]:
    """Return forecasts of a recorded run's total."""
    return coverage.totals(history, RECORDED_PARTS)


def told(name: str, found: list[Held]) -> float:
    """Print a line of the table; return the share of intervals that hold the truth."""
    print(coverage.told(name, found))  # noqa: T201 - what this test is for
    return sum(each.covers for each in found) / len(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", [coverage.crossings, coverage.totals])
def test_simulated_runs_come_out_as_forecast(what: Forecasts, kind: str) -> None:
    """At six moments of each run, from 15 to 90 % of its time."""
    runs = [simulated(kind, seed) for seed in range(RUNS)]
    found = [held for history in runs for held in what(history)]

    assert len(found) > 4 * RUNS
    assert told(f"{what.__name__} simulated {kind}", found) >= LEAST


@pytest.mark.parametrize("kind", recorded())
@pytest.mark.parametrize("what", [crossings_of, totals_of])
def test_recorded_runs_come_out_as_forecast(what: Forecasts, kind: str) -> None:
    """At sixteen moments of a real training, to lines at half, three quarters, all."""
    found = list(what(recorded()[kind]))

    assert len(found) >= len(RECORDED_PARTS) - 4
    assert told(f"{what.__name__} recorded {kind}", found) >= LEAST


def test_a_steady_run_has_a_narrow_interval() -> None:
    """Covering the truth is no merit of an interval that has everything."""
    runs = [simulated("steady", seed) for seed in range(6)]
    found = [held for history in runs for held in coverage.crossings(history, (0.6,))]

    assert median((each.high - each.low) / each.truth for each in found) < 1 / 2


def test_the_same_history_has_the_same_forecast() -> None:
    """Nothing is random: the seed is the history."""
    points = simulated("bursts", 3).until(0.5)
    lines = [("Budget", 10**19), ("Threshold", 10**20)]

    assert reaches(points, lines) == reaches(points, lines) != ()
    assert reaches(points[:-1], lines) != reaches(points, lines)


def test_lines_come_in_their_order_and_reached_ones_not_at_all() -> None:
    """The nearest is first, whatever order they are asked in."""
    points = simulated("steady", 1).until(0.5)
    upper = points[-1].upper
    lines = [("far", 3 * upper), ("behind", upper), ("near", upper + upper // 10)]

    found = reaches(points, lines)

    assert [each.line for each in found] == ["near", "far"]
    assert all(0 < r.earliest <= r.at <= r.latest for r in found)
    assert found[0].at < found[1].at


@pytest.mark.parametrize("count", range(1, 5))
def test_a_short_history_has_no_date(count: int) -> None:
    """Four intervals are the least that a pace can be seen in."""
    points = [Point(n * TICK, n * PER_STEP) for n in range(count)]

    assert reaches(points, [("Budget", 10**30)]) == ()


def test_a_run_that_stands_still_is_expected_to_go_on_later() -> None:
    """The break that it is in counts, too."""
    points = [Point(n * TICK, n * PER_STEP) for n in range(20)]
    line = [("Budget", 30 * PER_STEP)]
    waiting = [*points, Point(40 * TICK, 19 * PER_STEP)]

    (running,), (paused,) = reaches(points, line), reaches(waiting, line)

    assert paused.at > running.at
    assert paused.latest > running.latest


def test_a_run_without_any_work_has_no_date() -> None:
    """It was never under way."""
    points = [Point(n * TICK, 0) for n in range(20)]

    assert reaches(points, [("Budget", 1)]) == ()


PROJECTION = of_plan(Plan(tokens=10**9, parameters=10**9, method="Full"))


def test_a_plan_leads_until_more_is_spent() -> None:
    """Below the plan's lowest figure nothing has changed."""
    found = total(PROJECTION, [Point(0, 10)], None)

    assert found is not None
    bounds = PROJECTION.total
    assert (found.low, found.expected) == (bounds.low, bounds.expected)
    assert found.high == bounds.high


def test_what_is_spent_moves_the_plan_up() -> None:
    """The total is never below what is spent, and its bounds stay in order."""
    bounds = PROJECTION.total
    before = bounds.expected
    for upper in (bounds.expected, bounds.expected * 3 // 2, bounds.high):
        found = total(PROJECTION, [Point(0, upper)], None)
        assert found is not None
        assert found.high is not None
        assert upper <= found.low <= found.expected <= found.high
        assert before < found.expected
        before = found.expected


def test_a_run_that_outruns_its_plan_has_no_upper_bound() -> None:
    """Nothing says how far it goes: the sentence asks for a new plan."""
    found = total(PROJECTION, [Point(0, 9 * PROJECTION.total.high)], None)

    assert found is not None
    assert found.high is None
    assert "correct spec.plan" in found.assumptions[0]


def test_without_a_plan_there_is_no_total() -> None:
    """A history alone does not say when a run ends."""
    assert total(None, simulated("steady", 1).points, None) is None


def test_a_run_that_made_all_its_steps_is_over() -> None:
    """What it spent is the total."""
    history = simulated("retries", 2)

    found = total(PROJECTION, history.points, history.steps)

    assert found == spent(history.points[-1].upper)


def test_chance_is_spread_as_it_says() -> None:
    """Means and variances of the distributions, over 20,000 draws of one seed."""
    chance, count = Chance("a seed"), 20_000
    draws = {
        "uniform": ([chance.uniform() for _ in range(count)], 1 / 2, 1 / 12),
        "normal": ([chance.normal() for _ in range(count)], 0, 1),
        "gamma": ([chance.gamma(0.5) for _ in range(count)], 0.5, 0.5),
        "exponential": ([chance.exponential() for _ in range(count)], 1, 1),
        "student": ([chance.student(10) for _ in range(count)], 0, 1.25),
    }

    for name, (drawn, mean, variance) in draws.items():
        centre = sum(drawn) / count
        spread = sum((each - centre) ** 2 for each in drawn) / count
        assert centre == pytest.approx(mean, abs=0.03), name
        assert spread == pytest.approx(variance, rel=0.06), name
