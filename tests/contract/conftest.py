"""Contract tests: the real API server and its controllers, no kubelet."""

from collections.abc import Iterator

import pytest

from cluster.fixtures import cluster_for_tests, fresh_namespace
from cluster.kubectl import Kubectl


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[Kubectl]:
    """Kubectl for a control plane that lives as long as the session, CRDs applied."""
    with cluster_for_tests(pytestconfig, "control-plane") as kubectl:
        yield kubectl


@pytest.fixture
def namespace(control_plane: Kubectl) -> Iterator[Kubectl]:
    """Kubectl in a namespace of the test's own; its name is `namespace.namespace`."""
    with fresh_namespace(control_plane, "contract") as kubectl:
        yield kubectl


@pytest.fixture(scope="module")
def module_namespace(control_plane: Kubectl) -> Iterator[Kubectl]:
    """Kubectl in a namespace that the tests of one module share."""
    with fresh_namespace(control_plane, "contract") as kubectl:
        yield kubectl
