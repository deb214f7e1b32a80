"""Act on what the ledger says: publish the status, hold or release, tell people.

The last of the cycle's three steps, and level-triggered: everything is derived from the
account and the object as last seen, so a call that failed is made again next cycle. The
order matters: status before workload, since the API server's lock reads the status.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import structlog

from flopguard_operator import naming, status
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.flops import display
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import (
    Crossing,
    Event,
    ForecastNoted,
    HoldProven,
    HoldReleased,
    HoldSet,
)
from flopguard_operator.observed import Job, Raw, at
from flopguard_operator.policy import reasons
from flopguard_operator.policy.verdict import HOLD
from flopguard_operator.settling import Plan, RunView, nearest
from flopguard_operator.workloads import job as jobs

_log = structlog.get_logger()


async def call(what: str, function: Callable[..., Any], *args: Any) -> bool:
    """Make one call to the cluster in a thread; say so in the log if it failed."""
    try:
        await asyncio.to_thread(function, *args)
    except ClusterError as error:
        if error.status != 404:  # noqa: PLR2004 - the object is gone: nothing to do
            _log.warning("call failed", call=what, status=error.status, why=str(error))
        return False
    return True


async def publish(cluster: Cluster, raw: Raw, wanted: dict[str, Any]) -> bool:
    """Write a run's status if it differs; return whether it is there now."""
    changed = _changed(raw, wanted)
    if not changed.keys() - {"ledger"}:
        return True  # another run's entries moved the head: no reason to write
    ref = raw["metadata"]
    return await call(
        "status", cluster.patch_run_status, ref["namespace"], ref["name"], changed
    )


async def publish_program(cluster: Cluster, raw: Raw, wanted: dict[str, Any]) -> None:
    """Write a program's status if it differs."""
    changed = _changed(raw, wanted)
    if changed:
        name = raw["metadata"]["name"]
        await call("program", cluster.patch_program_status, name, changed)


async def publish_decision(cluster: Cluster, raw: Raw, wanted: dict[str, Any]) -> None:
    """Write a decision's status if it differs."""
    changed = _changed(raw, wanted)
    if changed:
        name = raw["metadata"]["name"]
        await call("decision", cluster.patch_decision_status, name, changed)


def _changed(raw: Raw, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the part of `wanted` that the object's status does not say yet."""
    current = at(raw, "status") or {}
    # A field that is None here and absent there is the same: nothing to remove.
    return {
        key: value
        for key, value in wanted.items()
        if current.get(key) != value and not (value is None and key not in current)
    }


async def keep_finalizer(cluster: Cluster, raw: Raw, *, held: bool) -> None:
    """Make deleting a held run wait for its release, and let any other go."""
    present = list(at(raw, "metadata", "finalizers") or [])
    wanted = [name for name in present if name != naming.HOLD_FINALIZER]
    deleting = at(raw, "metadata", "deletionTimestamp") is not None
    if held and (not deleting or naming.HOLD_FINALIZER in present):
        wanted.append(naming.HOLD_FINALIZER)  # none can be added once deletion began
    if sorted(wanted) != sorted(present):
        ref = raw["metadata"]
        # With those that were seen: a finalizer added meanwhile must not be lost.
        where = (ref["namespace"], ref["name"], present)
        await call("finalizers", cluster.set_finalizers, *where, wanted)


async def on_workload(
    cluster: Cluster, view: RunView, account: Account, plan: Plan
) -> bool:
    """Hold, release or annotate the run's Jobs, whichever its account asks for.

    Returns:
        Whether a release is still due: the API server's lock sees the new status a
        moment later than it is written, and refuses until then.
    """
    due = False
    for job in view.jobs:
        if jobs.finished(job):
            continue
        if account.hold is not None:
            await _hold(cluster, job, _notes(view, plan))
        elif jobs.held_by_us(job):
            due |= not await _release(cluster, job, _notes(view, plan))
        elif plan.verdicts or plan.foreseen or job.state:
            notes = _notes(view, plan)
            if (job.state, job.reason) != (notes.state, notes.reason):
                patch = jobs.annotate(notes)
                await call(
                    "annotate", cluster.patch_job, job.namespace, job.name, patch
                )
    return due


def _notes(view: RunView, plan: Plan) -> jobs.Notes:
    """Return what the annotations of a Job that runs, or may run again, say."""
    reached = status.headline(plan.verdicts) or plan.foreseen
    found = plan.hold or reached
    used, limit = nearest(view, plan.totals)
    return jobs.Notes(
        state=jobs.WARNED if reached else jobs.RUNNING,
        used=display(found.counted if found else used),
        limit=display(found.limit if found else limit),
        reason=f"{found.reason} at {found.percent} %" if found else "",
    )


async def _hold(cluster: Cluster, job: Job, notes: jobs.Notes) -> None:
    """Suspend a Job, or take note that its user has done so already."""
    if jobs.is_suspended(job):
        if job.state in (jobs.HELD, jobs.HELD_AS_FOUND):
            return
        patch = jobs.annotate(replace(notes, state=jobs.HELD_AS_FOUND))
    else:
        patch = jobs.hold(replace(notes, state=jobs.HELD))
    if await call("suspend", cluster.patch_job, job.namespace, job.name, patch):
        _log.info("held", namespace=job.namespace, job=job.name)


async def _release(cluster: Cluster, job: Job, notes: jobs.Notes) -> bool:
    patch = jobs.release(notes)
    done = await call("release", cluster.patch_job, job.namespace, job.name, patch)
    if done:
        _log.info("released", namespace=job.namespace, job=job.name)
    return done


async def tell(cluster: Cluster, view: RunView, events: Iterable[Event]) -> None:
    """Write a Kubernetes Event on the run and on its Job for what people must know."""
    for event in _worth_telling(events):
        said = _sentence(event)
        if said is None:
            continue
        kind, reason, message = said
        _log.info("event", run=view.ref.name, reason=reason, message=message)
        for target in _targets(view):
            await call("event", cluster.event, target, kind, reason, message)


def _worth_telling(events: Iterable[Event]) -> list[Event]:
    """Leave out the lines that were passed on the way to a graver one."""
    told = list(events)
    lines = [event for event in told if isinstance(event, Crossing)]
    gravest: dict[str, Crossing] = {}
    for line in sorted(lines, key=lambda c: (c.action == HOLD, c.percent)):
        gravest[line.limit] = line
    kept = list(gravest.values())
    return [e for e in told if not isinstance(e, Crossing) or e in kept]


def _targets(view: RunView) -> list[dict[str, str]]:
    """Return references to the run and to its Jobs."""
    ref = view.ref
    run = {
        "apiVersion": naming.API_VERSION,
        "kind": naming.RUN_KIND,
        "namespace": ref.namespace,
        "name": ref.name,
        "uid": ref.uid,
    }
    kind = {"apiVersion": "batch/v1", "kind": "Job", "namespace": ref.namespace}
    return [run, *({**kind, "name": job.name, "uid": job.uid} for job in view.jobs)]


def _sentence(event: Event) -> tuple[str, str, str] | None:
    """Return (type, reason, message) of the Event to write; None for none."""
    match event:
        case Crossing():
            return "Warning", event.reason, event.message
        case ForecastNoted():
            return _forecast(event)
        case HoldSet():
            message = (
                "FineTuneRun {0.name} suspends this workload ({1}); the API server "
                "refuses its pods until the run is released."
            )
            return "Warning", "HoldSet", message.format(event.run, event.reason)
        case HoldProven():
            message = (
                f"All pods are gone. {display(event.upper)} FLOPs were used, "
                f"{display(event.overshoot)} of them above the limit."
            )
            return "Normal", "HoldProven", message
        case HoldReleased():
            return "Normal", "HoldReleased", f"The hold is lifted: {event.reason}."
        case _:
            return None


def _forecast(event: ForecastNoted) -> tuple[str, str, str] | None:
    """Return the Event for a forecast that crosses a line; None for any other."""
    if event.on_breach == "Nothing":
        return None
    if not (event.crosses_budget or event.crosses_threshold):
        return None
    reason = (
        reasons.FORECAST_EXCEEDS_BUDGET
        if event.crosses_budget
        else reasons.FORECAST_EXCEEDS_THRESHOLD
    )
    line = "budget" if event.crosses_budget else "legal threshold"
    message = (
        f"{display(event.expected)} FLOPs are expected in all, above the {line}; "
        f"kubectl describe ftr {event.run.name} says more."
    )
    return "Warning", reason, message
