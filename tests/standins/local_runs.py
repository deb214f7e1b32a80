"""`flopguard run` as a process, on a trainer without torch that tells the truth."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from flopguard_operator.cli import main
from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.export import read
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import export_file
from flopguard_operator.ledger.verify import verify_lines
from robustness.counter import ORACLE, STEP, STOP

FLOPGUARD = [sys.executable, "-m", "flopguard_operator.cli"]
TRAINER = Path(__file__).parents[1] / "robustness" / "counter.py"
LIMIT_SECONDS = 100.0


@cache
def _compiled() -> str:
    folder = tempfile.mkdtemp(prefix="flopguard-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment() -> dict[str, str]:
    """Return this process's environment, where no module is compiled twice.

    Each process would, where PYTHONDONTWRITEBYTECODE is set: a quarter of its time.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": _compiled()}


@dataclass(frozen=True)
class Truth:
    """What trainers did, from files that nothing of flopguard writes."""

    folder: Path

    def trainer(self, seconds: float = 0.005) -> list[str]:
        """Return a command that makes steps until `stop`, or until it is ended."""
        command = [sys.executable, str(TRAINER), "--oracle", str(self.folder)]
        return [*command, "--seconds", str(seconds)]

    def stop(self) -> None:
        """Let the trainers end at their next step."""
        (self.folder / STOP).touch()

    def begin_again(self) -> None:
        """Let trainers that start from now on make steps again."""
        (self.folder / STOP).unlink(missing_ok=True)

    @property
    def steps(self) -> list[tuple[int, int]]:
        """Return (begun, finished) of each process."""
        found = self.folder.iterdir() if self.folder.exists() else ()
        files = [f for f in found if f.is_file() and f.name != STOP]
        return [ORACLE.unpack(f.read_bytes().ljust(16, b"\0")) for f in files]

    @property
    def least(self) -> int:
        """Return the FLOPs that were finished."""
        return sum(_flops(finished) for _, finished in self.steps)

    @property
    def most(self) -> int:
        """Return the FLOPs that were begun."""
        return sum(_flops(begun) for begun, _ in self.steps)


def _flops(steps: int) -> int:
    """Return the FLOPs of the first steps: STEP, then one more each time."""
    return steps * STEP + steps * (steps - 1) // 2


def flopguard(*command: str) -> str:
    """Return what a command that only reads prints; in this process: it is quicker."""
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    return done.output


@dataclass(frozen=True)
class Laptop:
    """A machine's state folder, and the programs on it."""

    state: Path

    def command(self, *options: str, program: str = "p") -> list[str]:
        """Return the beginning of a `flopguard run`."""
        beginning = [*FLOPGUARD, "run", "--state", str(self.state), "--interval"]
        return [*beginning, "0.1", "--program", program, *options, "--"]

    def run(
        self, *options: str, then: list[str], program: str = "p"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*self.command(*options, program=program), *then],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )

    @contextmanager
    def running(
        self, *options: str, then: list[str], program: str = "p"
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Give a command that runs; kill its flopguard at the end if need be."""
        process = subprocess.Popen(
            [*self.command(*options, program=program), *then],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def entries(self) -> list[Entry]:
        """Return what the ledger holds, which verifies."""
        exported = self.state.parent / f"{self.state.name}.jsonl"
        with exported.open("wb") as file:
            export_file(self.state / "ledger.db", file)
        lines = exported.read_bytes().splitlines(keepends=True)
        report = verify_lines(lines, check_signature, "")
        assert report.outcome == "ok", [c for c in report.checks if c.outcome != "ok"]
        return list(read(lines).entries)

    def account(self, program: str = "p") -> Account:
        """Return what the ledger says of a program."""
        accounts = fold(self.entries()).values()
        (found,) = [each for each in accounts if each.ref.name == program]
        return found

    def status(self) -> list[dict[str, Any]]:
        """Return what `flopguard status` says of all programs."""
        said = flopguard("status", "--state", str(self.state), "--json")
        programs: list[dict[str, Any]] = json.loads(said)["programs"]
        return programs


def pids_of(truth: Truth) -> list[int]:
    """Return the trainers that live."""
    marker = str(truth.folder).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 1 and words[1] == str(TRAINER).encode() and marker in words:
            found.append(int(entry.name))
    return found


def kill(pids: list[int]) -> None:
    """Kill what a test left running."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
