"""Build the conditions of a run: what is the matter, why, and what to do about it.

All of them are set at the first visit, so that a missing one never has to be guessed.
Reasons of verdicts are in `policy.reasons`; those of conditions are listed here.
Shape and merging: Kubernetes API conventions, "Typical status properties".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator.flops import display
from flopguard_operator.hardware import Watched
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.coverage import Spans
from flopguard_operator.ledger.duties import Owed
from flopguard_operator.ledger.entries import WeightsSaved
from flopguard_operator.ledger.weights import WayBack
from flopguard_operator.marks import Mark
from flopguard_operator.observed import Pod
from flopguard_operator.policy import reasons
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.policy.verdict import HOLD, Verdict
from flopguard_operator.processes import Process
from flopguard_operator.settling import Plan, RunView

SPEC_VALID = "SpecValid"
"""The spec can be read and judged; False with `SpecInvalid` otherwise."""
WORKLOAD_FOUND = "WorkloadFound"
"""The workload that the run names exists; False with `WorkloadNotFound`."""
WORKLOAD_CONFLICT = "WorkloadConflict"
"""True when an older run claims the same workload: this one meters nothing."""
BASE_MODEL_KNOWN = "BaseModelKnown"
"""A pre-training figure is given, or disclosed and in the catalogue; False with
`BaseModelUnknown` or, where only others derived one, `BaseModelEstimated`."""
METERING_INCOMPLETE = "MeteringIncomplete"
"""True when pods run without the meter, or on devices whose peak is not known."""
METER_REGRESSED = "MeterRegressed"
"""True when the marks of a pod fell: its pages were removed."""
PROMETHEUS_AVAILABLE = "PrometheusAvailable"
"""Prometheus answers; while False, marks are read from the sidecars directly."""
LEDGER_AVAILABLE = "LedgerAvailable"
"""Entries can be appended; while False nothing new is decided, holds stay in force."""
BUDGET_ABOVE_THRESHOLD = "BudgetAboveThreshold"
"""True when the budget is not below the governing legal threshold."""
WARNED = "Warned"
"""True when a warning line of budget or threshold is reached."""
HELD = "Held"
"""True once the workload is held and all of its pods are gone."""

PROGRAM_WARNED = "ProgramWarned"
"""True when the run's program, all of its runs together, has reached a line."""
OWNERS_NAMED = "OwnersNamed"
"""False while a program does not name its owners and a roll-back plan."""
RECORDED = "Recorded"
"""Of a decision: it is an entry in the ledger; False with `NoSubject` until then."""

ALL_WELL = "AsExpected"
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"

MOST_NAMES, MOST_MESSAGE = 8, 2_000
NOT_REACHED = "BelowAllLines"
HOLDING = "PodsTerminating"


WARNINGS = (
    reasons.BUDGET_WARNING,
    reasons.THRESHOLD_WARNING,
    reasons.BUDGET_EXCEEDED,
    reasons.THRESHOLD_APPROACHED,
    reasons.THRESHOLD_EXCEEDED,
    reasons.LINE_NEARS,
    reasons.LINE_CROSSED,
    reasons.STOP_DECIDED,
    reasons.OWNERS_MISSING,
)
PROGRAM_WARNINGS = tuple(reasons.PROGRAM + reason for reason in WARNINGS)


@dataclass(frozen=True)
class Condition:
    """One aspect of a run, with a status of "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str = ALL_WELL
    message: str = ""


@dataclass(frozen=True)
class Unmetered:
    """Pods that run without being counted for a run, and why if that is known."""

    pods: int = 0
    refused: str = ""  # what injection said to the first of them
    counted_elsewhere: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What a status says beside the run's own account."""

    now: str  # RFC 3339, UTC, seconds
    prometheus: Condition
    ledger: Condition
    head: Mapping[str, Any] | None  # LedgerStatus in its wire form
    flops_per_second: int
    unmetered: Unmetered
    marks: Mapping[str, Mark] = field(default_factory=dict)
    held_since: str = ""
    processes: tuple[Process, ...] = ()
    watched: tuple[Watched, ...] = ()  # the devices of its pods
    rollback: WeightsSaved | None = None
    rollbacks: tuple[WayBack, ...] = ()  # line by line
    spans: Spans = field(default_factory=dict)  # of its streams
    policies: tuple[PolicyVerdict, ...] = ()  # the governing one's verdict first
    duties: tuple[Owed, ...] = ()  # that come with them


def merged(
    before: Iterable[Mapping[str, Any]],
    conditions: Iterable[Condition],
    *,
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    """Return the wire form; a transition time changes only when a status does.

    Args:
        before: the conditions on the object, for their transition times.
        conditions: the present ones, at most one per type.
        generation: metadata.generation that they were made from.
        now: RFC 3339, UTC.
    """
    known = {str(one.get("type")): one for one in before}
    result = []
    for one in conditions:
        old = known.get(one.type, {})
        same = old.get("status") == one.status and old.get("lastTransitionTime")
        result.append(
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": one.message,
                "lastTransitionTime": old["lastTransitionTime"] if same else now,
                "observedGeneration": generation,
            }
        )
    return result


def of_run(
    view: RunView, account: Account, plan: Plan, around: Surroundings
) -> list[Condition]:
    """Return all conditions of a run that could be read and judged."""
    return [
        Condition(SPEC_VALID, TRUE),
        _workload_found(view),
        Condition(WORKLOAD_CONFLICT, FALSE),
        _base_model(view),
        _metering(view, around),
        _regressed(view),
        around.prometheus,
        around.ledger,
        _of_verdicts(
            BUDGET_ABOVE_THRESHOLD, plan.verdicts, (reasons.BUDGET_ABOVE_THRESHOLD,)
        ),
        _of_verdicts(WARNED, plan.verdicts, WARNINGS),
        _of_verdicts(PROGRAM_WARNED, view.above, PROGRAM_WARNINGS),
        _held(account, plan, around),
    ]


def _workload_found(view: RunView) -> Condition:
    if view.job is not None:
        return Condition(WORKLOAD_FOUND, TRUE)
    name = view.workload.rsplit("/", 1)[-1]
    message = (
        f'There is no Job "{name}" in namespace {view.ref.namespace}. Apply it, or '
        f"correct spec.workload.name; metering starts with its first pod."
    )
    return Condition(WORKLOAD_FOUND, FALSE, "WorkloadNotFound", message)


def _base_model(view: RunView) -> Condition:
    if view.terms.base.pretraining_flops is not None:
        return Condition(BASE_MODEL_KNOWN, TRUE, message=view.base_told)
    base = view.terms.base
    reason = "BaseModelUnknown" if base.estimate_low is None else "BaseModelEstimated"
    message = (
        f"The pre-training compute of {base.name or 'the base model'} is not known "
        f"here, so {display(view.governing.limit)} FLOPs govern (rule "
        f"{view.governing.rule}). If its provider disclosed a figure, give "
        f"spec.baseModel.pretrainingFlops and source. {view.base_told}"
    )
    return Condition(BASE_MODEL_KNOWN, FALSE, reason, _cut(message.rstrip()))


def unmetered(view: RunView, owner: Mapping[str, str]) -> Unmetered:
    """Return what runs without being counted for this run.

    Args:
        view: the run as observed.
        owner: stream → UID of the run that it is counted for.
    """
    if view.job is None:
        return Unmetered()
    active = [p for p in view.pods if not (p.gone or p.ended)]
    mine = [
        pod
        for pod in active
        if pod.injected
        and not pod.not_injected  # a container of our name alone is no meter
        and pod.job_name == view.job.name
        and owner.get(pod.uid, view.ref.uid) == view.ref.uid
    ]
    refused = next((pod.not_injected for pod in active if pod.not_injected), "")
    elsewhere = any(owner.get(p.uid, view.ref.uid) != view.ref.uid for p in active)
    count = max(0, view.job.active - len(mine))
    return Unmetered(count, refused, counted_elsewhere=elsewhere)


def _metering(view: RunView, around: Surroundings) -> Condition:
    found = around.unmetered
    if not found.pods:
        return _unproven(view)
    count = found.pods
    if found.refused:
        message = f"{count} pod(s) run without the meter: {found.refused}"
        return Condition(METERING_INCOMPLETE, TRUE, "InjectionRefused", message)
    if found.counted_elsewhere:
        message = (
            f"{count} pod(s) started under an earlier FineTuneRun and are in its "
            f"account. Delete them; the Job starts pods that are counted here."
        )
        return Condition(METERING_INCOMPLETE, TRUE, "CountedElsewhere", message)
    name = view.workload.rsplit("/", 1)[-1]
    message = (
        f"{count} pod(s) of Job {name} run without the meter: they started before this "
        f"FineTuneRun was there, or the webhook was down. Their FLOPs are not counted. "
        f"Delete them (kubectl -n {view.ref.namespace} delete pod -l "
        f"batch.kubernetes.io/job-name={name}); the Job starts metered ones."
        f"{_named(view.watched.unmetered, ' Pods: ')}"
    )
    return Condition(METERING_INCOMPLETE, TRUE, "PodsNotInjected", message)


def _unproven(view: RunView) -> Condition:
    """Return what is not metered though nothing says that it was left alone."""
    watched = view.watched
    if watched.unknown:
        message = _cut("; ".join(watched.unknown))
        return Condition(METERING_INCOMPLETE, TRUE, "DeviceUnknown", message)
    if not watched.unmetered:
        return Condition(METERING_INCOMPLETE, FALSE)
    message = (
        f"Nothing counts in these pods: {_named(watched.unmetered)}. What they may "
        f"have executed is charged at the peak of their accelerators from their start, "
        f"until their meter speaks. See whether they are injected, and whether the "
        f"hook is off in them (python -S or -I, PYTHONPATH, FLOPGUARD_DISABLE)."
    )
    return Condition(METERING_INCOMPLETE, TRUE, "NotMetered", message)


def of_refused(pods: Iterable[Pod], more: int) -> Condition:
    """Return what of a refused run is not metered as it should be.

    Args:
        pods: that the run claims.
        more: how many pods of its Job run without the meter beside them.
    """
    names = tuple(pod.name for pod in pods if not (pod.gone or pod.ended))
    if not (names or more):
        return Condition(METERING_INCOMPLETE, FALSE)
    without = f" {more} pod(s) of its Job run without the meter." if more else ""
    counted = (
        f" What these pods count is kept for it: {_named(names)}." if names else ""
    )
    message = (
        f"The run is refused, so no limit of it is judged and no silence is charged."
        f"{counted}{without} Correct the run, or delete the pods."
    )
    return Condition(METERING_INCOMPLETE, TRUE, "RunRefused", message)


def _regressed(view: RunView) -> Condition:
    pods = view.watched.regressed
    if not pods:
        return Condition(METER_REGRESSED, FALSE)
    message = (
        f"The marks of these pods fell, so pages were removed from their folder: "
        f"{_named(pods)}. They are charged at the peak of their accelerators from the "
        f"last mark before on. Delete them; the Job starts others."
    )
    return Condition(METER_REGRESSED, TRUE, "PagesRemoved", message)


def _named(pods: tuple[str, ...], lead: str = "") -> str:
    """Return the first names of a list, and how many there are beside them."""
    if not pods:
        return ""
    more = len(pods) - MOST_NAMES
    rest = f" and {more} more" if more > 0 else ""
    return f"{lead}{', '.join(pods[:MOST_NAMES])}{rest}"


def _cut(message: str) -> str:
    return message if len(message) <= MOST_MESSAGE else f"{message[:MOST_MESSAGE]}…"


def _of_verdicts(
    kind: str, verdicts: Iterable[Verdict], wanted: tuple[str, ...]
) -> Condition:
    """Return the condition for the gravest verdict among `wanted`."""
    found = [v for v in verdicts if v.reason in wanted]
    if not found:
        return Condition(kind, FALSE, NOT_REACHED)
    gravest = max(found, key=lambda v: (v.action == HOLD, v.percent))
    return Condition(kind, TRUE, gravest.reason, gravest.message)


def hold_message(plan: Plan, rollback: WeightsSaved | None) -> str:
    """Return why a run is held, and which weights there are to go back to."""
    if plan.hold is None:
        return ""
    if rollback is None:
        return plan.hold.message
    return (
        f"{plan.hold.message} The last weights saved below it: {rollback.path} (step "
        f"{rollback.step}, {display(rollback.upper)} FLOPs)."
    )


def _held(account: Account, plan: Plan, around: Surroundings) -> Condition:
    if account.hold is None:
        return Condition(HELD, FALSE, NOT_REACHED)
    message = hold_message(plan, around.rollback)
    if account.proven is None:
        waiting = f"Waiting for the pods to end. {message}"
        return Condition(HELD, FALSE, HOLDING, waiting)
    over = display(account.proven.overshoot)
    proven = f"{message} All pods are gone; {over} FLOPs were spent above the limit."
    return Condition(HELD, TRUE, account.hold.reason, proven)
