"""Raw Kubernetes objects as the API server sends them, and a stand-in for `Cluster`.

The stand-in keeps objects in memory and records every call; the contract and e2e tests
run the same code against the real API server.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from flopguard_operator import naming
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import ClusterError
from flopguard_operator.naming import CATEGORIES

Raw = dict[str, Any]


def run(name: str = "sft", uid: str = "run-1", **spec: Any) -> Raw:
    """Return a FineTuneRun of Job `train` with a budget of 1000 FLOPs."""
    budget = {"maxFlops": "1000", "warnAtPercent": [50]}
    return {
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": uid,
            "generation": 1,
            "creationTimestamp": "2026-11-22T00:00:00Z",
        },
        "spec": {
            "workload": {"apiVersion": "batch/v1", "kind": "Job", "name": "train"},
            "budget": budget,
            **spec,
        },
    }


def program(name: str = "support-bot", uid: str = "program-1", **spec: Any) -> Raw:
    """Return a FineTuneProgram that every namespace of the tests may join."""
    created = "2026-11-21T00:00:00Z"
    metadata = {"name": name, "uid": uid, "generation": 1, "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"namespaces": ["ml"], **spec}}


def decision(
    kind: str, uid: str = "decision-1", *, program: str = "support-bot", **spec: Any
) -> Raw:
    """Return a ThresholdDecision on a program, or on run `run` of namespace ml."""
    run = spec.pop("run", "")
    subject = {"kind": "FineTuneProgram", "name": program}
    if run:
        subject = {"kind": "FineTuneRun", "name": run, "namespace": "ml"}
    made = spec.pop("made", "2026-11-22T01:00:00Z")
    metadata = {"name": uid, "uid": uid, "generation": 1, "creationTimestamp": made}
    said = {"reason": "looked at it", "decidedBy": "counsel@example.org"}
    return {
        "metadata": metadata,
        "spec": {"subject": subject, "decision": kind, **said, **spec},
    }


def job(
    uid: str = "job-1",
    *,
    name: str = "train",
    suspend: bool = False,
    active: int = 0,
    run_label: str = "",
) -> Raw:
    """Return a batch/v1 Job; `run_label` is on its pod template."""
    labels = {naming.RUN_LABEL: run_label} if run_label else {}
    return {
        "metadata": {"name": name, "namespace": "ml", "uid": uid, "annotations": {}},
        "spec": {"suspend": suspend, "template": {"metadata": {"labels": labels}}},
        "status": {"active": active},
    }


def pod(
    uid: str = "pod-1",
    *,
    job_uid: str = "job-1",
    ended: bool = False,
    words: str = "",
    created: str = "2026-11-22T00:01:00Z",
) -> Raw:
    """Return an injected pod of Job `train`; `words` are its sidecar's last ones."""
    when = {"finishedAt": "2026-11-22T00:00:05Z"}
    later = {"finishedAt": "2026-11-22T00:00:06Z"}
    state = {"terminated": {"exitCode": 0, **when}} if ended else {"running": {}}
    side = {"terminated": {"message": words, **later}} if words else {"running": {}}
    return {
        "metadata": {
            "name": f"train-{uid}",
            "namespace": "ml",
            "uid": uid,
            "creationTimestamp": created,
            "labels": {
                naming.RUN_LABEL: "sft",
                naming.JOB_NAME_LABEL: "train",
                naming.JOB_UID_LABEL: job_uid,
            },
        },
        "spec": {
            "containers": [{"name": "trainer"}],
            "initContainers": [{"name": naming.SIDECAR_CONTAINER}],
        },
        "status": {
            "podIP": "",
            "containerStatuses": [{"name": "trainer", "state": state}],
            "initContainerStatuses": [
                {"name": naming.SIDECAR_CONTAINER, "state": side}
            ],
        },
    }


def gpu_pod(uid: str = "pod-1", **more: Any) -> Raw:
    """Return such a pod with one accelerator, on node-1."""
    raw = pod(uid, **more)
    (container,) = raw["spec"]["containers"]
    container["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    raw["spec"]["nodeName"] = "node-1"
    return raw


def node(name: str, *, ready: str = "True", product: str = "") -> Raw:
    """Return a node; `product` is the label of its accelerators."""
    return {
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": product}},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def final_record(forward: int, begun: int | None = None, *, final: bool = True) -> str:
    """Return the sidecar's last line (docs/formats.md), built apart from its code."""
    done = {c: f"{forward if c == 'forward' else 0:044d}" for c in CATEGORIES}
    body: dict[str, Any] = {
        "flopguard": "final/1",
        "final": int(final),
        "sequence": f"{3:020d}",
        "done": done,
        "begun": f"{forward if begun is None else begun:044d}",
        "steps": f"{7:024d}",
        "pages": "0001",
        "errors": "000000",
        "digest": "ab" * 32,
    }
    return sealed(body)


def sealed(body: Raw) -> str:
    """Return a final record with the checksum of what it says."""
    said = {key: value for key, value in body.items() if key != "crc32"}
    covered = json.dumps(said, separators=(",", ":"))[:-1]
    return f'{covered},"crc32":"{zlib.crc32(covered.encode()):08x}"}}\n'


class StandInCluster:
    """The calls of `Cluster`, answered from memory and fed back into the cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.calls: list[str] = []
        self.events: list[tuple[str, str]] = []  # (kind of target, reason)
        self.pods_running = 0
        self.present: set[str] = set()
        self.vanished: set[str] = set()  # runs, programs and Jobs, untold by a watch
        self.terminating = False
        self.unwatched: list[Raw] = []  # pods that no watch tells of
        self.nodes: dict[str, Raw | None] = {}
        self.happened: list[Raw] = []  # Kubernetes Events
        self.ungoverned: set[str] = set()
        self.refusals = 0  # how many un-suspends the lock still refuses

    def pods_left(self, _namespace: str, _selector: str) -> int:
        """Return how many pods are left."""
        return self.pods_running

    def happenings(self, reason: str) -> list[Raw]:
        """Return the Events of a reason that were written to `happened`."""
        return [raw for raw in self.happened if raw["reason"] == reason]

    def pods_of(self, namespace: str) -> list[Raw]:
        """Return the pods of a namespace that only a list shows."""
        found = list(self.unwatched)
        return [pod for pod in found if pod["metadata"]["namespace"] == namespace]

    def node(self, name: str) -> Raw | None:
        """Return a node; one that nobody described is ready and has no label."""
        return self.nodes.get(name, node(name))

    def governed(self, namespace: str) -> bool:
        """Say whether strangers' pods are charged in a namespace."""
        return namespace not in self.ungoverned

    def injected_pods(self) -> set[str]:
        """Return the UIDs of the pods that exist."""
        return self.present

    def existing(self) -> set[str]:
        """Return the UIDs of the runs, programs and Jobs that exist."""
        return self.cache.owners() - self.vanished

    def namespace_terminating(self, _name: str) -> bool:
        """Say whether the namespace goes away."""
        return self.terminating

    def patch_run_status(self, _namespace: str, name: str, status: Raw) -> None:
        """Merge into the cached run's status."""
        raw = self._run(name)
        merged = {**raw.get("status", {}), **status}
        raw["status"] = {k: v for k, v in merged.items() if v is not None}
        self.calls.append("status")

    def patch_program_status(self, name: str, status: Raw) -> None:
        """Merge into the cached program's status."""
        raw: Raw = dict(self.cache.programs[name])
        raw["status"] = {**raw.get("status", {}), **status}
        self.cache.programs[name] = raw
        self.calls.append(f"program {name}")

    def patch_decision_status(self, name: str, status: Raw) -> None:
        """Merge into the cached decision's status."""
        for uid, raw in self.cache.decisions.items():
            if raw["metadata"]["name"] == name:
                self.cache.decisions[uid] = {**raw, "status": status}

    def set_finalizers(
        self, _namespace: str, name: str, present: list[str], finalizers: list[str]
    ) -> None:
        """Replace the cached run's finalizers, if they are the `present` ones."""
        metadata = self._run(name)["metadata"]
        if metadata.get("finalizers", []) != present:
            raise ClusterError(422, "the finalizers are others by now")
        metadata["finalizers"] = finalizers
        self.calls.append(f"finalizers {','.join(finalizers)}")

    def patch_job(self, namespace: str, name: str, patch: Raw) -> None:
        """Merge into the cached Job; refuse an un-suspend as the lock would."""
        suspend = patch.get("spec", {}).get("suspend")
        if suspend is False and self.refusals:
            self.refusals -= 1
            raise ClusterError(422, "FineTuneRun sft is held")
        old = self.cache.jobs[(namespace, name)]
        raw = job(
            old.uid,
            name=name,
            suspend=old.suspended,
            active=old.active,
            run_label=old.run_label,
        )
        raw["metadata"]["annotations"] = {
            naming.STATE_ANNOTATION: old.state,
            naming.REASON_ANNOTATION: old.reason,
            **patch["metadata"]["annotations"],
        }
        if suspend is not None:
            raw["spec"]["suspend"] = suspend
        self.cache.see_job("MODIFIED", raw)
        self.calls.append({True: "suspend", False: "resume"}.get(suspend, "annotate"))

    def event(
        self, target: Mapping[str, str], _kind: str, reason: str, _message: str
    ) -> None:
        """Record an Event."""
        self.events.append((target["kind"], reason))

    def _run(self, name: str) -> Raw:
        for raw in self.cache.runs.values():
            if raw["metadata"]["name"] == name:
                assert isinstance(raw, dict)
                return raw
        raise ClusterError(404, f"no run {name}")
