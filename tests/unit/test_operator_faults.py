"""What goes wrong around the loop: with one run, with what is read, with the ledger."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import binding, cycle, gathering
from flopguard_operator.cache import Cache
from flopguard_operator.observed import Raw
from standins import objects
from standins.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def crowd(count: int) -> Cache:
    """Return a cache with so many runs in one namespace, each with a pod of its own."""
    cache = Cache()
    for number in range(count):
        run = objects.run(f"run-{number}", f"uid-{number}")
        run["spec"]["workload"]["name"] = f"job-{number}"
        cache.see_run("ADDED", run)
        pod = objects.pod(f"pod-{number}")
        pod["metadata"]["labels"] = {
            "flopguard.dev/run": f"run-{number}",
            "batch.kubernetes.io/job-name": f"job-{number}",
        }
        cache.see_pod("ADDED", pod)
    return cache


def test_a_crowd_of_runs_is_bound_in_linear_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop waits for it: no run is compared with all others."""
    compared, claim = 0, binding.claim

    def counted(pod: Raw, runs: Iterable[Raw]) -> binding.Claim:
        nonlocal compared
        among = list(runs)
        compared += len(among)
        return claim(pod, among)

    monkeypatch.setattr(binding, "claim", counted)
    ready, refused = gathering.views(crowd(500))

    assert not refused
    assert [[pod.uid for pod in view.pods] for view in ready] == [
        [view.ref.uid.replace("uid", "pod")] for view in ready
    ]
    assert compared <= 4 * 500


def namesake(uid: str = "run-2") -> dict[str, Any]:
    """Return a run made anew under the name of the world's run."""
    raw = objects.run(uid=uid)
    raw["metadata"]["creationTimestamp"] = "2026-11-23T00:00:00Z"
    return raw


def test_a_run_made_anew_takes_the_place_of_its_namesake(world: World) -> None:
    """The API server has one run of a name, whatever a watch did not tell."""
    world.cache.see_run("ADDED", namesake())
    world.cache.see_run("MODIFIED", objects.run())  # a late event of the old one

    assert list(world.cache.runs) == ["run-2"]


def test_a_run_that_vanished_untold_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a ghost would claim the workload of whoever names it next."""
    other = objects.run("other", "run-2")
    other["metadata"]["creationTimestamp"] = "2026-11-23T00:00:00Z"
    world.cache.see_run("ADDED", other)
    world.cache.see_program("ADDED", objects.program())
    world.once()
    assert world.condition_of("run-2", "WorkloadConflict")["status"] == "True"

    monkeypatch.setattr(cycle, "COMPARE_SECONDS", 0.0)
    world.cluster.vanished = {"run-1", "program-1", "job-1"}
    world.once()

    assert world.condition_of("run-2", "WorkloadConflict")["status"] == "False"
    assert world.condition_of("run-2", "WorkloadFound")["status"] == "False"
    assert not world.cache.programs


def test_two_runs_of_one_name_are_told_apart_by_uid(world: World) -> None:
    """Two that were made in one second look the same but for it; one meters."""
    world.cache.see_run("ADDED", objects.run(uid="run-2"))
    ready, refused = gathering.views(world.cache)

    assert [view.ref.uid for view in ready] == ["run-1"]
    assert [one.raw["metadata"]["uid"] for one in refused] == ["run-2"]
