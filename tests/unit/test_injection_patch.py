"""What injection makes of a pod: pod in, JSON patch, pod out."""

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator import injection
from flopguard_operator.injected import Images

Raw = dict[str, Any]
IMAGES = Images("registry.example/flopguard-sidecar:0.1.0")


def apply(operations: list[Raw], document: Raw) -> Raw:
    """Apply `add` operations as RFC 6902 section 4.1 says; anything else fails."""
    document = copy.deepcopy(document)
    for operation in operations:
        assert operation["op"] == "add", operation
        *path, last = [
            part.replace("~1", "/").replace("~0", "~")
            for part in operation["path"].split("/")[1:]
        ]
        parent: Any = document
        for part in path:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        if not isinstance(parent, list):
            parent[last] = operation["value"]
        else:
            index = len(parent) if last == "-" else int(last)
            assert index <= len(parent), operation
            parent.insert(index, operation["value"])
    return document


def patched(pod: Raw, **metering: str) -> Raw:
    """Return `pod` as injection makes it for run `support-sft`."""
    operations = injection.patch(pod, "support-sft", metering, IMAGES)
    assert not isinstance(operations, injection.NotInjected), operations
    return apply(json.loads(json.dumps(operations)), pod)


def trainer(**fields: Any) -> Raw:
    """Return a pod of one container `trainer` with these fields."""
    container = {"name": "trainer", "image": "t", **fields}
    return {"metadata": {}, "spec": {"containers": [container]}}


def env_of(pod: Raw, index: int = 0) -> list[str]:
    """Return the environment of a container as NAME=value lines."""
    entries = pod["spec"]["containers"][index].get("env", [])
    return [f"{e['name']}={e.get('value', e.get('valueFrom'))}" for e in entries]


OURS = """
    - name: flopguard-install
      image: registry.example/flopguard-sidecar:0.1.0
      imagePullPolicy: IfNotPresent
      args: [install, /flopguard/hook, --pages, /flopguard/pages]
      resources: &resources
        requests: {cpu: 10m, memory: 64Mi}
        limits: {cpu: 500m, memory: 128Mi}
      securityContext: &restricted
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
        privileged: false
        readOnlyRootFilesystem: true
        runAsGroup: 65532
        runAsNonRoot: true
        runAsUser: 65532
        seccompProfile: {type: RuntimeDefault}
      terminationMessagePolicy: FallbackToLogsOnError
      volumeMounts: [&mount {name: flopguard, mountPath: /flopguard}]
    - name: flopguard-sidecar
      image: registry.example/flopguard-sidecar:0.1.0
      imagePullPolicy: IfNotPresent
      restartPolicy: Always
      args: [serve]
      env:
        - {name: FLOPGUARD_DIR, value: /flopguard/pages}
        - name: FLOPGUARD_POD_UID
          valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}
        - {name: FLOPGUARD_PORT, value: "9464"}
      ports: [{name: flopguard, containerPort: 9464, protocol: TCP}]
      resources: *resources
      securityContext: *restricted
      terminationMessagePath: /dev/termination-log
      terminationMessagePolicy: File
      volumeMounts: [*mount]
"""

SMALLEST = (
    """
metadata: {generateName: support-sft-}
spec:
  containers: [{name: trainer, image: trainer:1}]
""",
    f"""
metadata:
  generateName: support-sft-
  labels: {{flopguard.dev/run: support-sft}}
spec:
  volumes: [{{name: flopguard, emptyDir: {{sizeLimit: 256Mi}}}}]
  initContainers: {OURS}
  containers:
    - name: trainer
      image: trainer:1
      env:
        - {{name: FLOPGUARD_DIR, value: /flopguard/pages}}
        - {{name: PYTHONPATH, value: /flopguard/hook/bootstrap}}
      volumeMounts: [*mount]
""",
)

FULL = (
    """
metadata:
  name: support-sft-x7
  labels: {batch.kubernetes.io/job-name: support-sft}
  annotations: {team: ml}
spec:
  restartPolicy: Never
  aFieldThatNoModelKnows: {kept: true}
  volumes: [{name: data, emptyDir: {}}]
  initContainers:
    - {name: fetch, image: fetch:1, restartPolicy: Always}
    - {name: unpack, image: fetch:1}
  containers:
    - name: proxy
      image: proxy:1
    - name: trainer
      image: trainer:1
      env:
        - {name: HF_HOME, value: /data}
        - {name: PYTHONPATH, value: "/app:/lib"}
        - {name: LAST, value: $(PYTHONPATH)}
      volumeMounts: [{name: data, mountPath: /data}]
""",
    f"""
metadata:
  name: support-sft-x7
  labels:
    batch.kubernetes.io/job-name: support-sft
    flopguard.dev/run: support-sft
  annotations: {{team: ml}}
spec:
  restartPolicy: Never
  aFieldThatNoModelKnows: {{kept: true}}
  volumes:
    - {{name: data, emptyDir: {{}}}}
    - {{name: flopguard, emptyDir: {{sizeLimit: 256Mi}}}}
  initContainers: {OURS}
    - {{name: fetch, image: fetch:1, restartPolicy: Always}}
    - {{name: unpack, image: fetch:1}}
  containers:
    - name: proxy
      image: proxy:1
    - name: trainer
      image: trainer:1
      env:
        - {{name: HF_HOME, value: /data}}
        - {{name: PYTHONPATH, value: "/flopguard/hook/bootstrap:/app:/lib"}}
        - {{name: LAST, value: $(PYTHONPATH)}}
        - {{name: FLOPGUARD_DIR, value: /flopguard/pages}}
      volumeMounts:
        - {{name: data, mountPath: /data}}
        - *mount
""",
)


def test_the_smallest_pod_gets_all_that_it_lacks() -> None:
    """Lists and maps that the pod does not have are made before they are filled."""
    before, after = map(yaml.safe_load, SMALLEST)

    assert patched(before) == after


def test_a_full_pod_keeps_everything_and_order() -> None:
    """The named container alone is armed; ours start first; unknown fields stay."""
    before, after = map(yaml.safe_load, FULL)

    assert patched(before, container="trainer") == after


HOOK = "/flopguard/hook/bootstrap"
PAGES = "FLOPGUARD_DIR=/flopguard/pages"
ENVIRONMENTS: dict[str, tuple[Raw, list[str]]] = {
    "a container without env": ({}, [PAGES, f"PYTHONPATH={HOOK}"]),
    "null env is no env": ({"env": None}, [PAGES, f"PYTHONPATH={HOOK}"]),
    "an empty PYTHONPATH adds no current folder": (
        {"env": [{"name": "PYTHONPATH", "value": ""}]},
        [f"PYTHONPATH={HOOK}", PAGES],
    ),
    "a PYTHONPATH without a value is an empty one": (
        {"env": [{"name": "PYTHONPATH"}]},
        [f"PYTHONPATH={HOOK}", PAGES],
    ),
    "of two PYTHONPATHs the last one counts": (
        {"env": [{"name": "PYTHONPATH", "value": v} for v in ("/a", "/b")]},
        ["PYTHONPATH=/a", f"PYTHONPATH={HOOK}:/b", PAGES],
    ),
    "a PYTHONPATH that may come from envFrom is referred to": (
        {"envFrom": [{"configMapRef": {"name": "c"}}]},
        [PAGES, f"PYTHONPATH={HOOK}:$(PYTHONPATH)"],
    ),
    "the right FLOPGUARD_DIR is left as it is": (
        {"env": [{"name": "FLOPGUARD_DIR", "value": "/flopguard/pages"}]},
        [PAGES, f"PYTHONPATH={HOOK}"],
    ),
    "FLOPGUARD_DISABLE of the user stays, and the meter will see the silence": (
        {"env": [{"name": "FLOPGUARD_DISABLE", "value": "1"}]},
        ["FLOPGUARD_DISABLE=1", PAGES, f"PYTHONPATH={HOOK}"],
    ),
}


@pytest.mark.parametrize(
    ("fields", "expected"), ENVIRONMENTS.values(), ids=ENVIRONMENTS
)
def test_the_hook_is_armed_through_the_environment(
    fields: Raw, expected: list[str]
) -> None:
    """PYTHONPATH is prefixed where it stands; nothing of the user's is lost."""
    assert env_of(patched(trainer(**fields))) == expected


def test_all_containers_are_armed_when_none_is_named() -> None:
    """Without metering.container every main container may be the trainer."""
    pod = {"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}

    after = patched(pod)

    assert env_of(after, 0) == env_of(after, 1) == [PAGES, f"PYTHONPATH={HOOK}"]


def test_the_label_of_another_run_gives_way_to_the_run_that_pays() -> None:
    """A template that names a run which lost, or is not there, cannot hide a pod."""
    pod = trainer() | {"metadata": {"labels": {"flopguard.dev/run": "someone-else"}}}

    assert patched(pod)["metadata"]["labels"] == {"flopguard.dev/run": "support-sft"}


def _resources(**limits: str) -> Raw:
    return {"resources": {"limits": limits}}


QUALITY: dict[str, tuple[Raw, Raw]] = {
    "a pod without limits gets a small request and room above it": (
        trainer(),
        {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
    ),
    "a pod that may be Guaranteed stays so: requests equal limits": (
        trainer(**_resources(cpu="8", memory="64Gi")),
        {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "100m", "memory": "128Mi"},
        },
    ),
    "a memory limit alone is not Guaranteed": (
        trainer(**_resources(memory="64Gi")),
        {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
    ),
    "a pod with resources as a whole gets no more": (
        trainer()
        | {"spec": {**trainer()["spec"], "resources": {"limits": {"cpu": "8"}}}},
        {},
    ),
}


@pytest.mark.parametrize(("pod", "expected"), QUALITY.values(), ids=QUALITY)
def test_the_class_of_service_stays(pod: Raw, expected: Raw) -> None:
    """Losing Guaranteed means losing exclusive CPUs: metering would slow training."""
    install, sidecar = patched(pod)["spec"]["initContainers"]

    assert install["resources"] == sidecar["resources"] == expected


def test_an_injected_pod_is_left_alone() -> None:
    """The API server may call the webhook twice for one pod (reinvocation)."""
    once = patched(yaml.safe_load(FULL[0]))

    assert injection.patch(once, "support-sft", {}, IMAGES) == []


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
