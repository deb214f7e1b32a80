"""Write the decision that brings a job in: for people, for kubectl, for programs."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flopguard_operator import naming
from flopguard_operator.flops import display
from flopguard_operator.imports.job import ENTERED, Job
from flopguard_operator.ledger.entries import NO_RUN, Imported

MOST_REASON = 2_048  # characters of spec.reason
_SLUG = re.compile(r"[^a-z0-9]+")
_LONGEST_SLUG = 40


@dataclass(frozen=True)
class Decided:
    """Who brings a job in, and why."""

    program: str
    by: str
    reason: str
    evidence: str = ""  # a link


def decision(job: Job, decided: Decided) -> dict[str, Any]:
    """Return the ThresholdDecision of kind Import, in its wire form.

    Its name follows from the job and the file: bringing the same one in again is
    refused by the API server, since there is such an object.
    """
    slug = _SLUG.sub("-", job.name.casefold()).strip("-")[:_LONGEST_SLUG].strip("-")
    imported = {
        "name": job.name,
        "method": job.method,
        "low": str(job.flops.low),
        "flops": str(job.flops.expected),
        "high": str(job.flops.high),
        **({"period": job.period} if job.period else {}),
        "digest": job.digest,
    }
    return {
        "apiVersion": naming.API_VERSION,
        "kind": naming.DECISION_KIND,
        "metadata": {"name": f"import-{slug or 'job'}-{job.digest[:8]}"},
        "spec": {
            "subject": {"kind": naming.PROGRAM_KIND, "name": decided.program},
            "decision": "Import",
            "imported": imported,
            "reason": _reason(job, decided.reason),
            **({"evidence": decided.evidence} if decided.evidence else {}),
            "decidedBy": decided.by,
        },
    }


def entry(job: Job, decided: Decided) -> Imported:
    """Return a job as the ledger of one machine takes it, of no program yet."""
    link = f" (evidence: {decided.evidence})" if decided.evidence else ""
    return Imported(
        run=NO_RUN,
        name=job.name,
        method=ENTERED[job.method],
        low=job.flops.low,
        flops=job.flops.expected,
        high=job.flops.high,
        period=job.period,
        evidence=job.digest,
        decision="",
        reason=_reason(job, f"{decided.reason.rstrip('.')}{link}"),
        by=decided.by,
    )


def _reason(job: Job, reason: str) -> str:
    """Return the reason with how the estimate was made, as long as one may be.

    This is what the ledger keeps: the person's words first, then the method, then as
    many of the assumptions as there is room for.
    """
    text = f"{reason.rstrip('.')}. Estimate: {job.formula}."
    for number, said in enumerate(job.assumptions):
        more = f" {said[:1].upper()}{said[1:]}."
        left = f" And {len(job.assumptions) - number} more assumptions."
        if len(text) + len(more) + len(left) > MOST_REASON:
            return (text + left)[:MOST_REASON]
        text += more
    return text[:MOST_REASON]


def as_yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """Return objects and texts as YAML; texts are quoted as in JSON, which YAML reads.

    Written here so that no YAML library is needed to import.
    """
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            lines += [f"{indent}{key}:", as_yaml(item, f"{indent}  ").rstrip("\n")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(item)}")
    return "\n".join(lines) + "\n"


def as_json(job: Job) -> dict[str, Any]:
    """Return a job for programs; FLOPs are digits."""
    return {
        "name": job.name,
        "method": job.method,
        "low": str(job.flops.low),
        "flops": str(job.flops.expected),
        "high": str(job.flops.high),
        "formula": job.formula,
        "assumptions": list(job.assumptions),
        "period": job.period or None,
        "digest": job.digest,
    }


def in_words(job: Job) -> str:
    """Return a job for people, one fact a line."""
    low, high = display(job.flops.low), display(job.flops.high)
    figures = f"{display(job.flops.expected)} FLOPs, {low} to {high}"
    lines = [
        f"{job.name}: {figures}; {high} will count",
        f"  by {job.formula}",
        *(f"  - {said}" for said in job.assumptions),
        f"  SHA-256 of what it was read from: {job.digest}",
    ]
    return "\n".join(lines)
