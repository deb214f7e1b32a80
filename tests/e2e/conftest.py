"""End-to-end tests: a whole cluster with a real kubelet, and the project's images.

One cluster and one installation serve all modules; each module has a namespace and
starts the Jobs of all its tests at once, since starting is what takes long.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.fixtures import cluster_for_tests, fresh_namespace
from cluster.kubectl import Kubectl
from cluster.state import State, load
from stage import prometheus, release, training
from stage.scene import Scene
from truth.closed_formula import mlp_step_flops

STEP = sum(mlp_step_flops(8, [64, 128, 10]).values())
AMPLE = 10**12  # FLOPs
ENDLESS = 100_000  # steps
LONG_GRACE_SECONDS = 60
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture(scope="session")
def node_cluster(pytestconfig: pytest.Config) -> Iterator[Kubectl]:
    """Kubectl for a cluster with one node, images imported, CRDs applied."""
    with cluster_for_tests(pytestconfig, "node") as kubectl:
        yield kubectl


@pytest.fixture
def namespace(node_cluster: Kubectl) -> Iterator[Kubectl]:
    """Kubectl in a namespace of the test's own; its name is `namespace.namespace`."""
    with fresh_namespace(node_cluster, "e2e") as kubectl:
        yield kubectl


@pytest.fixture(scope="module")
def module_namespace(node_cluster: Kubectl) -> Iterator[Kubectl]:
    """Kubectl in a namespace that the tests of one module share."""
    with fresh_namespace(node_cluster, "e2e") as kubectl:
        yield kubectl


@pytest.fixture(scope="session")
def train_environment() -> Path:
    """The folder of the environment with torch; a skip says how to make one."""
    folder = Path(os.environ.get("FLOPGUARD_TRAIN", "/nonexistent"))
    if not (folder / "bin" / "python").exists():
        pytest.skip("FLOPGUARD_TRAIN names no environment with torch: run `make train`")
    return folder


@pytest.fixture(scope="session")
def product(node_cluster: Kubectl, train_environment: Path) -> Kubectl:
    """Kubectl for the cluster with flopguard and Prometheus at work, the lock too."""
    assert train_environment.exists()
    node_cluster.apply(*prometheus.manifests())
    release.install(node_cluster, prometheus.URL)
    release.wait_for_lock(node_cluster)
    return node_cluster


@pytest.fixture(scope="session")
def state(product: Kubectl) -> State:
    """The record of the cluster: where the node's files and processes are."""
    return load(product.kubeconfig.parent)


@pytest.fixture(scope="module")
def scene(product: Kubectl, module_namespace: Kubectl) -> Scene:
    """The module's namespace, under restricted Pod Security, ready for trainers."""
    return prepared(product, module_namespace)


@pytest.fixture
def own_scene(product: Kubectl, namespace: Kubectl) -> Scene:
    """The same in a namespace of the test's own."""
    return prepared(product, namespace)


@pytest.fixture(scope="session")
def doomed(product: Kubectl) -> Iterator[Scene]:
    """A namespace to be deleted, with run `doomed`, which is soon held."""
    with fresh_namespace(product, "doomed") as inside:
        scene = prepared(product, inside)
        scene.start("doomed", ENDLESS, 2 * STEP)
        yield scene


@pytest.fixture(scope="session")
def crowd(product: Kubectl, doomed: Scene) -> Iterator[Scene]:
    """Runs without end for the tests of faults and of holds, started together.

    `spent` and `deleted` are soon held, the others once a test lowers their budget.
    """
    assert doomed.kubectl.namespace  # starts at the same time
    with fresh_namespace(product, "crowd") as inside:
        scene = prepared(product, inside)
        scene.start("spent", ENDLESS, 2 * STEP)
        scene.start("deleted", ENDLESS, 2 * STEP)
        scene.start("running", ENDLESS, AMPLE)
        scene.start("unscraped", ENDLESS, AMPLE)
        scene.start("deserted", ENDLESS, AMPLE, grace_seconds=LONG_GRACE_SECONDS)
        yield scene


def prepared(product: Kubectl, inside: Kubectl) -> Scene:
    """Bring trainer and torch into a namespace."""
    product.run("label", "namespace", str(inside.namespace), RESTRICTED)
    training.prepare(inside, training.TRAINER)
    return Scene(inside)
