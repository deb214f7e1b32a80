"""`flopguard inventory`: what computes on the accelerators, and what of it is known?"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flopguard_operator import naming
from flopguard_operator.cli import main
from flopguard_operator.inventory.objects import Objects, sorted_by_kind
from flopguard_operator.inventory.workloads import Workload, workloads
from flopguard_operator.models import shipped
from standins import objects
from standins.objects import Raw
from unit.test_operator_client import api_server

GPUS = {"resources": {"limits": {"nvidia.com/gpu": "4"}}}


def of_kind(kind: str, raw: Raw) -> Raw:
    """Return an object with its kind, as a list of several kinds has it."""
    return {**raw, "kind": kind}


def bare(name: str, owner: tuple[str, str] | None = None, **labels: str) -> Raw:
    """Return a pod that nobody meters, with four accelerators."""
    owners = []
    if owner:
        kind, of = owner
        owners = [{"kind": kind, "name": of, "controller": True}]
    metadata = {"name": name, "namespace": "lab", "uid": name, "labels": labels}
    return {
        "kind": "Pod",
        "metadata": {**metadata, "ownerReferences": owners},
        "spec": {"containers": [{"name": "main", **GPUS}]},
    }


def found(*raws: Raw) -> dict[str, Workload]:
    """Return the inventory of some objects, by kind and name."""
    listed = workloads(sorted_by_kind(raws), shipped.catalogue())
    return {f"{one.kind}/{one.name}": one for one in listed}


def run(base: dict[str, str] | None = None, **spec: Any) -> Raw:
    """Return the run of Job `train`."""
    if base:
        spec["baseModel"] = base
    return of_kind(naming.RUN_KIND, objects.run(**spec))


def inventory(*arguments: str, **more: Any) -> Result:
    """Run `flopguard inventory`."""
    return CliRunner().invoke(main, ["inventory", *arguments], **more)


def test_a_metered_job_is_listed_with_its_run_and_base() -> None:
    """The catalogue says what is disclosed."""
    pod, job = of_kind("Pod", objects.gpu_pod()), of_kind("Job", objects.job())
    (one,) = found(pod, job, run({"name": "tiiuae/falcon-180B"})).values()

    assert (one.kind, one.name, one.run) == ("Job", "train", "sft")
    assert (one.pods, one.accelerators, one.resource) == (1, 1, "nvidia.com/gpu")
    assert (one.base, one.disclosure) == ("tiiuae/falcon-180B", "disclosed")
    assert one.metered == "yes"


@pytest.mark.parametrize(
    ("base", "figure"),
    [
        ({"name": "acme/x1", "pretrainingFlops": "1e23"}, "given"),
        ({"name": "meta-llama/Llama-3.1-8B"}, "estimated"),
        ({"name": "acme/x1"}, "unknown"),
        (None, "-"),
    ],
)
def test_what_is_known_of_a_base_model(
    base: dict[str, str] | None, figure: str
) -> None:
    """By the person, by others, by nobody; or no base model is named."""
    (one,) = found(of_kind("Pod", objects.gpu_pod()), run(base)).values()

    assert one.disclosure == figure


def test_a_run_gets_its_base_from_its_program() -> None:
    """As it is judged by it."""
    lender = objects.program(baseModel={"name": "tiiuae/falcon-180B"})
    program = of_kind(naming.PROGRAM_KIND, lender)
    pod = of_kind("Pod", objects.gpu_pod())
    (one,) = found(pod, program, run(program="support-bot")).values()

    assert (one.program, one.base) == ("support-bot", "tiiuae/falcon-180B")


def test_workloads_without_a_run_are_named_by_what_owns_their_pods() -> None:
    """Deployments by their ReplicaSets; a pod that nobody owns by itself."""
    listed = found(
        bare("a-1", ("ReplicaSet", "serve-abc"), **{"pod-template-hash": "abc"}),
        bare("a-2", ("ReplicaSet", "serve-abc"), **{"pod-template-hash": "abc"}),
        bare("b-0", ("StatefulSet", "notebook")),
        bare("alone"),
    )

    assert list(listed) == ["Deployment/serve", "Pod/alone", "StatefulSet/notebook"]
    assert (
        listed["Deployment/serve"].pods,
        listed["Deployment/serve"].accelerators,
    ) == (
        2,
        8,
    )
    assert {one.metered for one in listed.values()} == {"no"}
    assert {one.run for one in listed.values()} == {""}


def test_a_job_that_waits_is_listed_by_its_template() -> None:
    """Suspended or queued: there is no pod yet, and nothing to meter."""
    job = of_kind("Job", objects.job(suspend=True, run_label="sft"))
    job["spec"]["parallelism"] = 2
    job["spec"]["template"]["spec"] = {"containers": [{"name": "main", **GPUS}]}
    job["metadata"]["name"] = "again"
    (one,) = found(job, run()).values()

    assert (one.name, one.run, one.accelerators) == ("again", "sft", 8)
    assert (one.pods, one.metered, one.suspended) == (0, "-", True)


def test_what_is_over_and_what_has_no_accelerator_is_left_out() -> None:
    """But for what a run claims: it is metered on processors, too."""
    ended, web = bare("ended"), bare("web")
    ended["status"] = {"phase": "Succeeded"}
    web["spec"] = {"containers": [{"name": "main"}]}
    done = of_kind("Job", objects.job(name="done"))
    done["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    done["spec"]["template"]["spec"] = {"containers": [{"name": "main", **GPUS}]}
    cpu = of_kind("Pod", objects.pod())

    assert list(found(ended, web, done, cpu, run())) == ["Job/train"]


def test_a_pod_that_was_left_alone_says_why() -> None:
    """And makes its workload partly metered."""
    left = of_kind("Pod", objects.gpu_pod("pod-2"))
    left["spec"]["initContainers"] = []
    note = "the pod shares the host's network"
    left["metadata"]["annotations"] = {naming.NOT_INJECTED_ANNOTATION: note}
    (one,) = found(of_kind("Pod", objects.gpu_pod()), left, run()).values()

    assert (one.metered, one.metered_pods, one.why_not) == ("partly", 1, note)


def test_devices_by_claim_are_listed_without_a_number() -> None:
    """How many there are is known to the driver alone."""
    pod = bare("claims")
    pod["spec"] = {"containers": [{"name": "main"}], "resourceClaims": [{"name": "g"}]}
    (one,) = found(pod).values()

    assert (one.accelerators, one.by_claim) == (0, True)


def test_a_file_of_kubectl_is_read_by_people_without_access(tmp_path: Path) -> None:
    """The table, and the same as JSON."""
    listed = [of_kind("Pod", objects.gpu_pod()), bare("rogue\x1b[2J"), run()]
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"kind": "List", "items": listed}))
    table = inventory("--from", str(file)).output
    said = json.loads(
        inventory("--from", "-", "--json", input=file.read_bytes()).output
    )

    assert "2 workloads, 5 accelerators; 1 without a run, 1 not metered" in table
    assert "\x1b" not in table
    assert said["totals"]["accelerators"] == 5
    assert [one["run"] for one in said["workloads"]] == [None, "sft"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"items": 1}', "\xff", "[" * 100_000],
    ids=["nothing", "a list", "no items", "items that are none", "no text", "nested"],
)
def test_a_text_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    """With the command that makes one."""
    file = tmp_path / "list.json"
    file.write_text(text, encoding="latin-1")
    result = inventory("--from", str(file))

    assert result.exit_code == 1
    assert "kubectl get pods,jobs,finetuneruns,finetuneprograms -A" in result.output


ODD: list[Any] = [None, 1, "x", [], {}, {"metadata": None}, {"metadata": {"name": 3}}]


@pytest.mark.parametrize("kind", ["Pod", "Job", "FineTuneRun", "FineTuneProgram"])
def test_objects_that_are_not_what_they_should_be_break_nothing(kind: str) -> None:
    """They come from a file, or from tenants."""
    parts = [{"spec": part, "metadata": meta} for part in ODD for meta in ODD]
    parts += [{"spec": {"template": part, "parallelism": part}} for part in ODD]
    parts += [{"spec": {"containers": [part], "baseModel": part}} for part in ODD]
    raws = [{**part, "kind": kind} for part in parts]

    assert found(*raws, bare("alone"))["Pod/alone"].accelerators == 4


def answer(*raws: Raw) -> bytes:
    """Return one page of a list."""
    return json.dumps({"items": raws, "metadata": {}}).encode()


def test_the_cluster_is_asked_for_four_kinds(tmp_path: Path) -> None:
    """Each object gets the kind that a list of one kind leaves out."""
    pages = (
        answer(objects.gpu_pod()),
        answer(objects.job()),
        answer(objects.run()),
        answer(objects.program()),
    )
    with api_server(tmp_path, *pages) as cluster:
        listed = sorted_by_kind(cluster.workloads())

    assert [len(each) for each in (listed.pods, listed.jobs)] == [1, 1]
    assert [len(each) for each in (listed.runs, listed.programs)] == [1, 1]


def test_a_cluster_that_does_not_answer_ends_in_a_sentence(tmp_path: Path) -> None:
    """Not in a traceback of its client."""
    missing = inventory("--kubeconfig", str(tmp_path / "none"))
    broken = tmp_path / "broken"
    broken.write_text("a: [")
    unreadable = inventory("--kubeconfig", str(broken))

    for result in (missing, unreadable):
        assert result.exit_code == 2
        assert "Error: the cluster cannot be read" in result.output


def test_a_laptop_without_the_client_is_told_of_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything else of the command line works without it."""
    monkeypatch.setitem(sys.modules, "flopguard_operator.cluster", None)
    result = inventory()

    assert result.exit_code == 2
    assert "or give --from" in result.output


def test_nothing_is_nothing() -> None:
    """An empty cluster has an empty inventory."""
    assert workloads(Objects(), shipped.catalogue()) == ()
