"""A stand-in for the API server: objects, watches that lag and break, calls that fail.

It has the calls of `Cluster`, and a Job controller's and a kubelet's part is played by
`robustness.chaos` on the same objects. What a fault does is drawn from a seed.
"""

import asyncio
import copy
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from flopguard_operator import naming
from flopguard_operator.cluster import ClusterError
from standins import objects
from standins.faults import Crash
from standins.fleet import PRODUCT, Pod

Raw = dict[str, Any]
REFUSALS = {
    409: "the API server answers 409",
    410: "the API server answers 410",
    429: "the API server answers 429",
    500: "the API server answers 500",
    0: "the API server does not answer",
}
UNTOLD = "an API write takes place, and its answer is lost"
DIES_BEFORE = "the operator dies before an API write"
DIES_AFTER = "the operator dies after an API write"
DUPLICATE, STALE = "watch events come twice", "watch events are stale"
BROKEN = "a watch breaks off (410), and deletions in between are untold"


class Api:
    """One namespace with a run, a Job, its pods and their nodes."""

    def __init__(self, rng: random.Random, faults: Mapping[str, float]) -> None:
        self.rng, self.faults = rng, faults
        self.struck: Counter[str] = Counter()
        self.calm = True  # no faults
        self.cache: Any = None  # of the operator that runs
        self.run = objects.run()
        self.deleted = 0  # runs that were removed, whatever their finalizers said
        self.runs = 1  # that ever were
        self.job = objects.job()
        self.program = objects.program()
        self.pods: dict[str, Pod] = {}  # that exist
        self.nodes: dict[str, str | None] = {}  # name → ready; None: deleted
        self.suspensions = 0  # from false to true, by the operator
        self.on_suspend: Callable[[], None] = lambda: None
        self.on_status: Callable[[Raw], None] = lambda _: None
        self.broken = False
        self._due: dict[str, float] = {}

    # What the watches tell.

    def strikes(self, fault: str) -> bool:
        """Say whether a fault strikes now, and note that it did."""
        if self.calm or self.rng.random() >= self.faults.get(fault, 0.0):
            return False
        self.struck[fault] += 1
        return True

    def tell(self, what: str, kind: str, raw: Raw) -> None:
        """Let the watch of runs, jobs or pods tell of an object a moment later."""
        if self.cache is None or self.broken:
            return
        see = getattr(self.cache, f"see_{what}")
        loop = asyncio.get_running_loop()
        uid, raw = raw["metadata"]["uid"], copy.deepcopy(raw)
        slow = 8.0 if self.strikes(STALE) else 0.3
        due = max(
            loop.time() + self.rng.random() * slow, self._due.get(uid, 0.0) + 0.001
        )
        self._due[uid] = due
        loop.call_at(due, see, kind, raw)
        if self.strikes(DUPLICATE):
            loop.call_at(due + 0.0005, see, kind, raw)

    def list_all(self) -> None:
        """Let the operator list everything: at its start, and after a broken watch."""
        assert self.cache is not None
        for run in self.all_runs():
            self.cache.see_run(None, run)
        self.cache.see_program(None, copy.deepcopy(self.program))
        self.cache.see_job(None, copy.deepcopy(self.job))
        for pod in self.pods.values():
            self.cache.see_pod(None, pod.raw())

    def changed(self, pod: Pod, kind: str = "MODIFIED") -> None:
        """Take in that a pod is another now."""
        if kind == "DELETED":
            self.pods.pop(pod.uid, None)
        else:
            self.pods[pod.uid] = pod
        if pod.injected:  # the watch is one of labelled pods
            self.tell("pod", kind, pod.raw())

    # The calls of `Cluster`.

    def _read(self) -> None:
        for status, fault in REFUSALS.items():
            if self.strikes(fault):
                raise ClusterError(status, fault)

    def _write(self, do: Callable[[], None]) -> None:
        self._read()
        if self.strikes(DIES_BEFORE):
            raise Crash
        do()
        if self.strikes(DIES_AFTER):
            raise Crash
        if self.strikes(UNTOLD):
            raise ClusterError(0, UNTOLD)

    def pods_left(self, namespace: str, selector: str) -> int:
        """See `Cluster.pods_left`."""
        assert namespace == "ml"
        self._read()
        label = selector.partition("=")[0]
        found = [p for p in self.pods.values() if not p.over]
        return sum(label in pod.raw()["metadata"]["labels"] for pod in found)

    def happenings(self, reason: str) -> list[Raw]:
        """See `Cluster.happenings`."""
        assert reason
        self._read()
        return []

    def pods_of(self, namespace: str) -> list[Raw]:
        """See `Cluster.pods_of`."""
        assert namespace == "ml"
        self._read()
        return [pod.raw() for pod in self.pods.values()]

    def node(self, name: str) -> Raw | None:
        """See `Cluster.node`."""
        self._read()
        ready = self.nodes[name]
        if ready is None:
            return None
        return objects.node(name, ready=ready, product=PRODUCT)

    def governed(self, namespace: str) -> bool:
        """See `Cluster.governed`."""
        self._read()
        return bool(namespace)

    def injected_pods(self) -> set[str]:
        """See `Cluster.injected_pods`."""
        self._read()
        return {pod.uid for pod in self.pods.values() if pod.injected}

    def existing(self) -> set[str]:
        """See `Cluster.existing`."""
        self._read()
        found = (*self.all_runs(), self.job, self.program)
        return {each["metadata"]["uid"] for each in found}

    def all_runs(self) -> list[Raw]:
        """See `Cluster.all_runs`."""
        return [copy.deepcopy(self.run)] if self.has_run else []

    def namespace_terminating(self, name: str) -> bool:
        """See `Cluster.namespace_terminating`."""
        self._read()
        return not name

    def patch_run_status(self, namespace: str, name: str, status: Raw) -> None:
        """See `Cluster.patch_run_status`."""
        assert (namespace, name) == ("ml", "sft")

        def do() -> None:
            self._must_be_known()
            merged = {**self.run.get("status", {}), **copy.deepcopy(status)}
            told = {k: v for k, v in merged.items() if v is not None}
            self.on_status(told)
            self.run["status"] = told
            self.tell("run", "MODIFIED", self.run)

        self._write(do)

    def patch_program_status(self, name: str, status: Raw) -> None:
        """See `Cluster.patch_program_status`."""
        assert name

        def do() -> None:
            self.program["status"] = {**self.program.get("status", {}), **status}
            self.tell("program", "MODIFIED", self.program)

        self._write(do)

    def set_finalizers(
        self, namespace: str, name: str, present: list[str], wanted: list[str]
    ) -> None:
        """See `Cluster.set_finalizers`."""
        assert (namespace, name) == ("ml", "sft")

        def do() -> None:
            self._must_be_known()
            metadata = self.run["metadata"]
            if metadata.get("finalizers", []) != present:
                raise ClusterError(422, "the finalizers are others by now")
            metadata["finalizers"] = wanted
            self.tell("run", "MODIFIED", self.run)

        self._write(do)

    def patch_job(self, namespace: str, name: str, patch: Raw) -> None:
        """See `Cluster.patch_job`; the lock refuses to un-suspend what is held."""
        assert (namespace, name) == ("ml", "train")

        def do() -> None:
            suspend = patch.get("spec", {}).get("suspend")
            if suspend is False and self.is_held():
                raise ClusterError(422, "FineTuneRun sft is held")
            if suspend and not self.job["spec"]["suspend"]:
                self.suspensions += 1
                self.on_suspend()
            if suspend is not None:
                self.job["spec"]["suspend"] = suspend
            self.job["metadata"]["annotations"] |= patch["metadata"]["annotations"]
            self.tell("job", "MODIFIED", self.job)

        self._write(do)

    def event(
        self, target: Mapping[str, str], kind: str, reason: str, message: str
    ) -> None:
        """See `Cluster.event`."""
        assert all((target, kind, reason, message))
        self._write(lambda: None)

    # What its users do.

    def revise(self, **spec: Any) -> None:
        """Change the run's spec."""
        if not self.has_run:
            return
        self.run["spec"] |= spec
        self.run["metadata"]["generation"] += 1
        self.tell("run", "MODIFIED", self.run)

    def is_held(self) -> bool:
        """Say whether the lock refuses new pods."""
        return self.has_run and bool(self.run.get("status", {}).get("holds"))

    @property
    def has_run(self) -> bool:
        """Whether the run is there."""
        return self.deleted < self.runs

    def delete_run(self) -> None:
        """Remove the run at once, as by force: the Job and its pods stay."""
        self.deleted = self.runs
        self.tell("run", "DELETED", self.run)

    def create_run(self, created: str, budget: Raw) -> None:
        """Make a run of the same name."""
        self.runs += 1
        self.run = objects.run(uid=f"run-{self.runs}", budget=budget)
        self.run["metadata"]["creationTimestamp"] = created
        self.tell("run", "ADDED", self.run)

    def _must_be_known(self) -> None:
        """Refuse a write to a run by an operator that takes another one for it."""
        if not self.has_run or self.run["metadata"]["uid"] not in self.cache.runs:
            raise ClusterError(404, "there is no such run")

    def note_active(self) -> None:
        """Write how many pods the Job has, as its controller does."""
        active = sum(pod.alive for pod in self.pods.values())
        if self.job["status"].get("active") != active:
            self.job["status"]["active"] = active
            self.tell("job", "MODIFIED", self.job)

    def finish_job(self) -> None:
        """Write that the Job is complete."""
        self.job["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
        self.tell("job", "MODIFIED", self.job)

    def labels(self) -> str:
        """Return the label that the watch of pods selects by."""
        return naming.RUN_LABEL
