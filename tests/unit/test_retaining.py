"""For how long the ledger is kept, and who decides it."""

from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import retaining
from flopguard_operator.ledger.entries import RetentionSet, RunsCounted
from flopguard_operator.retaining import OPERATOR, Demand
from standins import objects
from standins.world import World, spent


def by_operator(years: int) -> RetentionSet:
    """Return an entry that the operator has written."""
    return RetentionSet(years, OPERATOR, "")


def by_ana(years: int) -> RetentionSet:
    """Return an entry that a person has signed."""
    return RetentionSet(years, "ana@example.com", "")


@pytest.mark.parametrize(
    ("known", "default", "asked", "years"),
    [
        pytest.param(None, 10, [], None, id="ten years need no entry"),
        pytest.param(None, 7, [], 7, id="an installation may begin with less"),
        pytest.param(None, 12, [], 12, id="an installation may begin with more"),
        pytest.param(None, 10, [15, 12], 15, id="the longest of all programs counts"),
        pytest.param(None, 10, [5], None, id="a program that asks for less gets more"),
        pytest.param(by_operator(15), 10, [15], None, id="it is written once"),
        pytest.param(by_operator(15), 10, [], None, id="a program goes: never shorter"),
        pytest.param(by_operator(7), 10, [], 10, id="the installation asks for more"),
        pytest.param(by_ana(5), 10, [], None, id="a person may decide on less"),
        pytest.param(by_ana(5), 10, [6], 6, id="a program asks for more than a person"),
        pytest.param(by_ana(20), 10, [15], None, id="a person may decide on more"),
    ],
)
def test_the_longest_time_that_is_asked_for_counts(
    known: RetentionSet | None, default: int, asked: list[int], years: int | None
) -> None:
    """It is made shorter by a person only."""
    demands = [Demand(each, "a program") for each in asked]

    found = retaining.due(known, Demand(default, "the default"), demands)

    assert (found.years if found else None) == years


def ask(world: World, **retention: Any) -> None:
    """Let a program ask for a retention."""
    raw = objects.program()
    raw["spec"]["retention"] = retention
    world.cache.see_program("MODIFIED", raw)


def test_what_a_program_asks_for_is_in_the_ledger_once(tmp_path: Path) -> None:
    """Across a restart, too; and the count of entries still adds up."""
    world = World(tmp_path)
    ask(world, years=15)
    world.once(spent(10))
    world.start()
    world.once(spent(20))

    (entry,) = world.recorded(RetentionSet)
    assert (entry.years, entry.by) == (15, OPERATOR)
    assert "support-bot" in entry.reason
    assert world.recorded(RunsCounted)[-1].own == world.books.own


def test_a_retention_that_cannot_be_read_asks_for_nothing(tmp_path: Path) -> None:
    """The API server refuses it; whoever sends it all the same stops nothing."""
    world = World(tmp_path)
    ask(world, years="ever")
    world.once(spent(10))

    assert world.recorded(RetentionSet) == []
    assert world.status()["flops"]["upper"] == "10"
