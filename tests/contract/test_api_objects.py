"""What the API server serves, and what a person sees of an object."""

from pathlib import Path

import pytest
import yaml

from cluster.kubectl import Kubectl, KubectlError
from contract.runs import HELD, HOLD, Run
from flopguard_operator.api.crd import files

pytestmark = pytest.mark.apiserver

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "manifests"


@pytest.mark.parametrize(
    "name", ["finetuneruns", "finetuneprograms", "thresholddecisions"]
)
def test_the_crd_of_the_repository_is_served(control_plane: Kubectl, name: str) -> None:
    """Accepted without a complaint about its structure or its names."""
    crd = control_plane.get_json("crd", f"{name}.flopguard.dev")
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    wanted = yaml.safe_load(files()[f"crds/{name}.yaml"])["spec"]

    assert conditions == {"Established": "True", "NamesAccepted": "True"}
    assert crd["spec"]["scope"] == wanted["scope"]
    assert crd["spec"]["versions"][0]["schema"] == wanted["versions"][0]["schema"]


def test_status_is_written_by_its_subresource_only(namespace: Kubectl) -> None:
    """Who may edit a run may not lift its hold by editing the status with it."""
    run = Run(namespace)
    run.make({}, HELD)

    run.change_object({"status": {"holds": []}})

    assert namespace.get_json("ftr", "sft")["status"]["holds"] == [HOLD]


def test_a_status_beyond_its_bounds_is_refused(namespace: Kubectl) -> None:
    """A bug of the operator cannot fill the API server with attempts."""
    attempts = [{"podUid": str(number)} for number in range(101)]

    with pytest.raises(KubectlError, match="must have at most 100 items"):
        Run(namespace).make({}, {"attempts": attempts})


def test_the_columns_say_where_the_run_stands(namespace: Kubectl) -> None:
    """`kubectl get ftr` is the first thing that a scientist looks at."""
    status = {
        "model": "some/model",
        "usedDisplay": "5e21",
        "limitDisplay": "1e22",
        "percentDisplay": "50.00",
        "eta": "2h10m",
        "state": "Warning",
    }
    Run(namespace).make({}, status)

    header, row = namespace.run("get", "ftr").splitlines()

    assert " ".join(header.split()) == "NAME MODEL USED LIMIT % ETA STATE AGE"
    assert row.split()[:-1] == ["sft", *status.values()]


def test_the_category_finds_runs(namespace: Kubectl) -> None:
    """`kubectl get finetune` lists what there is, for whoever forgot the names."""
    Run(namespace).make({})

    found = namespace.run("get", "finetune", "-o", "name")

    assert "finetunerun.flopguard.dev/sft" in found


def test_fields_are_explained(control_plane: Kubectl) -> None:
    """What a field does not do yet is said where a person looks it up."""
    said = control_plane.run("explain", "ftr.spec.baseModel.pretrainingFlopsHigh")

    assert "never compared" in said


@pytest.mark.parametrize("example", ["program.yaml", "run.yaml"])
def test_the_examples_are_valid(namespace: Kubectl, example: str) -> None:
    """Newcomers copy them."""
    text = (EXAMPLES / example).read_text().replace("  namespace: ml\n", "")

    said = namespace.run("create", "--dry-run=server", "-f", "-", stdin=text)

    assert "created" in said
