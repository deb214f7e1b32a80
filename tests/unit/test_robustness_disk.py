"""A slice of the disk campaigns: the ledger's store over a disk that fails."""

import sys

import pytest

from robustness import powercuts
from robustness.rows import Row, merge


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement thrown away on a dead disk complains where nobody can hear."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


def lost(row: Row) -> tuple[int, int, int]:
    """Return what must all be zero."""
    return row.flops_lost, row.counted_twice, row.undetected


def test_no_acknowledged_commit_is_lost_in_a_power_cut() -> None:
    """SQLite with synchronous=FULL, as the product opens it."""
    (row,) = merge(powercuts.power_cuts(range(60)))

    assert row.trials == 180
    assert lost(row) == (0, 0, 0)


def test_the_same_disk_loses_commits_that_are_not_synced() -> None:
    """The control: were it not so, the campaign would show nothing."""
    (row,) = merge(powercuts.power_cuts(range(60), "NORMAL"))

    assert row.flops_lost > 0


def test_nothing_is_acknowledged_that_a_failing_disk_did_not_take() -> None:
    """EIO, a full disk, a short write, an fsync that fails and forgets."""
    rows = merge(powercuts.io_errors(range(80)))

    assert len(rows) == 4
    assert [lost(row) for row in rows] == [(0, 0, 0)] * 4
