"""Runs that count on a real cluster, and the truth about each of them."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import volumes
from cluster.images import PYTHON_IMAGE
from cluster.kubectl import Kubectl
from robustness.oracle import ORACLE, total
from robustness.rows import Row
from stage import training
from stage.scene import Object

COUNTER = Path(__file__).resolve().parent / "counter.py"
STEP = 5 * 10**8  # of counter.py, which only a pod can import
AMPLE = 10**18
SECONDS = 180.0
_USER = 1000
_CLAIM = "oracle"


@dataclass
class Crew:
    """Runs of one namespace, all alike.

    Attributes:
        kubectl: In the namespace.
        names: Of the runs and their Jobs.
        truth: The folder of the oracles.
        budget: Of each run.
    """

    kubectl: Kubectl
    names: list[str]
    budget: int = AMPLE
    truth: Path = field(default=Path())

    def start(self, **changes: Any) -> None:
        """Apply all runs and Jobs, and wait until each has counted."""
        self.truth = volumes.local_volume(self.kubectl, _CLAIM)
        self.truth.chmod(0o777)
        self.kubectl.apply(training.script(COUNTER))
        self.kubectl.apply(*(self._run(n) for n in self.names))
        self.kubectl.apply(*(job(n, **changes) for n in self.names))
        self.wait_for(lambda s: measured(s) > 0, "a first count")

    def _run(self, name: str) -> Object:
        metering = {"chargeCpuPods": True}
        return training.run(name, name, self.budget, metering=metering)

    def statuses(self) -> dict[str, Object]:
        """Return the status of every run, by name."""
        items = self.kubectl.get_json("ftr")["items"]
        return {str(i["metadata"]["name"]): i.get("status", {}) for i in items}

    def wait_for(
        self,
        reached: Callable[[Object], bool],
        what: str,
        names: Iterable[str] | None = None,
    ) -> dict[str, float]:
        """Wait until each run's status is as wanted; return the seconds it took.

        Raises:
            AssertionError: It was not within three minutes; says which runs were not.
        """
        began = time.monotonic()
        took: dict[str, float] = {}
        wanted = set(self.names if names is None else names)

        def all_reached() -> bool:
            statuses = self.statuses()
            for name in wanted - set(took):
                if reached(statuses.get(name, {})):
                    took[name] = time.monotonic() - began
            return wanted <= set(took)

        try:
            self.kubectl.wait_for(all_reached, SECONDS, what, poll_seconds=0.5)
        except AssertionError as error:
            late = sorted(wanted - set(took))
            shown = {n: self.statuses().get(n) for n in late[:2]}
            message = f"{error}: {late}, {shown}"
            raise AssertionError(message) from None
        return took

    def pods(self) -> dict[str, Object]:
        """Return the newest pod of every run that has one, by the run's name."""
        found: dict[str, Object] = {}
        listed = self.kubectl.get_json("pods")["items"]
        for pod in sorted(
            listed, key=lambda p: str(p["metadata"]["creationTimestamp"])
        ):
            labels = pod["metadata"].get("labels", {})
            found[labels.get("batch.kubernetes.io/job-name", "")] = pod
        return found

    def steps(self, name: str) -> list[tuple[int, int]]:
        """Return (begun, finished) steps of each process of a run."""
        folder = self.truth / name
        files = (
            [f for f in folder.iterdir() if f.name != "stop"] if folder.exists() else []
        )
        data = [file.read_bytes() for file in files]
        return [ORACLE.unpack(d) for d in data if len(d) == ORACLE.size]

    def begun(self, name: str) -> int:
        """Return the FLOPs that a run has begun."""
        return sum(total(STEP, begun) for begun, _ in self.steps(name))

    def finished(self, name: str) -> int:
        """Return the FLOPs that a run has finished."""
        return sum(total(STEP, finished) for _, finished in self.steps(name))

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Let the trainers end after their step."""
        for name in self.names if names is None else names:
            (self.truth / name).mkdir(exist_ok=True)
            os.chmod(self.truth / name, 0o777)  # noqa: PTH101, S103 # for the pod's user
            (self.truth / name / "stop").touch()

    def judge(self, fault: str, names: Iterable[str], seconds: float) -> Row:
        """Compare what the ledger says of ended runs with the truth.

        A run of which less is measured than was done has to be charged for it.
        """
        statuses = self.statuses()
        lost = declared = twice = unsaid = 0
        names = list(names)
        for name in names:
            flops = statuses[name].get("flops", {})
            low, high = int(flops.get("measured", 0)), int(flops.get("upper", 0))
            lost += max(0, self.begun(name) - high)
            declared += high - low
            twice += low > self.begun(name)
            unsaid += low < self.finished(name) and high == low
        return Row(
            fault=fault,
            layer="cluster",
            trials=len(names),
            flops_lost=lost,
            flops_declared=declared,
            counted_twice=twice,
            undetected=unsaid,
            recovery_seconds=round(seconds, 1),
        )


def measured(status: Object) -> int:
    """Return what is measured of a run."""
    return int(status.get("flops", {}).get("measured", 0))


def upper(status: Object) -> int:
    """Return the upper bound of a run."""
    return int(status.get("flops", {}).get("upper", 0))


def is_final(status: Object) -> bool:
    """Say whether the last attempt of a run was closed."""
    attempts = status.get("attempts", [])
    return bool(attempts) and bool(attempts[-1].get("final"))


def job(name: str, **changes: Any) -> Object:
    """Return a Job that counts without torch; changes are of its pod's spec."""
    container = {
        "name": "trainer",
        "image": PYTHON_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "/app/counter.py", "--oracle", f"/oracle/{name}"],
        "resources": changes.pop("resources", {}),
        "env": changes.pop("env", []),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "script", "mountPath": "/app"},
            {"name": _CLAIM, "mountPath": "/oracle"},
        ],
    }
    pod = {
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 2,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "script", "configMap": {"name": training.SCRIPT_MAP}},
            {"name": _CLAIM, "persistentVolumeClaim": {"claimName": _CLAIM}},
        ],
        **changes,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 20, "template": {"spec": pod}},
    }
