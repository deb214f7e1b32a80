"""One run, several attempts: restarted, recreated, parallel, and begun too early."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.kubectl import Kubectl
from cluster.state import State
from flopguard_operator.ledger.entries import Settlement
from stage import nodeside, release, training
from stage.scene import Object, Scene, trainer, uid
from truth.closed_formula import mlp_step_flops

pytestmark = pytest.mark.node

STEP = sum(mlp_step_flops(8, [64, 128, 10]).values())
STEPS = 40
AMPLE = 10**12
MANY = 200  # steps
ENDLESS = 100_000  # steps
KIND = "MeteringIncomplete"


@dataclass(frozen=True)
class Interrupted:
    """A pod of a run, and what was known of it when it was interrupted."""

    pod: Object
    log: Path
    measured: int  # of the run, before


@pytest.fixture(scope="module")
def started(scene: Scene) -> Scene:
    """The Jobs of all tests of this module, applied at once."""
    scene.kubectl.apply(scene.job("early", ENDLESS))  # its run comes too late
    scene.start("killed", STEPS, AMPLE, restart_policy="OnFailure")
    scene.start("deleted", STEPS, AMPLE)
    scene.start("forced", STEPS, AMPLE)
    scene.start("departed", MANY, AMPLE)
    scene.start("pair", STEPS, AMPLE, parallelism=2, completions=2)
    return scene


@pytest.fixture(scope="module")
def interrupted(started: Scene, state: State) -> dict[str, Interrupted]:
    """Three trainings, each interrupted in its own way, by the name of the run."""
    found = {}
    for name in ("killed", "deleted", "forced"):
        pod = started.wait_for_pod(name)
        log = nodeside.keep_log(state, pod)
        found[name] = Interrupted(pod, log, started.wait_for_flops(name))
        _interrupt(started, name, pod)
    started.wait_for_pod("early")
    started.kubectl.apply(training.run("early", "early", AMPLE))
    return found


def _interrupt(scene: Scene, name: str, pod: Object) -> None:
    delete = ("delete", "pod", pod["metadata"]["name"], "--wait=false")
    if name == "killed":
        nodeside.kill(trainer(pod))
    elif name == "deleted":
        scene.kubectl.run(*delete)
    else:
        scene.kubectl.run(*delete, "--force", "--grace-period=0")


@pytest.fixture(scope="module")
def departed(started: Scene, interrupted: dict[str, Interrupted]) -> Object:
    """A run that was deleted while its pod trains on, as it was."""
    assert interrupted  # first: there is less time for those
    started.wait_for_flops("departed")
    run = started.run("departed")
    started.kubectl.run("delete", "ftr", "departed")
    return run


@pytest.fixture(scope="module")
def sentence(started: Scene, interrupted: dict[str, Interrupted]) -> str:
    """What the run that came too late said, before somebody did what it says."""
    assert interrupted  # all of them were started first

    def said() -> str:
        condition = started.condition("early", KIND)
        return str(condition["message"]) if condition.get("status") == "True" else ""

    message = str(started.wait(said, f"{KIND}=True", "early"))
    command = message.partition("(kubectl ")[2].partition(")")[0].split()
    started.kubectl.run(*command, "--wait=false")
    return message


def test_a_run_that_is_deleted_is_counted_to_the_end_of_its_pods(
    started: Scene, departed: Object, product: Kubectl
) -> None:
    """The Job trains on, and the ledger has the final record of its pod."""
    assert not started.kubectl.exists("ftr", "departed")

    def final() -> Settlement | None:
        told = release.events(product, departed)
        ends = [e for e in told if isinstance(e, Settlement) and e.final]
        return ends[0] if ends else None

    end = started.kubectl.wait_for(final, 120, "the final record in the ledger")

    assert sum(end.done.values()) == end.begun == MANY * STEP


def test_a_job_applied_before_its_run_says_that_it_is_not_metered(
    started: Scene, sentence: str
) -> None:
    """What it has used so far is unknown, so the sentence names that as well."""
    assert "Their FLOPs are not counted" in sentence
    assert f"kubectl -n {started.kubectl.namespace} delete pod" in sentence


def test_a_container_restarted_in_its_pod_adds_up(
    started: Scene, interrupted: dict[str, Interrupted], state: State
) -> None:
    """Each process wrote a page of its own into one folder: one stream, their sum."""
    before = interrupted["killed"]

    status = started.wait_for_state("killed", "Completed")

    after = nodeside.keep_log(state, before.pod, restart=1)
    steps = nodeside.steps_logged(before.log) + nodeside.steps_logged(after)
    (attempt,) = status["attempts"]
    assert nodeside.steps_logged(after) == STEPS
    assert attempt["podUid"] == uid(before.pod)
    assert steps * STEP <= int(attempt["measured"])
    assert int(attempt["measured"]) <= int(attempt["upper"]) <= (steps + 1) * STEP


def test_a_deleted_pod_and_its_successor_add_up(
    started: Scene, interrupted: dict[str, Interrupted]
) -> None:
    """The Job makes a new pod: a new attempt, which names the one that it repeats."""
    before = interrupted["deleted"]

    status = started.wait_for_state("deleted", "Completed")

    first, second = status["attempts"]
    steps = nodeside.steps_logged(before.log)
    assert (second["cause"], second["predecessor"]) == ("Retried", uid(before.pod))
    assert steps * STEP <= int(first["measured"])
    assert int(first["measured"]) <= int(first["upper"]) <= (steps + 1) * STEP
    assert int(second["measured"]) == int(second["upper"]) == STEPS * STEP
    assert int(status["flops"]["measured"]) == int(first["measured"]) + STEPS * STEP


def test_what_a_pod_deleted_by_force_had_counted_stays_counted(
    started: Scene, interrupted: dict[str, Interrupted]
) -> None:
    """The API forgets the pod at once, while its processes run on to the grace period.

    Nobody can tell what they still do: the stream stays open, its last mark counts.
    """
    before = interrupted["forced"]

    status = started.wait_for_state("forced", "Completed")

    first, second = status["attempts"]
    steps = nodeside.steps_logged(before.log)
    assert (second["cause"], second["predecessor"]) == ("Retried", uid(before.pod))
    assert before.measured <= int(first["measured"]) <= (steps + 1) * STEP
    assert first["final"] is False
    assert int(second["measured"]) == STEPS * STEP
    assert int(status["flops"]["measured"]) == int(first["measured"]) + STEPS * STEP


def test_two_parallel_pods_of_one_job_are_summed(started: Scene) -> None:
    """Neither repeats the other: both count, each with a stream of its own."""
    status = started.wait_for_state("pair", "Completed")

    assert [a["cause"] for a in status["attempts"]] == ["Started", "Parallel"]
    assert [int(a["measured"]) for a in status["attempts"]] == [STEPS * STEP] * 2
    assert int(status["flops"]["measured"]) == 2 * STEPS * STEP


def test_who_follows_that_sentence_gets_a_metered_pod(
    started: Scene, sentence: str
) -> None:
    """The command of the condition was run as it stands."""
    assert sentence

    started.wait(
        lambda: started.condition("early", KIND)["status"] == "False",
        f"{KIND}=False",
        "early",
    )
    assert started.wait_for_flops("early") > 0
