"""SIGKILL at a random instant: of a process that writes its page, and of the sidecar.

The writer is the hook's own, without torch: its FLOPs are such that each sum tells how
many steps it stands for. Beside each begin and finish it writes the number of the step
into an oracle file, after the page: what the oracle says, the page must say.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from flopguard_hook.page import CELLS
from flopguard_hook.session import Session
from flopguard_sidecar import final, meter
from flopguard_sidecar.folder import Folder
from robustness.oracle import ORACLE, total
from robustness.rows import Row

STEP = 7 * 10**14
_CELL = CELLS.index(("forward", "bf16"))
_PROCESSES_PER_FOLDER = 20
_SHORTEST, _LONGEST = 0.0, 0.11  # seconds from the fork to the kill
_SIDECAR_LONGEST = 0.9
_LIMIT = 20.0


class BrokenError(AssertionError):
    """A trial showed what must not be."""


def write_for_ever(folder: Path, oracle: Path) -> None:
    """Count steps into a page, with nothing in between; never returns."""
    session = Session(str(folder))
    file = os.open(oracle, os.O_RDWR | os.O_CREAT, 0o600)
    step = 0
    while True:
        charges = ((_CELL, STEP + step),)
        session.begin(charges)
        os.pwrite(file, ORACLE.pack(step + 1, step), 0)
        session.finish(charges)
        step += 1
        os.pwrite(file, ORACLE.pack(step, step), 0)


def start_writer(folder: Path, oracle: Path) -> int:
    """Start a writer as a child process; return its PID."""
    pid = os.fork()
    if pid:
        return pid
    try:
        write_for_ever(folder, oracle)
    finally:
        os._exit(1)


def kill(pid: int) -> None:
    """Kill a child and wait for its end."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def pages(seeds: range) -> Iterator[Row]:
    """Kill one writer per seed while its page is read; yield a row for each.

    Raises:
        BrokenError: A read fell, or failed.
    """
    for first in range(seeds.start, seeds.stop, _PROCESSES_PER_FOLDER):
        with tempfile.TemporaryDirectory() as scratch:
            trial = _Pages(Path(scratch))
            last = min(first + _PROCESSES_PER_FOLDER, seeds.stop)
            for seed in range(first, last):
                yield trial.kill_one(seed)


class _Pages:
    """One pod's folder, whose program is killed and started anew."""

    def __init__(self, scratch: Path) -> None:
        self._folder = scratch / "pages"
        self._folder.mkdir()
        self._oracle = scratch / "oracle"
        self._reader = Folder(self._folder)
        self._before = meter.total(())
        self._earlier = 0, 0  # FLOPs (done, begun) by the processes before

    def kill_one(self, seed: int) -> Row:
        """Start a writer, read its page, kill it, and look at what is left."""
        chance = random.Random(seed)  # noqa: S311 # repeatable
        self._oracle.write_bytes(ORACLE.pack(0, 0))
        pid = start_writer(self._folder, self._oracle)
        until = time.monotonic() + chance.uniform(_SHORTEST, _LONGEST)
        try:
            while time.monotonic() < until:
                self._read(seed)
        finally:
            kill(pid)
        return self._compared(seed)

    def _read(self, seed: int) -> meter.Mark:
        scan = self._reader.scan()
        mark = meter.total(scan.pages)
        fell = any(mark.done[c] < self._before.done[c] for c in mark.done)
        if scan.problems or fell:
            what = f"seed {seed}: {scan.problems or 'a mark fell'}"
            raise BrokenError(what)
        self._before = mark
        return mark

    def _compared(self, seed: int) -> Row:
        begun, finished = ORACLE.unpack(self._oracle.read_bytes())
        mark = self._read(seed)
        done_before, begun_before = self._earlier
        done = mark.done["forward"] - done_before
        started = mark.begun["forward"] - begun_before
        self._earlier = mark.done["forward"], mark.begun["forward"]
        # Between a page's write and the oracle's the process may have been killed.
        lost = max(0, total(STEP, begun) - started, total(STEP, finished) - done)
        more = done > total(STEP, finished + 1) or started > total(STEP, begun + 1)
        return Row(
            fault="SIGKILL of a process while it counts",
            layer="process",
            trials=1,
            flops_lost=lost,
            flops_declared=started - done,
            counted_twice=int(more),
        )


def sidecars(seeds: range) -> Iterator[Row]:
    """Kill one sidecar per seed while a writer counts; yield a row for each.

    Raises:
        BrokenError: The final record is torn, or says more than was counted.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, oracle = Path(scratch, "pages"), Path(scratch, "oracle")
        record = Path(scratch, "termination-log")
        folder.mkdir()
        record.touch()
        oracle.write_bytes(ORACLE.pack(0, 0))
        pid = start_writer(folder, oracle)
        said = 0
        try:
            for seed in seeds:
                chance = random.Random(seed)  # noqa: S311 # repeatable
                seconds = chance.uniform(_SHORTEST, _SIDECAR_LONGEST)
                _run_sidecar(folder, record, seconds)
                said = _check_record(seed, record, said, oracle)
                yield Row("SIGKILL of the sidecar", "process", trials=1)
        finally:
            kill(pid)


def _run_sidecar(folder: Path, record: Path, seconds: float) -> None:
    """Run a sidecar for so long, then kill it."""
    command = [sys.executable, "-m", "flopguard_sidecar", "serve", "--port", "0"]
    command += ["--dir", str(folder), "--termination-log", str(record)]
    running = subprocess.Popen(
        [*command, "--pod-uid", "uid-1", "--interval", "0.01"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        running.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        running.kill()
    finally:
        running.kill()
        running.wait(timeout=_LIMIT)


def _check_record(seed: int, path: Path, said: int, oracle: Path) -> int:
    """Compare the record with the oracle; return what it says is done."""
    data = path.read_bytes()
    if not data:
        return said
    record = final.decode(data)  # raises on a torn one
    begun, _ = ORACLE.unpack(oracle.read_bytes())
    done = record.done["forward"]
    if record.final or not said <= done <= total(STEP, begun + 1):
        what = (
            f"seed {seed}: the record says {done}, {said} before, final {record.final}"
        )
        raise BrokenError(what)
    return done
