"""A slice of the SIGKILL campaign: page and final record survive any instant."""

from robustness import kills
from robustness.rows import merge


def test_a_process_killed_at_any_instant_leaves_its_page_right() -> None:
    """What was finished is done, what was begun is begun, nothing is there twice."""
    (row,) = merge(kills.pages(range(30)))

    assert row.trials == 30
    assert (row.flops_lost, row.counted_twice, row.undetected) == (0, 0, 0)
    assert row.flops_declared % kills.STEP < kills.STEP // 2  # whole steps in flight


def test_a_sidecar_killed_at_any_instant_leaves_a_whole_record() -> None:
    """The kubelet finds nothing yet, or a record that says no more than is so."""
    (row,) = merge(kills.sidecars(range(4)))

    assert row.trials == 4
