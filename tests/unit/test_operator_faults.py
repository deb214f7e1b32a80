"""What goes wrong around the loop: with one run, with what is read, with the ledger."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from flopguard_operator import binding, gathering
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
