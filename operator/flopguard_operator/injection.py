"""Inject the hook and the sidecar into a pod: raw pod in, JSON patch out.

Only `add` operations, on the JSON that the API server sent: reading a pod into typed
models drops the fields that the models do not know yet. Nothing of the user's is
removed or replaced, except that PYTHONPATH is prefixed. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flopguard_operator import binding, injected, naming, obstacles
from flopguard_operator.injected import Images
from flopguard_operator.observed import Raw, at, text
from flopguard_operator.obstacles import variable

Operation = dict[str, Any]

_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


@dataclass(frozen=True)
class NotInjected:
    """The pod stays as it is; `reason` is a sentence for its owner."""

    reason: str


def admit(pod: Raw, runs: Iterable[Raw], images: Images) -> list[Operation]:
    """Return the JSON patch for a pod about to be created; empty for a stranger's.

    Args:
        pod: The pod, as the API server sent it.
        runs: The raw FineTuneRuns of its namespace.
        images: The images to inject.
    """
    run = binding.claim(pod, runs).run
    label = text(pod, "metadata", "labels", naming.RUN_LABEL)
    if _MIRROR_ANNOTATION in (at(pod, "metadata", "annotations") or {}):
        return []  # a static pod's reflection: the kubelet runs its file, not this
    if run is None and not label:
        return []
    if run is None:
        return _refuse(
            pod,
            f"no FineTuneRun named {label} is in this namespace; "
            "create it before the workload, or correct the label",
        )
    name = text(run, "metadata", "name")
    result = patch(pod, name, at(run, "spec", "metering") or {}, images)
    if not isinstance(result, NotInjected):
        return result
    # The label all the same: the operator watches labelled pods, and shows this one.
    fits = len(name) <= obstacles.LONGEST_LABEL
    return [*(_label(pod, name) if fits else ()), *_refuse(pod, result.reason)]


def patch(
    pod: Raw, run_name: str, metering: Mapping[str, Any], images: Images
) -> list[Operation] | NotInjected:
    """Return the `add` operations that make `pod` a metered pod of `run_name`.

    A pod that is injected already gets no more than a missing run label. It is if it
    carries our sidecar and arms a container: the names alone make no meter.

    Args:
        pod: The pod, as the API server sent it.
        run_name: The run that claims the pod.
        metering: `spec.metering` of that run; `hook`, `gpu`, `container` and
            `profiler` are read.
        images: The images to inject.
    """
    chosen = list(obstacles.targets(pod, metering))
    is_injected = injected.carries(pod, images) and any(map(_is_armed, chosen))
    if is_injected and len(run_name) <= obstacles.LONGEST_LABEL:
        return list(_label(pod, run_name))
    reason = obstacles.first(pod, run_name, metering)
    if reason is not None:
        return NotInjected(reason)
    return [
        *_label(pod, run_name),
        *_append("/spec/volumes", at(pod, "spec", "volumes"), injected.volume()),
        *_init_containers(pod, metering, images),
        *(
            operation
            for index, container in enumerate(at(pod, "spec", "containers"))
            if container in chosen
            for operation in _arm(f"/spec/containers/{index}", container, metering)
        ),
    ]


def _is_armed(container: Raw) -> bool:
    """Say whether a trainer's container has what `_arm` adds; others may add more."""
    folder = text(variable(container, "FLOPGUARD_DIR")[1], "value")
    paths = text(variable(container, "PYTHONPATH")[1], "value").split(":")
    return (
        injected.mounts(container)
        and folder == naming.PAGES_PATH
        and f"{naming.HOOK_PATH}/bootstrap" in paths
    )


def _init_containers(
    pod: Raw, metering: Mapping[str, Any], images: Images
) -> Iterator[Operation]:
    """Add ours before the user's: sidecars stop in reverse order of their start.

    So the meter is there before the user's first program and outlives the last one.
    """
    path = "/spec/initContainers"
    if not at(pod, "spec", "initContainers"):
        yield _add(path, [])
    yield _add(f"{path}/0", injected.install(pod, images))
    gpu = text(metering, "gpu") or "Auto"
    yield _add(f"{path}/1", injected.sidecar(pod, images, gpu=gpu))


def _arm(path: str, container: Raw, metering: Mapping[str, Any]) -> Iterator[Operation]:
    """Mount the volume into a trainer's container and arm the hook by environment."""
    mounts, env = f"{path}/volumeMounts", f"{path}/env"
    yield from _append(mounts, at(container, "volumeMounts"), injected.mount())
    variables = []
    if variable(container, "FLOPGUARD_DIR")[0] < 0:
        variables.append({"name": "FLOPGUARD_DIR", "value": naming.PAGES_PATH})
    sampled = text(metering, "profiler") == "Sample"
    if sampled and variable(container, "FLOPGUARD_PROFILER")[0] < 0:
        variables.append({"name": "FLOPGUARD_PROFILER", "value": "Sample"})
    index, entry = variable(container, "PYTHONPATH")
    if index < 0:
        # The kubelet resolves a reference to a variable that comes from envFrom, and
        # leaves it as it is, a folder that does not exist, where there is none.
        others = "$(PYTHONPATH)" if at(container, "envFrom") else ""
        variables.append({"name": "PYTHONPATH", "value": _prefixed(others)})
    else:
        yield _add(f"{env}/{index}/value", _prefixed(text(entry, "value")))
    yield from _append(env, at(container, "env"), *variables)


def _prefixed(path: str) -> str:
    # No colon without a rest: an empty entry would mean the current folder.
    return ":".join(filter(None, [f"{naming.HOOK_PATH}/bootstrap", path]))


def _label(pod: Raw, run: str) -> Iterator[Operation]:
    # Ours even where the template says otherwise: the label names the run that pays.
    yield from _set(pod, "labels", naming.RUN_LABEL, run)


def _refuse(pod: Raw, reason: str) -> list[Operation]:
    sentence = f"Not metered: {reason}."
    return list(_set(pod, "annotations", naming.NOT_INJECTED_ANNOTATION, sentence))


def _set(pod: Raw, field: str, key: str, value: str) -> Iterator[Operation]:
    if text(pod, "metadata", field, key) == value:
        return
    if not at(pod, "metadata", field):
        yield _add(f"/metadata/{field}", {})
    yield _add(f"/metadata/{field}/{key.replace('/', '~1')}", value)


def _append(path: str, present: object, *values: Mapping[str, Any]) -> list[Operation]:
    start = [] if present or not values else [_add(path, [])]
    return start + [_add(f"{path}/-", value) for value in values]


def _add(path: str, value: object) -> Operation:
    return {"op": "add", "path": path, "value": value}
