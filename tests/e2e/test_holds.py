"""A hold is kept by the API server: whoever tries, with the operator up or down."""

import json
from typing import Any

import pytest

from cluster.kubectl import Kubectl
from flopguard_operator.ledger.entries import HoldProven, HoldSet
from stage import release
from stage.scene import Object, Scene
from truth.closed_formula import mlp_step_flops

pytestmark = pytest.mark.node

STEP = sum(mlp_step_flops(8, [64, 128, 10]).values())
AMPLE = 10**12
ENDLESS = 100_000  # steps
NAMESPACE_GONE_SECONDS = 120.0  # its controller tries again at growing intervals


@pytest.mark.usefixtures("crowd")  # their pods start at the same time
def test_a_namespace_with_a_held_run_goes_away(doomed: Scene, product: Kubectl) -> None:
    """A hold keeps a workload from running, not a namespace from being deleted."""
    name = str(doomed.kubectl.namespace)
    doomed.wait_for_state("doomed", "Held")

    product.run("delete", "namespace", name, "--wait=false")

    product.wait_for(
        lambda: not product.exists("namespace", name),
        NAMESPACE_GONE_SECONDS,
        f"the end of namespace {name}",
    )


def test_a_hold_outlives_the_operator(crowd: Scene, product: Kubectl) -> None:
    """With nobody at work, un-suspending, deleting and recreating start no pod."""
    name = "deserted"
    crowd.wait_for_flops(name)
    crowd.set_budget(name, STEP)
    # Holding: the pod is ending, and takes a minute over it.
    held = crowd.wait_for_state(name, "Holding")
    run, inside = crowd.run(name), product.within(release.NAMESPACE)
    release.scale(inside, release.OPERATOR, 0, release.OPERATOR_LABELS)
    try:
        refusals = _everything_that_would_start_a_pod(crowd, name)
    finally:
        release.scale(inside, release.OPERATOR, 1, release.OPERATOR_LABELS)

    assert all(f"FineTuneRun {name} holds this" in told for told in refusals), refusals
    assert crowd.pods_left(name) == ""
    status = crowd.wait_for_state(name, "Held")
    told = release.events(product, run)
    assert [h["since"] for h in status["holds"]] == [held["holds"][0]["since"]]
    assert sum(isinstance(event, HoldSet) for event in told) == 1
    assert sum(isinstance(event, HoldProven) for event in told) == 1


def _everything_that_would_start_a_pod(scene: Scene, name: str) -> list[str]:
    """Return what each attempt is told."""
    force = ("--force", "--grace-period=0")
    job = json.dumps(scene.job(name, ENDLESS))
    told = [scene.unsuspending(name)]
    scene.kubectl.run("delete", "pod", "-l", f"job-name={name}", *force)
    scene.kubectl.run("delete", "job", name)
    told.append(scene.refusal("apply", "-f", "-", stdin=job))
    pod = json.dumps(_labelled_pod(scene, name))
    told.append(scene.refusal("apply", "-f", "-", stdin=pod))
    return told


def _labelled_pod(scene: Scene, name: str) -> Object:
    """Return a pod that continues a run under no Job at all."""
    spec: dict[str, Any] = scene.job(name, ENDLESS)["spec"]["template"]["spec"]
    labels = {"flopguard.dev/run": name}
    metadata = {"name": f"{name}-by-hand", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_deleted_run_keeps_its_hold_until_it_is_released(crowd: Scene) -> None:
    """Deleting the run is no way round it; raising its budget is the way."""
    name = "deleted"
    crowd.wait_for_state(name, "Held")

    crowd.kubectl.run("delete", "ftr", name, "--wait=false")

    assert crowd.run(name)["metadata"]["deletionTimestamp"]
    assert f"FineTuneRun {name} holds this" in crowd.unsuspending(name)
    assert crowd.status(name)["state"] == "Held"
    crowd.set_budget(name, AMPLE)
    crowd.kubectl.wait_for(
        lambda: not crowd.kubectl.exists("ftr", name), 30, f"the end of run {name}"
    )
    crowd.kubectl.wait_for(
        lambda: crowd.workload(name)["spec"]["suspend"] is False,
        30,
        f"Job {name} un-suspended",
    )
