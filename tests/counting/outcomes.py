"""What a cell's runs came to, and where they differ. Values in, values out."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counting.cells import Cell
from counting.closed import FORMULAS
from counting.journal import PAGE_BYTES
from flopguard_hook.page import CATEGORIES, Counters, Page, read_page

Flops = dict[str, int]
PRODUCTS = tuple(name for name in CATEGORIES if name != "optimizer")


@dataclass
class Outcome:
    """One row: FLOPs by category, over all workers.

    Attributes:
        hook: By the hook as deployed.
        exact: By the reference that counts every operator.
        always_on: By the hook with replay off.
        closed: By the closed formula; None where there is none.
        flop_counter: By FlopCounterMode; it knows no categories.
        total_flos: Of the Trainer's state, where there is a Trainer.
        steps: Optimizer steps of one worker, by the hook's page.
        windows: Measured and replayed windows, as the facts tell.
        unfinished: FLOPs that were begun and, at the clean end, not done.
        errors: What must not be; makes the command fail.
    """

    cell: Cell
    hook: Flops = field(default_factory=dict)
    exact: Flops = field(default_factory=dict)
    always_on: Flops = field(default_factory=dict)
    closed: Flops | None = None
    flop_counter: int | None = None
    total_flos: int | None = None
    steps: int = 0
    windows: tuple[int, int] = (0, 0)
    unfinished: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def error(self) -> int:
        """Return the largest difference of a category."""
        names = [*self.hook, *self.exact]
        apart = [self.hook.get(n, 0) - self.exact.get(n, 0) for n in names]
        return max(apart, key=abs, default=0)


def products(flops: Mapping[str, int]) -> int:
    """Return the FLOPs of all but the optimizer's formula."""
    return sum(value for name, value in flops.items() if name != "optimizer")


def of_page(page: Page) -> Flops:
    """Return a page's done FLOPs by category."""
    return {name: sum(page.done[name].values()) for name in CATEGORIES}


def judge(cell: Cell, folder: Path) -> Outcome:
    """Compare the notes that a cell's runs left in a folder."""
    outcome = Outcome(cell)
    ranks = range(cell.workers)
    exact = [_facts(folder / "exact", rank) for rank in ranks]
    outcome.exact = _added([facts["steps"][-1] for facts in exact])
    for rank in ranks:
        _judge_worker(outcome, folder, rank, exact[rank]["steps"])
    beside = folder / "always_on"
    if not cell.without_counter:
        counted = [_facts(beside, rank)["flop_counter"] for rank in ranks]
        outcome.flop_counter = sum(counted)
    outcome.always_on = _added([of_page(_copies(beside, rank)[-1]) for rank in ranks])
    outcome.total_flos = _facts(folder / "hook", 0).get("total_flos")
    alarms = {alarm for facts in exact for alarm in facts["alarms"]}
    outcome.errors += [f"the reference does not know {name}" for name in sorted(alarms)]
    if cell.closed:
        calls = [facts["calls"] for facts in exact]
        outcome.closed = _added([dict(FORMULAS[cell.closed](cell, c)) for c in calls])
    _read_facts(outcome, folder / "pages")
    return outcome


def _judge_worker(
    outcome: Outcome, folder: Path, rank: int, exact: Sequence[Flops]
) -> None:
    """Compare one worker's page with the reference, at every step and at the end."""
    copies = _copies(folder / "hook", rank)
    last = read_page((folder / "pages" / f"{copies[-1].nonce}.page").read_bytes())
    outcome.steps = max(outcome.steps, last.steps)
    outcome.hook = _added([outcome.hook, of_page(last)])
    where = f"worker {rank}: " if outcome.cell.workers > 1 else ""
    if not last.closed:
        outcome.errors.append(where + "the page was never closed")
    outcome.unfinished += sum(_values(last.begun)) - sum(_values(last.done))
    # That its cost varies is what the flag is for.
    expected = {"replay_drift"} if outcome.cell.varies else set()
    flags = [name for name in last.errors if name not in expected]
    outcome.errors += [f"{where}error flag {name}" for name in flags]
    if outcome.cell.varies:
        return
    if last.done != last.begun:
        outcome.errors.append(where + "something begun was never finished")
    # Before the first charge there is no page to copy.
    early = len(exact) - len(copies)
    states = [dict.fromkeys(CATEGORIES, 0)] * early + [of_page(page) for page in copies]
    states[-1] = of_page(last)
    difference = first_difference(states, exact)
    if difference:
        outcome.errors.append(where + difference)


def first_difference(hook: Sequence[Flops], exact: Sequence[Flops]) -> str:
    """Return a sentence about the first step that differs, or nothing."""
    for number, (ours, theirs) in enumerate(zip(hook, exact, strict=False), start=1):
        for name in CATEGORIES:
            got, expected = ours.get(name, 0), theirs.get(name, 0)
            if got != expected:
                return (
                    f"after step {number} of {len(exact)}: {name} expected {expected}, "
                    f"got {got} ({got - expected:+d})"
                )
    return ""


def _values(counters: Counters) -> list[int]:
    return [flops for by_format in counters.values() for flops in by_format.values()]


def _copies(folder: Path, rank: int) -> list[Page]:
    content = (folder / f"pages-{rank}.bin").read_bytes()
    starts = range(0, len(content), PAGE_BYTES)
    return [read_page(content[at : at + PAGE_BYTES]) for at in starts]


def _facts(folder: Path, rank: int) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / f"facts-{rank}.json").read_text())
    return facts


def _read_facts(outcome: Outcome, pages: Path) -> None:
    """Add what the hook's facts tell of replay and of unknown operators."""
    files = sorted(pages.glob("*.json"))
    if len(files) != outcome.cell.workers:
        found = f"{len(files)} pages of {outcome.cell.workers} workers"
        outcome.errors.append(found)
    for file in files:
        facts = json.loads(file.read_text())
        replay = facts.get("replay", {})
        measured, replayed = outcome.windows
        outcome.windows = (
            measured + int(replay.get("measured", 0)),
            replayed + int(replay.get("replayed", 0)),
        )
        for item in facts.get("unknown_operators", []):
            name = item["operator"] if isinstance(item, dict) else item
            outcome.errors.append(f"unknown operator {name}")


def _added(parts: Sequence[Flops]) -> Flops:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return {name: value for name, value in total.items() if value}
