"""What holds for any pod: injected once, and nothing of the user's is lost."""

from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator import injection
from standins.patches import IMAGES, Raw, apply

NAMES = st.sampled_from(["PYTHONPATH", "FLOPGUARD_DIR", "A", "B"])

CONTAINERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["trainer", "proxy", "x"])},
    optional={
        "env": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {"name": NAMES},
                optional={
                    "value": st.sampled_from(["", "/a", "/flopguard/pages"]),
                    "valueFrom": st.just({"fieldRef": {"fieldPath": "spec.nodeName"}}),
                },
            ),
            max_size=4,
        ),
        "envFrom": st.just([{"secretRef": {"name": "s"}}]),
        "ports": st.lists(
            st.fixed_dictionaries({"containerPort": st.sampled_from([80, 9464])}),
            max_size=2,
        ),
        "volumeMounts": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.just("v"),
                    "mountPath": st.sampled_from(["/v", "/flopguard"]),
                }
            ),
            max_size=2,
        ),
    },
)

PODS = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(CONTAINERS, min_size=1, max_size=3)},
            optional={
                "initContainers": st.none() | st.lists(CONTAINERS, max_size=2),
                "volumes": st.lists(st.just({"name": "v"}), max_size=1),
                "hostNetwork": st.booleans(),
            },
        ),
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.none() | st.just({"a/b~c": "d"}),
                "annotations": st.none() | st.just({"team": "ml"}),
            },
        ),
    },
)

RUN: Raw = {
    "metadata": {"name": "r", "creationTimestamp": "2026-11-01T00:00:00Z"},
    "spec": {"workload": {"apiVersion": "batch/v1", "kind": "Job", "name": "j"}},
}


@given(PODS, st.sampled_from(["", "trainer", "absent"]))
def test_injecting_twice_is_injecting_once(pod: Raw, container: str) -> None:
    """Any pod, injected or refused, gets nothing more the second time."""
    labels = {"batch.kubernetes.io/job-name": "j"}
    metadata = pod["metadata"]
    pod = pod | {
        "metadata": metadata | {"labels": (metadata.get("labels") or {}) | labels}
    }
    metering = {"container": container} if container else {}
    run = RUN | {"spec": {**RUN["spec"], "metering": metering}}

    once = apply(injection.admit(pod, [run], IMAGES), pod)

    assert injection.admit(once, [run], IMAGES) == []
    assert once != pod


@given(PODS)
def test_nothing_of_the_users_is_lost(pod: Raw) -> None:
    """With what injection added taken away, the pod is what it was."""
    operations = injection.patch(pod, "r", {}, IMAGES)
    if isinstance(operations, injection.NotInjected):
        return
    after = apply(operations, pod)

    spec, was = after["spec"], pod["spec"]
    assert spec["initContainers"][2:] == (was.get("initContainers") or [])
    assert spec["volumes"][:-1] == was.get("volumes", [])
    for container, old in zip(spec["containers"], was["containers"], strict=True):
        assert container["volumeMounts"][:-1] == old.get("volumeMounts", [])
        kept = [e for e in container["env"] if e["name"] not in _ours(old)]
        theirs = [e for e in old.get("env") or [] if e["name"] != "PYTHONPATH"]
        assert kept == theirs


def _ours(container: Raw) -> set[str]:
    had = {e["name"] for e in container.get("env") or []}
    return {"PYTHONPATH"} | ({"FLOPGUARD_DIR"} - had)
