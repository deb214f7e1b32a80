"""Say of each accelerator workload: run, base model, disclosed or not, metered or not.

A workload is a Job, else what owns a pod. Listed are those that ask for accelerators
and are not over; and whatever a run claims.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from flopguard_operator import allocation, naming, observed
from flopguard_operator.binding import Claims
from flopguard_operator.inventory.objects import Objects
from flopguard_operator.models.basis import look_up
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.observed import Raw, at, items, text

GIVEN, DISCLOSED = "given", "disclosed"
ESTIMATED, UNKNOWN, NO_BASE = "estimated", "unknown", "-"
METERED, PARTLY, UNMETERED, NOT_YET = "yes", "partly", "no", "-"
_HASH = "pod-template-hash"
_MOST = 1_000_000


@dataclass(frozen=True)
class Workload:
    """One accelerator workload."""

    namespace: str
    kind: str
    name: str
    pods: int = 0  # that are not over
    metered_pods: int = 0
    accelerators: int = 0  # of these pods, or that a Job without pods asks for
    resource: str = ""
    by_claim: bool = False  # some come by claims: their number is not known
    run: str = ""  # FineTuneRun, "" for none
    program: str = ""
    base: str = ""
    disclosure: str = NO_BASE  # one of the words above
    suspended: bool = False
    why_not: str = ""  # why injection left a pod alone

    @property
    def metered(self) -> str:
        """Whether its pods are: in a word."""
        if not self.pods:
            return NOT_YET
        if self.metered_pods == self.pods:
            return METERED
        return PARTLY if self.metered_pods else UNMETERED


_Key = tuple[str, str, str]


def workloads(objects: Objects, catalogue: Catalogue) -> tuple[Workload, ...]:
    """Return the accelerator workloads, by namespace, kind and name.

    Args:
        objects: of the cluster.
        catalogue: to look base models up in.
    """
    claims = Claims(objects.runs)
    known = _Known(
        {text(p, "metadata", "name"): p for p in objects.programs}, catalogue
    )
    found: dict[_Key, Workload] = {}
    for raw in objects.jobs:
        job = observed.job(raw)
        if not job.finished:
            one = _of_job(raw, known, claims)
            found[one.namespace, one.kind, one.name] = one
    with_pods = set()
    for raw in objects.pods:
        if not observed.pod(raw).over:
            key = _owner(raw)
            before = found.get(key) or Workload(*key)
            if key not in with_pods:  # the template's figure was for want of pods
                before = replace(before, accelerators=0, by_claim=False)
                with_pods.add(key)
            found[key] = _with_pod(before, raw, known, claims)
    listed = (
        one for one in found.values() if one.accelerators or one.by_claim or one.run
    )
    return tuple(sorted(listed, key=lambda one: (one.namespace, one.kind, one.name)))


@dataclass(frozen=True)
class _Known:
    """What is known of base models."""

    programs: Mapping[str, Raw]
    catalogue: Catalogue

    def of(self, one: Workload, run: Raw | None) -> Workload:
        """Return a workload with what its run says of the base model."""
        if run is None:
            return one
        program = text(run, "spec", "program")
        lender = self.programs.get(program)
        spec = at(run, "spec", "baseModel") or at(lender, "spec", "baseModel")
        return replace(
            one,
            run=text(run, "metadata", "name"),
            program=program,
            base=text(spec, "name"),
            disclosure=self._disclosure(spec),
        )

    def _disclosure(self, spec: object) -> str:
        if text(spec, "pretrainingFlops"):
            return GIVEN
        name = text(spec, "name")
        if not name:
            return NO_BASE
        base = look_up(name, self.catalogue)
        if base.pretraining_flops is not None:
            return DISCLOSED
        return UNKNOWN if base.estimate_low is None else ESTIMATED


def _of_job(raw: Raw, known: _Known, claims: Claims) -> Workload:
    """Return a Job as its template says it, before any pod of it is looked at."""
    job = observed.job(raw)
    template = at(raw, "spec", "template") or {}
    asked = allocation.of_pod(template)
    parallelism = at(raw, "spec", "parallelism")
    is_count = isinstance(parallelism, int) and not isinstance(parallelism, bool)
    times = min(max(0, parallelism), _MOST) if is_count else 1
    labels = {naming.JOB_NAME_LABEL: job.name, naming.RUN_LABEL: job.run_label}
    probe = {"metadata": {"namespace": job.namespace, "labels": labels}}
    one = Workload(
        namespace=job.namespace,
        kind="Job",
        name=job.name,
        accelerators=asked.accelerators * times,
        resource=asked.resource,
        by_claim=asked.by_claim,
        suspended=job.suspended,
    )
    return known.of(one, claims.of_pod(probe))


def _with_pod(one: Workload, raw: Raw, known: _Known, claims: Claims) -> Workload:
    pod, asked = observed.pod(raw), allocation.of_pod(raw)
    one = replace(
        one,
        pods=one.pods + 1,
        metered_pods=one.metered_pods + int(pod.injected),
        accelerators=one.accelerators + asked.accelerators,
        resource=one.resource or asked.resource,
        by_claim=one.by_claim or asked.by_claim,
        why_not=one.why_not or ("" if pod.injected else pod.not_injected),
    )
    return one if one.run else known.of(one, claims.of_pod(raw))


def _owner(raw: Raw) -> _Key:
    """Return what a pod belongs to: its Job, else its controller, else itself."""
    namespace, labels = (
        text(raw, "metadata", "namespace"),
        at(raw, "metadata", "labels"),
    )
    job = text(labels, naming.JOB_NAME_LABEL)
    if job:
        return namespace, "Job", job
    for owner in _controllers(raw):
        kind, name = text(owner, "kind"), text(owner, "name")
        suffix = f"-{text(labels, _HASH)}"
        if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
            return namespace, "Deployment", name.removesuffix(suffix)
        return namespace, kind, name
    return namespace, "Pod", text(raw, "metadata", "name")


def _controllers(raw: Raw) -> Iterator[Raw]:
    for owner in items(raw, "metadata", "ownerReferences"):
        if at(owner, "controller") is True:
            yield owner


def totals(found: Iterable[Workload]) -> dict[str, int]:
    """Return how many workloads and accelerators there are, and how many are known."""
    listed = list(found)
    return {
        "workloads": len(listed),
        "accelerators": sum(one.accelerators for one in listed),
        "withoutRun": sum(not one.run for one in listed),
        "notMetered": sum(one.metered in (UNMETERED, PARTLY) for one in listed),
        "notDisclosed": sum(one.disclosure in (ESTIMATED, UNKNOWN) for one in listed),
    }
