"""`make fuzz-hook`: random programs with the hook and without must be the same.

python -m fuzz                    # all 10,000 cases
python -m fuzz --seed 4711        # one case again, and what it was
python -m fuzz --seeds 0:200      # some
python -m fuzz --again --write    # those that failed, after a mend
"""

import argparse
import compileall
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fuzz import report
from fuzz.cases import Verdict, is_fresh
from fuzz.pages import HOOK
from fuzz.serving import run_all

ALL = 10_000
_REPORT = Path(__file__).resolve().parents[2] / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases; return 1 if any differed."""
    options = _parse(arguments)
    seeds = _seeds(options)
    # A shell that runs this in the background has it ignored, in all that follows.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="flopguard-hook-") as folder:
        hook = snapshot(Path(folder))
        started = time.monotonic()
        verdicts: list[Verdict] = []
        for verdict in run_all(seeds, hook, options.workers):
            verdicts.append(verdict)
            _tell(verdict, verdicts, len(seeds), started, one=len(seeds) == 1)
    if options.again:
        before = json.loads((_REPORT / "fuzz.json").read_text())
        summary = report.mended(before, verdicts)
    else:
        seconds = time.monotonic() - started
        summary = report.summarize(verdicts, seconds, options.workers)
    sys.stdout.write("\n" + report.in_words(summary) + "\n")
    if options.write:
        report.write(summary, _REPORT)
    return int(bool(summary["failed"]))


def snapshot(folder: Path) -> Path:
    """Return a compiled copy of the hook, under another name, as in a pod."""
    hook = folder / "flopguard-hook"  # a name that outcomes know
    shutil.copytree(HOOK, hook, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(str(hook), quiet=1)
    return hook


def in_order(seeds: Sequence[int]) -> list[int]:
    """Return the seeds with those that need transformers last: its import is slow."""
    from fuzz import programs

    def last(seed: int) -> bool:
        return not is_fresh(seed) and programs.needs_language(programs.draw(seed))

    return sorted(seeds, key=last)


def _seeds(options: argparse.Namespace) -> list[int]:
    if options.again:
        failed = json.loads((_REPORT / "fuzz.json").read_text())["failed"]
        return in_order(failed)
    if options.seed is not None:
        return [options.seed]
    kept: list[int] = []
    for part in options.seeds.split(","):
        first, _, last = part.partition(":")
        kept += range(int(first), int(last or int(first) + 1))
    if options.only:
        kept = [seed for seed in kept if is_fresh(seed) == (options.only == "fresh")]
    return in_order(kept)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="one case")
    parser.add_argument(
        "--seeds", default=f"0:{ALL}", help="from:to, without to; or a,b,c"
    )
    parser.add_argument("--only", choices=["fresh", "forked"], help="one kind")
    # Twice as many as cores: half of the programs sleep, fork or wait.
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument(
        "--again", action="store_true", help="the seeds that failed in docs/fuzz.json"
    )
    parser.add_argument("--write", action="store_true", help="write docs/fuzz.*")
    return parser.parse_args(arguments)


def _tell(
    verdict: Verdict,
    verdicts: Sequence[Verdict],
    count: int,
    started: float,
    *,
    one: bool,
) -> None:
    """Print a verdict that is not plain, and now and then how far it is."""
    if one or verdict.found or verdict.unsteady or verdict.miscounts:
        sys.stdout.write(report.verdict_in_words(verdict) + "\n")
    if len(verdicts) % 100 == 0:
        seconds = time.monotonic() - started
        left = seconds / len(verdicts) * (count - len(verdicts))
        bad = sum(bool(v.found or v.miscounts) for v in verdicts)
        sys.stdout.write(
            f"{len(verdicts)} of {count} cases, {bad} differ, "
            f"{seconds:.0f} s, about {left:.0f} s to go\n"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
