"""Set a report as JSON for other programs; every figure of FLOPs is an exact string."""

from fractions import Fraction
from typing import Any

from flopguard_operator.flops import percent
from flopguard_operator.ledger.standing import amount, left_of
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.report import ahead, chart, legal, methods, programs, rounding
from flopguard_operator.report import duties as owed
from flopguard_operator.report.duties import DutyFacts
from flopguard_operator.report.energy import Energy
from flopguard_operator.report.facts import (
    AttemptFacts,
    DecisionFacts,
    ProgramFacts,
    ReportFacts,
    RunFacts,
    SubjectFacts,
)
from flopguard_operator.report.form import Form, form
from flopguard_operator.report.judgement import (
    Criterion,
    criteria,
    criterion,
    headline,
    state,
)
from flopguard_operator.report.unknowns import unknowns
from flopguard_operator.report.verdicts import notes_json, policies_json
from flopguard_operator.report.weights import rollbacks_json

SCHEMA = 2


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
        "programs": [_program(program) for program in facts.programs],
        "runs": [_run(run) for run in facts.runs],
    }


def _run(run: RunFacts) -> dict[str, Any]:
    account = run.account
    return {
        "uid": run.run.uid,
        "namespace": run.run.namespace,
        "name": run.run.name,
        **_subject(run),
        "previous": account.terms_set.previous if account.terms_set else "",
        "program": account.terms_set.program if account.terms_set else "",
        "attempts": [_attempt(attempt) for attempt in run.attempts],
        "rollbacks": rollbacks_json(run),
        "gap_charges": [
            {
                "pod": gap.pod,
                "change": gap.change if stream not in account.closed else "Closed",
                "reason": gap.reason,
                "flops": str(gap.flops),
                "seconds": gap.milliseconds // 1000,
                "devices": gap.devices,
            }
            for stream, gap in sorted(account.gaps.items())
        ],
    }


def _program(program: ProgramFacts) -> dict[str, Any]:
    account = program.account
    return {
        "uid": account.ref.uid or None,
        "name": program.name,
        **_subject(program),
        "owners": owed.owners(program),
        "rollback_plan": account.program_set and account.program_set.rollback_plan,
        "imported_total": str(program.totals.imported),
        "imported": [
            {
                "name": job.name,
                "method": job.method,
                "low": str(job.low),
                "flops": str(job.flops),
                "high": str(job.high),
                "period": job.period or None,
                "evidence": job.evidence,
                "by": job.by or None,
                "reason": job.reason or None,
                "decision": job.decision or None,
            }
            for job in account.imported
        ],
        "adjusted": [
            {
                "run_uid": one.of,
                "change": one.change,
                "flops": str(amount(one).upper),
                "decision": one.decision,
            }
            for one in account.adjusted
        ],
        "runs": [_member(program, run) for run in program.runs],
    }


def _member(program: ProgramFacts, run: RunFacts) -> dict[str, Any]:
    """Return a run in short, with what of it counts for its program."""
    counts = left_of(run.account, program.account.adjusted).upper
    return {
        "uid": run.run.uid,
        "namespace": run.run.namespace,
        "name": run.run.name,
        "state": programs.state(run),
        "measured": str(run.totals.measured),
        "upper": str(run.totals.upper),
        "gaps": str(run.totals.gaps),
        "counts_here": str(counts),
        "percent_of_program": _percent(counts, program.totals.upper),
        "gaps_percent": _percent(run.totals.gaps, run.totals.upper),
        "attempts": len(run.attempts),
        "as_of": run.last_at,
    }


def _percent(part: int, whole: int) -> str | None:
    return percent(part, whole) if whole else None


def _decision(one: DecisionFacts) -> dict[str, Any]:
    return {
        "at": one.at,
        "uid": one.event.decision,
        "name": one.event.name,
        "kind": one.event.kind,
        "by": one.event.decided_by,
        "reason": one.event.reason,
        "to_flops": str(one.event.to_flops) if one.event.to_flops else None,
        "target": one.event.target or None,
        "evidence": one.event.evidence or None,
        "expires": one.event.expires or None,
        "in_force": not one.expired,
    }


def _subject(subject: SubjectFacts) -> dict[str, Any]:
    """Return what a run and a program have in common."""
    done, account, total = subject.totals.done, subject.account, subject.totals
    return {
        "as_of": subject.last_at,
        "verdict": headline(subject)[0],
        "criterion": criterion(subject),
        "criterion_state": state(subject),
        "problem": subject.problem,
        "measured": str(total.measured),
        "upper": str(total.upper),
        "gaps": str(total.gaps),
        "coverage": percent(*subject.coverage) if subject.coverage[1] else None,
        "by_category": {name: str(done.get(name, 0)) for name in CATEGORIES},
        "learning": str(done.get("forward", 0) + done.get("backward", 0)),
        "budget": _exact(subject.budget),
        "shares": _shares(subject),
        "threshold": _threshold(subject),
        "lines": [
            {"line": line.label, "flops": str(int(line.flops))}
            for line in chart.limit_lines(subject)
        ],
        "base_model": legal.base_model(subject.terms.base) if subject.terms else None,
        "policies": [
            {**told, **_state(found)}
            for told, found in zip(
                policies_json(subject.policies), criteria(subject), strict=True
            )
        ],
        "forecast": list(ahead.in_words(subject)),
        "forecast_total": _expected(subject),
        "open_questions": notes_json(legal.notes(subject)),
        "verdicts": [
            {
                "action": verdict.action,
                "reason": verdict.reason,
                "percent": verdict.percent,
                "limit": str(verdict.limit),
                "message": verdict.message,
            }
            for verdict in subject.verdicts
        ],
        "held": account.hold_reason or None,
        "overshoot": None if account.proven is None else str(account.proven.overshoot),
        "releases": account.releases,
        "training_time": _usage(subject),
        "energy": _energy(subject.energy),
        "model_documentation_form": _form(form(subject)),
        "notification": legal.notification_state(subject),
        "methods": [*methods.METHODS, methods.uncertainty(subject)],
        "decisions": [_decision(one) for one in subject.decisions],
        "duties": _duties(subject, owed.duties(subject)),
        "timeline": [
            {"at": moment.at, "kind": moment.kind, "text": moment.text}
            for moment in subject.timeline
        ],
        "not_known": list(unknowns(subject)),
    }


def _state(found: Criterion) -> dict[str, Any]:
    return {"criterion": found.state, "proven": str(found.proven)}


def _shares(subject: SubjectFacts) -> dict[str, Any]:
    """Return the use of budget and threshold by each figure, as the page shows it."""
    done = subject.totals.done
    figures = {
        "measured": subject.totals.measured,
        "upper": subject.totals.upper,
        "gaps": subject.totals.gaps,
        "imported": subject.totals.imported,
        **{name: done.get(name, 0) for name in CATEGORIES},
        "learning": done.get("forward", 0) + done.get("backward", 0),
    }
    limits = {
        "budget": subject.budget,
        "threshold": subject.threshold.limit if subject.threshold else None,
    }
    return {
        name: {figure: percent(n, limit) for figure, n in figures.items()}
        for name, limit in limits.items()
        if limit
    }


def _usage(subject: SubjectFacts) -> dict[str, Any]:
    usage = subject.usage
    return {
        "first": usage.first or None,
        "last": usage.last or None,
        "wall_milliseconds": usage.wall,
        "wall_days": rounding.days(usage.wall),
        "devices": [
            {"device": name, "milliseconds": spent, "days": rounding.days(spent)}
            for name, spent in usage.devices
        ],
    }


def _expected(subject: SubjectFacts) -> dict[str, str | None] | None:
    """Return the total that is expected: of a program, or as noted of a run."""
    found = subject.expected or ahead.of_run(subject.account.forecast)
    if found is None:
        return None
    high = None if found.high is None else str(found.high)
    low, expected = str(found.low), str(found.expected)
    return {"low": low, "expected": expected, "high": high, "basis": found.basis}


def _energy(energy: Energy) -> dict[str, Any]:
    return {
        "millijoules": str(energy.millijoules) if energy.measured else None,
        "megawatt_hours": energy.amount if energy.measured else None,
        "is_complete": energy.is_complete,
        "pods": energy.pods,
        "measured_pods": energy.measured,
        "whole_pods": energy.whole,
        "shared_pods": energy.shared,
        "foreign_pods": energy.foreign,
    }


def _form(found: Form | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "policy": found.policy,
        "reported": str(found.reported),
        "proven": str(found.proven),
        "within_margin": found.within_margin,
        "items": [
            {
                "item": item.name,
                "ai_office": item.ai_office,
                "national_authorities": item.national,
                "downstream_providers": item.downstream,
                "known": item.known,
            }
            for item in found.items
        ],
        "notification": list(found.notification),
    }


def _duties(
    subject: SubjectFacts, found: tuple[DutyFacts, ...]
) -> dict[str, Any] | None:
    """Return the duties with dates and fines; None while no criterion is met."""
    if not found:
        return None
    return {
        "duties": [
            {
                "name": each.duty.name,
                "article": each.duty.article,
                "text": each.duty.text,
                "open_source_exempt": each.duty.open_source_exempt,
                "within_days": each.duty.within_days,
                "policies": list(each.policies),
                "role": each.role,
                "owner": each.owner or None,
                "state": each.state,
                "evidence": each.evidence or None,
                "due": each.due or None,
                "known": each.filled or None,
            }
            for each in found
        ],
        "dates": [
            {"day": d.day, "text": d.text, "article": d.article}
            for d in owed.calendar(subject)
        ],
        "fines": [
            {
                "text": f.text,
                "article": f.article,
                "percent_of_turnover": str(f.percent_of_turnover),
                "euros": f.euros,
                "effective": f.effective or None,
            }
            for f in owed.fines(subject)
        ],
    }


def _threshold(run: SubjectFacts) -> dict[str, Any] | None:
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
