"""Measure how fast the ledger is: `make bench-ledger`. Shell."""

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
from pathlib import Path

from bench_ledger import measuring
from bench_ledger.page import page
from flopguard_operator.ledger.store import export_file

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Measure, and write the page and its figures."""
    options = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        machine = {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load_at_start": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        }
        say("appends")
        appends = measuring.appends(folder, options.rounds, options.seconds)
        say(f"a ledger of {options.entries:,} entries")
        large = measuring.made(folder / "large.db", options.entries, say)
        say("start")
        start = measuring.started(folder / "large.db", options.rounds)
        exported = folder / "large.jsonl"
        with exported.open("wb") as out:
            export_file(folder / "large.db", out)
        say("verification")
        verify = measuring.verified(exported, options.rounds)
    found = {
        "machine": machine,
        "appends": appends,
        "large": large,
        "start": start,
        "verify": verify,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=2) + "\n"
    (options.output / "ledger.json").write_text(text)
    (options.output / "ledger.md").write_text(page(found))
    say(f"start {start['seconds']:.2f} s, verification {verify['seconds']:.1f} s")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench_ledger", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--folder", help="on the disk to measure (default: $TMPDIR)")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each figure")
    return parser.parse_args(arguments)


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{text}\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
