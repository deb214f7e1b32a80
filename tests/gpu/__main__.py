"""Check on this machine what no CPU can show: `python -m tests.gpu`. Shell.

Exit status: 0 nothing failed, 1 something failed, 2 nothing could be checked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# The root of the repository is on the path; these two are where its packages lie.
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "sidecar")]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu.expecting import Check, Told

_OK, _FAILED, _SKIPPED = "ok", "failed", "skipped"
_SAID = "flopguard: "  # on stderr, only when something is wrong with the hook
_FIRST = 160  # characters of a reason in the table


class Outcome(NamedTuple):
    """What came of one check."""

    state: str
    reason: str


def main() -> int:
    """Run the checks that this machine allows; print the table."""
    options = parse(sys.argv[1:])
    try:
        import torch
    except ImportError:
        return refuse("torch is not installed in this Python")
    if not options.cpu and not torch.cuda.is_available():
        return refuse(
            "torch sees no CUDA device on this machine: nothing was checked.\n"
            "--cpu runs the checks that a CPU can answer in part."
        )
    from gpu.child import CHECKS

    device = "cpu" if options.cpu else "cuda"
    devices = torch.cuda.device_count()
    sys.stdout.write(f"torch {torch.__version__}, {device}, {devices} CUDA devices\n\n")
    outcomes = {}
    for check in CHECKS:
        if not options.only or check.name in options.only:
            outcome = outcomes[check.name] = decide(check, device, devices)
            tell(check, outcome)
    states = [outcome.state for outcome in outcomes.values()]
    told = ", ".join(f"{states.count(s)} {s}" for s in (_OK, _FAILED, _SKIPPED))
    sys.stdout.write(f"\n{told}\n")
    if states.count(_SKIPPED) == len(states):
        return refuse("nothing was checked")
    return int(_FAILED in states)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument(
        "--cpu", action="store_true", help="run what the CPU can answer in part"
    )
    parser.add_argument(
        "--only", action="append", help="a check's name; may be repeated"
    )
    return parser.parse_args(arguments)


def refuse(sentence: str) -> int:
    """Say why nothing was checked."""
    sys.stderr.write(sentence + "\n")
    return 2


def tell(check: Check, outcome: Outcome) -> None:
    """Print a check's line; a failure's whole reason below it."""
    first = " ".join(outcome.reason.split())
    cut = first if outcome.state == _FAILED else first[:_FIRST]
    sys.stdout.write(f"{outcome.state:8} {check.name:28} {check.question}\n")
    if cut:
        sys.stdout.write(f"{'':37} {cut}\n")
    sys.stdout.flush()


def decide(check: Check, device: str, devices: int) -> Outcome:
    """Run a check, unless this machine cannot."""
    if device == "cpu" and not check.on_cpu:
        return Outcome(_SKIPPED, "needs CUDA")
    if device == "cuda" and devices < check.devices:
        return Outcome(_SKIPPED, f"needs {check.devices} CUDA devices")
    with tempfile.TemporaryDirectory(prefix="flopguard-gpu-") as pages:
        return run(check, device, Path(pages))


def run(check: Check, device: str, pages: Path) -> Outcome:
    """Run a check's program under the hook and compare its pages."""
    from gpu.expecting import Expected, complaints

    try:
        done = subprocess.run(
            [sys.executable, "-m", "gpu.child", check.name, device],
            env=environment(pages),
            capture_output=True,
            text=True,
            check=False,
            timeout=check.limit_s,
        )
    except subprocess.TimeoutExpired:
        return Outcome(_FAILED, f"took longer than {check.limit_s} s")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = done.stderr[-1000:]
        return Outcome(_FAILED, f"ended with status {done.returncode}: {last}")
    if "unavailable" in answer:
        return Outcome(_SKIPPED, answer["unavailable"])
    if "error" in answer:
        return Outcome(_FAILED, answer["error"])
    expected = Expected(**answer["expected"])
    found = complaints(expected, read(pages))
    found += [line for line in done.stderr.splitlines() if line.startswith(_SAID)]
    found += [f"exit status {done.returncode}"] if done.returncode else []
    if found:
        return Outcome(_FAILED, "; ".join([*found, expected.note]))
    return Outcome(_OK, expected.note)


def environment(pages: Path) -> dict[str, str]:
    """Return the hook's two variables; the tests are on the path as well."""
    bootstrap = ROOT / "sidecar" / "flopguard_hook" / "bootstrap"
    paths = f"{bootstrap}{os.pathsep}{ROOT / 'tests'}"
    return {**os.environ, "PYTHONPATH": paths, "FLOPGUARD_DIR": str(pages)}


def read(folder: Path) -> Told:
    """Add up the pages and the facts of all processes."""
    from flopguard_hook.page import CATEGORIES, FORMATS, read_page
    from gpu.expecting import Told, names

    pages = [read_page(path.read_bytes()) for path in sorted(folder.glob("*.page"))]
    facts: list[dict[str, Any]] = [
        json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))
    ]

    def total(which: str) -> dict[str, dict[str, int]]:
        return {
            c: {f: sum(getattr(page, which)[c][f] for page in pages) for f in FORMATS}
            for c in CATEGORIES
        }

    errors = sorted({error for page in pages for error in page.errors})
    return Told(total("done"), total("begun"), errors, names(facts))


if __name__ == "__main__":
    sys.exit(main())
