"""A slice of the simulation campaign."""

from robustness import simulation
from robustness.rows import merge


def test_whatever_fails_the_ledger_says_what_was_done() -> None:
    """The operator's real code on a virtual clock, with crashes and false answers."""
    rows = merge(simulation.seeds(range(40)))

    assert len(rows) > 25, "nearly all faults strike"
    assert {(r.flops_lost, r.counted_twice, r.undetected) for r in rows} == {(0, 0, 0)}


def test_a_seed_is_always_the_same_run() -> None:
    """One number is all that a report needs."""
    first, again = (list(simulation.seeds(range(3, 4))) for _ in range(2))

    assert first == again
