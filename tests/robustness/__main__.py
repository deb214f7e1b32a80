"""`make robustness`: break things on purpose, and see what the ledger says.

python -m robustness                              # everything, for hours
python -m robustness --only power-cuts --share 0.01
python -m robustness --only models,kill-processes --write   # these rows of the page
python -m robustness --only simulation --seed 17  # that one again
python -m robustness --only cluster --resume --write  # what is not on the page yet
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robustness import campaigns, clustercampaign, report, tampering
from robustness.campaigns import Campaign
from robustness.rows import Row, merge

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_EVERY_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run campaigns; return 1 if one shows what must not be."""
    options = _parse(arguments)
    try:
        chosen = campaigns.named(options.only)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        if options.seed is not None:
            return _replay(chosen, options.seed)
        failed = [one for campaign in chosen for one in _campaign(campaign, options)]
    finally:
        clustercampaign.close()
    sys.stdout.write("\n".join([*failed, f"{len(failed)} failed"]) + "\n")
    return int(bool(failed))


def _campaign(campaign: Campaign, options: argparse.Namespace) -> list[str]:
    """Run a campaign; write its rows, or return what is wrong with them."""
    seeds = max(1, round(campaign.seeds * options.share))
    rows, notes = report.read(_DOCS)
    if options.resume and _is_done(campaign, seeds, notes):
        return []
    began = time.monotonic()
    try:
        found = campaigns.run(campaign, seeds, options.jobs, _teller(campaign, seeds))
    except AssertionError as error:
        sys.stdout.write(f"{campaign.name}: {error}\n")
        return [f"{campaign.name}: {error}"]
    seconds = round(time.monotonic() - began)
    _tell(campaign, found, seconds)
    failed = _judge(campaign, found)
    if options.write and not failed:  # at once: a later one may be cut off
        rows = _replaced(rows, campaign, found)
        notes = _noted(notes, campaign, found, seeds, seconds)
        report.write(rows, notes, _DOCS)
    return failed


def _is_done(campaign: Campaign, seeds: int, notes: dict[str, Any]) -> bool:
    """Say whether the page has a campaign with as many seeds."""
    done = {one["name"]: one["seeds"] for one in notes.get("campaigns", [])}
    return bool(done.get(campaign.name, 0) >= seeds)


def _replay(chosen: Sequence[Campaign], seed: int) -> int:
    """Run one seed of campaigns again, here and now."""
    for campaign in chosen:
        try:
            rows = merge(campaign.rows(range(seed, seed + 1)))
        except AssertionError as error:
            sys.stdout.write(f"{campaign.name}: {error}\n")
            return 1
        _tell(campaign, rows, 0)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="names or groups, with commas")
    parser.add_argument("--share", type=float, default=1.0, help="of the seeds (1.0)")
    parser.add_argument("--seed", type=int, help="only this one, not written down")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--resume", action="store_true", help="leave out what the page has already"
    )
    parser.add_argument("--write", action="store_true", help="write docs/robustness.*")
    return parser.parse_args(arguments)


def _teller(campaign: Campaign, seeds: int) -> Callable[[int], None]:
    """Return what says how far a campaign is, now and then."""
    began = last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_SECONDS:
            return
        last = now
        left = (now - began) / done * (seeds - done)
        sys.stdout.write(
            f"{campaign.name}: {done:,} of {seeds:,} seeds, about {left:.0f} s to go\n"
        )
        sys.stdout.flush()

    return tell


def _judge(campaign: Campaign, rows: Sequence[Row]) -> list[str]:
    """Return what is wrong with the rows of a campaign."""
    if campaign.is_control:
        lost = sum(row.flops_lost for row in rows)
        return [] if lost else [f"{campaign.name}: the control lost nothing"]
    return [
        f"{campaign.name}: {row}"
        for row in rows
        if row.flops_lost or row.counted_twice or row.undetected
    ]


def _tell(campaign: Campaign, rows: Sequence[Row], seconds: int) -> None:
    for row in rows:
        sys.stdout.write(
            f"{campaign.layer}: {row.fault}: {row.trials:,} trials, lost"
            f" {row.flops_lost:,}, twice {row.counted_twice:,}, undetected"
            f" {row.undetected:,}\n"
        )
    sys.stdout.write(f"{campaign.name}: {campaign.claim} ({seconds} s)\n")
    sys.stdout.flush()


def _replaced(
    rows: Sequence[Row], campaign: Campaign, found: Sequence[Row]
) -> list[Row]:
    if campaign.is_control:
        return list(rows)
    new = {(row.layer, row.fault) for row in found}
    return [row for row in rows if (row.layer, row.fault) not in new] + list(found)


def _noted(
    notes: dict[str, Any],
    campaign: Campaign,
    found: Sequence[Row],
    seeds: int,
    seconds: int,
) -> dict[str, Any]:
    own = {
        "name": campaign.name,
        "seeds": seeds,
        "seconds": seconds,
        "claim": campaign.claim,
        **({"group": campaign.group} if campaign.group else {}),
    }
    others = [n for n in notes.get("campaigns", []) if n["name"] != campaign.name]
    notes = {**notes, "campaigns": [*others, own]}
    if campaign.layer == "tampering":
        notes["undetectable"] = list(tampering.UNDETECTABLE)
    if campaign.is_control:
        lost = sum(row.flops_lost for row in found)
        trials = sum(row.trials for row in found)
        what = f"{campaign.claim}: {lost:.2e} FLOPs lost in {trials:,} trials"
        kept = [n for n in notes.get("controls", []) if n["name"] != campaign.name]
        notes["controls"] = [*kept, {"name": campaign.name, "what": what}]
    return notes


if __name__ == "__main__":
    sys.exit(main())
