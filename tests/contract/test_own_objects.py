"""The operator's own objects on a real API server: its Lease, the head's ConfigMap."""

import asyncio

import pytest

from cluster.kubectl import Kubectl
from flopguard_operator.anchors import ConfigMapAnchor
from flopguard_operator.cluster import Cluster
from flopguard_operator.leadership import Leadership
from flopguard_operator.ledger.note import Head

pytestmark = pytest.mark.apiserver


def test_one_of_two_leads_until_it_gives_up(namespace: Kubectl) -> None:
    """The Lease is made, renewed, refused to the other, given up and taken."""
    cluster = Cluster(str(namespace.kubeconfig))
    a, b = (
        Leadership(cluster, str(namespace.namespace), "lease", name, 15.0)
        for name in ("a", "b")
    )

    async def play() -> list[bool]:
        tries = [await each._try() for each in (a, a, b)]  # noqa: SLF001 - one step of the loops
        await a.release()
        return [*tries, await b._try(), await a._try()]  # noqa: SLF001 - the same

    assert asyncio.run(play()) == [True, True, False, True, False]
    assert (a.leads(), b.leads()) == (False, True)


def test_what_was_read_before_another_wrote_is_not_written(
    namespace: Kubectl,
) -> None:
    """The API server compares resourceVersions."""
    cluster, where = Cluster(str(namespace.kubeconfig)), str(namespace.namespace)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    made = {**lease, "metadata": {"name": "x"}, "spec": {"holderIdentity": "a"}}
    assert cluster.write_lease(where, made)
    assert not cluster.write_lease(where, made)
    read = cluster.read_lease(where, "x")
    assert read is not None
    assert cluster.write_lease(where, {**read, "spec": {"holderIdentity": "b"}})
    assert not cluster.write_lease(where, {**read, "spec": {"holderIdentity": "c"}})
    assert cluster.read_lease(where, "no-such-lease") is None


def test_the_head_is_kept_in_a_config_map(namespace: Kubectl) -> None:
    """Made at the first head, replaced by larger ones only."""
    cluster, where = Cluster(str(namespace.kubeconfig)), str(namespace.namespace)
    anchor = ConfigMapAnchor(cluster, where)
    assert list(anchor.known()) == []
    for size in (3, 5, 4):
        anchor.publish(Head("flopguard.dev/x/ledger", size, bytes([size]) * 32), "k")
    (known,) = anchor.known()

    assert (known.size, known.root) == (5, b"\5" * 32)
