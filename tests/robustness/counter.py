"""A trainer without torch: drives the hook's own page writer, and tells the truth.

Runs in a pod with the hook injected. Beside each step it writes how many were begun and
how many finished into a file outside of the pod, which no fault of the node reaches.
Started anew, it goes on: what earlier processes did stands in files of theirs.
"""

import argparse
import os
import struct
import sys
import time
from pathlib import Path

from flopguard_hook import versions
from flopguard_hook.page import CELLS
from flopguard_hook.session import Session

STEP = 5 * 10**8  # FLOPs of the first step; each later one has one more
STOP = "stop"  # a file of this name ends the run
ORACLE = struct.Struct("<QQ")  # steps begun, steps finished
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
        session.begin(charges)
        os.pwrite(truth, ORACLE.pack(step + 1, step), 0)
        time.sleep(options.seconds)
        session.finish(charges)
        step += 1
        os.pwrite(truth, ORACLE.pack(step, step), 0)
        session.finish_step((), outermost=True)
    session.close()
    sys.stdout.write(f"{step} steps\n")


if __name__ == "__main__":
    main()
