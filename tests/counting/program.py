"""Runs one cell's program: `python -m counting.program CELL --notes DIR`.

This is what runs under the hook as deployed, so it imports nothing of flopguard; the
references run it too, with `--count exact` or `--count flop_counter`.
"""

import argparse
import importlib
import os
import sys
import warnings
from pathlib import Path

from counting.cells import Cell, cells
from counting.journal import JOURNALS


def play(cell: Cell, count: str, folder: Path) -> None:
    """Run a cell's program and write its notes into a folder."""
    options = {**cell.options, **(cell.eager if count != "hook" else {})}
    module, function = cell.program.split(":")
    journal = JOURNALS[count](folder)
    program = getattr(importlib.import_module(f"counting.{module}"), function)
    with journal.watching():
        program(journal, **options)
    journal.close()


def main(words: list[str]) -> None:
    """Run the cell that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cell")
    parser.add_argument("--count", choices=sorted(JOURNALS), default="hook")
    parser.add_argument("--notes", type=Path, required=True)
    chosen = parser.parse_args(words)
    warnings.simplefilter("ignore")  # the libraries' own; the log is for failures
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    (cell,) = [cell for cell in cells() if cell.name == chosen.cell]
    play(cell, chosen.count, chosen.notes)


if __name__ == "__main__":
    main(sys.argv[1:])
