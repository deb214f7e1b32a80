"""A namespace in which jobs train under flopguard: what a test does and sees there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.kubectl import Kubectl, KubectlError
from stage import training

REACHED_SECONDS = 120.0  # a pod that imports torch takes ten, eight on two cores more
POLL_SECONDS = 0.5  # a kubectl costs as much of a core as a trainer
GRACE_SECONDS = 2  # the kubelet gives the sidecar another two

Object = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A namespace, prepared by `training.prepare` for the tests' trainer.

    A run and its Job have the same name.
    """

    kubectl: Kubectl

    def job(self, name: str, steps: int, sleep: float = 0.2, **how: Any) -> Object:
        """Return a Job that makes this many optimizer steps and then ends."""
        command = ["trainer.py", f"--steps={steps}", f"--sleep={sleep}"]
        return training.job(name, command, **{"grace_seconds": GRACE_SECONDS, **how})

    def start(self, name: str, steps: int, budget: int, **how: Any) -> None:
        """Apply a run with this budget and its Job, together."""
        run = training.run(name, name, budget)
        self.kubectl.apply(run, self.job(name, steps, **how))

    def run(self, name: str) -> Object:
        """Return the FineTuneRun as it is now."""
        return self.kubectl.get_json("ftr", name)

    def status(self, name: str) -> Object:
        """Return the run's status; empty before the operator has looked at it."""
        status: Object = self.run(name).get("status", {})
        return status

    def condition(self, name: str, kind: str) -> Object:
        """Return one condition of a run; empty if it has none of this type."""
        found = self.status(name).get("conditions", [])
        return next((c for c in found if c["type"] == kind), {})

    def flops(self, name: str) -> tuple[int, int]:
        """Return `measured` and `upper` of a run; zeros before its first count."""
        flops = self.status(name).get("flops", {})
        return int(flops.get("measured", 0)), int(flops.get("upper", 0))

    def workload(self, name: str) -> Object:
        """Return the Job as it is now."""
        return self.kubectl.get_json("job", name)

    def quiet_workload(self, name: str) -> Object:
        """Return a suspended Job once its controller has nothing left to do with it."""

        def quiet() -> Object | None:
            job = self.workload(name)
            busy = [job["status"].get(k) for k in ("active", "ready", "terminating")]
            counting = any(job["status"].get("uncountedTerminatedPods", {}).values())
            left = self.kubectl.exists("pods", "-l", _of_job(name))
            return None if any(busy) or counting or left else job

        found: Object = self.wait(quiet, f"Job {name} without a pod", name)
        return found

    def pods(self, name: str) -> list[Object]:
        """Return the pods of a Job that are not being deleted, oldest first."""
        listed = self.kubectl.get_json("pods", "-l", _of_job(name))["items"]
        kept = [p for p in listed if "deletionTimestamp" not in p["metadata"]]
        return sorted(kept, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def pods_left(self, name: str) -> str:
        """Return the names of a Job's pods of which a container may still run."""
        phases = "--field-selector=status.phase!=Succeeded,status.phase!=Failed"
        return self.kubectl.run(
            "get", "pods", "-l", _of_job(name), phases, "-o", "name"
        )

    def wait(
        self,
        found: Callable[[], Any],
        what: str,
        name: str = "",
        seconds: float = REACHED_SECONDS,
    ) -> Any:
        """Poll until `found` is true; a failure shows the run's status as well."""
        try:
            return self.kubectl.wait_for(found, seconds, what, POLL_SECONDS)
        except AssertionError as error:
            shown = json.dumps(self._shown(name), indent=1)
            message = f"{error}\nin namespace {self.kubectl.namespace}: {shown}"
            raise AssertionError(message) from None

    def wait_for_state(self, name: str, *states: str) -> Object:
        """Return the run's status once it is in one of these states."""

        def reached() -> Object | None:
            status = self.status(name)
            return status if status.get("state") in states else None

        what = f"run {name} in state {' or '.join(states)}"
        found: Object = self.wait(reached, what, name)
        return found

    def wait_for_pod(self, name: str, *, other_than: tuple[str, ...] = ()) -> Object:
        """Return a pod of the Job whose trainer runs, and whose UID is new."""

        def running() -> Object | None:
            new = [p for p in self.pods(name) if uid(p) not in other_than]
            return next(
                (pod for pod in new if "running" in trainer(pod)["state"]), None
            )

        what = f"a pod of Job {name} that trains"
        found: Object = self.wait(running, what, name)
        return found

    def wait_for_flops(self, name: str, more_than: int = 0) -> int:
        """Return `measured` of a run once it is above a figure."""

        def counted() -> int | None:
            measured, _ = self.flops(name)
            return measured if measured > more_than else None

        what = f"run {name} at more than {more_than} FLOPs"
        found: int = self.wait(counted, what, name)
        return found

    def set_budget(self, name: str, flops: int) -> None:
        """Change a run's budget, as a person would."""
        patch = {"spec": {"budget": {"maxFlops": str(flops)}}}
        self.kubectl.run("patch", "ftr", name, "--type=merge", "-p", json.dumps(patch))

    def refusal(self, *command: str, stdin: str | None = None) -> str:
        """Return what kubectl says where the API server refuses a command.

        Raises:
            AssertionError: it was not refused.
        """
        try:
            said = self.kubectl.run(*command, stdin=stdin)
        except KubectlError as error:
            return error.stderr
        message = f"kubectl {' '.join(command)} was not refused: {said}"
        raise AssertionError(message)

    def unsuspending(self, name: str) -> str:
        """Return what somebody reads who un-suspends the Job of a held run."""
        patch = json.dumps({"spec": {"suspend": False}})
        return self.refusal("patch", "job", name, "--type=merge", "-p", patch)

    def _shown(self, name: str) -> Object:
        if not name or not self.kubectl.exists("ftr", name):
            return {}
        tail = ("logs", "-l", _of_job(name), "--all-containers", "--tail=5", "--prefix")
        return {
            "run": self.status(name),
            "pods": self.pods_left(name).split(),
            "logs": self.kubectl.run(*tail).splitlines(),
        }


def uid(thing: Object) -> str:
    """Return an object's UID."""
    return str(thing["metadata"]["uid"])


def _of_job(name: str) -> str:
    return f"batch.kubernetes.io/job-name={name}"


def trainer(pod: Object) -> Object:
    """Return the status of a pod's training container, once it has one."""
    return _container(pod, "containerStatuses", "trainer")


def sidecar(pod: Object) -> Object:
    """Return the status of a pod's meter, once it has one."""
    return _container(pod, "initContainerStatuses", "flopguard-sidecar")


def _container(pod: Object, kind: str, name: str) -> Object:
    found = pod["status"].get(kind, [])
    absent: Object = {"state": {}, "restartCount": 0}
    return next((c for c in found if c["name"] == name), absent)
