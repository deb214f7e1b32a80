"""The loop itself: what wakes it, how often it may turn, when it counts as healthy."""

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import cycle, gathering
from standins.world import World, spent


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def test_a_loop_that_reads_nothing_is_not_healthy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a cycle that did its work counts as one; the others do what they can."""

    async def marks(*_: Any) -> Any:
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr(gathering, "marks", marks)
    world.cache.see_pod("DELETED", spent(700, ended=True))
    world.run("a status", lambda: "status" in world.cluster.calls)

    assert world.cycle.ended_at == 0.0
    assert world.condition("PrometheusAvailable")["status"] == "False"

    monkeypatch.undo()
    world.run("a whole cycle", lambda: world.cycle.ended_at > 0.0)
    assert world.status()["flops"]["upper"] == "700"  # the pod was not forgotten


@pytest.mark.parametrize(
    ("before", "after", "wakes"),
    [
        pytest.param({}, {}, False, id="a pod that runs on does not"),
        pytest.param({}, {"ended": True}, True, id="a pod that ends does"),
        pytest.param(
            {"ended": True},
            {"ended": True},
            False,
            id="an ended pod written to does not",
        ),
    ],
)
def test_only_what_is_new_wakes_the_cycle(
    world: World, before: dict[str, Any], after: dict[str, Any], *, wakes: bool
) -> None:
    """Whoever may write to a pod's status keeps the loop no busier."""
    world.cache.see_pod("MODIFIED", spent(1, **before))
    world.cache.wake.clear()
    world.cache.see_pod("MODIFIED", spent(2, **after))

    assert world.cache.wake.is_set() is wakes


def test_a_deletion_wakes_the_cycle(world: World) -> None:
    """The last state of a pod that had ended already may prove a hold."""
    world.cache.see_pod("MODIFIED", spent(1, ended=True))
    world.cache.wake.clear()
    world.cache.see_pod("DELETED", spent(1, ended=True))

    assert world.cache.wake.is_set()


def test_there_is_a_pause_between_two_cycles(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever wakes the loop without end, the ledger gets no entry each time."""
    began: list[float] = []

    async def once() -> bool:
        began.append(time.monotonic())
        world.cache.wake.set()
        return True

    world.cycle.settings = replace(world.cycle.settings, cycle_seconds=60)
    monkeypatch.setattr(cycle, "LEAST_SECONDS", 0.2)
    monkeypatch.setattr(world.cycle, "once", once)
    world.run("three cycles", lambda: len(began) == 3)

    pauses = [after - before for before, after in itertools.pairwise(began)]
    assert min(pauses) >= 0.19, "a pause is not shorter than a timer is exact"
