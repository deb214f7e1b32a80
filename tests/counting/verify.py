"""`make verify-counting`: every cell, four ways to count, one table.

Exits 1 if a cell failed or the hook was wrong where cost depends on shapes alone.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import count
from pathlib import Path

from counting import table
from counting.cells import ABSENT, Cell, cells
from counting.outcomes import Outcome, judge
from counting.starting import HOOK, Armed, Forks, RunError, deployed

DOCS = Path(__file__).resolve().parents[2] / "docs"
AT_ONCE = 2  # cores of the machine that this must run on
NAMED = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes")


class References:
    """The two processes in whose forks the references run."""

    def __init__(self, folder: Path, hook: Path) -> None:
        pages = folder / "always-on"
        pages.mkdir(exist_ok=True)
        self.hook = hook
        self.exact = Forks(None)
        # FlopCounterMode runs beside the hook without replay: one run, two columns.
        self.always_on = Forks(Armed(pages, hook), FLOPGUARD_REPLAY="Off")

    def close(self) -> None:
        """End them."""
        self.exact.close()
        self.always_on.close()


def check(cell: Cell, references: References, folder: Path) -> Outcome:
    """Run a cell every way and compare; a run that fails is an error of the row."""
    try:
        deployed(cell, folder / "hook", Armed(folder / "pages", references.hook))
        references.exact.run(cell, "exact", folder / "exact")
        beside = "hook" if cell.without_counter else "flop_counter"
        references.always_on.run(cell, beside, folder / "always_on")
    except RunError as error:
        return Outcome(cell, errors=[str(error)])
    return read(cell, folder)


def read(cell: Cell, folder: Path) -> Outcome:
    """Compare the notes of a cell's runs; notes that are missing are an error."""
    try:
        return judge(cell, folder)
    except (OSError, LookupError, ValueError) as error:
        return Outcome(cell, errors=[f"its notes cannot be read: {error!r}"])


def check_all(chosen: Sequence[Cell], folder: Path, hook: Path = HOOK) -> list[Outcome]:
    """Run cells, two at a time, and say each one's result as it comes."""
    references = References(folder, hook)
    began, ended = time.monotonic(), count(1)

    def run(cell: Cell) -> Outcome:
        outcome = check(cell, references, folder / cell.name)
        state = "; ".join(outcome.errors) or ("varies" if cell.varies else "exact")
        elapsed, number = time.monotonic() - began, next(ended)
        at = f"{elapsed:5.0f} s {number:3} of {len(chosen)}"
        print(f"{at}  {cell.name:26} {state}", flush=True)  # noqa: T201
        return outcome

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(run, chosen))
    finally:
        references.close()


def made() -> str:
    """Return a sentence about the versions."""
    found = ", ".join(f"{name} {version(name)}" for name in NAMED)
    return f"On a CPU, two workers at most, with {found}."


def main(words: Sequence[str]) -> int:
    """Check the cells and write the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", help="only cells whose name has one of these, a,b")
    parser.add_argument("--keep", type=Path, help="keep the runs' notes in this folder")
    parser.add_argument("--again", action="store_true", help="read kept notes anew")
    parser.add_argument("--docs", type=Path, help="write the table into this folder")
    parser.add_argument("--hook", type=Path, default=HOOK, help="another copy of it")
    options = parser.parse_args(words)
    wanted = options.cells.split(",") if options.cells else [""]
    chosen = [cell for cell in cells() if any(w in cell.name for w in wanted)]
    with tempfile.TemporaryDirectory() as folder:
        kept = options.keep or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        if options.again:
            outcomes = [read(cell, kept / cell.name) for cell in chosen]
        else:
            outcomes = check_all(chosen, kept, options.hook)
    text = table.render(outcomes, ABSENT, made())
    if options.docs:
        (options.docs / "counting.md").write_text(text)
        (options.docs / "counting.json").write_text(
            table.as_json(outcomes, ABSENT, made())
        )
    print(text)  # noqa: T201
    failed = [outcome for outcome in outcomes if outcome.errors]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
