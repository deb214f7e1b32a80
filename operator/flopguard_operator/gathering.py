"""Gather what a cycle needs to know: the runs with their pods, and the newest marks.

The first of the cycle's three steps (gather, decide, act). It asks Prometheus once for
all pods; where Prometheus is not there, it asks the sidecars. Nothing is decided here.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from flopguard_operator import binding, finalrecord, naming, prometheus, sidecars
from flopguard_operator import conditions as c
from flopguard_operator.api import resolve
from flopguard_operator.api.fields import SpecError, read
from flopguard_operator.api.finetunerun import RunSpec
from flopguard_operator.api.program import ProgramSpec
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster
from flopguard_operator.conditions import Condition
from flopguard_operator.ledger import policies
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import RunRef
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.marks import Mark, merge
from flopguard_operator.models import basis
from flopguard_operator.observed import Job, Pod, Raw, at, text
from flopguard_operator.policy.rules import governing, known
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.settling import RunView
from flopguard_operator.sidecars import Heard
from flopguard_operator.workloads import job

_UNJUDGED = Condition(
    c.SPEC_VALID,
    c.FALSE,
    "SpecInvalid",
    "The spec cannot be judged: this is a mistake in flopguard, and the operator's log "
    "says which. A hold that the run has stays in force.",
)

STALE_MILLISECONDS = 60_000

_log = structlog.get_logger()


@dataclass(frozen=True)
class Refused:
    """A run that cannot be metered, and the condition that says why."""

    raw: Raw
    condition: Condition
    pods: tuple[Pod, ...] = ()  # claimed by it: they are counted all the same


def reference(raw: Raw) -> RunRef:
    """Return which run a raw FineTuneRun is."""
    return RunRef(
        uid=text(raw, "metadata", "uid"),
        namespace=text(raw, "metadata", "namespace"),
        name=text(raw, "metadata", "name"),
    )


def views(cache: Cache) -> tuple[list[RunView], list[Refused]]:
    """Return every run of the cache, either ready to be judged or refused."""
    ready: list[RunView] = []
    refused: list[Refused] = []
    claims = binding.Claims(cache.runs.values())
    pods = _pods_by_run(cache, claims)
    for uid, raw in sorted(cache.runs.items()):
        elder, own = _elder(raw, claims), tuple(pods.get(uid, ()))
        if elder:
            refused.append(Refused(raw, _conflict(raw, elder), own))
            continue
        try:
            ready.append(_view(raw, cache, own))
        except (SpecError, PolicyError) as error:
            condition = Condition(c.SPEC_VALID, c.FALSE, "SpecInvalid", str(error))
            refused.append(Refused(raw, condition, own))
        except Exception:  # noqa: BLE001 - one run's spec must not stop the others
            _log.exception("run cannot be judged", uid=uid)
            refused.append(Refused(raw, _UNJUDGED, own))
    return ready, refused


def _view(raw: Raw, cache: Cache, pods: tuple[Pod, ...]) -> RunView:
    spec = read(RunSpec, at(raw, "spec") or {}, "spec")
    ref = reference(raw)
    program = _program(spec.program, ref.namespace, cache)
    terms = resolve.terms(spec, program, cache.catalogue)
    law, day = known(terms.policy, cache.laws), today()
    name = spec.workload.name
    return RunView(
        ref=ref,
        generation=int(at(raw, "metadata", "generation") or 0),
        program=spec.program or "",
        workload=f"{spec.workload.api_version}/{spec.workload.kind}/{name}",
        terms=terms,
        governing=governing(terms.base, law.rules, day),
        jobs=_jobs(ref, name, pods, cache),
        pods=pods,
        base_told=basis.told(terms.base, cache.catalogue),
        release_because=_leaving(raw),
        charge_cpu=spec.metering is not None and spec.metering.charge_cpu_pods,
        law=law,
        today=day,
        others=policies.others(cache.laws, terms.policy),
        intent=resolve.intent(spec.plan),
    )


def today() -> str:
    """Return the day, ISO 8601 in UTC, for which rule sets are taken."""
    return datetime.now(UTC).date().isoformat()


def as_recorded(
    one: Refused, account: Account, cache: Cache, noted: Noted
) -> RunView | None:
    """Return a refused run as the ledger knew it last; None if it never did.

    The hold of a run that goes away must end with it, whatever became of its spec.
    """
    if account.terms_set is None:
        return None
    ref, name = reference(one.raw), account.terms_set.workload.rsplit("/", 1)[-1]
    jobs = _jobs(ref, name, one.pods, cache)
    return recorded(account, noted, one.pods, jobs, _leaving(one.raw))


def recorded(
    account: Account,
    noted: Noted,
    pods: tuple[Pod, ...],
    jobs: tuple[Job, ...],
    because: str,
) -> RunView:
    """Return a run by the terms that the ledger has of it.

    Args:
        account: of a run that has terms.
        noted: the rule sets that the ledger has.
        pods: that are its own.
        jobs: to hold or release; none for a run without an object.
        because: why no hold of it may be kept.

    Raises:
        ValueError: the ledger has no terms of it.
        PolicyError: no rule set has the name in its terms.
    """
    terms = account.terms_set
    if terms is None:
        message = f"run {account.ref.uid} has no terms"
        raise ValueError(message)
    rules = noted.of(terms)
    return RunView(
        ref=account.ref,
        generation=terms.generation,
        program=terms.program,
        workload=terms.workload,
        terms=terms.terms,
        governing=governing(terms.terms.base, rules, terms.day),
        jobs=jobs,
        pods=pods,
        release_because=because,
        law=policies.law(rules) if terms.policy_digest else None,
        noted=noted,
        today=terms.day,
    )


def _jobs(
    ref: RunRef, name: str, pods: tuple[Pod, ...], cache: Cache
) -> tuple[Job, ...]:
    """Return the named Job, then those that continue the run under another name."""
    others = {pod.job_name for pod in pods if not (pod.gone or pod.over)}
    others |= cache.continuing.get((ref.namespace, ref.name), set())
    names = [name, *sorted(others - {name})]
    found = (cache.jobs.get((ref.namespace, one)) for one in names)
    return tuple(job for job in found if job is not None)


def _program(name: str | None, namespace: str, cache: Cache) -> ProgramSpec | None:
    if name is None:
        return None
    raw = cache.programs.get(name)
    if raw is None:
        message = (
            f'spec.program: there is no FineTuneProgram "{name}"; apply it, or make '
            f"the run without a program"
        )
        raise SpecError(message)
    program = read(ProgramSpec, at(raw, "spec") or {}, f"FineTuneProgram {name}: spec")
    if not resolve.may_join(program, namespace):
        message = (
            f'spec.program: namespace "{namespace}" is not in spec.namespaces of '
            f'"{name}"; ask the program\'s owners to add it'
        )
        raise SpecError(message)
    return program


def _leaving(raw: Raw) -> str:
    """Return why a hold must end with its run, "" if it must not."""
    release = text(raw, "spec", "onDelete") == "Release"
    return "RunDeleted" if is_deleting(raw) and release else ""


def is_deleting(raw: Raw | None) -> bool:
    """Say whether an object is being deleted and waits for its finalizers."""
    return at(raw, "metadata", "deletionTimestamp") is not None


def _pods_by_run(cache: Cache, claims: binding.Claims) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = {}
    for pod in sorted(cache.pods.values(), key=lambda pod: (pod.created, pod.uid)):
        run = claims.of_pod(pod.raw)
        if run is not None:
            found.setdefault(text(run, "metadata", "uid"), []).append(pod)
    return found


def _elder(raw: Raw, claims: binding.Claims) -> str:
    """Return the name of an older run that names the same workload, "" if none."""
    ref = reference(raw)
    run = claims.of_job(ref.namespace, text(raw, "spec", "workload", "name"))
    # Names do not tell a run from one that was deleted and made anew.
    return (
        "" if text(run, "metadata", "uid") == ref.uid else text(run, "metadata", "name")
    )


def _conflict(raw: Raw, elder: str) -> Condition:
    name = text(raw, "spec", "workload", "name")
    message = (
        f'The older FineTuneRun "{elder}" already meters Job "{name}"; this one meters '
        f"nothing. Delete one of the two, or name another workload."
    )
    return Condition(c.WORKLOAD_CONFLICT, c.TRUE, "WorkloadConflict", message)


@dataclass(frozen=True)
class Reading:
    """The newest marks, and what each of them proves.

    Times are milliseconds of the operator's monotonic clock.
    """

    marks: dict[str, Mark]  # by pod UID
    condition: Condition  # whether Prometheus gave them
    proven: dict[str, int] = field(default_factory=dict)
    """By pod UID: all that had begun by then is in the mark."""
    direct: dict[str, Heard] = field(default_factory=dict)  # told by sidecars


async def marks(
    url: str, pods: Mapping[str, Pod], stale: int = STALE_MILLISECONDS
) -> Reading:
    """Return the newest mark per pod UID, and whether Prometheus gave it.

    Final records in pod statuses are merged in; they are exact and outlive everything.

    Args:
        url: of Prometheus, "" for none.
        pods: all pods, by UID.
        stale: milliseconds after which a mark is old, so that the pod itself is asked.
    """
    found = await _live_marks(url, pods, stale)
    for pod in pods.values():
        last = finalrecord.mark(pod)
        if last is not None:
            known = found.marks.get(pod.uid)
            found.marks[pod.uid] = finalrecord.merged(known, last)
    return found


async def _live_marks(url: str, pods: Mapping[str, Pod], stale: int) -> Reading:
    """Ask Prometheus; ask the sidecars themselves where it is silent or has no series.

    A pod that Prometheus does not scrape was started a moment ago, or its scrape
    configuration is wrong: neither may keep the pod from being counted.
    """
    direct = "FLOPs are read from the sidecars directly."
    if not url:
        message = f"No Prometheus is configured (prometheus.url); {direct}"
        why = Condition(c.PROMETHEUS_AVAILABLE, c.FALSE, "NotConfigured", message)
        return _direct(await sidecars.read(pods.values()), why)
    asked = time.monotonic_ns() // 1_000_000
    try:
        series = await prometheus.query(url)
    except prometheus.PrometheusError as error:
        message = f"{error}. {direct} Check its address and that it is up."
        why = Condition(c.PROMETHEUS_AVAILABLE, c.FALSE, "NotAnswering", message)
        return _direct(await sidecars.read(pods.values()), why)
    known, ages = prometheus.marks(series, pods), prometheus.ages(series, pods)
    proven = {uid: asked - age for uid, age in ages.items() if uid in known}
    fresh = prometheus.fresh(series, pods)
    heard = {uid for uid in proven.keys() & fresh if ages[uid] <= stale}
    told = await sidecars.read(pod for pod in pods.values() if pod.uid not in heard)
    for uid, one in told.items():
        known[uid] = merge(known[uid], one.mark) if uid in known else one.mark
        proven[uid] = max(one.proven, proven.get(uid, one.proven))
    return Reading(known, Condition(c.PROMETHEUS_AVAILABLE, c.TRUE), proven, told)


def _direct(told: Mapping[str, Heard], why: Condition) -> Reading:
    """Return what the sidecars told, without Prometheus."""
    return Reading(
        marks={uid: one.mark for uid, one in told.items()},
        condition=why,
        proven={uid: one.proven for uid, one in told.items()},
        direct=dict(told),
    )


async def of_held(view: RunView, cluster: Cluster, *, deleting: bool) -> RunView:
    """Ask the API server what only a held run needs: are pods left, who goes away.

    Asked live: a cache that lags behind could prove a hold too early.
    """
    namespace, name = view.ref.namespace, view.workload.rsplit("/", 1)[-1]
    because = view.release_because
    if deleting and await asyncio.to_thread(cluster.namespace_terminating, namespace):
        because = because or "NamespaceTerminating"
    selectors = (job.pod_selector(name), f"{naming.RUN_LABEL}={view.ref.name}")
    left = [
        await asyncio.to_thread(cluster.pods_left, namespace, selector)
        for selector in selectors
    ]
    # The cache may lag the other way too: the last state of a pod has its final record.
    seen = all(pod.gone or pod.over for pod in view.pods)
    return replace(view, release_because=because, pods_gone=not any(left) and seen)
