"""Build what injection adds to a pod: one volume, one mount, two init containers.

Every container passes restricted Pod Security by itself, whatever the pod's own
security context says. Pure.
"""

from dataclasses import dataclass
from typing import Any

from flopguard_operator import naming
from flopguard_operator.observed import Raw, at, items, text
from flopguard_operator.obstacles import variable

USER = 65532  # the customary "nonroot" of images without a user of their own
# Requests are small: injection happens after a queue has counted the pod template.
_ELASTIC = {
    "requests": {"cpu": "10m", "memory": "64Mi"},
    "limits": {"cpu": "500m", "memory": "128Mi"},
}
_FIXED = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "100m", "memory": "128Mi"},
}


@dataclass(frozen=True)
class Images:
    """Where the injected containers come from.

    The image must be pullable with the pull secrets of the user's pod: nothing is
    added to those.

    Attributes:
        sidecar: The image.
        pull_policy: When it is pulled.
        dcgm_url: Of the node's dcgm-exporter, with `$(HOST_IP)` for the node's address;
            "" for none.
    """

    sidecar: str
    pull_policy: str = "IfNotPresent"
    dcgm_url: str = ""


def volume() -> dict[str, Any]:
    """Return the volume that carries the hook in and the pages out."""
    # A full volume stops the pages, never the training; 256Mi is 4,000 processes.
    return {"name": naming.VOLUME, "emptyDir": {"sizeLimit": "256Mi"}}


def mount() -> dict[str, Any]:
    """Return the mount of that volume, the same in every container."""
    return {"name": naming.VOLUME, "mountPath": naming.MOUNT_PATH}


def install(pod: Raw, images: Images) -> dict[str, Any]:
    """Return the init container that copies the hook into the volume."""
    return {
        "name": naming.INSTALL_CONTAINER,
        "image": images.sidecar,
        "imagePullPolicy": images.pull_policy,
        "args": ["install", naming.HOOK_PATH, "--pages", naming.PAGES_PATH],
        "resources": _resources(pod),
        "securityContext": _security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [mount()],
    }


def sidecar(pod: Raw, images: Images, *, gpu: str = "Auto") -> dict[str, Any]:
    """Return the native sidecar that carries the pages out of the pod.

    No probe: readiness of a sidecar counts for the pod, and a restart for want of
    liveness would gain nothing, since all of its state is in the volume.
    """
    pod_uid = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}
    return {
        "name": naming.SIDECAR_CONTAINER,
        "image": images.sidecar,
        "imagePullPolicy": images.pull_policy,
        "restartPolicy": "Always",
        "args": ["serve"],
        "env": [
            {"name": "FLOPGUARD_DIR", "value": naming.PAGES_PATH},
            {"name": "FLOPGUARD_POD_UID", "valueFrom": pod_uid},
            # Else a Service called "flopguard" beside the pod would set it to a URL.
            {"name": "FLOPGUARD_PORT", "value": str(naming.SIDECAR_PORT)},
            {"name": "FLOPGUARD_GPU", "value": gpu},
            *_exporter(images.dcgm_url),
        ],
        "ports": [
            {
                "name": naming.SIDECAR_PORT_NAME,
                "containerPort": naming.SIDECAR_PORT,
                "protocol": "TCP",
            }
        ],
        "resources": _resources(pod),
        "securityContext": _security_context(),
        # The termination log is the last mark's way out, so never the container's log.
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [mount()],
    }


def _exporter(url: str) -> list[dict[str, Any]]:
    """Return the variables that lead to the node's dcgm-exporter."""
    if not url:
        return []
    host = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.hostIP"}}
    return [
        {"name": "HOST_IP", "valueFrom": host},
        {"name": "FLOPGUARD_DCGM_URL", "value": url},
    ]


def carries(pod: Raw, images: Images) -> bool:
    """Say whether a pod has our volume and our sidecar: this image, doing its work."""
    volumes = list(items(pod, "spec", "volumes"))
    ours = any(
        text(each, "name") == naming.VOLUME and at(each, "emptyDir") is not None
        for each in volumes
    )
    return ours and any(
        _is_sidecar(container, images)
        for container in items(pod, "spec", "initContainers")
    )


def _is_sidecar(container: Raw, images: Images) -> bool:
    pod_uid = variable(container, "FLOPGUARD_POD_UID")[1]
    return (
        text(container, "name") == naming.SIDECAR_CONTAINER
        and text(container, "image") == images.sidecar
        and text(container, "restartPolicy") == "Always"
        and not at(container, "command")
        and at(container, "args") == ["serve"]
        and text(variable(container, "FLOPGUARD_DIR")[1], "value") == naming.PAGES_PATH
        and text(pod_uid, "valueFrom", "fieldRef", "fieldPath") == "metadata.uid"
        and mounts(container)
    )


def mounts(container: Raw) -> bool:
    """Say whether a container mounts our volume where it belongs, and whole."""
    return any(
        text(each, "name") == naming.VOLUME
        and text(each, "mountPath") == naming.MOUNT_PATH
        and not (text(each, "subPath") or text(each, "subPathExpr"))
        for each in items(container, "volumeMounts")
    )


def _resources(pod: Raw) -> dict[str, Any]:
    """Return requests and limits that leave the pod's class of service as it was.

    A Guaranteed pod (exclusive CPUs!) stays one only if every container requests what
    it is limited to. Where the pod has resources as a whole, a container that adds
    its own could exceed them and the API server would refuse the pod.
    """
    if at(pod, "spec", "resources"):
        return {}
    theirs = [*items(pod, "spec", "initContainers"), *items(pod, "spec", "containers")]
    limits = [at(container, "resources", "limits") for container in theirs]
    bounded = all(at(each, "cpu") and at(each, "memory") for each in limits)
    return _FIXED if bounded else _ELASTIC


def _security_context() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": USER,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
