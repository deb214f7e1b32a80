"""Set a report as JSON for other programs; every figure of FLOPs is an exact string."""

from fractions import Fraction
from typing import Any

from flopguard_operator.flops import percent
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.report.document import criterion, headline
from flopguard_operator.report.facts import AttemptFacts, ReportFacts, RunFacts
from flopguard_operator.report.unknowns import unknowns
from flopguard_operator.report.verdicts import duties_json, notes_json, policies_json

SCHEMA = 1


def as_json(facts: ReportFacts) -> dict[str, Any]:
    """Return the report as JSON values.

    FLOPs are digits, limits digits or "p/q"; a limit that does not exist is null.
    """
    ledger = facts.ledger
    return {
        "schema": SCHEMA,
        "ledger": {
            "size": ledger.size,
            "root": ledger.root,
            "key": ledger.key,
            "outcome": ledger.outcome,
            "checks": [
                {"name": c.name, "outcome": c.outcome, "sentence": c.sentence}
                for c in ledger.checks
            ],
        },
        "runs": [_run(run) for run in facts.runs],
    }


def _run(run: RunFacts) -> dict[str, Any]:
    done = run.totals.done
    account = run.account
    return {
        "uid": run.run.uid,
        "namespace": run.run.namespace,
        "name": run.run.name,
        "as_of": run.last_at,
        "verdict": headline(run)[0],
        "criterion": criterion(run),
        "problem": run.problem,
        "measured": str(run.totals.measured),
        "upper": str(run.totals.upper),
        "gaps": str(run.totals.gaps),
        "coverage": percent(*run.coverage) if run.coverage[1] else None,
        "previous": account.terms_set.previous if account.terms_set else "",
        "by_category": {name: str(done.get(name, 0)) for name in CATEGORIES},
        "budget": _exact(run.budget),
        "threshold": _threshold(run),
        "policies": policies_json(run.policies),
        "open_questions": notes_json(run.policies[0]) if run.policies else [],
        "duties": duties_json(run.policies[0]) if run.policies else [],
        "verdicts": [
            {
                "action": verdict.action,
                "reason": verdict.reason,
                "percent": verdict.percent,
                "limit": str(verdict.limit),
                "message": verdict.message,
            }
            for verdict in run.verdicts
        ],
        "held": account.hold_reason or None,
        "overshoot": None if account.proven is None else str(account.proven.overshoot),
        "releases": account.releases,
        "attempts": [_attempt(attempt) for attempt in run.attempts],
        "timeline": [
            {"at": moment.at, "kind": moment.kind, "text": moment.text}
            for moment in run.timeline
        ],
        "not_known": list(unknowns(run)),
    }


def _threshold(run: RunFacts) -> dict[str, Any] | None:
    if run.threshold is None or run.terms is None:
        return None
    return {
        "policy": run.terms.policy,
        "limit": str(run.threshold.limit),
        "rule": run.threshold.rule,
        "citation": run.threshold.citation,
        "explanation": run.threshold.explanation,
    }


def _attempt(attempt: AttemptFacts) -> dict[str, Any]:
    mark = attempt.mark
    return {
        "opened": attempt.at,
        "pod": attempt.opened.pod,
        "stream": attempt.opened.stream,
        "workload_uid": attempt.opened.workload_uid,
        "predecessor": attempt.opened.predecessor,
        "cause": attempt.opened.cause,
        "measured": str(mark.measured),
        "upper": str(attempt.upper),
        "gap": str(attempt.gap),
        "devices": attempt.opened.devices,
        "weights": attempt.opened.weights,
        "steps": mark.steps,
        "source": mark.source,
        "final": mark.final,
    }


def _exact(limit: int | Fraction | None) -> str | None:
    return None if limit is None else str(limit)
