"""The chart on the real API server: what it grants, keeps and refuses."""

import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.fixtures import fresh_namespace
from cluster.kubectl import Kubectl
from contract import chart
from flopguard_operator import certificates, webhook_secret
from flopguard_operator.cluster import Cluster

pytestmark = pytest.mark.apiserver

Raw = dict[str, Any]
RESTRICTED = (
    "pod-security.kubernetes.io/enforce=restricted",
    "pod-security.kubernetes.io/warn=restricted",
)


@pytest.fixture(scope="module")
def release(control_plane: Kubectl) -> Iterator[Kubectl]:
    """Helm's release `flopguard`, in a namespace that enforces restricted."""
    with contextlib.ExitStack() as stack:
        kubectl = stack.enter_context(fresh_namespace(control_plane, "chart"))
        namespace = str(kubectl.namespace)
        kubectl.run("label", "namespace", namespace, *RESTRICTED)
        at = ("flopguard", "-n", namespace)
        helm("install", kubectl, *at, str(chart.CHART), "--set=crds.install=false")
        stack.callback(helm, "uninstall", kubectl, *at)
        yield kubectl


def helm(verb: str, kubectl: Kubectl, *arguments: str) -> str:
    """Run helm against the cluster of `kubectl`."""
    return chart.helm(verb, *arguments, kubeconfig=kubectl.kubeconfig)


def test_its_pods_pass_restricted_pod_security(release: Kubectl) -> None:
    """The namespace enforces it, so the API server would refuse them here."""
    for kind, name in (("sts", "flopguard-operator"), ("deploy", "flopguard-webhook")):
        spec = release.get_json(kind, name)["spec"]["template"]["spec"]
        mounts = spec["containers"][0].get("volumeMounts", [])
        # The ledger's volume is made by the StatefulSet, not by the template.
        volumes = [{"name": mount["name"], "emptyDir": {}} for mount in mounts]
        pod: Raw = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}}
        create(release, pod | {"spec": spec | {"volumes": volumes}})


def create(kubectl: Kubectl, manifest: Raw) -> None:
    """Create an object as far as the API server goes without writing it."""
    text = json.dumps(manifest)
    kubectl.run("create", "--dry-run=server", "-f", "-", stdin=text)


def test_an_upgrade_keeps_the_authority_that_the_webhook_wrote(
    release: Kubectl,
) -> None:
    """A wiped caBundle would let every pod start unmetered until a restart."""
    namespace = str(release.namespace)
    cluster = Cluster(str(release.kubeconfig))
    made = certificates.make(["webhook"], datetime.now(UTC))
    webhook_secret.publish(cluster, "flopguard", made)

    settings = ("--set=crds.install=false", "--set=webhook.timeoutSeconds=4")
    at = ("flopguard", str(chart.CHART), "-n", namespace)
    helm("upgrade", release, *at, *settings)

    configuration = release.get_json("mutatingwebhookconfiguration", "flopguard")
    found = configuration["webhooks"][0]
    assert base64.b64decode(found["clientConfig"]["caBundle"]) == made.authority
    assert found["timeoutSeconds"] == 4


OPERATOR, WEBHOOK = "flopguard-operator", "flopguard-webhook"
GROUPS = {"mutatingwebhookconfigurations": "admissionregistration.k8s.io"}
RIGHTS: list[tuple[str, str, str, str]] = [
    (OPERATOR, "patch", "jobs.batch", "yes"),
    (OPERATOR, "watch", "pods", "yes"),
    (OPERATOR, "patch", "finetuneruns.flopguard.dev/status", "yes"),
    (OPERATOR, "patch", "finetuneprograms.flopguard.dev/status", "yes"),
    (OPERATOR, "create", "events", "yes"),
    (OPERATOR, "delete", "pods", "no"),
    (OPERATOR, "create", "pods", "no"),
    (OPERATOR, "delete", "jobs.batch", "no"),
    (OPERATOR, "delete", "finetuneruns.flopguard.dev", "no"),
    (OPERATOR, "create", "thresholddecisions.flopguard.dev", "no"),
    (OPERATOR, "patch", "finetuneprograms.flopguard.dev", "no"),
    (OPERATOR, "get", "secrets", "no"),
    (OPERATOR, "list", "secrets", "no"),
    (WEBHOOK, "list", "finetuneruns.flopguard.dev", "yes"),
    (WEBHOOK, "patch", "mutatingwebhookconfigurations/flopguard", "yes"),
    (WEBHOOK, "patch", "mutatingwebhookconfigurations/other", "no"),
    (WEBHOOK, "watch", "finetuneruns.flopguard.dev", "no"),
    (WEBHOOK, "patch", "finetuneruns.flopguard.dev", "no"),
    (WEBHOOK, "get", "pods", "no"),
    (WEBHOOK, "get", "secrets", "no"),
]


@pytest.mark.parametrize(
    ("account", "verb", "resource", "answer"),
    RIGHTS,
    ids=lambda value: str(value).removeprefix("flopguard-"),
)
def test_a_service_account_may_do_what_it_needs_and_no_more(
    release: Kubectl, account: str, verb: str, resource: str, answer: str
) -> None:
    """In a namespace of the users', where a stolen token would be used."""
    user = f"system:serviceaccount:{release.namespace}:{account}"

    assert may(release.within("default").acting_as(user), verb, resource) == answer


SECRETS = [(OPERATOR, "flopguard-ledger-key"), (WEBHOOK, "flopguard-webhook")]


@pytest.mark.parametrize(("account", "secret"), SECRETS)
def test_a_service_account_reads_its_own_secret_only(
    release: Kubectl, account: str, secret: str
) -> None:
    """The ledger's key is not for the webhook, nor the certificate for the operator."""
    user = f"system:serviceaccount:{release.namespace}:{account}"
    acting = release.acting_as(user)

    answers = {
        name: may(acting, "get", f"secrets/{name}")
        for name in ("flopguard-ledger-key", "flopguard-webhook", "other")
    }

    assert answers == dict.fromkeys(answers, "no") | {secret: "yes"}


def may(kubectl: Kubectl, verb: str, resource: str) -> str:
    """Return "yes" or "no", the API server's answer to the user of `kubectl`.

    `resource` reads like "jobs.batch", "secrets/NAME" or "kinds.group/status".
    """
    kind, _, name = resource.partition("/")
    plural, _, group = kind.partition(".")
    attributes = {
        "namespace": kubectl.namespace,
        "verb": verb,
        "group": group or GROUPS.get(plural, ""),
        "resource": plural,
        "subresource" if name == "status" else "name": name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    # Without validation: for that kubectl would list the CRDs, as that user.
    options = ("--validate=false", "-o", "json", "-f", "-")
    answer = kubectl.run("create", *options, stdin=json.dumps(review))
    return "yes" if json.loads(answer)["status"]["allowed"] else "no"


BAD: dict[str, tuple[str, str]] = {
    "a value that does not exist": ("webhook.replica=3", "'replica' not allowed"),
    "an address without a scheme": ("prometheus.url=prom:9090", "/prometheus/url"),
    "a lock that is neither": ("lock.failurePolicy=Maybe", "/lock/failurePolicy"),
    "reports that are neither": ("operator.reports=maybe", "/operator/reports"),
    "no replica": ("webhook.replicas=0", "/webhook/replicas"),
}


@pytest.mark.parametrize(("setting", "message"), BAD.values(), ids=BAD)
def test_a_wrong_value_is_refused_by_name(setting: str, message: str) -> None:
    """A typing error in the values must not install something else silently."""
    with pytest.raises(chart.HelmError) as refusal:
        chart.render(setting)

    assert message in str(refusal.value)


def test_its_own_namespace_is_never_looked_at() -> None:
    """Else a webhook that is away would be asked for its own pods."""
    configuration = chart.one(
        chart.render(namespace="somewhere"), "MutatingWebhookConfiguration", "flopguard"
    )

    selector = configuration["webhooks"][0]["namespaceSelector"]
    assert selector["matchExpressions"][0]["values"] == ["kube-system", "somewhere"]


@pytest.mark.parametrize(
    ("kind", "name"), [("StatefulSet", OPERATOR), ("Deployment", WEBHOOK)]
)
def test_every_flag_exists(kind: str, name: str) -> None:
    """The program that gets it is asked for its help."""
    objects = chart.render("prometheus.url=http://p:9090", "operator.reports=true")
    template = chart.one(objects, kind, name)["spec"]["template"]
    part, *flags = template["spec"]["containers"][0]["args"]

    command = [sys.executable, "-m", "flopguard_operator", part, "--help"]
    help_text = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60
    ).stdout

    assert [f for f in flags if f"{f.partition('=')[0]} " not in help_text] == []


@pytest.mark.parametrize(
    ("settings", "served"),
    [
        pytest.param((), False, id="by default"),
        pytest.param(("operator.reports=false",), False, id="switched off"),
        pytest.param(("operator.reports=true",), True, id="switched on"),
    ],
)
def test_reports_are_served_only_where_they_are_asked_for(
    settings: tuple[str, ...], *, served: bool
) -> None:
    """They have no log-in; the webhook never serves any."""
    objects = chart.render(*settings)
    pods = {
        name: chart.one(objects, kind, name)["spec"]["template"]["spec"]
        for kind, name in (("StatefulSet", OPERATOR), ("Deployment", WEBHOOK))
    }
    given = {name: pod["containers"][0]["args"] for name, pod in pods.items()}

    assert ("--reports" in given[OPERATOR]) == served
    assert "--reports" not in given[WEBHOOK]


def test_the_exporter_is_looked_for_on_the_node_of_each_pod() -> None:
    """Two dollar signs keep the kubelet from looking for the webhook's own HOST_IP."""
    objects = chart.render("sidecar.dcgmUrl=http://$(HOST_IP):9400/metrics")
    template = chart.one(objects, "Deployment", WEBHOOK)["spec"]["template"]

    flags = template["spec"]["containers"][0]["args"]
    assert "--dcgm-url=http://$$(HOST_IP):9400/metrics" in flags
