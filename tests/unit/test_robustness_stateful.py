"""A slice of the stateful campaign, and what the campaign has found."""

from robustness import stateful
from robustness.rows import merge


def test_random_steps_break_no_invariant() -> None:
    """Nothing lost, nothing twice, the memory is the fold of what is durable."""
    rows = merge(stateful.seeds(range(20)))

    assert sum(row.trials for row in rows) == 20 * stateful.STEPS
    assert {(r.flops_lost, r.counted_twice, r.undetected) for r in rows} == {(0, 0, 0)}


def test_a_seed_always_takes_the_same_steps() -> None:
    """One number is all that a report needs."""
    first, again = (stateful.one(7) for _ in range(2))

    assert first == again
