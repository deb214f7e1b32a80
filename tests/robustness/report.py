"""The page robustness.md from its two JSON files. Core, but for `read` and `write`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustness.rows import LAYERS, Row

_HEAD = """# Robustness: what was lost, what was declared, what was counted twice

`make robustness` breaks things on purpose and compares what the ledger says with what
was really done. This page is written by it, from [robustness.json](robustness.json) and
[robustness-notes.json](robustness-notes.json).

- **lost**: max(0, truth - upper) in FLOPs, summed over the trials: must be 0.
- **declared**: upper - measured in FLOPs: what was in flight or is charged as a gap.
- **twice**: trials with more measured than was done: must be 0.
- **undetected**: trials in which something was wrong and nothing said so: must be 0.
- **recovery**: the longest time, in seconds, to the state that was expected.

A trial is one state of a model, one cut, error, kill, seed, step, mutation or fault.

"""


def page(rows: Sequence[Row], notes: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    parts = [_HEAD, _totals(rows), "\n\n", _table(rows), "\n"]
    campaigns = notes.get("campaigns", [])
    if campaigns:
        parts += ["\n## The campaigns\n\n", _campaigns(campaigns), "\n"]
    for title, key in (
        ("Controls", "controls"),
        ("Bugs that were found, and are fixed", "bugs"),
        ("What cannot be detected without an outside anchor", "undetectable"),
    ):
        if notes.get(key):
            parts += [f"\n## {title}\n\n", _list(notes[key]), "\n"]
    return "".join(parts)


def _totals(rows: Sequence[Row]) -> str:
    trials = sum(row.trials for row in rows)
    lost = sum(row.flops_lost for row in rows)
    twice = sum(row.counted_twice for row in rows)
    undetected = sum(row.undetected for row in rows)
    return (
        f"**{trials:,} trials of {len(rows)} faults: {lost:,} FLOPs lost, {twice:,}"
        f" counted twice, {undetected:,} undetected.**"
    )


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| layer | fault | trials | lost | declared | twice | undetected | recovery |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: LAYERS.index(row.layer)):
        seconds = "" if row.recovery_seconds is None else f"{row.recovery_seconds:.1f}"
        declared = f"{row.flops_declared:.2e}" if row.flops_declared else "0"
        lines.append(
            f"| {row.layer} | {row.fault} | {row.trials:,} | {row.flops_lost:,} |"
            f" {declared} | {row.counted_twice:,} | {row.undetected:,} | {seconds} |"
        )
    return "\n".join(lines)


def _campaigns(campaigns: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| campaign | seeds | seconds | what it shows |",
        "| --- | --- | ---: | --- |",
    ]
    lines += [
        f"| {one['name']} | 0 to {one['seeds'] - 1:,} | {one['seconds']:,} |"
        f" {one['claim']} |"
        for one in _grouped(campaigns)
    ]
    return "\n".join(lines)


def _grouped(campaigns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one campaign for each group, and those that are in none."""
    found: dict[str, dict[str, Any]] = {}
    for one in campaigns:
        name = one.get("group", one["name"])
        known = found.setdefault(name, {**one, "name": name, "seconds": 0})
        known["seconds"] += one["seconds"]
        known["seeds"] = min(known["seeds"], one["seeds"])
    return list(found.values())


def _list(notes: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"- **{note['name']}**: {note['what']}" for note in notes)


def write(rows: Sequence[Row], notes: Mapping[str, Any], folder: Path) -> None:
    """Write the three files."""
    data = json.dumps([row.as_json() for row in rows], indent=2)
    (folder / "robustness.json").write_text(f"{data}\n")
    kept = json.dumps(notes, indent=2, ensure_ascii=False)
    (folder / "robustness-notes.json").write_text(f"{kept}\n")
    (folder / "robustness.md").write_text(page(rows, notes))


def read(folder: Path) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows and notes that were written before; nothing where none were."""
    rows, notes = folder / "robustness.json", folder / "robustness-notes.json"
    if not rows.exists() or not notes.exists():
        return [], {}
    return [Row(**row) for row in json.loads(rows.read_text())], json.loads(
        notes.read_text()
    )
