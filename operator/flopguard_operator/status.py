"""Build the status that a run shows, from its account and the cycle's plan. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from flopguard_operator import foretelling, opinions, standing
from flopguard_operator.api.fields import MAX_SENTENCE
from flopguard_operator.api.runstatus import MAX_ATTEMPTS, MAX_ROLLBACKS
from flopguard_operator.conditions import WARNINGS, Surroundings, hold_message
from flopguard_operator.flops import display, percent
from flopguard_operator.forecast.history import milliseconds
from flopguard_operator.forecast.noting import HOLD as ON_BREACH_HOLD
from flopguard_operator.ledger import coverage
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import WeightsSaved
from flopguard_operator.ledger.weights import WayBack
from flopguard_operator.marks import Mark
from flopguard_operator.naming import MANAGER
from flopguard_operator.policy.checks import budget_limit
from flopguard_operator.policy.verdict import HOLD, Verdict
from flopguard_operator.processes import Process
from flopguard_operator.settling import Plan, RunView, nearest


def build(
    view: RunView, account: Account, plan: Plan, around: Surroundings
) -> dict[str, Any]:
    """Return the run's status in its wire form, conditions left out.

    A field that does not apply is None, so that a merge patch removes it.
    """
    budget = budget_limit(view.terms.budget, view.governing.limit)
    upper = plan.totals.upper
    used, limit = nearest(view, plan.totals)
    seconds = crossing_seconds(view, plan, around)
    return {
        "state": state(view, account, plan),
        "model": view.terms.base.name or None,
        "usedDisplay": display(used),
        "limitDisplay": display(limit),
        "percentDisplay": percent(used, limit),
        "eta": _duration(seconds),
        "flops": {
            "measured": str(plan.totals.measured),
            "upper": str(upper),
            "byCategory": {k: str(v) for k, v in plan.totals.done.items()},
            **_per_step(account, around),
        },
        "estimates": list(opinions.rows(around.processes, around.watched)),
        "flopsPerSecond": str(around.flops_per_second),
        "percentOfBudget": None if budget is None else percent(upper, budget),
        **standing.told(
            around.policies or standing.verdicts(view, account, plan.totals),
            around.duties,
        ),
        "forecast": _forecast(view, plan, around, seconds),
        "attempts": list(_attempts(account, around, plan)),
        "coverage": covered(around.spans),
        "holds": list(_holds(account, plan, around)),
        "overshoot": str(account.proven.overshoot) if account.proven else None,
        "rollback": _rollback(around.rollback),
        "rollbacks": [_way_back(one) for one in around.rollbacks[:MAX_ROLLBACKS]],
        "ledger": dict(around.head) if around.head else None,
        "observedGeneration": view.generation,
    }


def _rollback(found: WeightsSaved | None) -> dict[str, Any] | None:
    if found is None:
        return None
    flops = str(found.upper)
    return {"path": found.path, "step": min(found.step, 2**53 - 1), "flops": flops}


def _way_back(one: WayBack) -> dict[str, Any]:
    line = {"line": one.line.name, "limit": str(one.line.limit)}
    return line | (_rollback(one.saved) or {})


def _per_step(account: Account, around: Surroundings) -> dict[str, str]:
    flops = per_step(account, around.marks, around.processes)
    return {} if flops is None else {"perStep": str(flops)}


def per_step(
    account: Account, marks: Mapping[str, Mark], processes: Iterable[Process]
) -> int | None:
    """Return the FLOPs of one optimizer step over all workers; None if unknown.

    Each worker adds what it spent per step of its own: with data, tensor or pipeline
    parallelism all of them make the same steps, and one that was started anew has made
    fewer. A process without steps (it generates, or loads) is divided by the most that
    any worker made. Pods that another pod continues are left out.
    """
    continued = {attempt.predecessor for attempt in account.attempts}
    current = {uid: mark for uid, mark in marks.items() if uid not in continued}
    heard = [p for p in processes if p.stream in current]
    most = max((process.steps for process in heard), default=0)
    total = sum(p.measured // (p.steps or most) for p in heard) if most else 0
    silent = current.keys() - {process.stream for process in heard}
    for mark in (current[uid] for uid in silent):
        if mark.steps:  # the sum over its processes
            total += mark.measured * max(1, mark.pages) // mark.steps
    return total or None


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
            "message": hold_message(plan, around.rollback)[:MAX_SENTENCE],
        }


def covered(spans: coverage.Spans) -> str | None:
    """Return the proven share of a run's device-seconds in percent; None for none."""
    proven, allocated = coverage.parts(spans)
    return percent(proven, allocated) if allocated else None


def _attempts(
    account: Account, around: Surroundings, plan: Plan
) -> Iterator[dict[str, Any]]:
    for attempt in account.attempts[-MAX_ATTEMPTS:]:
        mark = around.marks.get(attempt.stream, Mark(attempt.stream))
        span = around.spans.get(attempt.stream)
        yield {
            "jobUid": attempt.workload_uid,
            "podUid": attempt.stream,
            "pod": attempt.pod,
            "cause": attempt.cause,
            "predecessor": attempt.predecessor,
            "measured": str(mark.measured),
            "upper": str(mark.upper + plan.charged(attempt.stream)),
            "resumedFrom": attempt.weights,
            "final": mark.final,
            "startedAt": None if span is None else span.first,
        }


def seconds_to(limit: int | Fraction, upper: int, flops_per_second: int) -> int | None:
    """Return the seconds until `limit` at a steady rate; None: no crossing in sight."""
    if upper >= limit or flops_per_second <= 0:
        return None
    return int((limit - upper) / flops_per_second)


def crossing_seconds(view: RunView, plan: Plan, around: Surroundings) -> int | None:
    """Return the seconds until the nearest limit, as the forecast has it.

    A history too short for one is continued at the present rate.
    """
    used, limit = nearest(view, plan.totals)
    reach = foretelling.crossing(view)
    if reach is not None and used < limit:
        now = milliseconds(around.now) or 0
        return max(0, (reach.at - now) // 1000)
    total = view.foreseen.outlook.total if view.foreseen else None
    if total is not None and total.high is not None and total.high < limit:
        return None  # the plan ends before
    return seconds_to(limit, used, around.flops_per_second)


def _forecast(
    view: RunView, plan: Plan, around: Surroundings, seconds: int | None
) -> dict[str, Any] | None:
    """Return status.forecast; without another date, that at the present rate."""
    told = foretelling.status(view, plan.forecast)
    waits = told is None and view.intent.on_breach == ON_BREACH_HOLD
    if waits or (told is not None and "crossesAt" in told):
        return told
    crosses_at = _later(around.now, seconds)
    if crosses_at is None:
        return told
    own = view.limits.budget == nearest(view, plan.totals)[1]
    line = "Budget" if own else "Threshold"
    return {**(told or {}), "line": line, "crossesAt": crosses_at}


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
