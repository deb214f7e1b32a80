"""Read what a pod was given to compute with, and how its node is, from raw objects.

A pod's requests and its node's labels are the cluster's word, unlike what a process
says of itself; they decide what its silence costs. Pure, and tolerant like `observed`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from flopguard_operator import naming
from flopguard_operator.observed import Raw, at, items, text

PRODUCT_LABEL = "nvidia.com/gpu.product"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_MAKERS = ("nvidia.com/", "amd.com/gpu", "gpu.intel.com/", "habana.ai/gaudi")
_OTHERS = ("google.com/tpu", "aws.amazon.com/neuron", "intel.com/gpu")
_QUANTITY = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?(m|k)?", re.ASCII)
_MOST = 1_000_000


@dataclass(frozen=True)
class Allocation:
    """What one pod computes with."""

    node: str = ""
    accelerators: int = 0
    resource: str = ""  # "nvidia.com/gpu"
    by_claim: bool = False  # devices come by resourceClaims: their number is not known
    cores: int = 0  # CPU limit of its containers, rounded up; 0 where one has none
    started: str = ""  # RFC 3339: when its first own container did, if any has
    grace_seconds: int = 30  # that its containers get to end

    @property
    def has_accelerators(self) -> bool:
        """Whether the pod asks for anything but processors."""
        return self.accelerators > 0 or self.by_claim


@dataclass(frozen=True)
class Node:
    """One node as last asked for."""

    name: str
    exists: bool = True
    ready: bool = True
    out_of_service: bool = False
    product: str = ""  # name of its accelerators, as its label says

    @property
    def proves_dead(self) -> bool:
        """Whether nothing of it can run any more, as the API server knows it."""
        return not self.exists or self.out_of_service


def of_pod(raw: Raw) -> Allocation:
    """Return what a raw pod asks for; what cannot be read counts as nothing."""
    main = list(items(raw, "spec", "containers"))
    first = list(items(raw, "spec", "initContainers"))
    together = [*main, *(c for c in first if text(c, "restartPolicy") == "Always")]
    total: dict[str, int] = {}
    for container in together:
        for resource, count in _accelerators(container).items():
            total[resource] = total.get(resource, 0) + count
    for container in first:
        for resource, count in _accelerators(container).items():
            total[resource] = max(total.get(resource, 0), count)
    limits = [_cores(at(c, "resources", "limits", "cpu")) for c in main]
    grace = at(raw, "spec", "terminationGracePeriodSeconds")
    good = isinstance(grace, int) and not isinstance(grace, bool)
    return Allocation(
        node=text(raw, "spec", "nodeName"),
        accelerators=min(sum(total.values()), _MOST),
        resource=min(total, default=""),
        by_claim=bool(at(raw, "spec", "resourceClaims")),
        cores=-(-sum(limits) // 1000) if limits and all(limits) else 0,
        started=_started(raw),
        grace_seconds=max(0, min(grace, _MOST)) if good else 30,
    )


def is_accelerator(resource: str) -> bool:
    """Say whether a resource's name is that of a device that computes."""
    return resource.startswith((*_MAKERS, *_OTHERS))


def _accelerators(container: Raw) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in ("limits", "requests"):
        asked = at(container, "resources", part)
        for resource, quantity in asked.items() if isinstance(asked, dict) else ():
            if is_accelerator(str(resource)):
                count = -(-_cores(quantity) // 1000)
                found[str(resource)] = max(found.get(str(resource), 0), count)
    return {resource: count for resource, count in found.items() if count}


def _cores(quantity: object) -> int:
    """Return a quantity in thousandths, rounded up; 0 for one that cannot be read."""
    if isinstance(quantity, int | float) and not isinstance(quantity, bool):
        quantity = str(quantity)
    found = _QUANTITY.fullmatch(quantity) if isinstance(quantity, str) else None
    if found is None:
        return 0
    whole, part, unit = found.groups()
    digits = (part or "").ljust(9, "0")
    billionths = int(whole) * 10**9 + int(digits)
    scale = {"m": 10**9, "k": 10**3, None: 10**6}[unit]
    return -(-billionths // scale)


def _started(raw: Raw) -> str:
    """Return when the first container that is not ours started."""
    found = [text(state, "startedAt") for state in _states(raw)]
    if found and all(found):
        return min(found)
    known = text(raw, "status", "startTime")  # of the pod: rather too early
    return known or text(raw, "metadata", "creationTimestamp")


def has_started(raw: Raw) -> bool:
    """Say whether a container that is not ours runs, or ran."""
    return any(True for _ in _states(raw))


def _states(raw: Raw) -> Iterator[object]:
    """Yield how each container that is not ours runs, or ran."""
    ours = (naming.INSTALL_CONTAINER, naming.SIDECAR_CONTAINER)
    for kind in ("containerStatuses", "initContainerStatuses"):
        for status in items(raw, "status", kind):
            if text(status, "name") in ours:
                continue
            for one in ("state", "lastState"):
                found = (at(status, one, "running"), at(status, one, "terminated"))
                yield from (state for state in found if state is not None)


def node(name: str, raw: Raw | None) -> Node:
    """Return the facts of a raw node; None: there is no such node."""
    if raw is None:
        return Node(name, exists=False, ready=False)
    ready = [
        text(one, "status")
        for one in items(raw, "status", "conditions")
        if text(one, "type") == "Ready"
    ]
    taints = {text(one, "key") for one in items(raw, "spec", "taints")}
    return Node(
        name=name,
        ready=ready == ["True"],
        out_of_service=OUT_OF_SERVICE in taints,
        product=text(raw, "metadata", "labels", PRODUCT_LABEL)[:200],
    )


def seconds_since(when: str, now: str) -> int:
    """Return the seconds between two RFC 3339 times: never negative, 0 if unknown."""
    try:
        passed = datetime.fromisoformat(now) - datetime.fromisoformat(when)
    except (ValueError, TypeError):
        return 0
    return max(0, int(passed.total_seconds()))
