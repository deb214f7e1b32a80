"""The page `docs/benchmarks/ledger.md` from the figures. Core."""

from collections.abc import Mapping
from typing import Any

_QUIET = 0.5  # load average of the minute before
_BUSY = """**The machine was busy when this began: take these figures as coarse.**

"""
TARGETS = {"verify": 10.0, "start": 5.0}  # seconds for a million entries


def page(found: Mapping[str, Any]) -> str:
    """Return the whole page, Markdown."""
    return "\n".join([_head(found), _appends(found), _large(found)])


def _head(found: Mapping[str, Any]) -> str:
    facts = "\n".join(
        f"| {name.replace('_', ' ')} | {value} |"
        for name, value in found["machine"].items()
    )
    return f"""# How fast the ledger is

Written by `make bench-ledger`; the same figures with more digits are in `ledger.json`.
Nothing is left out of an append: the entry is encoded and hashed, the high-water mark
merged, the tree grown, the head signed, and all of it durable (WAL, `synchronous=FULL`)
before `commit` returns. Medians.

{_BUSY if found["machine"]["load_at_start"] > _QUIET else ""}| where it ran | |
| --- | --- |
{facts}
"""


def _appends(found: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {row['marks']:,} | {row['appends_per_s']:,.0f} |"
        f" {row['commits_per_s']:,.1f} | {row['share_of_syncs'] * 100:.0f} % |"
        for row in found["appends"]
    )
    bare = found["appends"][0]["syncs_per_s"]
    return f"""## Appends

The same disk makes {bare:,.0f} appends of 4 KiB durable per second, one by one
(`fdatasync`), measured between the rounds. No ledger that keeps its promise commits
more often; what one transaction carries makes the difference.

| marks in a transaction | appends per second | commits per second | of the bare syncs |
| --- | --- | --- | --- |
{rows}

An operator settles all runs of a cycle in one transaction.
"""


def _large(found: Mapping[str, Any]) -> str:
    large, start, verify = found["large"], found["start"], found["verify"]
    million = large["entries"] / 1_000_000
    tail = large["entries"] - start["hashed_from"]
    rows = (
        (
            "verification, offline, every verdict replayed",
            f"{verify['seconds']:.1f} s",
            _verdict(verify["seconds"], TARGETS["verify"] * million),
        ),
        (
            "the same, entries per second",
            f"{large['entries'] / verify['seconds']:,.0f}",
            "",
        ),
        ("the same, peak memory of a process", f"{verify['peak_mb']:.0f} MB", ""),
        *_cpu(verify),
        (
            f"start of the operator ({tail:,} leaves hashed, {start['runs']:,} runs)",
            f"{start['seconds']:.2f} s",
            _verdict(start["seconds"], TARGETS["start"] * million),
        ),
        ("the same, peak memory", f"{start['peak_mb']:.0f} MB", ""),
        ("bytes on the disk per entry", f"{large['bytes_per_entry']:.0f}", ""),
    )
    table = "\n".join(f"| {what} | {value} | {met} |" for what, value, met in rows)
    return f"""## A ledger of {large["entries"]:,} entries

A thousand runs that settle every five minutes. Targets are for a million entries: 10 s
for verification, 5 s for the start. The verifier streams: its memory grows with the
runs, not with the entries.

| what | measured | target |
| --- | --- | --- |
{table}
"""


def _cpu(verify: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Say what it takes of the processors, which others may keep busy."""
    if "cpu_s" not in verify:
        return []
    return [("the same, processor time", f"{verify['cpu_s']:.1f} s", "")]


def _verdict(seconds: float, most: float) -> str:
    return f"met (≤ {most:g} s)" if seconds <= most else f"**not met** (≤ {most:g} s)"
