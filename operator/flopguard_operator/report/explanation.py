"""Explain what each rule set says of one modification, before anything runs."""

from dataclasses import dataclass
from typing import Any

from flopguard_operator.flops import display
from flopguard_operator.policy.evaluation import (
    BELOW,
    CROSSED,
    LineVerdict,
    PolicyVerdict,
)
from flopguard_operator.policy.terms import BaseModel, Totals
from flopguard_operator.report.verdicts import (
    duties_json,
    line_json,
    notes_json,
    policies_json,
)

_LAST = (
    "Whether somebody becomes a provider is a legal judgement, which an indicative"
    " criterion does not make."
)


@dataclass(frozen=True)
class Explanation:
    """What the rule sets say of modifying a base model by some FLOPs."""

    base: BaseModel
    totals: Totals
    governs: str
    """Name of the rule set that governs where no other is chosen."""
    verdicts: tuple[PolicyVerdict, ...]
    told: str = ""
    """What the catalogue of base models has to say; "" for nothing."""

    @property
    def governing(self) -> PolicyVerdict:
        """The verdict of the rule set that governs."""
        return next(v for v in self.verdicts if v.policy == self.governs)


def in_words(explanation: Explanation) -> str:
    """Return the explanation as lines for a terminal; names are not yet escaped."""
    lines = [_verdict(each, explanation.governs) for each in explanation.verdicts]
    governing = explanation.governing
    lines += [
        f"Why: {governing.explanation}",
        f"Rule: {governing.rule}, in force since {governing.effective}.",
        f"Source: {governing.citation}.",
    ]
    lines += [_line(line) for line in governing.lines]
    lines += [f"Open: {note.text} ({note.source})" for note in governing.notes]
    if explanation.told:
        lines.append(f"Catalogue: {explanation.told}")
    return "\n".join((*lines, _LAST))


def _verdict(verdict: PolicyVerdict, governs: str) -> str:
    met = "is met" if verdict.exceeded else "is not met"
    left = verdict.limit - verdict.counted
    rest = "" if verdict.exceeded else f" {display(left)} FLOPs are left."
    which = ", which governs," if verdict.policy == governs else ""
    return (
        f"{display(verdict.counted)} FLOPs are {verdict.percent} % of the threshold of"
        f" {display(verdict.limit)} FLOPs: the indicative criterion of policy"
        f" {verdict.policy}{which} {met}.{rest}"
    )


def _line(line: LineVerdict) -> str:
    what = f"{line.subject} against {display(line.limit)} FLOPs"
    if line.state == CROSSED:
        silent = f" {line.silent}" if line.silent else ""
        return f"Line: {what}: crossed. {line.explanation}{silent} ({line.citation})"
    if line.state == BELOW and line.left is not None:
        near = f", {line.near[-1]} % of it is reached" if line.near else ""
        return f"Line: {what}: {display(line.left)} FLOPs are left{near}."
    return f"Line: {what}: cannot be said, the base is not known."


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation as JSON values; FLOPs are digits, limits may be "p/q"."""
    base = explanation.base
    return {
        "schema": 2,
        "base": {
            "name": base.name,
            "flops": _figure(base.pretraining_flops),
            "estimate_low": _figure(base.estimate_low),
            "estimate_high": _figure(base.estimate_high),
            "method": base.method or None,
            "source": base.source or None,
            "systemic": base.systemic_risk,
            "catalogue": explanation.told or None,
        },
        "governs": explanation.governs,
        "policies": policies_json(explanation.verdicts),
        "totals": _totals(explanation),
        "notes": notes_json(explanation.governing.notes),
        "duties": duties_json(explanation.governing),
    }


def _totals(explanation: Explanation) -> dict[str, Any]:
    """Return what base and modification are together, and the further lines."""
    totals, base = explanation.totals, explanation.base.pretraining_flops
    recompute = totals.done.get("recompute", 0)
    together = None if base is None else base + totals.upper
    return {
        "modification_flops": str(totals.upper - recompute),
        "recompute_flops": str(recompute),
        "executed_flops": str(totals.upper),
        "base_flops": _figure(base),
        "base_plus_modification_flops": _figure(together),
        "lines": [line_json(line) for line in explanation.governing.lines],
    }


def _figure(flops: int | None) -> str | None:
    return None if flops is None else str(flops)
