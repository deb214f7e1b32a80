"""Runs that count on a real cluster, and the truth about each of them."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cluster import volumes
from cluster.images import PYTHON_IMAGE
from cluster.kubectl import Kubectl
from flopguard_operator.ledger.accounts import Account, fold, totals
from robustness.oracle import ORACLE, total
from robustness.rows import Row
from stage import release, training
from stage.scene import Object

COUNTER = Path(__file__).resolve().parent / "counter.py"
# Of counter.py, which only a pod can import.
STEP = 5 * 10**8
STOP, CLOCK, FEAST = "stop", "clock", "feast"
AMPLE = 10**18
SECONDS = 300.0  # twenty pods at once, on two busy cores
IN_FLIGHT = 2 * STEP  # of one process, and the growth of its steps
_ORDERS = (STOP, CLOCK, FEAST)  # files beside the truth; some go when they are obeyed
_USER = 1000
CLAIM = "oracle"


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

    def prepare(self) -> None:
        """Make what all runs need: the volume of the truth, and the script."""
        self.truth = volumes.local_volume(self.kubectl, CLAIM)
        self.truth.chmod(0o777)
        self.kubectl.apply(training.script(COUNTER))

    def start(self, names: Iterable[str], **changes: Any) -> None:
        """Apply runs and their Jobs, and wait until each has counted.

        Args:
            names: of the runs.
            changes: as `job` takes them; besides `lay`, called with the folder of the
                truth before there is a pod, and `counted`, which tells from a run's
                status that it is under way.
        """
        names = list(names)
        changes.pop("lay", _nothing)(self.truth)
        counted = changes.pop("counted", is_under_way)
        self.kubectl.apply(*(self._run(n) for n in names))
        self.kubectl.apply(*(job(n, **changes) for n in names))
        self.wait_for(counted, "a first count, and a word of the machine", names)

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
            AssertionError: It was not within five minutes; says which runs were not.
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

    def wait_for_figures(
        self, read: Callable[[Object], int], least: Mapping[str, int], what: str
    ) -> None:
        """Wait until a figure in the status of runs is as large as given, by name."""
        for name, flops in least.items():
            reached = partial(_reaches, read, flops)
            self.wait_for(reached, f"{flops} FLOPs of {name} {what}", [name])

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
        files = folder.iterdir() if folder.exists() else ()
        data = [file.read_bytes() for file in files if file.name not in _ORDERS]
        return [ORACLE.unpack(d) for d in data if len(d) == ORACLE.size]

    def begun(self, name: str) -> int:
        """Return the FLOPs that a run has begun."""
        return sum(total(STEP, begun) for begun, _ in self.steps(name))

    def finished(self, name: str) -> int:
        """Return the FLOPs that a run has finished."""
        return sum(total(STEP, finished) for _, finished in self.steps(name))

    def is_ahead(self) -> bool:
        """Say whether more is measured of some run than it has begun."""
        told = {name: measured(status) for name, status in self.statuses().items()}
        return any(told[name] > self.begun(name) for name in self.names)

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Let the trainers end after their step."""
        for name in self.names if names is None else names:
            (self.truth / name).mkdir(exist_ok=True)
            os.chmod(self.truth / name, 0o777)  # noqa: PTH101, S103 # for the pod's user
            (self.truth / name / STOP).touch()

    def accounts(self) -> dict[str, Account]:
        """Return what the ledger says of each run, by the run's name."""
        found = fold(release.entries(self.kubectl))
        own = (a for a in found.values() if a.ref.namespace == self.kubectl.namespace)
        return {account.ref.name: account for account in own}

    def wait_until_closed(self, names: Iterable[str]) -> dict[str, Account]:
        """Wait until Jobs have ended and all streams of their runs are closed.

        Returns:
            The accounts, by name; of each the run's status says the same.

        Raises:
            AssertionError: They were not within five minutes; says which.
        """
        names = list(names)
        self.wait_for(is_over, "the Job's end", names)
        found: dict[str, Account] = {}

        def all_closed() -> bool:
            statuses = self.statuses()
            found.update(self.accounts())
            left = [n for n in names if not is_closed(found.get(n), statuses[n])]
            names[:] = left
            return not left

        what = "every stream to be closed"
        try:
            self.kubectl.wait_for(all_closed, SECONDS, what, poll_seconds=2.0)
        except AssertionError as error:
            message = f"{error}: {names}, {[found.get(n) for n in names[:2]]}"
            raise AssertionError(message) from None
        return found

    def verdict(self, name: str, account: Account) -> Row:
        """Compare what the ledger says of a closed run with the truth.

        A run of which less is measured than was done has to be charged for it.
        """
        total = totals(account)
        low, high = total.measured, total.upper
        return Row(
            fault="",
            layer="cluster",
            trials=1,
            flops_lost=max(0, self.begun(name) - high),
            flops_declared=high - low,
            counted_twice=int(low > self.begun(name)),
            undetected=int(low < self.finished(name) and high == low),
        )


def _reaches(read: Callable[[Object], int], flops: int, status: Object) -> bool:
    return read(status) >= flops


def is_closed(account: Account | None, status: Object) -> bool:
    """Say whether nothing more can come of a run's streams, and its status says so."""
    if account is None:
        return False
    total = totals(account)
    streams = {*account.gaps, *(attempt.stream for attempt in account.attempts)}
    ended = all(_ended(account, stream) for stream in streams)
    told = (measured(status), upper(status))
    return ended and bool(streams) and told == (total.measured, total.upper)


def _ended(account: Account, stream: str) -> bool:
    mark = account.streams.get(stream)
    return stream in account.closed or (mark is not None and mark.final)


def _nothing(_truth: Path) -> None:
    """Lay nothing beside the truth."""


def measured(status: Object) -> int:
    """Return what is measured of a run."""
    return int(status.get("flops", {}).get("measured", 0))


def upper(status: Object) -> int:
    """Return the upper bound of a run."""
    return int(status.get("flops", {}).get("upper", 0))


def is_under_way(status: Object) -> bool:
    """Say whether a run has counted, and the operator knows what its silence costs."""
    told = {c["type"]: c["reason"] for c in status.get("conditions", [])}
    return measured(status) > 0 and told["CoverageIncomplete"] != "NothingHeard"


def exact(status: Object) -> int:
    """Return what is measured of a run with one process, 0 while it is charged more."""
    is_exact = upper(status) - measured(status) <= IN_FLIGHT
    return measured(status) if is_exact else 0


def is_over(status: Object) -> bool:
    """Say whether the Job of a run has ended."""
    return status.get("state") in {"Completed", "Failed"}


def job(name: str, **changes: Any) -> Object:
    """Return a Job that counts without torch.

    Args:
        name: Of the Job, and of the folder of its truth.
        changes: Of its pod's spec; `resources`, `env` and `mounts` of the trainer,
            `volumes` beside its own, and `backoffLimit` of the Job.
    """
    limit = changes.pop("backoffLimit", 20)
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
            {"name": CLAIM, "mountPath": f"/{CLAIM}"},
            *changes.pop("mounts", []),
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
            {"name": CLAIM, "persistentVolumeClaim": {"claimName": CLAIM}},
            *changes.pop("volumes", []),
        ],
        **changes,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": limit, "template": {"spec": pod}},
    }
