"""Keep the last seen state of the objects that kopf watches.

Only the event loop touches it, so there is no lock. A deleted pod stays until the cycle
has settled it: its last state carries the sidecar's final record.
"""

import asyncio
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from flopguard_operator.observed import Job, Pod, Raw, job, pod, text


@dataclass
class Cache:
    """Objects by UID (jobs and programs by name), and a flag that wakes the cycle."""

    runs: dict[str, Raw] = field(default_factory=dict)
    programs: dict[str, Raw] = field(default_factory=dict)
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    continuing: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(namespace, run) → names of Jobs whose pod template names the run."""
    pods: dict[str, Pod] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the first listing of all resources is in."""

    def see_run(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of a FineTuneRun."""
        uid = text(raw, "metadata", "uid")
        if kind == "DELETED":
            self.runs.pop(uid, None)
        else:
            before = self.runs.get(uid)
            self.runs[uid] = raw
            if before is not None and _same_demand(before, raw):
                return  # our own status write must not wake the cycle
        self.wake.set()

    def see_program(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of a FineTuneProgram."""
        name = text(raw, "metadata", "name")
        if kind == "DELETED":
            self.programs.pop(name, None)
        else:
            self.programs[name] = raw

    def see_job(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of a Job."""
        seen = job(raw)
        key = (seen.namespace, seen.name)
        if kind == "DELETED":
            known = self.jobs.get(key)
            if known is not None and known.uid == seen.uid:
                del self.jobs[key]
                self._continues(known).discard(known.name)
        else:
            self.jobs[key] = seen
            if seen.run_label:
                self._continues(seen).add(seen.name)

    def _continues(self, job: Job) -> set[str]:
        return self.continuing.setdefault((job.namespace, job.run_label), set())

    def see_pod(self, kind: str | None, raw: Raw) -> None:
        """Take in a watch event of an injected pod; its end wakes the cycle."""
        seen = pod(raw, gone=kind == "DELETED")
        if not seen.run_label:
            return  # not injected, whoever sent it
        self.pods[seen.uid] = seen
        if seen.gone or seen.ended:
            self.wake.set()

    def miss_pods(self, known: Iterable[str], present: Container[str]) -> None:
        """Mark as deleted those of the `known` UIDs that are not `present`.

        kopf says nothing of an object that vanished while its watch was down.
        """
        for uid in known:
            seen = self.pods.get(uid)
            if seen is not None and uid not in present:
                self.pods[uid] = replace(seen, gone=True)

    def forget_gone_pods(self, settled: Mapping[str, Pod]) -> None:
        """Drop the deleted pods among those that a cycle has settled."""
        for uid, seen in settled.items():
            if seen.gone and self.pods.get(uid) is seen:
                del self.pods[uid]


def _same_demand(before: Raw, after: Raw) -> bool:
    keys = ("generation", "deletionTimestamp")
    return all(
        before.get("metadata", {}).get(key) == after.get("metadata", {}).get(key)
        for key in keys
    )
