"""What injection makes of a pod: pod in, JSON patch, pod out."""

import pytest
import yaml

from flopguard_operator import injected, injection
from flopguard_operator.injected import Images
from standins.patches import IMAGES, Raw, patched, trainer


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
        - {name: FLOPGUARD_GPU, value: Auto}
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


PROFILERS: dict[str, tuple[Raw, dict[str, str], list[str]]] = {
    "Sample is handed on": (
        {},
        {"profiler": "Sample"},
        [PAGES, "FLOPGUARD_PROFILER=Sample", f"PYTHONPATH={HOOK}"],
    ),
    "what the user says of it stays": (
        {"env": [{"name": "FLOPGUARD_PROFILER", "value": "Off"}]},
        {"profiler": "Sample"},
        ["FLOPGUARD_PROFILER=Off", PAGES, f"PYTHONPATH={HOOK}"],
    ),
    "Off says nothing": ({}, {"profiler": "Off"}, [PAGES, f"PYTHONPATH={HOOK}"]),
}


@pytest.mark.parametrize(
    ("fields", "metering", "expected"), PROFILERS.values(), ids=PROFILERS
)
def test_the_profiler_is_asked_for_through_the_environment(
    fields: Raw, metering: dict[str, str], expected: list[str]
) -> None:
    """spec.metering.profiler reaches the hook as one variable."""
    assert env_of(patched(trainer(**fields), **metering)) == expected


@pytest.mark.parametrize("metering", [{}, {"gpu": "Auto"}, {"gpu": "Off"}])
def test_the_sidecar_is_told_whether_to_look_at_devices(
    metering: dict[str, str],
) -> None:
    """spec.metering.gpu; Auto is said as well, so that no Service can say it."""
    sidecar = patched(trainer(), **metering)["spec"]["initContainers"][1]
    told = {each["name"]: each.get("value") for each in sidecar["env"]}

    assert told["FLOPGUARD_GPU"] == metering.get("gpu", "Auto")


def test_the_node_s_exporter_is_named_by_the_node_s_address() -> None:
    """The kubelet resolves what stands before it in the list."""
    images = Images("sidecar:1", dcgm_url="http://$(HOST_IP):9400/metrics")
    env = injected.sidecar({}, images)["env"]

    assert [each["name"] for each in env[-2:]] == ["HOST_IP", "FLOPGUARD_DCGM_URL"]
    assert env[-2]["valueFrom"]["fieldRef"]["fieldPath"] == "status.hostIP"
    assert env[-1]["value"] == "http://$(HOST_IP):9400/metrics"


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
