"""The last test of this folder by its name: it takes the custom resource away."""

from collections.abc import Iterator

import pytest

from cluster.fixtures import apply_crds
from cluster.images import PYTHON_IMAGE
from cluster.kubectl import Kubectl
from stage import release, training
from stage.scene import Object, Scene

pytestmark = pytest.mark.node

CRD = "finetuneruns.flopguard.dev"
OURS = ("e2e-", "crowd-", "doomed-")  # namespaces of this folder's fixtures


@pytest.fixture
def without_crd(product: Kubectl) -> Iterator[Kubectl]:
    """The cluster with the FineTuneRuns and their CRD deleted; put back afterwards.

    A hold outlives its run, and so its CRD, but not its namespace.
    """
    runs = product.get_json("ftr", "--all-namespaces")["items"]
    spaces = sorted({str(run["metadata"]["namespace"]) for run in runs})
    strangers = [name for name in spaces if not name.startswith(OURS)]
    if strangers:
        pytest.skip(f"the runs of {strangers} on the given cluster would be deleted")
    if spaces:
        product.run("delete", "namespace", *spaces, "--wait=false")
    product.run("delete", "crd", CRD, "--wait=false")
    try:
        product.wait_for(
            lambda: not product.exists("crd", CRD), 120, f"the end of CRD {CRD}"
        )
        yield product
    finally:
        apply_crds(product)


def stranger(name: str) -> Object:
    """Return a Job that nobody ever named in a FineTuneRun."""
    container = {
        "name": "main",
        "image": PYTHON_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", "print('started')"],
    }
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": pod}},
    }


def test_strangers_pods_start_without_the_crd(
    without_crd: Kubectl, namespace: Kubectl
) -> None:
    """The lock's parameter is gone: what cannot be evaluated stops nobody."""
    assert not without_crd.exists("crd", CRD)

    namespace.apply(stranger("stranger"))

    namespace.wait_for(
        lambda: namespace.get_json("job", "stranger")["status"].get("succeeded"),
        60,
        "the end of a stranger's Job",
    )


def test_a_restored_crd_is_worked_on_again(product: Kubectl, own_scene: Scene) -> None:
    """The operator takes up new runs, and the lock returns, with no help."""
    own_scene.kubectl.apply(training.run("later", "no-job", 10**12))

    own_scene.wait_for_state("later", "Pending")
    release.wait_for_lock(product)
