"""Is a pod that looks injected taken for one only if it is?"""

from typing import Any

import pytest

from flopguard_operator import injection
from standins.patches import IMAGES, Raw, patched, trainer


def test_a_template_that_brings_the_sidecar_only_gets_the_label() -> None:
    """A training runtime may contain hook and sidecar already."""
    once = patched(trainer())
    once["metadata"] = {}

    operations = injection.patch(once, "support-sft", {}, IMAGES)

    assert not isinstance(operations, injection.NotInjected)
    assert {o["path"] for o in operations} == {
        "/metadata/labels",
        "/metadata/labels/flopguard.dev~1run",
    }


def _changed(pod: Raw, **fields: Any) -> Raw:
    """Return an injected pod whose sidecar has other fields."""
    (install, sidecar) = pod["spec"]["initContainers"]
    containers = [install, {**sidecar, **fields}]
    return pod | {"spec": {**pod["spec"], "initContainers": containers}}


def _disarmed(pod: Raw, field: str) -> Raw:
    """Return an injected pod whose trainer lacks a field."""
    (container,) = pod["spec"]["containers"]
    less = {key: value for key, value in container.items() if key != field}
    return pod | {"spec": {**pod["spec"], "containers": [less]}}


ONCE = patched(trainer())

FAKES: dict[str, Raw] = {
    "another image": _changed(ONCE, image="evil.example/flopguard-sidecar:0.1.0"),
    "our image with another command": _changed(ONCE, command=["sleep"]),
    "our image with other arguments": _changed(ONCE, args=["read", "/"]),
    "our image without its variables": _changed(ONCE, env=[]),
    "the UID of another pod": _changed(
        ONCE,
        env=[
            {"name": "FLOPGUARD_DIR", "value": "/flopguard/pages"},
            {"name": "FLOPGUARD_POD_UID", "value": "another's"},
        ],
    ),
    "no volume on the sidecar": _changed(ONCE, volumeMounts=[]),
    "part of the volume on the sidecar": _changed(
        ONCE,
        volumeMounts=[{"name": "flopguard", "mountPath": "/flopguard", "subPath": "x"}],
    ),
    "a volume that is not the pod's own": ONCE
    | {
        "spec": {
            **ONCE["spec"],
            "volumes": [{"name": "flopguard", "hostPath": {"path": "/"}}],
        }
    },
    "an init container that ends at once": _changed(ONCE, restartPolicy=None),
    "a trainer without the variables": _disarmed(ONCE, "env"),
    "a trainer without the volume": _disarmed(ONCE, "volumeMounts"),
}


@pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
def test_what_only_looks_injected_is_told(fake: Raw) -> None:
    """A container of our name that shows what it likes must not pass for a meter."""
    result = injection.patch(fake, "support-sft", {}, IMAGES)

    assert isinstance(result, injection.NotInjected)
    assert "rename it" in result.reason


def test_what_other_webhooks_add_leaves_a_pod_injected() -> None:
    """They may come after us, add to every container, and have us called again."""
    once = patched(trainer())
    for container in (*once["spec"]["initContainers"], *once["spec"]["containers"]):
        container.setdefault("env", []).append({"name": "PROXY", "value": "p"})
        container["imagePullPolicy"] = "Always"
    path = next(
        entry
        for entry in once["spec"]["containers"][0]["env"]
        if entry["name"] == "PYTHONPATH"
    )
    path["value"] = f"/agent:{path['value']}"

    assert injection.patch(once, "support-sft", {}, IMAGES) == []
