"""What the operator lists of the API server, also where there is nothing of a kind."""

import pytest

from cluster.kubectl import Kubectl
from flopguard_operator.cluster import Cluster
from stage import training

pytestmark = pytest.mark.apiserver


def test_a_cluster_without_programs_or_decisions_is_listed(namespace: Kubectl) -> None:
    """A list of metadata has null items there; it must not pass for no answer."""
    made = training.run("listed", "listed", 1000)
    namespace.apply(made)
    uid = namespace.get_json("ftr", "listed")["metadata"]["uid"]

    assert uid in Cluster(str(namespace.kubeconfig)).existing()
