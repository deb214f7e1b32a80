"""End-to-end tests: a whole cluster with a real kubelet, and the project's images."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.fixtures import cluster_for_tests, fresh_namespace
from cluster.kubectl import Kubectl


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
