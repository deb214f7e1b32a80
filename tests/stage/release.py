"""flopguard itself on the throwaway cluster, installed by helm as a user would."""

import subprocess

from cluster import tools, volumes
from cluster.kubectl import Kubectl
from cluster.wheels import REPOSITORY

NAMESPACE = "flopguard"
OPERATOR = "statefulset/flopguard-operator"
OPERATOR_POD = "flopguard-operator-0"
WEBHOOK = "deployment/flopguard-webhook"
INSTALL_SECONDS = 120
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
        "--take-ownership",  # the fixtures may have applied the CRDs before
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
