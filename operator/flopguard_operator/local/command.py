"""Run the command with the hook in its environment; signal it, find it, end it.

It runs in a process group of its own. What it starts is found again by the folder of
pages in its environment, whatever session or group it has moved to: torchrun gives each
worker a session. That also finds what an earlier start left behind.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

FOLDER = "FLOPGUARD_DIR"
FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
    signal.SIGTSTP,
)
_PROC = Path("/proc")
_KILL_SECONDS, _POLL_SECONDS = 10.0, 0.02
_SIGNALLED = 128  # plus the signal's number, as a shell says it


class Command:
    """The command of one start."""

    def __init__(self, arguments: Sequence[str], hook: Path, pages: Path) -> None:
        self._arguments, self._pages = list(arguments), pages
        self._environment = environment(os.environ, hook, pages)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def group(self) -> int:
        """Its process group; 0 before it runs."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it, and hand every signal on to it from now on.

        It does not read the terminal: as a background group it would be stopped.

        Raises:
            OSError: it cannot be started.
        """
        terminal = False
        with contextlib.suppress(OSError, ValueError):
            terminal = os.isatty(sys.stdin.fileno())
        self._process = subprocess.Popen(  # noqa: S603 - what the user asks to run
            self._arguments,
            env=self._environment,
            stdin=subprocess.DEVNULL if terminal else None,
            process_group=0,
        )
        for number in FORWARDED:
            signal.signal(number, self._forward)

    def wait(self, seconds: float) -> int | None:
        """Return how it ended, as a shell says it; None if it still runs then."""
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(seconds)
            return code if code >= 0 else _SIGNALLED - code
        return None

    def left(self) -> list[int]:
        """Return the processes of it that live."""
        return members(self._pages, self.group)

    def _forward(self, number: int, _: FrameType | None) -> None:
        if self._process is None or self._process.returncode is not None:
            return  # what is left to do is short, and must not be cut off
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)


def environment(
    variables: Mapping[str, str], hook: Path, pages: Path
) -> dict[str, str]:
    """Return an environment with the two variables that arm the hook."""
    path = [str(hook / "bootstrap"), variables.get("PYTHONPATH", "")]
    joined = os.pathsep.join(part for part in path if part)
    return {**variables, "PYTHONPATH": joined, FOLDER: str(pages)}


def members(pages: Path, group: int = 0) -> list[int]:
    """Return the processes of a start that live.

    Args:
        pages: its folder of pages, which their environment names.
        group: a process group that is its command's for sure, 0 for none.
    """
    if not _PROC.is_dir():
        return [-group] if group and _lives(group) else []
    marker = f"{FOLDER}={pages}".encode()
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if _is_member(pid, marker, group)]


def orphans(pages: Path, group: int) -> list[int]:
    """Return what lives of a start whose flopguard is gone.

    Its group's number may be another's by now, so it counts only where nothing better
    is known: without /proc.
    """
    return members(pages, 0 if _PROC.is_dir() else group)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _is_member(pid: int, marker: bytes, group: int) -> bool:
    """Say whether a process lives and is the group's, or has the marker."""
    try:
        state, _, its_group = _stat(pid)[:3]
        if state in (b"Z", b"X"):
            return False
        if group and int(its_group) == group:
            return True
        return marker in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended, or is another user's


def _stat(pid: int) -> list[bytes]:
    """Return state, parent, group and so on: the fields after the name, proc(5)."""
    text = (_PROC / str(pid) / "stat").read_bytes()
    return text.rpartition(b") ")[2].split()


def end(
    left: Callable[[], list[int]],
    group: int,
    grace: float,
    look: Callable[[], object] = lambda: None,
) -> bool:
    """End processes: SIGTERM, then SIGKILL; say whether none is left.

    Args:
        left: the processes that still live.
        group: their process group, which alone is asked politely: what its leader
            started is the leader's to end. Where nothing of it lives, each is asked.
        grace: seconds between the two.
        look: called meanwhile, again and again.
    """
    alive = left()
    grouped = [pid for pid in alive if _group_of(pid) == group]
    _send(signal.SIGTERM, alive if not grouped else [-group])
    deadline = time.monotonic() + grace
    while alive and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        look()
        alive = left()
    deadline = time.monotonic() + _KILL_SECONDS
    while alive and time.monotonic() < deadline:
        _send(signal.SIGKILL, alive)
        time.sleep(_POLL_SECONDS)
        alive = left()
    return not alive


def _group_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return 0


def _send(number: signal.Signals, pids: Sequence[int]) -> None:
    """Send a signal to processes; a negative number means a group."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
