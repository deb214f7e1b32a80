"""A cluster that ends, however it ends, leaves the machine as it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import host, lifecycle, processes, state
from cluster.addresses import Addresses
from cluster.state import State

pytestmark = pytest.mark.node

ROOT = Path(__file__).resolve().parents[2]
UP_SECONDS = 240


@pytest.fixture
def name() -> Iterator[str]:
    """A name for a cluster of the test's own; whatever is left of it goes."""
    reason = host.unsupported_reason("node")
    if reason:
        pytest.skip(reason)
    name = f"mortal-{os.getpid()}"
    yield name
    left = state.find(name)
    if left is not None:
        lifecycle.down(left)


def start_up(name: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start bringing a cluster up, as a person would."""
    command = [sys.executable, "-m", "cluster.cli", "up", "--name", name, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait_for_process(name: str, process: str) -> State:
    """The cluster's record, once it says that this process was started."""
    deadline = time.monotonic() + UP_SECONDS
    while time.monotonic() < deadline:
        found = state.find(name)
        if found is not None and process in found.processes:
            return found
        time.sleep(0.02)
    message = f"cluster {name} has not started {process} within {UP_SECONDS} s"
    raise AssertionError(message)


def traces(found: State) -> list[str]:
    """What the machine still has of a cluster."""
    addresses = Addresses(found.slot, with_node=True)
    paths = [Path("/sys/class/net", addresses.host_link), found.folder]
    paths += host.cgroups(addresses)
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    left = [str(path) for path in paths if path.exists()]
    left += [line for line in mounts if str(found.folder) in line]
    left += [f"process {p.pid}" for p in processes.marked_with(found.run)]
    left += [f"process {p.pid}" for p in found.processes.values() if p.alive]
    if not any(other.undo for other in state.every()):
        left += host.changed(found)
    return left


@pytest.mark.parametrize("process", ["node-init", "kube-apiserver", "kubelet"])
def test_a_start_that_is_killed_is_cleaned_up_by_the_next(
    name: str, process: str
) -> None:
    """SIGKILL at any point: the record is written before what it is about."""
    starting = start_up(name)
    found = wait_for_process(name, process)
    starting.kill()
    starting.wait()

    lifecycle.sweep()

    assert traces(found) == []
    assert state.find(name) is None


def test_a_cluster_ends_with_its_owner(name: str) -> None:
    """A killed test session leaves a running cluster: the next start ends it."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    ) as owner:
        assert start_up(name, f"--owner-pid={owner.pid}").wait(UP_SECONDS) == 0
        found = state.find(name)
        assert found is not None
        lifecycle.sweep()
        assert all(p.alive for p in found.processes.values()), "its owner still lived"
        owner.kill()

    lifecycle.sweep()

    assert traces(found) == []


def test_an_interrupted_start_cleans_up_after_itself(name: str) -> None:
    """Ctrl-C, and the SIGTERM of a CI system, leave nothing for a next start."""
    starting = start_up(name)
    found = wait_for_process(name, "kubelet")

    starting.send_signal(signal.SIGTERM)

    assert starting.wait(UP_SECONDS) == 128 + signal.SIGTERM
    assert traces(found) == []
