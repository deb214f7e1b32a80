"""The chart's lock under a group of its own, so that tests cannot lock each other out.

The policies are cluster-wide. A copy whose API group is the test's own is the same text
to the API server, and deleting its CRD takes nobody else's runs away.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.fixtures import fresh_namespace
from cluster.kubectl import Kubectl, KubectlError

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "charts" / "flopguard" / "templates" / "lock.yaml"
CRD = ROOT / "crds" / "finetuneruns.yaml"
PLURAL = "lockedruns"
FAILURE_POLICIES = ("Ignore", "Fail")
MESSAGE = "used 1.02e22 of 1e22 FLOPs (102.00 %): the budget is spent. Raise it."
CONFIGURED_SECONDS = 60.0  # the API server looks for a policy's kinds every 30 s
LAG_SECONDS = 20.0  # of the API server's own caches; under a second in practice


@dataclass(frozen=True)
class Lock:
    """A namespace on a cluster where the lock works, and what tests do there."""

    kubectl: Kubectl
    group: str

    @property
    def label(self) -> str:
        """The label that binds a pod or Job to a run."""
        return f"{self.group}/run"

    def make_run(
        self, name: str, workload: str, plan: Mapping[str, Any] | None = None
    ) -> None:
        """Apply a FineTuneRun that names a workload, perhaps with a plan."""
        planned = {} if plan is None else {"plan": dict(plan)}
        self.kubectl.apply(
            {
                "apiVersion": f"{self.group}/v1alpha1",
                "kind": "FineTuneRun",
                "metadata": {"name": name},
                "spec": {"workload": {"name": workload}, **planned},
            }
        )

    def set_holds(self, name: str, *workloads: str) -> None:
        """Write status.holds as the operator does; none releases."""
        holds = [
            {
                "workload": f"batch/v1/Job/{workload}",
                "reason": "BudgetExceeded",
                "since": "2026-11-22T00:00:00Z",
                "message": MESSAGE,
            }
            for workload in workloads
        ]
        self.kubectl.run(
            *("patch", f"{PLURAL}.{self.group}", name, "--type=merge"),
            *("--subresource=status", "-p", json.dumps({"status": {"holds": holds}})),
        )

    def set_forecast(self, name: str, total: str | None) -> None:
        """Write status.forecast as the operator does; None takes it away."""
        bounds = dict.fromkeys(("low", "expected", "high"), total)
        forecast = None if total is None else {"total": bounds}
        self.kubectl.run(
            *("patch", f"{PLURAL}.{self.group}", name, "--type=merge"),
            "--subresource=status",
            *("-p", json.dumps({"status": {"forecast": forecast}})),
        )

    def create(self, manifest: Mapping[str, Any]) -> str:
        """Ask for an object to be made, without making it."""
        options = ("--dry-run=server", "-f", "-")
        return self.kubectl.run("create", *options, stdin=json.dumps(manifest))

    def change(self, job: str, patch: Mapping[str, Any]) -> str:
        """Ask for a Job to be changed, without changing it."""
        options = ("--dry-run=server", "--type=merge", "-p", json.dumps(patch))
        return self.kubectl.run("patch", "job", job, *options)

    def label_pod(self, name: str, value: str | None, *options: str) -> str:
        """Ask for a pod's run label to be changed, or taken off, without doing it."""
        patch = json.dumps({"metadata": {"labels": {self.label: value}}})
        how = ("--dry-run=server", "--type=merge", "-p", patch, *options)
        return self.kubectl.run("patch", "pod", name, *how)

    def wait_until_held(
        self, run: str, workload: str, seconds: float = LAG_SECONDS
    ) -> None:
        """Return once the API server refuses pods of the workload."""
        probe = pod({"batch.kubernetes.io/job-name": workload})
        self.wait_until_refused(probe, f"FineTuneRun {run} holds", seconds)

    def wait_until_refused(
        self, manifest: Mapping[str, Any], why: str, seconds: float = LAG_SECONDS
    ) -> str:
        """Return what the API server says once it refuses an object for a reason."""

        def refused() -> str:
            try:
                self.create(manifest)
            except KubectlError as error:
                return error.stderr if why in error.stderr else ""
            return ""

        return self.kubectl.wait_for(refused, seconds, f'a refusal: "{why}"')


def pod(labels: Mapping[str, str]) -> dict[str, Any]:
    """Return a pod with these labels."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "labels": dict(labels)},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }


def job(
    name: str,
    *,
    suspend: bool | None = True,
    labels: Mapping[str, str] | None = None,
    pod_labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a Job; `suspend` None leaves the field out."""
    container = {"name": "main", "image": "none"}
    spec: dict[str, Any] = {
        "template": {
            "metadata": {"labels": dict(pod_labels or {})},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
    }
    if suspend is not None:
        spec["suspend"] = suspend
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": spec,
    }


@contextlib.contextmanager
def copied_crds(kubectl: Kubectl) -> Iterator[None]:
    """Install a copy of the CRD for each failure policy, at once.

    The API server needs up to half a minute to find a policy's new kind, so the second
    policy does not have to wait again.
    """
    copies = [_copy(_group(policy)) for policy in FAILURE_POLICIES]
    names = [f"crd/{copy['metadata']['name']}" for copy in copies]
    try:
        kubectl.apply(*copies)
        kubectl.run("wait", "--for=condition=Established", *names)
        yield
    finally:
        kubectl.run("delete", "--ignore-not-found", *names)


@contextlib.contextmanager
def locked_namespace(kubectl: Kubectl, failure_policy: str) -> Iterator[Lock]:
    """Install the chart's policies, and give a namespace where they work."""
    group = _group(failure_policy)
    policies = (
        LOCK.read_text()
        .replace("{{ .Values.lock.failurePolicy }}", failure_policy)
        .replace("flopguard.dev", group)
    )
    try:
        kubectl.apply(policies)
        with fresh_namespace(kubectl, "lock") as inside:
            lock = Lock(inside, group)
            lock.make_run("canary", "caged")
            lock.set_holds("canary", "caged")
            lock.wait_until_held("canary", "caged", CONFIGURED_SECONDS)
            yield lock
    finally:
        kubectl.run("delete", "--ignore-not-found", "-f", "-", stdin=policies)


def _copy(group: str) -> dict[str, Any]:
    """Return the CRD in another group, and without names that a person types.

    kubectl remembers for minutes which kinds there are: a second `ftr` would catch the
    other tests' commands even after it is gone.
    """
    crd: dict[str, Any] = yaml.safe_load(CRD.read_text())
    names = {"kind": "FineTuneRun", "listKind": "FineTuneRunList"}
    crd["metadata"]["name"] = f"{PLURAL}.{group}"
    crd["spec"]["group"] = group
    crd["spec"]["names"] = {**names, "plural": PLURAL, "singular": "lockedrun"}
    return crd


def _group(failure_policy: str) -> str:
    """Return the API group of the copy that fails in this way."""
    return f"{failure_policy.lower()}.flopguard.example"
