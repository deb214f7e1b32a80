"""Intervals of paired timings, and the verdicts that go by them."""

import pytest

from bench.intervals import difference, mean, overhead
from bench.plan import judge


def test_a_constant_overhead_has_no_width() -> None:
    """Every round says 10 %, so does each end of the interval."""
    found = overhead([[(1000, 1100)] * 5, [(2000, 2200)] * 5])

    assert found.value == pytest.approx(10)
    assert found.low == pytest.approx(10)
    assert found.high == pytest.approx(10)
    assert found.rounds == 10


def test_a_rare_cost_is_in_the_value_and_not_in_the_median() -> None:
    """One round in ten takes double: 10 % over all, nothing in an ordinary one."""
    rounds = [(1000, 2000), *[(1000, 1000)] * 9]

    found = overhead([rounds])

    assert found.value == pytest.approx(10)
    assert found.median == 0
    assert found.low <= 0 < found.high


def test_a_difference_is_per_unit_and_in_microseconds() -> None:
    """5,000 ns over ten calls are half a microsecond each."""
    assert difference([[(10_000, 15_000)] * 3], 10).value == pytest.approx(0.5)


def test_sessions_that_disagree_widen_the_interval() -> None:
    """Rounds of one process are alike; what differs between processes must show."""
    alike = overhead([[(100, 101)] * 20] * 3)
    apart = overhead([[(100, 99 + 2 * n)] * 20 for n in range(3)])

    assert apart.value == pytest.approx(alike.value)
    assert apart.high - apart.low > 1 > alike.high - alike.low


def test_a_session_without_rounds_counts_for_nothing() -> None:
    """A slow arm may have had no turn in it."""
    assert overhead([[], [(100, 102)]]).value == pytest.approx(2)


def test_the_same_figures_give_the_same_interval() -> None:
    """The draws are seeded: a table can be made again from the raw figures."""
    assert mean([1.0, 2.0, 4.0]) == mean([1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        pytest.param(0.5, 2.0, "met", id="all of it keeps the bound"),
        pytest.param(1.9, 2.1, "not resolved", id="the bound lies within"),
        pytest.param(2.1, 3.0, "not met", id="all of it breaks the bound"),
    ],
)
def test_a_verdict_goes_by_the_whole_interval(
    low: float, high: float, verdict: str
) -> None:
    """A figure below its bound is not enough when its interval is not."""
    assert judge(low, high, 2.0) == verdict
