"""Set the verdicts of rule sets as JSON; FLOPs are digits, limits may be "p/q"."""

from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from flopguard_operator.flops import display
from flopguard_operator.policy.evaluation import LineVerdict, PolicyVerdict
from flopguard_operator.policy.rulesets import Note


def policies_json(verdicts: Iterable[PolicyVerdict]) -> list[dict[str, Any]]:
    """Return the verdicts of several rule sets, in their order."""
    return [_policy(verdict) for verdict in verdicts]


def _policy(verdict: PolicyVerdict) -> dict[str, Any]:
    return {
        "policy": verdict.policy,
        "limit": str(verdict.limit),
        "limit_display": display(verdict.limit),
        "counted": str(verdict.counted),
        "exceeded": verdict.exceeded,
        "percent": verdict.percent,
        "rule": verdict.rule,
        "effective": verdict.effective or None,
        "citation": verdict.citation,
        "explanation": verdict.explanation,
        "lines": [line_json(line) for line in verdict.lines],
    }


def notes_json(notes: Iterable[Note]) -> list[dict[str, Any]]:
    """Return where law or rule sets disagree, or are silent, with the sources."""
    return [
        {"name": note.name, "text": note.text, "source": note.source} for note in notes
    ]


def duties_json(verdict: PolicyVerdict) -> list[dict[str, Any]]:
    """Return the duties that come with the criterion; none while it is not met."""
    return [
        {
            "name": duty.name,
            "article": duty.article,
            "text": duty.text,
            "open_source_exempt": duty.open_source_exempt,
            "within_days": duty.within_days,
        }
        for duty in verdict.duties
    ]


def line_json(line: LineVerdict) -> dict[str, Any]:
    """Return how a modification stands to one further line."""
    return {name: _value(value) for name, value in asdict(line).items()} | {
        "near": list(line.near),
        "silent": line.silent or None,
    }


def _value(value: object) -> object:
    """Keep text; FLOPs become strings, as everywhere."""
    is_figure = isinstance(value, int | Fraction)
    return str(value) if is_figure else value
