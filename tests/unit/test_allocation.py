"""What a pod was given to compute with, as its spec says."""

from typing import Any

import pytest

from flopguard_operator import allocation
from flopguard_operator.allocation import Node
from standins import objects


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a raw pod with containers of these resources."""
    listed = [{"name": f"c{i}", "resources": r} for i, r in enumerate(containers)]
    return {"spec": {"containers": listed, **spec}}


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ([{"limits": {"nvidia.com/gpu": "8"}}], 8),
        ([{"requests": {"nvidia.com/gpu": 2}, "limits": {"nvidia.com/gpu": 2}}], 2),
        ([{"limits": {"nvidia.com/gpu": "1"}}, {"limits": {"nvidia.com/gpu": "3"}}], 4),
        ([{"limits": {"nvidia.com/mig-1g.5gb": "2"}}], 2),
        ([{"limits": {"nvidia.com/gpu.shared": "1"}}], 1),
        ([{"limits": {"amd.com/gpu": "1"}}], 1),
        ([{"limits": {"cpu": "8", "memory": "1Gi", "nvidia.com/gpu": "0"}}], 0),
        ([{"limits": {"nvidia.com/gpu": "many"}}], 0),
        ([{"limits": "hostile"}, {}], 0),
    ],
    ids=[
        "a limit",
        "a request and a limit are one",
        "two containers",
        "parts of a device",
        "time slices",
        "another maker",
        "none",
        "no number",
        "no object",
    ],
)
def test_accelerators_are_counted_over_containers(
    resources: list[dict[str, Any]], count: int
) -> None:
    """By requests and limits, which the cluster grants, not by what processes say."""
    assert allocation.of_pod(pod(*resources)).accelerators == count


@pytest.mark.parametrize(
    ("limits", "cores"),
    [(["500m", "1"], 2), (["2"], 2), (["0.1"], 1), (["2", None], 0), ([], 0)],
    ids=["rounded up", "one", "a part", "one without a limit", "no container"],
)
def test_the_cpu_limit_counts_only_if_every_container_has_one(
    limits: list[str | None], cores: int
) -> None:
    """One without a limit may use the whole node."""
    resources = [{"limits": {"cpu": one}} if one else {} for one in limits]

    assert allocation.of_pod(pod(*resources)).cores == cores


def test_devices_by_claim_are_known_to_be_there() -> None:
    """Dynamic resource allocation names no number in the pod."""
    found = allocation.of_pod(pod({}, resourceClaims=[{"name": "gpus"}]))

    assert found.has_accelerators
    assert found.accelerators == 0


@pytest.mark.parametrize(
    ("raw", "dead"),
    [
        (None, True),
        (objects.node("n"), False),
        (objects.node("n", ready="Unknown"), False),
        (
            objects.node("n")
            | {"spec": {"taints": [{"key": allocation.OUT_OF_SERVICE}]}},
            True,
        ),
    ],
    ids=["gone", "ready", "cut off", "out of service"],
)
def test_what_a_node_proves(raw: dict[str, Any] | None, *, dead: bool) -> None:
    """A node that only does not answer proves nothing."""
    assert allocation.node("n", raw).proves_dead is dead
    assert allocation.node("n", objects.node("n")) == Node("n")
