"""The throwaway control plane is a real one: admission, controllers, identity."""

import pytest

from cluster.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.apiserver


def test_it_says_which_kubernetes_it_is(control_plane: Kubectl) -> None:
    """Built without its linker flags it would call itself v0.0.0."""
    version = control_plane.run("version", "-o", "json")

    assert '"gitVersion": "v1.' in version
    assert "v0.0.0" not in version


def test_the_job_controller_makes_pods(namespace: Kubectl) -> None:
    """A hold is proven by pods that are not made, so something must try to."""
    container = {"name": "main", "image": "none", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": "one"}
    spec = {"template": template}
    namespace.apply(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    )

    pods = namespace.wait_for(
        lambda: namespace.get_json("pods")["items"], 20, "a pod of Job one"
    )

    assert pods[0]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "one"


def test_restricted_pod_security_is_enforced(namespace: Kubectl) -> None:
    """What injection adds is judged by the same admission on real clusters."""
    name = str(namespace.namespace)
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    namespace.run("label", "namespace", name, enforce)

    with pytest.raises(KubectlError, match="violates PodSecurity"):
        namespace.run("run", "pod", "--image=none", "--restart=Never")


def test_a_stranger_may_do_nothing(namespace: Kubectl) -> None:
    """Authorization is on, and impersonation reaches it."""
    with pytest.raises(KubectlError, match='User "mallory" cannot list'):
        namespace.acting_as("mallory").run("get", "pods")
