"""The record of a throwaway cluster: nothing else is ever killed or removed by it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import processes, state
from cluster.state import ClusterError, ProcessId, State


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("FLOPGUARD_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that runs until the test is over."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def ended_process() -> ProcessId:
    """A process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = ProcessId.of(child.pid)
    child.communicate()
    assert found is not None
    return found


def test_a_recycled_number_is_another_process() -> None:
    """A number alone would let `down` kill a stranger."""
    mine = ProcessId.current()

    assert mine.alive
    assert not replace(mine, started=mine.started + 1).alive


def test_a_zombie_is_not_alive() -> None:
    """A killed child of this very process stays one until it is waited for."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert ProcessId.of(child.pid) is None
    child.wait()


@pytest.mark.usefixtures("cache")
def test_what_is_saved_is_loaded() -> None:
    """`down` may run in another process than `up`."""
    mine = ProcessId.current()
    made = State("one", "node", 3, starter=mine, processes={"etcd": mine})
    made.undo = {"sysctls": ["kernel/panic=0"]}
    made.save()

    assert state.find("one") == made
    assert state.every() == [made]


@pytest.mark.parametrize(
    ("owner", "phase", "starter_ended", "abandoned"),
    [
        pytest.param(None, "running", True, False, id="kept until it is taken down"),
        pytest.param(None, "starting", True, True, id="its starter died half-way"),
        pytest.param(None, "starting", False, False, id="it is being started"),
        pytest.param("live", "running", True, False, id="its owner lives"),
        pytest.param("ended", "running", True, True, id="its owner died"),
        pytest.param("ended", "starting", False, True, id="its owner died early"),
    ],
)
def test_a_cluster_is_abandoned_when(
    owner: str | None, phase: state.Phase, *, starter_ended: bool, abandoned: bool
) -> None:
    """The next start removes what nobody would, and nothing else."""
    live, ended = ProcessId.current(), ended_process()
    owners = {"live": live, "ended": ended}
    found = State("one", "node", 0, starter=ended if starter_ended else live)
    found.owner = owners[owner] if owner else None
    found.phase = phase

    assert found.abandoned is abandoned


@pytest.mark.parametrize(
    "name", ["", "Dev", "../dev", "a/b", "-dev", "dev-", ".trash", "a" * 33, "dev\n"]
)
def test_a_name_cannot_lead_out_of_the_folder(name: str) -> None:
    """The folder of that name is removed in the end."""
    with pytest.raises(ClusterError, match="DNS label"):
        state.check_name(name)


def test_a_broken_record_is_told_not_guessed(cache: Path) -> None:
    """A record that cannot be read says which file it is."""
    folder = cache / "clusters" / "one"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"name": "one"', encoding="utf-8")

    with pytest.raises(ClusterError, match=r"one/state\.json cannot be read"):
        state.load(folder)


def test_only_the_last_logs_are_kept(cache: Path) -> None:
    """The folder of a cluster goes; its logs stay for a while."""
    for number in range(state.LOGS_KEPT + 2):
        made = State(f"c{number}", "node", number, starter=ProcessId.current())
        made.save()
        (made.folder / "logs").mkdir()
        os.utime(made.folder / "logs", (number, number))
        state.forget(made)

    assert state.every() == []
    assert len(list((cache / "cluster-logs").iterdir())) == state.LOGS_KEPT
    assert not (cache / "clusters" / ".trash").exists()


def test_a_process_that_was_not_recorded_is_found_and_stopped(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    """A crash between start and record leaves one; its environment gives it away."""
    found = State("one", "node", 0, starter=ProcessId.current())
    program = "import sys; print(flush=True); sys.stdin.read()"
    environment = {**os.environ, state.MARKER: found.run}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as unrecorded:
        assert unrecorded.stdout is not None
        unrecorded.stdout.readline()  # its environment shows once it runs
        assert [p.pid for p in processes.marked_with(found.run)] == [unrecorded.pid]

        processes.stop_all(found)

        assert unrecorded.wait(10) == -9
    assert sleeper.poll() is None
