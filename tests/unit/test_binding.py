"""Which run a pod belongs to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.binding import Claims, claim

Raw = dict[str, Any]


def run(name: str, *, job: str = "other", age: int = 0, **metadata: Any) -> Raw:
    """Return a run that names `job`; a larger `age` is an earlier creation."""
    created = f"2026-11-{28 - age:02d}T10:00:00Z"
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": created,
            **metadata,
        },
        "spec": {"workload": {"apiVersion": "batch/v1", "kind": "Job", "name": job}},
    }


def pod(**labels: str) -> Raw:
    """Return a pod with labels; `job` and `run` stand for the long label names."""
    names = {"job": "batch.kubernetes.io/job-name", "run": "flopguard.dev/run"}
    return {"metadata": {"labels": {names[k]: v for k, v in labels.items()}}}


def held(raw: Raw) -> Raw:
    """Return the run with a hold in its status."""
    return {**raw, "status": {"holds": [{"workload": "sft"}]}}


def of_kind(raw: Raw, api_version: str, kind: str) -> Raw:
    """Return the run naming a workload of another kind."""
    workload = {**raw["spec"]["workload"], "apiVersion": api_version, "kind": kind}
    return {**raw, "spec": {"workload": workload}}


GONE = {"deletionTimestamp": "2026-11-28T11:00:00Z"}
CASES: dict[str, tuple[Raw, list[Raw], str | None, list[str]]] = {
    "a pod of the named Job is the run's": (
        pod(job="sft"),
        [run("a", job="sft")],
        "a",
        [],
    ),
    "a pod of another Job is nobody's": (
        pod(job="x"),
        [run("a", job="sft")],
        None,
        [],
    ),
    "a pod without labels is nobody's": (
        {"metadata": {}},
        [run("a", job="sft")],
        None,
        [],
    ),
    "a labelled pod is the run's whatever its Job is called": (
        pod(job="sft-2", run="a"),
        [run("a", job="sft")],
        "a",
        [],
    ),
    "a label that names no run binds nothing": (
        pod(run="missing"),
        [run("a", job="sft")],
        None,
        [],
    ),
    "of two runs that name one Job the older wins": (
        pod(job="sft"),
        [run("young", job="sft", age=1), run("old", job="sft", age=9)],
        "old",
        ["young"],
    ),
    "an older run that names the Job wins against a label": (
        pod(job="sft", run="labelled"),
        [run("labelled"), run("named", job="sft", age=3)],
        "named",
        ["labelled"],
    ),
    "of two runs of one second the smaller UID wins": (
        pod(job="sft"),
        [run("b", job="sft"), run("a", job="sft")],
        "a",
        ["b"],
    ),
    "a run that is being deleted claims nothing": (
        pod(job="sft"),
        [run("old", job="sft", age=9, **GONE), run("young", job="sft")],
        "young",
        [],
    ),
    "a run that is being deleted but still holds keeps its pods": (
        pod(job="sft"),
        [held(run("old", job="sft", age=9, **GONE)), run("young", job="sft")],
        "old",
        ["young"],
    ),
    "a workload of another kind and the same name is another workload": (
        pod(job="sft"),
        [of_kind(run("a", job="sft"), "jobset.x-k8s.io/v1alpha2", "JobSet")],
        None,
        [],
    ),
    "a run without a workload claims no unlabelled pod": (
        pod(job=""),
        [{"metadata": {"name": "a"}, "spec": {}}],
        None,
        [],
    ),
    "raw objects of the wrong shape bind nothing": (
        {"metadata": {"labels": ["sft"]}},
        [{"metadata": None, "spec": {"workload": "sft"}}, {}],
        None,
        [],
    ),
}


@pytest.mark.parametrize(
    ("the_pod", "runs", "winner", "losers"), CASES.values(), ids=CASES
)
def test_a_pod_belongs_to_the_oldest_run_that_claims_it(
    the_pod: Raw, runs: list[Raw], winner: str | None, losers: list[str]
) -> None:
    """The winner is one run or none; the others learn that they lost."""
    found = claim(the_pod, runs)

    names = [each["metadata"]["name"] for each in found.losers]
    assert (found.run and found.run["metadata"]["name"], names) == (winner, losers)


@given(st.permutations([run(name, job="sft", age=ord(name) % 3) for name in "abcdef"]))
def test_the_order_of_the_list_changes_nothing(runs: list[Raw]) -> None:
    """The API server promises no order, and every reader must find the same run."""
    found = claim(pod(job="sft"), runs)

    order = [found.run, *found.losers]
    assert [each and each["metadata"]["name"] for each in order] == list("beadcf")


@given(
    runs=st.lists(
        st.builds(
            run,
            st.sampled_from("abc"),
            job=st.sampled_from(["", "sft", "other"]),
            age=st.integers(0, 3),
        ),
        max_size=6,
    ),
    job=st.sampled_from(["", "sft", "other"]),
    label=st.sampled_from(["", "a", "b"]),
)
def test_many_claims_are_looked_up_as_one_is_decided(
    runs: list[Raw], job: str, label: str
) -> None:
    """The short cut gives the answer of going through all runs."""
    a_pod = pod(job=job, run=label)
    for number, one in enumerate(runs):  # a name may be given anew, a UID never
        one["metadata"]["uid"] = f"uid-{number}"

    assert Claims(runs).of_pod(a_pod) == claim(a_pod, runs).run
