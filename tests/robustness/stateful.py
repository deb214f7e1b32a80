"""Drive the real accounting, gaps, ledger and policy code by random steps.

One seed is one machine of `STEPS` steps: a step is one thing that happens to pods,
marks, nodes, the operator or the run, and after it the operator may look. After every
step the invariants hold (`checks`), on what is durable, not on what the code believes.
No clock, no network, no loop: that is the next layer, `simulation`.
"""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from robustness import machine
from robustness.rows import Row

STEPS = 100
FOLDER = Path("/dev/shm")  # noqa: S108 - a disk is not what is tried here


def seeds(numbers: range, steps: int = STEPS) -> Iterator[Row]:
    """Run the machine of each seed.

    Raises:
        AssertionError: an invariant does not hold; the seed is in the message.
    """
    for seed in numbers:
        yield from one(seed, steps)


def one(seed: int, steps: int = STEPS) -> list[Row]:
    """Run one machine, and return a row for each kind of step.

    Raises:
        AssertionError: as `seeds`.
    """
    root = FOLDER if FOLDER.is_dir() else None
    with tempfile.TemporaryDirectory(dir=root) as folder:
        made = machine.Machine(Path(folder), random.Random(seed))  # noqa: S311 - a seed
        done: list[str] = []
        try:
            for _ in range(steps):
                done.append(made.step())
                made.check()
            made.finish()
        except Exception as error:
            last = ", ".join(done[-12:])
            message = f"stateful seed {seed}, step {len(done)} ({last}): {error!r}"
            raise AssertionError(message) from error
        finally:
            made.close()
        lost, declared, twice = made.sums()
        rows = [Row(f"step: {name}", "core", 1) for name in done]
        rows[-1] = Row(
            rows[-1].fault,
            "core",
            1,
            flops_lost=lost,
            flops_declared=declared,
            counted_twice=twice,
        )
        return rows
