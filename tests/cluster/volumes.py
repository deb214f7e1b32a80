"""Volumes for pods on the node: `local` ones to write to, shared folders to read.

A hostPath volume gets no fsGroup, so a pod that is not root cannot write to one; and a
pod under restricted Pod Security may use neither kind but through a claim.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.kubectl import Kubectl, Manifest
from cluster.state import load

CAPACITY = "1Gi"  # nothing enforces it
NAMESPACE_LABEL = "flopguard.test/namespace"

_ON_THE_NODE = {
    "required": {
        "nodeSelectorTerms": [
            {
                "matchExpressions": [
                    {
                        "key": "kubernetes.io/hostname",
                        "operator": "In",
                        "values": ["node1"],
                    }
                ]
            }
        ]
    }
}


def local_volume(kubectl: Kubectl, claim: str, *, with_claim: bool = True) -> Path:
    """Make a volume that a pod of any user can write to, through its fsGroup.

    Args:
        kubectl: for the claim's namespace.
        claim: the name of the claim that gets the volume and nobody else.
        with_claim: False if somebody else makes the claim, as a StatefulSet does
            (`<template>-<set>-<ordinal>`); it must ask for at most 1Gi, once writable.

    Returns:
        The folder on this machine, so that a test can look into it.
    """
    folder = load(kubectl.kubeconfig.parent).folder / "volumes"
    folder = folder / f"{kubectl.namespace}-{claim}"
    folder.mkdir(parents=True)
    source = {"local": {"path": str(folder)}, "nodeAffinity": _ON_THE_NODE}
    kubectl.apply(_volume(kubectl, claim, source, "ReadWriteOnce"))
    if with_claim:
        kubectl.apply(_claim(kubectl, claim, "ReadWriteOnce"))
    return folder


def shared_folder(kubectl: Kubectl, claim: str, folder: Path) -> None:
    """Let pods of the namespace read a folder of this machine through a claim."""
    source = {"hostPath": {"path": str(folder), "type": "Directory"}}
    kubectl.apply(
        _volume(kubectl, claim, source, "ReadOnlyMany"),
        _claim(kubectl, claim, "ReadOnlyMany"),
    )


def delete_volumes(kubectl: Kubectl) -> None:
    """Delete the namespace's volumes; the API keeps each until its claim is gone."""
    selector = f"--selector={NAMESPACE_LABEL}={kubectl.namespace}"
    kubectl.run("delete", "persistentvolume", selector, "--wait=false")


def _volume(
    kubectl: Kubectl, claim: str, source: Mapping[str, Any], mode: str
) -> Manifest:
    name = f"{kubectl.namespace}-{claim}"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {NAMESPACE_LABEL: kubectl.namespace}},
        "spec": {
            **source,
            "accessModes": [mode],
            "storageClassName": "",
            "capacity": {"storage": CAPACITY},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": kubectl.namespace, "name": claim},
        },
    }


def _claim(kubectl: Kubectl, claim: str, mode: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, "namespace": kubectl.namespace},
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "volumeName": f"{kubectl.namespace}-{claim}",
            "resources": {"requests": {"storage": CAPACITY}},
        },
    }
