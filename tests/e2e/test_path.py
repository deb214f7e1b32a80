"""The main path, on a real node: metered, warned, held, released, completed, proven."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.kubectl import Kubectl
from cluster.state import State
from stage import nodeside, release, training
from stage.scene import Object, Scene, sidecar
from truth.closed_formula import mlp_step_flops

pytestmark = pytest.mark.node

NAME = "sft"
BY_CATEGORY = mlp_step_flops(8, [64, 128, 10])
STEP = sum(BY_CATEGORY.values())
STEPS = 70
BUDGET = 15 * STEP


@dataclass(frozen=True)
class Held:
    """What was seen of a run up to the point where its hold was proven."""

    pod: Object  # while it trained
    warned: Object  # the Job, when its warning was there
    steps: int  # that the pod logged before it was killed
    pods_left: str
    job: Object
    run: Object
    refusal: str  # what somebody read who un-suspended the Job
    described_run: str
    described_job: str

    @property
    def status(self) -> Object:
        """Return the run's status."""
        status: Object = self.run["status"]
        return status


@pytest.fixture(scope="module")
def held(scene: Scene, state: State) -> Held:
    """A run and its Job, applied together and left alone until the hold is proven."""
    budget = {"maxFlops": str(BUDGET), "warnAtPercent": [20]}
    run = training.run(NAME, NAME, BUDGET, budget=budget)
    scene.kubectl.apply(run, scene.job(NAME, STEPS))
    pod = scene.wait_for_pod(NAME)
    log = nodeside.keep_log(state, pod)
    scene.wait_for_state(NAME, "Warning")
    warned = scene.wait(_annotated(scene, "Warned"), "the warning on the Job", NAME)
    scene.wait_for_state(NAME, "Held")
    return Held(
        pod=pod,
        warned=warned,
        steps=nodeside.steps_logged(log),
        pods_left=scene.pods_left(NAME),
        job=scene.wait(_annotated(scene, "Held"), "the hold on the Job", NAME),
        run=scene.run(NAME),
        refusal=scene.unsuspending(NAME),
        described_run=scene.kubectl.run("describe", "ftr", NAME),
        described_job=scene.kubectl.run("describe", "job", NAME),
    )


@pytest.fixture(scope="module")
def completed(scene: Scene, held: Held) -> Object:
    """The run's status after its budget was raised and its Job ran to the end."""
    assert held.status["state"] == "Held"
    scene.set_budget(NAME, 10**12)
    scene.wait_for_state(NAME, "Metering")
    return scene.wait_for_state(NAME, "Completed")


def _annotated(scene: Scene, state: str) -> Callable[[], Object | None]:
    def found() -> Object | None:
        job = scene.workload(NAME)
        notes = job["metadata"].get("annotations", {})
        return job if notes.get("flopguard.dev/state") == state else None

    return found


def test_the_pod_is_injected_at_admission(held: Held) -> None:
    """Run and Job were applied together, and the script knows nothing of flopguard."""
    labels = held.pod["metadata"]["labels"]

    assert labels["flopguard.dev/run"] == NAME
    assert "running" in sidecar(held.pod)["state"]


def test_a_warning_reaches_the_job_before_the_hold(held: Held) -> None:
    """The Job's owner reads where it stands on the Job itself."""
    notes = held.warned["metadata"]["annotations"]

    assert notes["flopguard.dev/reason"].startswith("BudgetWarning")
    assert held.warned["spec"].get("suspend") is not True


def test_the_job_is_suspended_and_its_pods_are_gone(held: Held) -> None:
    """A hold is proven by pods that are gone, not by the field that asked for it."""
    assert held.job["spec"]["suspend"] is True
    assert held.pods_left == ""
    assert held.status["holds"][0]["reason"] == "BudgetExceeded"


def test_a_killed_attempt_counts_every_step_that_it_logged(held: Held) -> None:
    """The pod was killed: the step under way may be counted in part, or as a whole."""
    measured, upper = (int(held.status["flops"][k]) for k in ("measured", "upper"))

    assert held.steps * STEP <= measured
    assert measured <= upper <= (held.steps + 1) * STEP


def test_the_overshoot_is_what_was_used_above_the_budget(held: Held) -> None:
    """It is judged by the most that can have been used, once nothing runs any more."""
    upper = int(held.status["flops"]["upper"])

    assert int(held.status["overshoot"]) == upper - BUDGET > 0


def test_unsuspending_is_refused_with_the_way_out(held: Held) -> None:
    """Who un-suspends the Job reads why not, and what to do instead."""
    for part in (
        f"FineTuneRun {NAME} holds this",
        "the budget is spent",
        "Raise spec.",
    ):
        assert part in held.refusal


@pytest.mark.parametrize("part", ["BudgetWarning", "BudgetExceeded", "HoldProven"])
def test_describe_tells_the_story(held: Held, part: str) -> None:
    """The Events of run and Job say what happened, in sentences."""
    assert part in held.described_run
    assert part in held.described_job


def test_a_raised_budget_resumes_the_job_and_the_total_goes_on(
    held: Held, completed: Object
) -> None:
    """Work that was lost with the killed attempt stays counted."""
    before = int(held.status["flops"]["measured"])
    first, second = completed["attempts"]

    assert (first["cause"], second["cause"]) == ("Started", "Resumed")
    assert int(first["measured"]) == before
    assert int(completed["flops"]["measured"]) == before + STEPS * STEP


def test_an_uninterrupted_attempt_equals_the_formula(
    held: Held, completed: Object
) -> None:
    """The pod ended with its sidecar, and the final record closed its stream."""
    second = completed["attempts"][1]
    done = {name: int(n) for name, n in completed["flops"]["byCategory"].items()}
    before = {n: int(v) for n, v in held.status["flops"]["byCategory"].items()}

    assert second["final"] is True
    assert int(second["measured"]) == int(second["upper"]) == STEPS * STEP
    assert {n: done[n] - before[n] for n in done} == {
        n: STEPS * flops for n, flops in BY_CATEGORY.items()
    }


def test_the_ledger_verifies_offline(
    product: Kubectl, completed: Object, tmp_path: Path
) -> None:
    """An auditor needs the exported file and nothing else."""
    file = tmp_path / "ledger.jsonl"
    file.write_text(release.ledger(product), encoding="utf-8")
    command = [sys.executable, "-m", "flopguard_operator.cli", "verify", "--json"]

    done = subprocess.run(
        [*command, str(file)], capture_output=True, text=True, check=False
    )

    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert report["size"] >= completed["ledger"]["size"]
