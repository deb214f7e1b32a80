"""A decision is signed by the person who makes it, and then it stands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.apiserver

LOCK = Path(__file__).resolve().parents[2] / "charts/flopguard/templates/lock.yaml"
ROLE = "flopguard-test-legal"


def decision(**spec: str) -> dict[str, Any]:
    """Return a decision by dana, with these fields changed."""
    return {
        "apiVersion": "flopguard.dev/v1alpha1",
        "kind": "ThresholdDecision",
        "metadata": {"name": "stop-it"},
        "spec": {
            "subject": {"kind": "FineTuneProgram", "name": "bot"},
            "decision": "Stop",
            "reason": "enough",
            "decidedBy": "dana",
            **spec,
        },
    }


@pytest.fixture
def dana(control_plane: Kubectl) -> Iterator[Kubectl]:
    """A person of legal who may make decisions, and the policy that wants her name."""
    documents = LOCK.read_text().split("\n---\n")
    ours = [d for d in documents if "\n  name: decision." in d]
    # Under a name of their own: the cluster may have the chart's installed.
    policies = "\n---\n".join(ours).replace("decision.flopguard.dev", ROLE)
    resource = "--resource=thresholddecisions.flopguard.dev"
    verbs = "--verb=create,get,patch"
    control_plane.apply(policies)
    control_plane.run("create", "clusterrole", ROLE, verbs, resource)
    bind = ("create", "clusterrolebinding", ROLE, "--user=dana")
    control_plane.run(*bind, f"--clusterrole={ROLE}")
    yield control_plane.acting_as("dana")
    control_plane.run("delete", "clusterrole,clusterrolebinding", ROLE)
    control_plane.run("delete", "-f", "-", stdin=policies)
    control_plane.run("delete", "ftd", "stop-it", "--ignore-not-found")


def test_nobody_decides_in_another_persons_name(dana: Kubectl) -> None:
    """The API server knows who asks; the name in the spec has to be that one."""
    forged = json.dumps(decision(decidedBy="admin"))

    def refusal() -> str:
        try:
            dana.run("create", "--dry-run=server", "-f", "-", stdin=forged)
        except KubectlError as error:
            return error.stderr
        return ""

    said = dana.wait_for(refusal, 20, "the policy on decisions")

    assert "spec.decidedBy must be you: dana" in said


def test_a_decision_is_never_edited(dana: Kubectl) -> None:
    """One's own decision is accepted, and then it stands."""
    dana.apply(decision())

    with pytest.raises(KubectlError, match="a decision cannot be changed"):
        dana.apply(decision(reason="second thoughts"))
