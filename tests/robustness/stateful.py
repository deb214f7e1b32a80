"""Drive the real accounting, gaps, ledger and policy code by random steps.

One seed is one machine of `STEPS` steps: a step is one thing that happens to pods,
marks, nodes, the operator or the run, and after it the operator may look. After every
step the invariants hold (`Machine.check`), of what is durable and not of what the code
believes. No loop and no API server: that is the next layer, `simulation`.
"""

import random
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from robustness.machine import Machine
from robustness.rows import Row
from robustness.steps import step
from standins.clock import Clock

STEPS = 100
FOLDER = Path("/dev/shm")  # noqa: S108 - disks have a layer of their own


def seeds(numbers: range) -> Iterator[Row]:
    """Run the machine of each seed.

    Raises:
        AssertionError: an invariant does not hold; the seed is in the message.
    """
    for seed in numbers:
        yield from one(seed)


def one(seed: int, steps: int = STEPS) -> list[Row]:
    """Run one machine, and return a row for each of its steps.

    Raises:
        AssertionError: as `seeds`.
    """
    root = FOLDER if FOLDER.is_dir() else None
    with tempfile.TemporaryDirectory(dir=root) as folder:
        clock, rng = Clock(1_000_000), random.Random(seed)  # noqa: S311 - a seed
        done: list[str] = []
        with clock.installed(), closing(Machine(Path(folder), rng, clock)) as machine:
            try:
                for _ in range(steps):
                    done.append(step(machine))
                    machine.check()
                machine.finish()
            except Exception as error:
                last = ", ".join(done[-12:])
                message = f"stateful seed {seed}, step {len(done)} ({last}): {error!r}"
                raise AssertionError(message) from error
    lost, declared, twice = machine.sums()
    rows = [Row(name, "core", 1) for name in done]
    rows[-1] = replace(
        rows[-1], flops_lost=lost, flops_declared=declared, counted_twice=twice
    )
    return rows
