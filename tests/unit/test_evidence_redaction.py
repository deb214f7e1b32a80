"""What evidence keeps of a Kubernetes object, and what it takes out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopguard_operator.evidence.redaction import (
    MAX_BYTES,
    REDACTED,
    event,
    last_manager,
    redacted,
    scrubbed,
)

SECRET = "hunter2-and-more"  # noqa: S105 - of nothing
IMAGE = "registry.example/train@sha256:" + "0a" * 32
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "train-x",
        "uid": "5d1f6f0e-0000-4000-8000-000000000001",
        "labels": {"flopguard.dev/run": "sft"},
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": SECRET,
            "note": SECRET,
        },
        "ownerReferences": [{"kind": "Job", "name": "train", "controller": True}],
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:x": SECRET}}],
    },
    "spec": {
        "nodeSelector": {"gpu": "h100"},
        "priorityClassName": "high",
        "containers": [
            {
                "name": "trainer",
                "image": IMAGE,
                "command": ["python", "train.py"],
                "args": [
                    "--epochs=3",
                    f"--api-key={SECRET}",
                    "--password",
                    SECRET,
                    f"https://user:{SECRET}@example.org/data",
                    "hf_" + "aB3" * 12,
                ],
                "env": [
                    {"name": "WANDB_API_KEY", "value": SECRET},
                    {
                        "name": "HF_TOKEN",
                        "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}},
                    },
                ],
                "resources": {"limits": {"nvidia.com/gpu": "8"}},
                "livenessProbe": {
                    "httpGet": {
                        "httpHeaders": [{"name": "Authorization", "value": SECRET}]
                    }
                },
            }
        ],
        "volumes": [
            {"name": "s", "secret": {"secretName": "hub"}},
            {"name": "c", "csi": {"volumeAttributes": {"clientKey": SECRET}}},
        ],
    },
    "status": {
        "phase": "Succeeded",
        "podIP": "10.0.0.1",
        "containerStatuses": [
            {
                "name": "trainer",
                "imageID": IMAGE,
                "state": {"terminated": {"exitCode": 0, "message": f"token={SECRET}"}},
            }
        ],
    },
}


def kept(raw: dict[str, Any], *, status: bool = True) -> dict[str, Any]:
    """Return what is kept of an object."""
    found: dict[str, Any] = json.loads(redacted(raw, status=status))
    return found


def test_no_secret_is_left() -> None:
    """Not in variables, arguments, annotations, URLs, headers or driver options."""
    data = redacted(POD, status=True).decode()

    assert SECRET not in data
    assert "aB3aB3" not in data


def test_what_evidence_needs_is_left() -> None:
    """Images with digests, resources, labels, owners, scheduling, names of secrets."""
    spec = kept(POD)["spec"]
    (container,) = spec["containers"]

    assert container["image"] == IMAGE
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "8"}}
    assert container["args"][:3] == [
        "--epochs=3",
        f"--api-key={REDACTED}",
        "--password",
    ]
    assert container["env"][0] == {"name": "WANDB_API_KEY", "value": REDACTED}
    assert container["env"][1]["valueFrom"]["secretKeyRef"]["name"] == "hub"
    assert spec["volumes"][0]["secret"] == {"secretName": "hub"}
    assert (spec["nodeSelector"], spec["priorityClassName"]) == (
        {"gpu": "h100"},
        "high",
    )


def test_metadata_says_who_and_whose() -> None:
    """UIDs, owners, managers with their times; of annotations the names."""
    metadata = kept(POD)["metadata"]

    assert metadata["uid"] == POD["metadata"]["uid"]
    assert metadata["ownerReferences"] == POD["metadata"]["ownerReferences"]
    assert metadata["managers"] == [{"manager": "kubectl", "operation": "", "time": ""}]
    assert "note" in metadata["annotations"]


def test_how_a_pod_ended_is_kept_if_asked() -> None:
    """Phase, exit code and the digest of the image that really ran."""
    (container,) = kept(POD)["status"]["containers"]

    assert kept(POD)["status"]["phase"] == "Succeeded"
    assert container["imageID"] == IMAGE
    assert container["state"]["terminated"]["exitCode"] == 0
    assert "status" not in kept(POD, status=False)


def test_a_run_keeps_its_figures() -> None:
    """Training tokens are no tokens of that kind."""
    run = {"spec": {"plan": {"trainingTokens": "2e9"}, "budget": {"maxFlops": "1e22"}}}

    assert kept(run)["spec"] == run["spec"]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("0/3 nodes are available", "0/3 nodes are available"),
        ("postgres://me:pw@db/x", f"postgres://{REDACTED}@db/x"),
        ("key AKIAABCDEFGHIJKLMNOP", f"key {REDACTED}"),
        ("a1" * 20, REDACTED),
        ("/data/" + "a1" * 20 + "/x", "/data/" + "a1" * 20 + "/x"),
    ],
)
def test_lines_are_scrubbed_of_what_looks_like_a_credential(
    line: str, left: str
) -> None:
    """Paths and prose stay."""
    assert scrubbed(line) == left


def test_an_event_is_the_same_when_it_happens_again() -> None:
    """Its count and last time do not make another document."""
    raw = {
        "metadata": {"uid": "e1", "resourceVersion": "1"},
        "reason": "FailedScheduling",
        "message": "no node",
        "firstTimestamp": "2026-11-22T00:00:00Z",
        "count": 1,
        "involvedObject": {"kind": "Pod", "uid": "p"},
    }
    again = {**raw, "count": 7, "lastTimestamp": "2026-11-23T00:00:00Z"}

    assert event(raw) == event(again)
    assert json.loads(event(raw))["involvedObject"]["uid"] == "p"


def test_who_changed_an_object_last() -> None:
    """The newest manager that is neither a status writer nor flopguard."""
    fields = [
        {"manager": "helm", "time": "2026-01-01T00:00:00Z"},
        {"manager": "kubectl-edit", "time": "2026-02-01T00:00:00Z"},
        {"manager": "flopguard", "time": "2026-03-01T00:00:00Z"},
        {"manager": "x", "time": "2026-04-01T00:00:00Z", "subresource": "status"},
    ]

    assert last_manager({"metadata": {"managedFields": fields}}) == "kubectl-edit"
    assert last_manager({}) == ""


def test_what_is_too_long_is_shortened_and_says_so() -> None:
    """An object of a megabyte leaves its name."""
    huge = {**POD, "spec": {str(n): ["x" * 900] * 50 for n in range(200)}}

    assert len(redacted(huge)) < MAX_BYTES
    assert kept(huge)["shortened"] is True
    assert kept(huge)["metadata"]["name"] == "train-x"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=50)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["env", "args", "image", "metadata", "spec", "name", "value"]
            )
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(spec=JSON, metadata=JSON, status=JSON)
@settings(max_examples=150, deadline=None)
def test_any_object_becomes_bounded_json(spec: Any, metadata: Any, status: Any) -> None:
    """Whatever a tenant writes: ASCII, one spelling, never an error."""
    raw = {"spec": spec, "metadata": metadata, "status": status, "involvedObject": spec}
    for data in (redacted(raw, status=True), event(raw)):
        document = json.loads(data)

        assert len(data) <= MAX_BYTES
        assert data.isascii()
        assert (
            json.dumps(document, sort_keys=True, separators=(",", ":")).encode() == data
        )
