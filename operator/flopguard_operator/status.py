"""Build the status that a run shows, from its account and the cycle's plan. Pure."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from flopguard_operator.api.runstatus import MAX_ATTEMPTS
from flopguard_operator.conditions import WARNINGS, Surroundings
from flopguard_operator.flops import display, percent
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.marks import Mark
from flopguard_operator.naming import MANAGER
from flopguard_operator.policy.checks import budget_limit
from flopguard_operator.policy.verdict import HOLD, Verdict
from flopguard_operator.settling import Plan, RunView


def build(
    view: RunView, account: Account, plan: Plan, around: Surroundings
) -> dict[str, Any]:
    """Return the run's status in its wire form, conditions left out.

    A field that does not apply is None, so that a merge patch removes it.
    """
    budget = budget_limit(view.terms.budget, view.governing.limit)
    nearest = nearest_limit(view)
    upper = plan.totals.upper
    seconds = seconds_to(nearest, upper, around.flops_per_second)
    crosses_at = _later(around.now, seconds)
    return {
        "state": state(view, account, plan),
        "model": view.terms.base.name or None,
        "usedDisplay": display(upper),
        "limitDisplay": display(nearest),
        "percentDisplay": percent(upper, nearest),
        "eta": _duration(seconds),
        "flops": {
            "measured": str(plan.totals.measured),
            "upper": str(upper),
            "byCategory": {k: str(v) for k, v in plan.totals.done.items()},
            **_per_step(around.marks),
        },
        "flopsPerSecond": str(around.flops_per_second),
        "percentOfBudget": None if budget is None else percent(upper, budget),
        "percentOfThreshold": percent(upper, view.governing.limit),
        "threshold": {
            "policy": view.terms.policy,
            "limit": str(view.governing.limit),
            "rule": view.governing.rule,
            "citation": view.governing.citation,
            "explanation": view.governing.explanation,
        },
        "forecast": {"crossesAt": crosses_at} if crosses_at else None,
        "attempts": list(_attempts(account, around.marks)),
        "holds": list(_holds(account, plan, around)),
        "overshoot": str(account.proven.overshoot) if account.proven else None,
        "ledger": dict(around.head) if around.head else None,
        "observedGeneration": view.generation,
    }


def _per_step(marks: Mapping[str, Mark]) -> dict[str, str]:
    """Return FLOPs per optimizer step, over the streams whose steps are known."""
    known = [mark for mark in marks.values() if mark.steps]
    steps = sum(mark.steps for mark in known)
    flops = sum(mark.measured for mark in known)
    return {"perStep": str(flops // steps)} if steps else {}


def state(view: RunView, account: Account, plan: Plan) -> str:
    """Return the run in one word, the gravest first."""
    if account.hold is not None:
        return "Held" if account.proven is not None else "Holding"
    if view.job is not None and view.job.finished:
        return "Completed" if view.job.finished == "Complete" else "Failed"
    if any(v.reason in WARNINGS for v in plan.verdicts):
        return "Warning"
    if any(not pod.ended and not pod.gone for pod in view.pods):
        return "Metering"
    return "Pending"


def _holds(
    account: Account, plan: Plan, around: Surroundings
) -> Iterator[dict[str, str]]:
    if account.hold is not None:
        yield {
            "workload": account.hold.workload,
            "uid": account.hold.workload_uid,
            "by": MANAGER,
            "reason": account.hold.reason,
            "since": around.held_since or around.now,
            # The API server's lock quotes it.
            "message": plan.hold.message if plan.hold else "",
        }


def _attempts(account: Account, marks: Mapping[str, Mark]) -> Iterator[dict[str, Any]]:
    for attempt in account.attempts[-MAX_ATTEMPTS:]:
        mark = marks.get(attempt.stream, Mark(attempt.stream))
        yield {
            "jobUid": attempt.workload_uid,
            "podUid": attempt.stream,
            "pod": attempt.pod,
            "cause": attempt.cause,
            "predecessor": attempt.predecessor,
            "measured": str(mark.measured),
            "upper": str(max(mark.begun, mark.measured)),
            "final": mark.final,
        }


def nearest_limit(view: RunView) -> int | Fraction:
    """Return the smaller of budget and threshold, in FLOPs."""
    threshold = view.governing.limit
    budget = budget_limit(view.terms.budget, threshold)
    return threshold if budget is None else min(budget, threshold)


def seconds_to(limit: int | Fraction, upper: int, flops_per_second: int) -> int | None:
    """Return the seconds until `limit` at a steady rate; None: no crossing in sight."""
    if upper >= limit or flops_per_second <= 0:
        return None
    return int((limit - upper) / flops_per_second)


def _later(now: str, seconds: int | None) -> str | None:
    if seconds is None:
        return None
    try:
        when = datetime.fromisoformat(now) + timedelta(seconds=seconds)
    except OverflowError:
        return None  # beyond the year 9999
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(seconds: int | None) -> str | None:
    """Return a duration as kubectl prints ages: "45s", "2h10m", "12d"."""
    if seconds is None:
        return None
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:  # noqa: PLR2004 - below two minutes seconds matter
        return f"{seconds}s"
    if hours < 1:
        return f"{minutes}m"
    return f"{hours}h{minutes % 60}m" if days < 2 else f"{days}d"  # noqa: PLR2004 - two days


def headline(verdicts: tuple[Verdict, ...]) -> Verdict | None:
    """Return the verdict to put on the workload: the gravest line reached."""
    found = [v for v in verdicts if v.reason in WARNINGS]
    return max(found, key=lambda v: (v.action == HOLD, v.percent), default=None)
