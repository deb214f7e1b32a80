"""flopguard itself on the throwaway cluster, installed by helm as a user would."""

import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from cluster import tools, volumes
from cluster.images import PYTHON_IMAGE
from cluster.kubectl import Kubectl, KubectlError
from cluster.wheels import REPOSITORY
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import Entry, Event
from flopguard_operator.ledger.export import Leaf, parse

NAMESPACE = "flopguard"
OPERATOR = "statefulset/flopguard-operator"
OPERATOR_POD = "flopguard-operator-0"
OPERATOR_LABELS = "app.kubernetes.io/component=operator"
WEBHOOK = "deployment/flopguard-webhook"
INSTALL_SECONDS = 120
LOCK_SECONDS = 120.0  # it learns of new kinds every half minute, busy ones later
_IMAGES = {
    "operator.image.repository": "localhost/flopguard-operator",
    "operator.image.tag": "dev",
    "operator.image.pullPolicy": "Never",
    "sidecar.image.repository": "localhost/flopguard-sidecar",
    "sidecar.image.tag": "dev",
    "sidecar.image.pullPolicy": "Never",
}


class InstallError(Exception):
    """helm failed; the message is what it said."""


def install(kubectl: Kubectl, prometheus_url: str) -> None:
    """Install or upgrade the chart with short cycles and wait until all is ready.

    Args:
        kubectl: of the cluster.
        prometheus_url: "" to let the operator read the sidecars directly.

    Raises:
        InstallError: helm failed, or something was not ready within two minutes.
    """
    inside = kubectl.within(NAMESPACE)
    if not kubectl.exists("namespace", NAMESPACE):
        kubectl.run("create", "namespace", NAMESPACE)
        volumes.local_volume(inside, f"ledger-{OPERATOR_POD}", with_claim=False)
    values = {
        **_IMAGES,
        "operator.cycleSeconds": "1",
        "operator.settleSeconds": "5",
        "prometheus.url": prometheus_url,
    }
    command = [
        str(tools.path_of("helm")),
        f"--kubeconfig={kubectl.kubeconfig}",
        "upgrade",
        "--install",
        "flopguard",
        str(REPOSITORY / "charts" / "flopguard"),
        f"--namespace={NAMESPACE}",
        # The fixtures may have applied the CRDs before.
        "--take-ownership",
        "--force-conflicts",
        "--wait",
        f"--timeout={INSTALL_SECONDS}s",
        *(f"--set={key}={value}" for key, value in values.items()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"helm could not install flopguard: {done.stderr.strip()}"
        raise InstallError(message)


def ledger(kubectl: Kubectl) -> str:
    """Return the exported ledger, as `flopguard ledger export` in the pod writes it."""
    inside = kubectl.within(NAMESPACE)
    command = ("python3", "-m", "flopguard_operator.cli", "ledger", "export")
    path = ("--db", "/var/lib/flopguard/ledger.db")
    return inside.run("exec", OPERATOR_POD, "--", *command, *path)


def check(kubectl: Kubectl) -> None:
    """Let `flopguard ledger check` look at the whole ledger, in the pod.

    Raises:
        AssertionError: it finds something wrong; says what.
    """
    inside = kubectl.within(NAMESPACE)
    ask = ("python3", "-m", "flopguard_operator.cli", "ledger", "check", "--json")
    path = ("--db", "/var/lib/flopguard/ledger.db")
    command = inside.command("exec", OPERATOR_POD, "--", *ask, *path)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"the ledger does not verify: {done.stdout}{done.stderr}"
        raise AssertionError(message)


def entries(kubectl: Kubectl) -> Iterator[Entry]:
    """Yield what the ledger records, oldest first."""
    lines = (line.encode() for line in ledger(kubectl).splitlines(keepends=True))
    for part in parse(lines):
        if isinstance(part, Leaf):
            yield decode(part.data)


def events(kubectl: Kubectl, run: Mapping[str, Any]) -> list[Event]:
    """Return what the ledger records of one FineTuneRun, oldest first."""
    told = (entry.event for entry in entries(kubectl))
    return [event for event in told if event.run.uid == run["metadata"]["uid"]]


def scale(inside: Kubectl, workload: str, replicas: int, selector: str) -> None:
    """Scale a workload and wait until all of its pods are ready, or gone.

    Args:
        inside: for its namespace.
        workload: "<kind>/<name>".
        replicas: 0 or more.
        selector: labels of its pods.
    """
    inside.run("scale", workload, f"--replicas={replicas}")
    if replicas:
        inside.run("rollout", "status", workload, "--timeout=50s")
    else:
        gone = ("--for=delete", "--timeout=50s", f"--selector={selector}")
        inside.run("wait", "pod", *gone)


def wait_for_lock(kubectl: Kubectl) -> None:
    """Return once the API server refuses the pods of a held run.

    It learns of a kind that a policy names only every half minute, so a lock that was
    just installed does nothing at first. Proven by a run of a probe's own, whose hold
    is written here, and a pod of it that is only ever a dry run.

    Raises:
        AssertionError: the lock does not work after two minutes.
    """
    probe = kubectl.within(f"lock-{uuid.uuid4().hex[:8]}")
    kubectl.run("create", "namespace", str(probe.namespace))
    try:
        probe.apply(_held_run())
        probe.wait_for(lambda: _refused(probe), LOCK_SECONDS, "the lock on held runs")
    finally:
        kubectl.run("delete", "namespace", str(probe.namespace), "--wait=false")


_MERGE = ("--type=merge", "-p")
_HOLD = {
    "workload": "batch/v1/Job/probe",
    "reason": "BudgetExceeded",
    "since": "2026-11-22T00:00:00Z",
    "message": "a probe.",
}


def _held_run() -> dict[str, Any]:
    # The operator refuses a run of a program that is not there, so it suspends nothing.
    workload = {"apiVersion": "batch/v1", "kind": "Job", "name": "probe"}
    return {
        "apiVersion": "flopguard.dev/v1alpha1",
        "kind": "FineTuneRun",
        "metadata": {"name": "probe"},
        "spec": {"program": "no-such-program", "workload": workload},
    }


def _refused(probe: Kubectl) -> bool:
    # Each time anew: the operator takes away a hold that the ledger does not know.
    status = json.dumps({"status": {"holds": [_HOLD]}})
    probe.run("patch", "ftr", "probe", "--subresource=status", *_MERGE, status)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "labels": {"flopguard.dev/run": "probe"}},
        "spec": {"containers": [{"name": "main", "image": PYTHON_IMAGE}]},
    }
    try:
        probe.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    except KubectlError as error:
        return "FineTuneRun probe holds" in error.stderr
    return False
