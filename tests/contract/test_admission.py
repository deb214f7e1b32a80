"""Injection through the real API server: the webhook runs in the test's process."""

import asyncio
import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.fixtures import fresh_namespace
from cluster.kubectl import Kubectl
from contract import chart
from flopguard_operator import certificates, webhook, webhook_secret
from flopguard_operator.cluster import Cluster
from flopguard_operator.injected import Images

pytestmark = pytest.mark.apiserver

Raw = dict[str, Any]
LAG_SECONDS = 20.0  # until the API server has seen a new configuration
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
SECURITY: Raw = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@contextlib.contextmanager
def served(cluster: Cluster) -> Iterator[tuple[int, bytes]]:
    """Serve the webhook from a thread of its own; gives its port and authority."""

    async def list_runs(namespace: str) -> list[Raw]:
        return await asyncio.to_thread(cluster.list_runs, namespace)

    made = certificates.make(["localhost"], datetime.now(UTC))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = certificates.server_context(made)
    loop = asyncio.new_event_loop()
    serving = loop.create_task(
        webhook.serve(list_runs, Images("sidecar:1"), context, port, "127.0.0.1")
    )

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield port, made.authority
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(timeout=20)
        assert not thread.is_alive(), "the webhook did not stop within 20 s"


@contextlib.contextmanager
def registered(
    kubectl: Kubectl, port: int, authority: bytes, *names: str
) -> Iterator[None]:
    """Register the chart's webhook for one namespace, at a port of this machine.

    With more than one name it is registered as often: the API server then calls it
    again for a pod that is injected already.
    """
    configuration = chart.one(
        chart.render(), "MutatingWebhookConfiguration", "flopguard"
    )
    original = configuration["webhooks"][0]
    original["clientConfig"] = {
        "url": f"https://localhost:{port}/mutate",
        "caBundle": base64.b64encode(authority).decode(),
    }
    original["namespaceSelector"]["matchExpressions"].append(
        {
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": [kubectl.namespace],
        }
    )
    configuration["metadata"] = {"name": kubectl.namespace}
    configuration["webhooks"] = [original | {"name": name} for name in names]
    kubectl.apply(configuration)
    try:
        yield
    finally:
        kubectl.run("delete", "mutatingwebhookconfiguration", str(kubectl.namespace))


@dataclass(frozen=True)
class Admission:
    """A namespace that enforces restricted Pod Security, with a webhook on it."""

    kubectl: Kubectl

    def create(self, pod: Raw) -> Raw:
        """Return what the API server would store; everything but the write happens."""
        options = ("--dry-run=server", "-o", "json", "-f", "-")
        stored: Raw = json.loads(
            self.kubectl.run("create", *options, stdin=json.dumps(pod))
        )
        return stored

    def make_run(self, name: str, job: str, **metering: str) -> None:
        """Apply a run that names a Job."""
        self.kubectl.apply(run(name, job, **metering))

    def wait(self) -> None:
        """Return once the API server calls the webhook."""
        probe = pod(labels={"flopguard.dev/run": "no-such-run"})
        self.kubectl.wait_for(
            lambda: "annotations" in self.create(probe)["metadata"],
            LAG_SECONDS,
            "the API server to call the webhook",
        )


def run(name: str, job: str, **metering: str) -> Raw:
    """Return a FineTuneRun that names a Job."""
    workload = {"apiVersion": "batch/v1", "kind": "Job", "name": job}
    return {
        "apiVersion": "flopguard.dev/v1alpha1",
        "kind": "FineTuneRun",
        "metadata": {"name": name},
        "spec": {"workload": workload, "metering": metering},
    }


def pod(labels: dict[str, str] | None = None, **fields: Any) -> Raw:
    """Return a pod that passes restricted Pod Security; `fields` of its container."""
    container = {"name": "trainer", "image": "none", "securityContext": SECURITY}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "trainer-", "labels": labels or {}},
        "spec": {"containers": [container | fields]},
    }


def names(pod: Raw) -> list[str]:
    """Return the names of all containers, in the order in which they start."""
    spec = pod["spec"]
    everyone = spec.get("initContainers", []) + spec["containers"]
    return [container["name"] for container in everyone]


OF_JOB = {"batch.kubernetes.io/job-name": "sft"}
INJECTED = ["flopguard-install", "flopguard-sidecar", "trainer"]


@pytest.fixture(scope="module")
def cluster(control_plane: Kubectl) -> Cluster:
    """The operator's own client, as the administrator."""
    return Cluster(str(control_plane.kubeconfig))


@pytest.fixture(scope="module")
def admission(control_plane: Kubectl, cluster: Cluster) -> Iterator[Admission]:
    """The webhook on a namespace in which run `support` names Job `sft`."""
    with contextlib.ExitStack() as stack:
        kubectl = stack.enter_context(fresh_namespace(control_plane, "admission"))
        kubectl.run("label", "namespace", str(kubectl.namespace), RESTRICTED)
        port, authority = stack.enter_context(served(cluster))
        stack.enter_context(registered(kubectl, port, authority, "one.flopguard.dev"))
        found = Admission(kubectl)
        found.wait()
        found.make_run("support", "sft")
        found.make_run("picky", "other", container="train")
        yield found


GUARANTEED = {"resources": {"limits": {"cpu": "2", "memory": "4Gi"}}}
PODS: dict[str, Raw] = {
    "a pod of the run's Job": pod(OF_JOB),
    "a pod of another Job that carries the run's label": pod(
        {"flopguard.dev/run": "support"}
    ),
    "a pod with a PYTHONPATH, a variable from envFrom and a volume": pod(
        OF_JOB,
        env=[{"name": "PYTHONPATH", "value": "/app"}],
        envFrom=[{"configMapRef": {"name": "settings"}}],
    ),
    "a pod that is Guaranteed": pod(OF_JOB, **GUARANTEED),
}


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_an_injected_pod_passes_restricted_pod_security(
    admission: Admission, pod: Raw
) -> None:
    """Pod Security judges the pod after the webhook, so this is its verdict on us."""
    stored = admission.create(pod)

    assert names(stored) == INJECTED
    assert stored["metadata"]["labels"]["flopguard.dev/run"] == "support"


def test_a_guaranteed_pod_stays_guaranteed(admission: Admission) -> None:
    """The API server works the class out; losing it would lose exclusive CPUs."""
    stored = admission.create(pod(OF_JOB, **GUARANTEED))

    assert stored["status"]["qosClass"] == "Guaranteed"


def test_a_pod_with_resources_as_a_whole_is_admitted(admission: Admission) -> None:
    """Requests of our own beside those of the pod could exceed them: then a refusal."""
    whole = pod(OF_JOB)
    whole["spec"] |= {"resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}

    assert names(admission.create(whole)) == INJECTED


def test_a_stranger_is_not_touched(admission: Admission) -> None:
    """Neither a pod without labels nor one of a Job that no run names."""
    for labels in ({}, {"batch.kubernetes.io/job-name": "unknown"}):
        stored = admission.create(pod(labels))

        assert names(stored) == ["trainer"]
        assert "annotations" not in stored["metadata"]


def test_a_pod_that_cannot_be_metered_says_why(admission: Admission) -> None:
    """The sentence is an annotation; the label lets the operator find the pod."""
    stored = admission.create(pod({"batch.kubernetes.io/job-name": "other"}))

    assert names(stored) == ["trainer"]
    assert stored["metadata"]["labels"]["flopguard.dev/run"] == "picky"
    assert stored["metadata"]["annotations"]["flopguard.dev/not-injected"] == (
        "Not metered: metering.container of FineTuneRun picky is train, "
        "but the pod's containers are: trainer."
    )


def test_run_and_job_applied_together_work(admission: Admission) -> None:
    """The webhook asks the API server live, so no cache can be behind."""
    spec = {"restartPolicy": "Never", "containers": pod()["spec"]["containers"]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "together"},
        "spec": {"template": {"spec": spec}},
    }
    admission.kubectl.apply(run("together", "together"), job)

    of_job = "batch.kubernetes.io/job-name=together"
    found = admission.kubectl.wait_for(
        lambda: admission.kubectl.get_json("pods", "-l", of_job)["items"],
        LAG_SECONDS,
        "the pod of Job together",
    )

    assert [names(each) for each in found] == [INJECTED]


def test_called_again_it_adds_nothing(control_plane: Kubectl, cluster: Cluster) -> None:
    """Another webhook may change the pod after us; then the API server calls again."""
    with contextlib.ExitStack() as stack:
        kubectl = stack.enter_context(fresh_namespace(control_plane, "again"))
        port, authority = stack.enter_context(served(cluster))
        twice = ("one.flopguard.dev", "two.flopguard.dev")
        stack.enter_context(registered(kubectl, port, authority, *twice))
        again = Admission(kubectl)
        again.wait()
        again.make_run("support", "sft")

        stored = again.create(pod(OF_JOB))

    assert names(stored) == INJECTED


def test_with_the_webhook_away_pods_start(control_plane: Kubectl) -> None:
    """Nobody listens at the port: failurePolicy Ignore lets the pod in, unmetered."""
    authority = certificates.make(["localhost"], datetime.now(UTC)).authority
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with fresh_namespace(control_plane, "away") as kubectl:
        away = Admission(kubectl)
        away.make_run("support", "sft")
        with registered(kubectl, port, authority, "one.flopguard.dev"):
            stored = away.create(pod(OF_JOB))

    assert names(stored) == ["trainer"]


def test_replicas_agree_on_one_certificate(
    namespace: Kubectl, cluster: Cluster
) -> None:
    """All start at once and find no Secret; the API server lets one of them make it."""

    def ensure(_: int) -> certificates.Certificate:
        return webhook_secret.ensure_certificate(
            cluster, str(namespace.namespace), "cert", "webhook", datetime.now(UTC)
        )

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(ensure, range(4)))

    assert len(found) == 1
