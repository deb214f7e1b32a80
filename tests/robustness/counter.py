"""A trainer without torch: drives the hook's own page writer, and tells the truth.

Runs in a pod with the hook injected. Beside each step it writes how many were begun and
how many finished into a file outside of the pod, which no fault of the node reaches.
Started anew, it goes on: what earlier processes did stands in files of theirs.
"""

import argparse
import os
import select
import struct
import sys
import time
from pathlib import Path

from flopguard_hook import versions
from flopguard_hook.page import CELLS
from flopguard_hook.session import Session

STEP = 5 * 10**8  # FLOPs of the first step; each later one has one more
STOP = "stop"  # a file of this name ends the run
CLOCK = "clock"  # into a file of this name it writes what its clock shows
FEAST = "feast"  # a file of this name makes it take more memory than it may
ORACLE = struct.Struct("<QQ")  # steps begun, steps finished
_MIB = 1 << 20
_CELL = CELLS.index(("forward", "fp32"))


def main() -> None:
    """Count steps until the run is to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracle", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.05, help="of a step")
    options = parser.parse_args()
    options.oracle.mkdir(exist_ok=True)
    session = Session(os.environ["FLOPGUARD_DIR"])
    session.note("cpu", versions.cpu())
    truth = os.open(options.oracle / os.urandom(8).hex(), os.O_RDWR | os.O_CREAT, 0o600)
    step = 0
    while not (options.oracle / STOP).exists():
        charges = ((_CELL, STEP + step),)
        if session.armed:  # else the hook counts no more, and work goes on
            session.begin(charges)
        os.pwrite(truth, ORACLE.pack(step + 1, step), 0)
        _work(options.oracle, options.seconds)
        if session.armed:
            session.finish(charges)
        step += 1
        os.pwrite(truth, ORACLE.pack(step, step), 0)
        session.finish_step((), outermost=True)
    session.close()
    sys.stdout.write(f"{step} steps\n")


def _work(folder: Path, seconds: float) -> None:
    """Let a step take its time, with whatever else is asked of it."""
    # Not sleep(): what fakes a clock breaks clock_nanosleep on the monotonic one.
    select.select([], [], [], seconds)
    if (folder / CLOCK).exists():
        (folder / CLOCK).write_text(str(int(time.time())))
    if (folder / FEAST).exists():
        (folder / FEAST).unlink()
        eaten = [b"x" * _MIB for _ in range(4096)]
        sys.stdout.write(f"still here after {len(eaten)} MiB\n")


if __name__ == "__main__":
    main()
