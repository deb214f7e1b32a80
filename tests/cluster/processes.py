"""Start, watch and stop processes that outlive the one that starts them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.state import MARKER, ClusterError, ProcessId, State

POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 2000

# A Popen object that is dropped while its process runs warns; ours are meant to run on.
_children: dict[int, subprocess.Popen[bytes]] = {}


def spawn(
    state: State,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> ProcessId:
    """Start a process in a session of its own, its output in `logs/<name>.log`.

    The process is recorded in the state, and it and its children carry the cluster's
    run in their environment: one that is started but not yet recorded is found by that.
    """
    logs = state.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=state.folder,
            env={**os.environ, **(environment or {}), MARKER: state.run},
        )
    _children[child.pid] = child
    process = ProcessId.of(child.pid) or ProcessId(child.pid, 0)
    state.processes[name] = process
    state.save()
    return process


def wait_until(
    condition: Callable[[], bool], what: str, seconds: float, state: State, name: str
) -> None:
    """Poll until a condition holds, and stop early when the process is gone.

    Raises:
        ClusterError: after `seconds`, or when process `name` ended; with its log's end.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        gone = not state.processes[name].alive
        if gone or time.monotonic() > deadline:
            reason = f"{name} ended" if gone else f"not within {seconds:.0f} s"
            message = f"{what}: {reason}. The end of its log:\n{log_tail(state, name)}"
            raise ClusterError(message)
        time.sleep(POLL_SECONDS)


def log_tail(state: State, name: str) -> str:
    """The last lines that a process of the cluster wrote."""
    path = state.folder / "logs" / f"{name}.log"
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        return log.read().decode(errors="replace")


def stop_all(state: State) -> None:
    """Kill every process of the cluster and wait until they are gone.

    SIGKILL throughout: nothing in a throwaway cluster is worth a graceful end, and the
    API server would take a minute over its open watches.
    """
    recorded = [process for process in state.processes.values() if process.alive]
    for process in recorded:
        _kill(process)
    for process in recorded:
        _wait_gone(process)
    # The first kill may race a process that is just being started.
    while stragglers := marked_with(state.run):
        for process in stragglers:
            _kill(process)
        for process in stragglers:
            _wait_gone(process)
    state.processes.clear()


def _kill(process: ProcessId) -> None:
    if process.alive:
        os.kill(process.pid, signal.SIGKILL)


def _wait_gone(process: ProcessId, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while process.alive:
        if time.monotonic() > deadline:
            message = f"process {process.pid} did not end within {seconds} s of SIGKILL"
            raise ClusterError(message)
        time.sleep(POLL_SECONDS / 5)
    child = _children.pop(process.pid, None)
    if child is not None:
        child.wait()


def marked_with(run: str) -> list[ProcessId]:
    """All live processes that carry this run in their environment."""
    mark = f"{MARKER}={run}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or another user's
            continue
        process = ProcessId.of(int(entry.name)) if mark in environment else None
        if process is not None:
            found.append(process)
    return found


def run(command: Sequence[str], *, check: bool = True) -> str:
    """Run a command to its end and return its standard output.

    Raises:
        ClusterError: with its standard error, if it fails and `check` is set.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        message = f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
        raise ClusterError(message)
    return done.stdout
