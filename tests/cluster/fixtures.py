"""What the test folders' conftest files share: a cluster, and a namespace on it."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import host, lifecycle
from cluster.delivery import deliver
from cluster.kubectl import Kubectl, KubectlError
from cluster.state import ClusterError, Kind, load
from cluster.volumes import delete_volumes

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACE_SECONDS = 30.0


@contextlib.contextmanager
def cluster_for_tests(config: pytest.Config, kind: Kind) -> Iterator[Kubectl]:
    """A cluster of this kind for the session, the project's CRDs applied.

    FLOPGUARD_CLUSTER=<folder of a running cluster> uses that one and leaves it running.
    The tests are skipped, with the reason, on a machine that cannot run one.
    """
    with contextlib.ExitStack() as stack:
        given = os.environ.get("FLOPGUARD_CLUSTER")
        if given:
            state = load(Path(given))
            if kind == "node" and state.kind != "node":
                message = f"FLOPGUARD_CLUSTER={given} has no node, these tests need one"
                raise ClusterError(message)
            if kind == "node":
                deliver(state)
        else:
            reason = host.unsupported_reason(kind)
            if reason:
                pytest.skip(reason)
            capture = config.pluginmanager.getplugin("capturemanager")
            name = f"test-{os.getpid()}-{kind}"
            with capture.global_and_fixture_disabled():  # progress is for people
                state = stack.enter_context(lifecycle.borrowed(name, kind))
        kubectl = Kubectl(state.kubeconfig)
        apply_crds(kubectl)
        yield kubectl


def apply_crds(kubectl: Kubectl) -> None:
    """Apply the files of `crds/` and wait until the API server serves them."""
    folder = REPOSITORY / "crds"
    if not any(folder.glob("*.yaml")):
        return
    kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(folder))
    wait = ("wait", "--for=condition=Established", "--timeout=30s")
    kubectl.run(*wait, "-f", str(folder))


@contextlib.contextmanager
def fresh_namespace(kubectl: Kubectl, stem: str) -> Iterator[Kubectl]:
    """A kubectl in a namespace of its own, ready for pods, deleted afterwards."""
    name = f"{stem}-{uuid.uuid4().hex[:8]}"
    kubectl.run("create", "namespace", name)
    inside = kubectl.within(name)
    inside.wait_for(
        lambda: inside.exists("serviceaccount", "default"),
        NAMESPACE_SECONDS,
        f"the default service account of namespace {name}",
    )
    try:
        yield inside
    finally:
        # Without waiting: its pods end while the next test starts.
        with contextlib.suppress(KubectlError):
            kubectl.run("delete", "namespace", name, "--wait=false")
            delete_volumes(inside)
