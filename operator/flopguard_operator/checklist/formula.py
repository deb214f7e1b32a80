"""Estimate a run's processes anew in closed form, from what the ledger noted."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flopguard_operator import facts as reading
from flopguard_operator.checklist.items import ESTIMATE, Item, missing, note, ok
from flopguard_operator.estimate.model import Bounds
from flopguard_operator.estimate.process import of_process
from flopguard_operator.facts import Facts, FactsError
from flopguard_operator.flops import display
from flopguard_operator.ledger.entries import Entry, FactsNoted
from flopguard_operator.observed import items

_TOLERATED_PERCENT = 5
_MOST = 256  # processes that are estimated
_SHOWN = 5


@dataclass(frozen=True)
class Process:
    """What the ledger noted of one process last."""

    noted: FactsNoted
    facts: Facts


def processes(entries: Iterable[Entry]) -> tuple[Process, ...]:
    """Return the processes of one run, as far as their facts can be read."""
    lasting: dict[str, str] = {}
    newest: dict[str, FactsNoted] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, FactsNoted):
            if event.facts:
                lasting[event.digest] = event.facts
            newest[event.process] = event
    found = []
    for event in list(newest.values())[:_MOST]:
        told = _told(lasting.get(event.digest, ""), event.counters)
        if told is not None:
            found.append(Process(event, told))
    return tuple(found)


def _told(lasting: str, growing: str) -> Facts | None:
    """Return facts from their two texts; None where they cannot be read."""
    try:
        first, second = json.loads(lasting), json.loads(growing)
        if not isinstance(first, Mapping) or not isinstance(second, Mapping):
            return None
        return reading.read({**first, **second, "models": _models(first, second)})
    except (ValueError, RecursionError, FactsError):
        return None


def _models(lasting: Mapping[str, Any], growing: Mapping[str, Any]) -> list[Any]:
    counters = list(items(growing, "models"))
    models = list(items(lasting, "models"))
    counters += [{}] * (len(models) - len(counters))
    return [{**a, **b} for a, b in zip(models, counters, strict=False)]


def second_opinion(found: Iterable[Process]) -> Iterator[Item]:
    """Yield what closed forms say beside the hook, and what the hook did not know."""
    known = tuple(found)
    if not known:
        advice = "no process told what it trains, so the count cannot be estimated anew"
        yield missing(ESTIMATE, "formula", f"{advice[:1].upper()}{advice[1:]}.")
        return
    total, hook, count, why_not = Bounds(), 0, 0, ""
    for process in known:
        opinion = of_process(process.facts, process.noted.steps)
        if not opinion.exact:
            why_not = why_not or opinion.why_not
            continue
        total += opinion.estimate.total
        hook += process.noted.measured
        count += 1
    yield _compared(total, hook, count, why_not)
    names = {one.name for p in known for one in p.facts.unknown_operators}
    if names:
        shown = ", ".join(sorted(names)[:_SHOWN])
        said = f"Operators ran that have no formula, and are not counted: {shown}."
        yield missing(ESTIMATE, "operators", said)


def _compared(total: Bounds, hook: int, count: int, why_not: str) -> Item:
    if not count:
        why = why_not or "no process trains a model that it knows"
        return note(ESTIMATE, "formula", f"There is none: {why}.")
    low, high = max(0, total.low), total.high
    said = f"{display(low)} to {display(high)} FLOPs for {count} process(es)"
    beside = f"{said}; the hook counted {display(hook)}"
    if 100 * hook < (100 - _TOLERATED_PERCENT) * low:
        advice = "the hook counted less than a formula allows: find out why"
        return missing(ESTIMATE, "formula", f"{beside}: {advice}.")
    return ok(ESTIMATE, "formula", f"{beside}.")
