"""Jobs that train for real: the tiny trainer of the tests, and the LoRA example.

The pods are what a careful user writes: non-root, restricted Pod Security, and not a
word about flopguard.
"""

import os
from pathlib import Path
from typing import Any

from cluster import volumes
from cluster.images import PYTHON_IMAGE
from cluster.kubectl import Kubectl

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN_CLAIM, MODEL_CLAIM, OUTPUT_CLAIM = "train", "model", "output"
SCRIPT_MAP = "script"
TRAINER = REPOSITORY / "tests" / "e2e" / "trainer.py"
GRACE_SECONDS = 5
USER = 1000


def train_folder() -> Path:
    """Return the folder of the train environment (`make train`)."""
    return Path(os.environ["FLOPGUARD_TRAIN"])


def prepare(kubectl: Kubectl, path: Path) -> None:
    """Bring a script and the train environment into the namespace."""
    kubectl.apply(script(path))
    volumes.shared_folder(kubectl, TRAIN_CLAIM, train_folder())


def script(path: Path) -> dict[str, Any]:
    """Return the ConfigMap that carries one script."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SCRIPT_MAP},
        "data": {path.name: path.read_text(encoding="utf-8")},
    }


def job(
    name: str,
    command: list[str],
    *,
    claims: tuple[str, ...] = (),
    restart_policy: str = "Never",
    grace_seconds: int = GRACE_SECONDS,
    **spec: Any,
) -> dict[str, Any]:
    """Return a Job that runs the ConfigMap's script in the train environment.

    Args:
        name: of the Job.
        command: file of the script, and its arguments.
        claims: further PersistentVolumeClaims, mounted at /<claim>.
        restart_policy: of its pods: Never or OnFailure.
        grace_seconds: between SIGTERM and SIGKILL; Python as process 1 ignores the
            first, so every pod that is deleted takes that long.
        spec: further fields of the Job's spec.
    """
    mounts = [
        {"name": "script", "mountPath": "/app"},
        {"name": "train", "mountPath": "/train", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
        *({"name": c, "mountPath": f"/{c}"} for c in claims),
    ]
    container = {
        "name": "trainer",
        "image": PYTHON_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["/train/bin/python", f"/app/{command[0]}", *command[1:]],
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - the same
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    pod = {
        "restartPolicy": restart_policy,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "script", "configMap": {"name": SCRIPT_MAP}},
            _claim("train", TRAIN_CLAIM, read_only=True),
            {"name": "tmp", "emptyDir": {}},
            *(_claim(c, c) for c in claims),
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 6, **spec, "template": {"spec": pod}},
    }


def _claim(volume: str, claim: str, *, read_only: bool = False) -> dict[str, Any]:
    source: dict[str, Any] = {"claimName": claim}
    if read_only:
        source["readOnly"] = True
    return {"name": volume, "persistentVolumeClaim": source}


def run(name: str, job_name: str, max_flops: int | str, **spec: Any) -> dict[str, Any]:
    """Return a FineTuneRun with a budget on a Job."""
    return {
        "apiVersion": "flopguard.dev/v1alpha1",
        "kind": "FineTuneRun",
        "metadata": {"name": name},
        "spec": {
            "workload": {"apiVersion": "batch/v1", "kind": "Job", "name": job_name},
            "budget": {"maxFlops": str(max_flops)},
            **spec,
        },
    }
