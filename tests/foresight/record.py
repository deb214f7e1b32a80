"""Record histories of real trainings: `python -m foresight.record`.

Each kind is a process of the train environment with the hook armed; its pages are read
four times a second, for some minutes in all. What was read is written to
tests/vectors/histories.json, which the coverage of the forecast is tested on.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from flopguard_sidecar.folder import Folder
from flopguard_sidecar.meter import total

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "vectors" / "histories.json"
TRAINER = Path(__file__).with_name("trainer.py")
HOOK = ROOT / "sidecar" / "flopguard_hook" / "bootstrap"
KINDS = ("steady", "slowing", "bursts", "pauses", "retries")
STEPS = 900
SECONDS = 0.25
LIMIT_SECONDS = 1_500.0
_KILLED_AT = (130, 410, 690)  # steps, where a kind is retried


Row = tuple[int, int, int]  # milliseconds, FLOPs, step


class Training:
    """One training over all of its attempts, each with pages of its own."""

    def __init__(self, kind: str, python: Path, folder: Path) -> None:
        self.kind, self.python, self.folder = kind, python, folder
        self.readers: list[Folder] = []
        self.begins = 0
        self.process = self._start()

    def again(self) -> None:
        """Kill the process and start it anew, from the step that was saved last."""
        self.end()
        saved = self.folder / "step"
        self.begins = int(saved.read_text()) if saved.exists() else 0
        self.process = self._start()

    def end(self) -> None:
        """Kill the process, if it still runs."""
        self.process.kill()
        self.process.wait()

    def row(self, passed: float, before: Row) -> Row:
        """Return what is spent by now, and the step that was reached."""
        marks = [total(reader.scan().pages) for reader in self.readers]
        step = max(before[2], self.begins + marks[-1].steps)
        return int(passed * 1000), sum(mark.begun_total for mark in marks), step

    def _start(self) -> "subprocess.Popen[bytes]":
        pages = self.folder / f"pages-{len(self.readers)}"
        pages.mkdir()
        self.readers.append(Folder(pages))
        armed = {"PYTHONPATH": str(HOOK), "FLOPGUARD_DIR": str(pages)}
        how = (self.kind, str(STEPS), str(self.folder / "step"))
        command = [str(self.python), str(TRAINER), *how]
        return subprocess.Popen(command, env={**os.environ, **armed})


def record(kind: str, python: Path) -> list[Row]:
    """Return what was read of one training, four times a second."""
    kills = list(_KILLED_AT) if kind == "retries" else []
    found: list[Row] = [(0, 0, 0)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        training = Training(kind, python, Path(name))
        try:
            while training.process.poll() is None:
                passed = time.monotonic() - began
                if passed > LIMIT_SECONDS:
                    message = f"{kind}: not done after {LIMIT_SECONDS:.0f} s"
                    raise TimeoutError(message)
                found.append(training.row(passed, found[-1]))
                if kills and found[-1][2] >= kills[0]:
                    kills.pop(0)
                    training.again()
                time.sleep(SECONDS)
            found.append(training.row(time.monotonic() - began, found[-1]))
        finally:
            training.end()
    return found


def main(kinds: Sequence[str]) -> None:
    """Record some kinds, or all; keep what is there of the others."""
    python = Path(os.environ["FLOPGUARD_TRAIN"]) / "bin" / "python"
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for kind in kinds or KINDS:
        points = record(kind, python)
        # As in the ledger: what says nothing new is no entry.
        kept = [p for n, p in enumerate(points) if not n or p[1] > points[n - 1][1]]
        recorded[kind] = [[at, str(upper), step] for at, upper, step in kept]
        sys.stdout.write(f"{kind}: {len(kept)} points, {points[-1][0] / 1000:.0f} s\n")
        RECORDED.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
