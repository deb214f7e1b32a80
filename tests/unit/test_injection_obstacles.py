"""Which pods are left alone, and the sentence that their owner reads."""

from typing import Any

import pytest

from flopguard_operator import injection
from flopguard_operator.injected import Images

Raw = dict[str, Any]
IMAGES = Images("sidecar:1")
# The operator watches labelled pods, so that it can show one that is not metered.
LABEL = [
    {"op": "add", "path": "/metadata/labels/flopguard.dev~1run", "value": "sft"},
]


def run(name: str = "sft", **metering: str) -> Raw:
    """Return a run that names the Job `job`."""
    workload = {"apiVersion": "batch/v1", "kind": "Job", "name": "job"}
    return {
        "metadata": {"name": name},
        "spec": {"workload": workload, "metering": metering},
    }


def pod(container: Raw | None = None, **spec: Any) -> Raw:
    """Return a pod of the Job `job` with one container `trainer`."""
    return {
        "metadata": {"labels": {"batch.kubernetes.io/job-name": "job"}},
        "spec": {"containers": [{"name": "trainer", **(container or {})}], **spec},
    }


def variable(name: str, **source: Any) -> Raw:
    """Return a container's fields with one environment variable."""
    return {"env": [{"name": name, **source}]}


FIELD = {"fieldRef": {"fieldPath": "metadata.name"}}
CASES: dict[str, tuple[Raw, Raw, str]] = {
    "PYTHONPATH from valueFrom": (
        pod(variable("PYTHONPATH", valueFrom=FIELD)),
        run(),
        (
            "container trainer takes PYTHONPATH from valueFrom, "
            "which cannot be extended; give it as a value"
        ),
    ),
    "a FLOPGUARD_DIR of the user's": (
        pod(variable("FLOPGUARD_DIR", value="/mine")),
        run(),
        "container trainer sets FLOPGUARD_DIR; remove it",
    ),
    "a mount of the user's at our path": (
        pod({"volumeMounts": [{"name": "v", "mountPath": "/flopguard/"}]}),
        run(),
        (
            "container trainer mounts a volume of its own at /flopguard; "
            "mount it elsewhere"
        ),
    ),
    "a volume of our name": (
        pod(volumes=[{"name": "flopguard"}]),
        run(),
        "the pod has a volume of its own named flopguard; rename it",
    ),
    "a main container of the sidecar's name": (
        pod({"name": "flopguard-sidecar"}),
        run(),
        "the pod has a container of its own named flopguard-sidecar; rename it",
    ),
    "an init container of the installer's name": (
        pod(initContainers=[{"name": "flopguard-install"}]),
        run(),
        "the pod has a container of its own named flopguard-install; rename it",
    ),
    "an init container of the sidecar's name that is no native sidecar": (
        pod(initContainers=[{"name": "flopguard-sidecar"}]),
        run(),
        "the pod has a container of its own named flopguard-sidecar; rename it",
    ),
    "a container on the sidecar's port": (
        pod({"ports": [{"containerPort": 9464}]}),
        run(),
        (
            "container trainer uses port 9464, which is the sidecar's; "
            "move it to another port"
        ),
    ),
    "hostNetwork": (
        pod(hostNetwork=True),
        run(),
        (
            "with hostNetwork the sidecar would take port 9464 of the node; "
            "remove hostNetwork to be metered"
        ),
    ),
    "a Windows pod by its os": (
        pod(os={"name": "windows"}),
        run(),
        "the hook and the sidecar run on Linux nodes only",
    ),
    "a Windows pod by its node selector": (
        pod(nodeSelector={"kubernetes.io/os": "windows"}),
        run(),
        "the hook and the sidecar run on Linux nodes only",
    ),
    "a metering.container that the pod does not have": (
        pod(),
        run(container="train"),
        (
            "metering.container of FineTuneRun sft is train, "
            "but the pod's containers are: trainer"
        ),
    ),
    "a run that wants no hook": (
        pod(),
        run(hook="Off"),
        "FineTuneRun sft sets metering.hook to Off",
    ),
    "a run whose name is too long for the label": (
        pod(),
        run("r" * 64),
        (
            f"the name of FineTuneRun {'r' * 63}… does not fit into a label; "
            "create it anew with at most 63 characters"
        ),
    ),
}


@pytest.mark.parametrize(("the_pod", "the_run", "sentence"), CASES.values(), ids=CASES)
def test_a_pod_is_left_alone_and_told_why(
    the_pod: Raw, the_run: Raw, sentence: str
) -> None:
    """Label and annotation are all that is added; the latter says what to change."""
    operations = injection.admit(the_pod, [the_run], IMAGES)

    assert operations[-2:] == [
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {
            "op": "add",
            "path": "/metadata/annotations/flopguard.dev~1not-injected",
            "value": f"Not metered: {sentence}.",
        },
    ]
    assert operations[:-2] == (LABEL if the_run["metadata"]["name"] == "sft" else [])


def test_a_label_that_names_no_run_is_told() -> None:
    """Who labels a pod wants it metered, so silence would be a trap."""
    the_pod = pod()
    the_pod["metadata"] = {
        "labels": {"flopguard.dev/run": "support"},
        "annotations": {"team": "ml"},
    }

    operations = injection.admit(the_pod, [run()], IMAGES)

    assert [operation["value"] for operation in operations] == [
        (
            "Not metered: no FineTuneRun named support is in this namespace; "
            "create it before the workload, or correct the label."
        )
    ]


FREE: dict[str, Raw] = {
    "another container's PYTHONPATH from valueFrom": pod(
        containers=[
            {"name": "trainer"},
            {"name": "x", **variable("PYTHONPATH", valueFrom=FIELD)},
        ]
    ),
    "hostNetwork set to false": pod(hostNetwork=False),
    "a mount whose path begins with the same letters": pod(
        {"volumeMounts": [{"name": "v", "mountPath": "/flopguarded"}]}
    ),
    "a Linux node selector": pod(nodeSelector={"kubernetes.io/os": "linux"}),
}


@pytest.mark.parametrize("the_pod", FREE.values(), ids=FREE)
def test_what_is_no_obstacle_is_injected(the_pod: Raw) -> None:
    """The named container decides, and look-alikes do not count."""
    operations = injection.admit(the_pod, [run(container="trainer")], IMAGES)

    assert "/spec/initContainers/1" in [o["path"] for o in operations]


STRANGERS: dict[str, Raw] = {
    "a pod of a Job that no run names": pod() | {"metadata": {}},
    "a mirror pod, which the kubelet runs from a file": pod()
    | {
        "metadata": {
            "labels": {"batch.kubernetes.io/job-name": "job"},
            "annotations": {"kubernetes.io/config.mirror": "x"},
        }
    },
}


@pytest.mark.parametrize("the_pod", STRANGERS.values(), ids=STRANGERS)
def test_a_strangers_pod_is_not_touched(the_pod: Raw) -> None:
    """Not even by an annotation."""
    assert injection.admit(the_pod, [run()], IMAGES) == []
