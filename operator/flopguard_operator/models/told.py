"""Tell entries of the catalogue, and gaps, as JSON and as lines of text. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from flopguard_operator.flops import display
from flopguard_operator.models.basis import as_range
from flopguard_operator.models.entries import (
    DISCLOSED,
    ESTIMATE,
    METHODS,
    Entry,
    Figure,
)
from flopguard_operator.models.gaps import Gap, Limit, Prospect

_WIDEST = 48  # columns of a name in a list
_STANDINGS = {DISCLOSED: "disclosed", ESTIMATE: "estimate of others"}


def document(entries: Iterable[Entry]) -> dict[str, Any]:
    """Return entries as JSON values, in the form that private entries have.

    FLOPs, parameters and tokens are strings of digits; what is empty is left out.
    """
    return {"schema": 1, "models": [_entry(entry) for entry in entries]}


def _entry(entry: Entry) -> dict[str, Any]:
    values = {
        "id": entry.id,
        "name": entry.name,
        "huggingFaceId": entry.hugging_face_id,
        "aliases": list(entry.aliases),
        "provider": entry.provider,
        "released": entry.released,
        "parameters": _digits(entry.parameters),
        "activeParameters": _digits(entry.active_parameters),
        "tokens": _digits(entry.tokens),
        "access": entry.access,
        "systemicRisk": entry.systemic_risk,
        "version": entry.version,
        "figures": [_figure(figure) for figure in entry.figures],
    }
    return {name: value for name, value in values.items() if value}


def _figure(figure: Figure) -> dict[str, Any]:
    values = {
        "flops": _digits(figure.value),
        "low": _digits(figure.low),
        "high": _digits(figure.high),
        "method": figure.method,
        "source": figure.source,
        "date": figure.date,
        "confidence": figure.confidence,
        "url": figure.url,
        "dataset": figure.dataset,
        "note": figure.note,
    }
    return {name: value for name, value in values.items() if value}


def row(entry: Entry) -> str:
    """Return an entry as one line of a list: name, figure, what it is worth."""
    shown = {
        DISCLOSED: display(_value(entry.disclosed)),
        ESTIMATE: as_range(entry),
    }.get(entry.standing, "unknown")
    worth = _STANDINGS.get(entry.standing, "no figure that counts")
    risk = ", systemic risk" if entry.systemic_risk else ""
    return f"{entry.names[0]:<{_WIDEST}}  {shown:<20}  {worth}{risk}"


def card(entry: Entry) -> Iterator[str]:
    """Yield an entry as lines: what it is, then each figure with its source."""
    yield f"{entry.name} ({entry.names[0]})"
    facts = (
        ("provider", entry.provider),
        ("released", entry.released),
        ("parameters", _short(entry.parameters)),
        ("active parameters", _short(entry.active_parameters)),
        ("tokens", _short(entry.tokens)),
        ("access", entry.access),
        ("systemic risk", "yes" if entry.systemic_risk else ""),
        ("also", ", ".join(entry.aliases)),
        ("version", f"{entry.version} of {entry.origin or 'the shipped catalogue'}"),
    )
    for name, value in facts:
        if value:
            yield f"  {name + ':':<19}{value}"
    yield "  figures:"
    for figure in entry.figures:
        yield f"    {_figure_line(figure)}"
        yield f"      {figure.source} ({figure.date}) {figure.url}".rstrip()
        if figure.note:
            yield f"      {figure.note}"


def verdict(entry: Entry) -> str:
    """Return in one sentence what a run on this base model is judged by."""
    if entry.disclosed is not None:
        return (
            f"Used: {display(_value(entry.disclosed))} FLOPs, disclosed by its provider"
            f" ({entry.disclosed.source})."
        )
    if entry.estimates:
        return (
            f"Not disclosed. {as_range(entry)} FLOPs is an estimate of others: it"
            f" counts, with its low value, only in policies that say so."
        )
    return "Not known: the substitute for unknown base models governs."


def _figure_line(figure: Figure) -> str:
    how = METHODS[figure.method].words
    if figure.value is None:
        return f"none: {how}"
    low, high = figure.bounds or (0, 0)
    span = "" if low == high else f" ({display(low)} to {display(high)})"
    sure = f"; {figure.confidence}" if figure.confidence else ""
    return f"{display(figure.value)}{span} FLOPs, {how}{sure}"


def gaps_document(gaps: Iterable[Gap]) -> dict[str, Any]:
    """Return gaps as JSON values; FLOPs are digits, a limit may be "p/q"."""
    return {"schema": 1, "gaps": [_gap(gap) for gap in gaps]}


def _gap(gap: Gap) -> dict[str, Any]:
    low, high = gap.base.estimate_low, gap.base.estimate_high
    return {
        "program": gap.program,
        "runs": list(gap.runs),
        "base": gap.base.name,
        "estimate_low": _digits(low) or None,
        "estimate_high": _digits(low if high is None else high) or None,
        "method": gap.base.method,
        "source": gap.base.source,
        "policy": gap.policy,
        "upper": str(gap.totals.upper),
        "policies": [_prospect(prospect) for prospect in gap.prospects],
    }


def _prospect(prospect: Prospect) -> dict[str, Any]:
    helps = prospect.helps_from
    return {
        "policy": prospect.policy,
        "counted": str(prospect.now.counted),
        "limit": str(prospect.now.limit),
        "room": str(prospect.now.room),
        "helps_from": None if helps is None else str(helps),
        "disclosures": [
            {"flops": str(figure), "limit": str(ruling.limit), "room": str(ruling.room)}
            for figure, ruling in prospect.after.items()
        ],
    }


def gap_lines(gap: Gap) -> Iterator[str]:
    """Yield a gap as lines for people; names are not yet escaped."""
    kind = "Program" if gap.program else "Run"
    name = gap.base.name or "no base model is named"
    yield f"{kind} {gap.title}: {name}, not disclosed"
    if gap.base.estimate_low is not None:
        high = gap.base.estimate_high
        more = "" if high is None else f" to {display(high)}"
        yield f"  others derived {display(gap.base.estimate_low)}{more} FLOPs"
    for prospect in gap.prospects:
        now = prospect.now
        mark = " (governs)" if prospect.policy == gap.policy else ""
        yield f"  {prospect.policy}{mark}"
        yield (
            f"    now: {display(now.counted)} counted, limit {display(now.limit)},"
            f" {room(now.room)}"
        )
        for figure, after in prospect.after.items():
            yield (
                f"    if {display(figure)} were disclosed: limit"
                f" {display(after.limit)}, {room(after.room)}"
            )
        yield f"    {_helps(prospect)}"


def room(left: Limit) -> str:
    """Return what is left below a limit, or what is above it, in words."""
    if left < 0:
        return f"{display(-left)} above it"
    return f"{display(left)} left"


def _helps(prospect: Prospect) -> str:
    if prospect.helps_from is None:
        return "no disclosure would raise this limit"
    return f"a disclosure above {display(prospect.helps_from - 1)} raises the limit"


def _value(figure: Figure | None) -> int:
    return figure.value or 0 if figure else 0


def _digits(value: int | None) -> str:
    return "" if value is None else str(value)


def _short(value: int | None) -> str:
    return "" if value is None else display(value)
