"""What an operator does once another one has taken its ledger, or it is damaged."""

from pathlib import Path

import pytest

from flopguard_operator.ledger.store import SqliteStore
from standins.world import World, spent


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def taken_over(world: World) -> SqliteStore:
    """Take the world's ledger over, as another operator does."""
    store = SqliteStore(world.path, world.key)
    store.claim("another", "0.1.0", "2026-11-22T00:20:00.000Z")
    return store


def test_a_fenced_operator_writes_and_acts_no_more(world: World) -> None:
    """Neither a status, nor a hold, nor an entry; it is told to stop."""
    world.once(spent(100))
    calls = list(world.cluster.calls)
    with_another = taken_over(world)
    size = with_another.head.size
    for flops in (200, 10**40):
        world.once(spent(flops))

        assert world.books.fenced.is_set()
        assert list(world.cluster.calls) == calls
    assert with_another.commit([], [], "2026-11-22T00:20:00.000Z").size == size
    with_another.close()


def test_an_operator_that_may_not_lead_does_not_act(world: World) -> None:
    """Its Lease was not renewed: it counts on, and says nothing."""
    world.cycle.leads = lambda: False
    world.once(spent(100))

    assert list(world.cluster.calls) == []
    assert world.books.head is not None
    assert world.books.head.size > 0


def test_a_damaged_ledger_is_appended_to_no_more(world: World) -> None:
    """Counting goes on and holds stay; the run's condition says why."""
    world.once(spent(100))
    head = world.books.head
    world.books.distrust("leaf 3 was changed")
    world.once(spent(200))

    assert world.books.head == head
    condition = world.condition("LedgerAvailable")
    assert condition["status"] == "False"
    assert "leaf 3 was changed: restore the newest copy" in condition["message"]
