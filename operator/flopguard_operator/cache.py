"""Keep the last seen state of the objects that kopf watches.

Only the event loop touches it, so there is no lock. A deleted pod stays until the cycle
has settled it: its last state carries the sidecar's final record.
"""

import asyncio
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from flopguard_operator.ledger.policies import Law
from flopguard_operator.models.catalogue import NOTHING, Catalogue
from flopguard_operator.observed import Job, Pod, Raw, job, pod, text
from flopguard_operator.rulebooks import shipped_laws


@dataclass
class Cache:
    """Objects by UID (jobs and programs by name), and a flag that wakes the cycle."""

    runs: dict[str, Raw] = field(default_factory=dict)
    programs: dict[str, Raw] = field(default_factory=dict)
    decisions: dict[str, Raw] = field(default_factory=dict)
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    continuing: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(namespace, run) → names of Jobs whose pod template names the run."""
    laws: Mapping[str, Law] = field(default_factory=shipped_laws)
    """The rule sets that a run may name, by name."""
    _named: dict[tuple[str, str], str] = field(default_factory=dict)
    """(namespace, name) → UID of the run that was seen last under it."""
    pods: dict[str, Pod] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the first listing of all resources is in."""
    catalogue: Catalogue = NOTHING
    """The base models, as of this cycle."""

    def see_run(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of a FineTuneRun."""
        uid = text(raw, "metadata", "uid")
        if kind == "DELETED":
            self._forget_run(uid)
        elif self._succeeds(raw):
            before = self.runs.get(uid)
            self.runs[uid] = raw
            if before is not None and _same_demand(before, raw):
                return  # our own status write must not wake the cycle
        self.wake.set()

    def _succeeds(self, raw: Raw) -> bool:
        """Let a run take the place of an older namesake, whose deletion was missed.

        Returns:
            Whether it is not itself the older one: its events may come late.
        """
        uid, key = text(raw, "metadata", "uid"), _key(raw)
        other = self._named.get(key, uid)
        if other != uid and other in self.runs:
            created, before = _created(raw), _created(self.runs[other])
            if created < before:
                return False
            if created > before:
                self._forget_run(other)
        self._named[key] = uid
        return True

    def _forget_run(self, uid: str) -> None:
        raw = self.runs.pop(uid, None)
        if raw is not None and self._named.get(_key(raw)) == uid:
            del self._named[_key(raw)]

    def see_program(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of a FineTuneProgram."""
        name = text(raw, "metadata", "name")
        if kind != "DELETED":
            self.programs[name] = raw
        elif _uid(self.programs.get(name)) == _uid(raw):
            del self.programs[name]

    def see_decision(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of a ThresholdDecision; a new one wakes the cycle."""
        uid = text(raw, "metadata", "uid")
        if kind == "DELETED":
            self.decisions.pop(uid, None)
            return
        if uid not in self.decisions:
            self.wake.set()
        self.decisions[uid] = raw

    def see_job(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of a Job."""
        seen = job(raw)
        key = (seen.namespace, seen.name)
        known = self.jobs.get(key)
        if kind != "DELETED":
            self._forget_job(known)
            self.jobs[key] = seen
            if seen.run_label:
                self._continues(seen).add(seen.name)
        elif known is not None and known.uid == seen.uid:
            self._forget_job(known)

    def _forget_job(self, known: Job | None) -> None:
        if known is not None:
            del self.jobs[known.namespace, known.name]
            self._continues(known).discard(known.name)

    def _continues(self, job: Job) -> set[str]:
        return self.continuing.setdefault((job.namespace, job.run_label), set())

    def see_pod(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of an injected pod; its end wakes the cycle."""
        seen = pod(raw, gone=kind == "DELETED")
        if not seen.run_label:
            return  # not injected, whoever sent it
        before = self.pods.get(seen.uid)
        self.pods[seen.uid] = seen
        # Each of the three once, however often a pod that has ended is written to.
        if _ends(seen) - _ends(before):
            self.wake.set()

    def owners(self) -> set[str]:
        """Return the UIDs of all runs, programs, decisions and Jobs."""
        programs = {_uid(raw) for raw in self.programs.values()}
        jobs = (job.uid for job in self.jobs.values())
        return {*self.runs, *programs, *self.decisions, *jobs}

    def miss(self, known: Iterable[str], present: Container[str]) -> None:
        """Take those of the `known` UIDs that are not `present` for deleted.

        kopf says nothing of an object that vanished while its watch was down.
        """
        missed = {uid for uid in known if uid not in present}
        for uid in missed & self.pods.keys():
            self.pods[uid] = replace(self.pods[uid], gone=True)
        for uid in missed & self.runs.keys():
            self._forget_run(uid)
        for uid in missed & self.decisions.keys():
            del self.decisions[uid]
        for name, raw in list(self.programs.items()):
            if _uid(raw) in missed:
                del self.programs[name]
        for seen in list(self.jobs.values()):
            if seen.uid in missed:
                self._forget_job(seen)

    def forget_gone_pods(self, settled: Mapping[str, Pod]) -> None:
        """Drop the deleted pods among those that a cycle has settled."""
        for uid, seen in settled.items():
            if seen.gone and self.pods.get(uid) is seen:
                del self.pods[uid]


def _ends(seen: Pod | None) -> set[str]:
    if seen is None:
        return set()
    ends = {"ended": seen.ended, "over": seen.over, "gone": seen.gone}
    return {name for name, reached in ends.items() if reached}


def _uid(raw: Raw | None) -> str:
    return text(raw, "metadata", "uid")


def _key(raw: Raw) -> tuple[str, str]:
    return text(raw, "metadata", "namespace"), text(raw, "metadata", "name")


def _created(raw: Raw) -> str:
    return text(raw, "metadata", "creationTimestamp")


def _same_demand(before: Raw, after: Raw) -> bool:
    keys = ("generation", "deletionTimestamp")
    return all(
        before.get("metadata", {}).get(key) == after.get("metadata", {}).get(key)
        for key in keys
    )
