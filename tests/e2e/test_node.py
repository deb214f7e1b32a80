"""The throwaway node is a real one: pods run, talk, write and are limited."""

from pathlib import Path

import pytest

from cluster.images import PYTHON_IMAGE
from cluster.kubectl import Kubectl
from cluster.volumes import local_volume, shared_folder

pytestmark = pytest.mark.node

RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
NO_PRIVILEGES = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def run_python(
    kubectl: Kubectl, name: str, code: str, claims: dict[str, str] | None = None
) -> str:
    """Run code in a restricted pod to its end; its log.

    Args:
        kubectl: for the namespace.
        name: the pod's name.
        code: what Python runs.
        claims: mount paths by the name of the claim.
    """
    claims = claims or {}
    container = {
        "name": "main",
        "image": PYTHON_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", code],
        "securityContext": NO_PRIVILEGES,
        "volumeMounts": [{"name": c, "mountPath": path} for c, path in claims.items()],
    }
    volumes = [
        {"name": claim, "persistentVolumeClaim": {"claimName": claim}}
        for claim in claims
    ]
    spec = {
        "restartPolicy": "Never",
        "securityContext": RESTRICTED,
        "containers": [container],
        "volumes": volumes,
    }
    metadata = {"name": name}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    )
    phase = kubectl.wait_for(
        lambda: (
            kubectl.run("get", "pod", name, "-o", "jsonpath={.status.phase}")
            .replace("Pending", "")
            .replace("Running", "")
        ),
        60,
        f"the end of pod {name}",
    )
    log = kubectl.run("logs", name)
    assert phase == "Succeeded", log
    return log


def test_a_pod_finds_the_api_server_by_name(namespace: Kubectl) -> None:
    """DNS, the service network and service account tokens work together."""
    code = """
import pathlib, ssl, urllib.request
secrets = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
context = ssl.create_default_context(cafile=secrets / "ca.crt")
token = (secrets / "token").read_text()
request = urllib.request.Request("https://kubernetes.default.svc/version")
request.add_header("Authorization", "Bearer " + token)
print(urllib.request.urlopen(request, context=context, timeout=10).status)
"""

    assert run_python(namespace, "caller", code).strip() == "200"


def test_a_restricted_pod_writes_to_a_local_volume(namespace: Kubectl) -> None:
    """The ledger and a job's weights are written by users that are not root."""
    namespace.run(
        "label",
        "namespace",
        str(namespace.namespace),
        "pod-security.kubernetes.io/enforce=restricted",
    )
    folder = local_volume(namespace, "output")

    code = "open('/output/mark', 'w').write('written')"
    run_python(namespace, "writer", code, {"output": "/output"})

    assert (folder / "mark").read_text(encoding="utf-8") == "written"


def test_a_restricted_pod_imports_torch(
    namespace: Kubectl, train_environment: Path
) -> None:
    """The train environment is mounted, not in an image, and needs nothing else."""
    shared_folder(namespace, "train", train_environment)
    torch = "import torch; print(torch.ones(2).sum())"
    command = ["/opt/train/bin/python", "-c", torch]
    code = f"import os; os.execv({command[0]!r}, {command!r})"

    log = run_python(namespace, "trainer", code, {"train": "/opt/train"})

    assert log.strip() == "tensor(2.)"


def test_a_pod_over_its_memory_limit_is_killed(namespace: Kubectl) -> None:
    """Limits are enforced: a trainer may end by OOMKilled, and that must be seen."""
    limits = {"limits": {"memory": "32Mi"}}
    code = "b = bytearray(1 << 28); print(len(b))"
    container = {
        "name": "main",
        "image": PYTHON_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", code],
        "resources": limits,
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    metadata = {"name": "greedy"}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    )
    path = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"

    reason = namespace.wait_for(
        lambda: namespace.run("get", "pod", "greedy", "-o", path),
        60,
        "the end of pod greedy",
    )

    assert reason == "OOMKilled"
