"""Find what keeps a pod from being injected, and say it to the pod's owner.

A pod that cannot be metered without touching what is the user's is left alone: each
sentence here ends up in its annotation and says what to change. Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flopguard_operator import naming
from flopguard_operator.observed import Raw, at, items, text

LONGEST_LABEL = 63  # a longer value in a label and the API server refuses the pod


def first(pod: Raw, run: str, metering: Mapping[str, Any]) -> str | None:
    """Return why the pod must stay as it is; None where nothing is in the way.

    Args:
        pod: The pod, not injected yet.
        run: Name of the run that claims it.
        metering: `spec.metering` of that run.
    """
    chosen = list(targets(pod, metering))
    if len(run) > LONGEST_LABEL:
        return (
            f"the name of FineTuneRun {run[:LONGEST_LABEL]}… does not fit into a label;"
            f" create it anew with at most {LONGEST_LABEL} characters"
        )
    if text(metering, "hook") == "Off":
        return f"FineTuneRun {run} sets metering.hook to Off"
    if not chosen:
        names = ", ".join(text(c, "name") for c in items(pod, "spec", "containers"))
        return (
            f"metering.container of FineTuneRun {run} is {text(metering, 'container')},"
            f" but the pod's containers are: {names[:500]}"
        )
    found = [check(at(pod, "spec")) for check in POD_CHECKS]
    found += [check(container) for container in chosen for check in CONTAINER_CHECKS]
    return next(filter(None, found), None)


def targets(pod: Raw, metering: Mapping[str, Any]) -> Iterator[Raw]:
    """Yield the containers to meter: the one that is named, or all."""
    chosen = text(metering, "container")
    for container in items(pod, "spec", "containers"):
        if chosen in ("", text(container, "name")):
            yield container


def variable(container: Raw, name: str) -> tuple[int, Raw]:
    """Return index and entry of an environment variable; (-1, {}) where there is none.

    The last entry of a name is the one that counts in the kubelet.
    """
    found: tuple[int, Raw] = (-1, {})
    for index, entry in enumerate(at(container, "env") or []):
        if text(entry, "name") == name:
            found = (index, entry)
    return found


def _windows(spec: Raw) -> str | None:
    selector = text(spec, "nodeSelector", "kubernetes.io/os")
    if "windows" in (text(spec, "os", "name"), selector):
        return "the hook and the sidecar run on Linux nodes only"
    return None


def _host_network(spec: Raw) -> str | None:
    # The declared port would become a port of the node: pods that shared a node
    # until now would not be scheduled together any more.
    if at(spec, "hostNetwork") is True:
        return (
            f"with hostNetwork the sidecar would take port {naming.SIDECAR_PORT} of "
            "the node; remove hostNetwork to be metered"
        )
    return None


def _container_name(spec: Raw) -> str | None:
    ours = (naming.INSTALL_CONTAINER, naming.SIDECAR_CONTAINER)
    for container in _everyone(spec):
        name = text(container, "name")
        if name in ours:
            return f"the pod has a container of its own named {name}; rename it"
    return None


def _volume_name(spec: Raw) -> str | None:
    if any(text(v, "name") == naming.VOLUME for v in items(spec, "volumes")):
        return f"the pod has a volume of its own named {naming.VOLUME}; rename it"
    return None


def _port(spec: Raw) -> str | None:
    for container in _everyone(spec):
        ports = [at(port, "containerPort") for port in items(container, "ports")]
        if naming.SIDECAR_PORT in ports:
            return (
                f"container {text(container, 'name')} uses port {naming.SIDECAR_PORT}, "
                "which is the sidecar's; move it to another port"
            )
    return None


def _everyone(spec: Raw) -> Iterator[Raw]:
    yield from items(spec, "initContainers")
    yield from items(spec, "containers")


def _python_path(container: Raw) -> str | None:
    if at(variable(container, "PYTHONPATH")[1], "valueFrom") is not None:
        return (
            f"container {text(container, 'name')} takes PYTHONPATH from valueFrom, "
            "which cannot be extended; give it as a value"
        )
    return None


def _pages_folder(container: Raw) -> str | None:
    index, entry = variable(container, "FLOPGUARD_DIR")
    if index >= 0 and text(entry, "value") != naming.PAGES_PATH:
        return f"container {text(container, 'name')} sets FLOPGUARD_DIR; remove it"
    return None


def _mount(container: Raw) -> str | None:
    for mount in items(container, "volumeMounts"):
        if f"{text(mount, 'mountPath')}/".startswith(f"{naming.MOUNT_PATH}/"):
            return (
                f"container {text(container, 'name')} mounts a volume of its own at "
                f"{naming.MOUNT_PATH}; mount it elsewhere"
            )
    return None


Check = Callable[[Raw], str | None]
"""Return the sentence of an obstacle, or None."""

POD_CHECKS: tuple[Check, ...] = (  # of the pod's spec
    _windows,  # no image for it
    _host_network,  # ports are the node's
    _container_name,  # ours must be free, or we would replace theirs
    _volume_name,  # likewise
    _port,  # the sidecar starts first and would take it from them
)
CONTAINER_CHECKS: tuple[Check, ...] = (  # of each container to meter
    _python_path,  # a value that nobody sees cannot be prefixed
    _pages_folder,  # the pages would be written where nobody reads them
    _mount,  # two volumes at one path: the API server would refuse the pod
)
