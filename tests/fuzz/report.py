"""The result of many cases, in words and in JSON. Core, but for `write`."""

import json
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzz.cases import Verdict


def summarize(
    verdicts: Sequence[Verdict], seconds: float, workers: int
) -> dict[str, Any]:
    """Return what the cases came to.

    Args:
        verdicts: Of all cases.
        seconds: How long they took.
        workers: How many ran at a time.
    """
    kinds = Counter(verdict.kind for verdict in verdicts)
    failed = sorted(v.seed for v in verdicts if v.found or v.miscounts)
    return {
        "cases": len(verdicts),
        "fresh": kinds["fresh"],
        "forked": kinds["forked"],
        "seeds": [min(v.seed for v in verdicts), max(v.seed for v in verdicts)],
        "differ": sum(bool(v.found) for v in verdicts),
        "miscounted": sum(bool(v.miscounts) for v in verdicts),
        "counted": sum(bool(v.flops) for v in verdicts),
        "guessed": sum(bool(v.guesses) for v in verdicts),
        "unsteady": sorted(v.seed for v in verdicts if v.unsteady),
        "flags": dict(Counter(e for v in verdicts for e in v.errors)),
        "failed": failed,
        "failures": [v._asdict() for v in sorted(verdicts) if v.seed in set(failed)],
        "seconds": round(seconds),
        "slowest_case_seconds": max(v.seconds for v in verdicts),
        "workers": workers,
        "python": platform.python_version(),
        "torch": _torch_version(),
    }


def mended(summary: dict[str, Any], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return a summary in which seeds that failed have a newer verdict.

    Args:
        summary: Of an earlier run.
        verdicts: Of seeds that failed in it, run again.
    """
    again = {v.seed for v in verdicts}
    old = [f for f in summary["failures"] if f["seed"] not in again]
    new = [v._asdict() for v in verdicts if v.found or v.miscounts]
    failures = sorted([*old, *new], key=lambda one: one["seed"])
    unsteady = {v.seed for v in verdicts if v.unsteady}
    return {
        **summary,
        "differ": sum(bool(one["found"]) for one in failures),
        "miscounted": sum(bool(one["miscounts"]) for one in failures),
        "unsteady": sorted({*summary["unsteady"]} - again | unsteady),
        "failed": [one["seed"] for one in failures],
        "failures": failures,
        "run_again": sorted({*summary.get("run_again", ()), *again}),
    }


def _torch_version() -> str:
    from importlib.metadata import version

    return version("torch")


def verdict_in_words(verdict: Verdict) -> str:
    """Return a verdict as lines."""
    lines = [
        f"seed {verdict.seed} ({verdict.kind}, {verdict.seconds} s): {verdict.words}"
    ]
    lines += [f"    differs: {sentence}" for sentence in verdict.found]
    lines += [f"    miscounted: {sentence}" for sentence in verdict.miscounts]
    lines += [f"    differs from itself: {s}" for s in verdict.unsteady]
    return "\n".join(lines)


def in_words(summary: dict[str, Any]) -> str:
    """Return the summary as a sentence or two, and how to see a failure again."""
    text = (
        f"{summary['cases']:,} cases ({summary['fresh']:,} in fresh interpreters, "
        f"{summary['forked']:,} forked), torch {summary['torch']}, "
        f"{summary['seconds']:,} s: {summary['differ']} differ, "
        f"{summary['miscounted']} are counted otherwise than always-on, "
        f"{len(summary['unsteady'])} differ from themselves."
    )
    again = [f"python -m fuzz --seed {seed}" for seed in summary["failed"][:10]]
    return "\n".join([text, *again])


_PAGE = """\
# What random programs see of the hook

`make fuzz-hook` draws {cases:,} programs from seeds {first} to {last} and runs each
with the hook and without it. Equal must be: exit code, everything printed (losses
with every bit), exceptions with the program's own frames, the bytes of every saved
file, and when objects die. The pages must be valid, and where cost depends on shapes
alone, the replayed count must equal the always-on count of the same program. It may
be less only where the program says that it multiplies outside of any module, once
([ADR 4](adr/0004-measure-twice-then-replay.md)).

| | |
| --- | --- |
| cases | {cases:,} |
| in fresh interpreters | {fresh:,} |
| forked from a parent that has torch, unhooked | {forked:,} |
| whose pages show FLOPs | {counted:,} |
| **that differ** | **{differ}** |
| **counted otherwise than always-on** | **{miscounted}** |
| that may be counted otherwise (cost by data, or once), and were | {guessed} |
| that differ from themselves, so show nothing | {unsteady_count} |
| Python, torch | {python}, {torch} |
| seconds, with {workers} workers | {seconds:,} |

Error flags seen: {flags_in_words}. `hook_failed` is a difference, but
where the program itself damages the folder of pages: only such cases have it here.
Seeds that failed at first, and were run again after
a mend: {again_in_words}.
"""


def write(summary: dict[str, Any], folder: Path) -> None:
    """Write `fuzz.md` and `fuzz.json`."""
    first, last = summary["seeds"]
    flags = ", ".join(
        f"{n} times `{name}`" for name, n in sorted(summary["flags"].items())
    )
    text = _PAGE.format(
        **summary,
        first=first,
        last=last,
        unsteady_count=len(summary["unsteady"]),
        flags_in_words=flags or "none",
        again_in_words=", ".join(map(str, summary.get("run_again", ()))) or "none",
    )
    (folder / "fuzz.md").write_text(text)
    (folder / "fuzz.json").write_text(json.dumps(summary, indent=2) + "\n")
