"""Any one part may fail: what is counted stays counted, and a hold happens once."""

import pytest

from cluster.kubectl import Kubectl
from cluster.state import State
from flopguard_operator.ledger.entries import Crossing, HoldSet, Settlement
from stage import nodeside, prometheus, release, training
from stage.scene import Object, Scene, sidecar, trainer, uid
from truth.closed_formula import mlp_step_flops

pytestmark = pytest.mark.node

STEP = sum(mlp_step_flops(8, [64, 128, 10]).values())
STEPS = 60
AMPLE = 10**12
ENDLESS = 100_000  # steps
MARKS_PORT = 9464


@pytest.fixture(scope="module")
def started(crowd: Scene) -> Scene:
    """The crowd and two more, all of whose Jobs start together."""
    # Far apart: a busy machine scrapes late, and both are crossed at once then.
    budget = {"maxFlops": str(120 * STEP), "warnAtPercent": [20]}
    unreached = training.run("unreached", "unreached", 0, budget=budget)
    crowd.kubectl.apply(unreached, crowd.job("unreached", ENDLESS))
    crowd.start("meterless", STEPS, AMPLE)
    return crowd


@pytest.fixture(scope="module")
def unreached(started: Scene, product: Kubectl) -> Object:
    """The pod of a run whose /marks the operator cannot reach, from its very start."""
    inside = product.within(release.NAMESPACE)
    operator = inside.get_json("pod", release.OPERATOR_POD)["status"]["podIP"]

    def addressed() -> Object | None:
        pods = started.pods("unreached")
        return next((pod for pod in pods if pod["status"].get("podIP")), None)

    pod: Object = started.wait(addressed, "an address of the pod", "unreached")
    nodeside.cut_off(pod, operator, MARKS_PORT)
    return pod


@pytest.fixture(scope="module")
def meterless(started: Scene, unreached: Object) -> Object:
    """A pod whose sidecar was killed, and the totals seen until the next one ran."""
    assert unreached  # cut off first: that has to be early
    pod = started.wait_for_pod("meterless")
    seen = [started.wait_for_flops("meterless")]
    nodeside.kill(sidecar(pod))

    def restarted() -> bool:
        seen.append(started.flops("meterless")[0])
        meter = sidecar(started.pods("meterless")[0])
        return meter["restartCount"] == 1 and "running" in meter["state"]

    started.wait(restarted, "the sidecar's restart", "meterless")
    seen.append(started.wait_for_flops("meterless", more_than=max(seen)))
    return {"pod": pod, "seen": seen}


@pytest.mark.usefixtures("meterless")
def test_prometheus_alone_is_enough_to_warn_and_hold(
    started: Scene, unreached: Object, product: Kubectl
) -> None:
    """The sidecar cannot be asked directly, but Prometheus scrapes it."""
    url = f"http://{unreached['status']['podIP']}:{MARKS_PORT}/marks"
    code = f"import urllib.request as r; r.urlopen({url!r}, timeout=3)"
    inside = product.within(release.NAMESPACE)
    ask = ("exec", release.OPERATOR_POD, "--", "python3", "-c", code)
    assert "Connection refused" in Scene(inside).refusal(*ask)

    started.wait_for_state("unreached", "Held")

    told = release.events(product, started.run("unreached"))
    lines = [event.reason for event in told if isinstance(event, Crossing)]
    assert lines[0] == "BudgetWarning"
    assert "BudgetExceeded" in lines
    assert set(_sources(product, started, "unreached")) == {"prometheus"}


def test_a_killed_sidecar_costs_neither_a_step_nor_a_flop(
    started: Scene, meterless: Object
) -> None:
    """The pages are in the volume: the next sidecar reads them; training goes on."""
    (pod,) = started.pods("meterless")
    (attempt,) = started.wait_for_state("meterless", "Completed")["attempts"]

    assert uid(pod) == uid(meterless["pod"])
    assert sidecar(pod)["restartCount"] == 1
    assert trainer(pod)["restartCount"] == 0
    assert meterless["seen"] == sorted(meterless["seen"])
    assert int(attempt["measured"]) == int(attempt["upper"]) == STEPS * STEP
    assert attempt["final"] is True


def test_a_killed_operator_loses_nothing_and_holds_once(
    started: Scene, product: Kubectl, state: State
) -> None:
    """One run was held before, one is to be held while nobody is there to do it."""
    log = nodeside.keep_log(state, started.wait_for_pod("running"))
    started.wait_for_state("spent", "Held")
    spent, job = started.status("spent"), started.quiet_workload("spent")
    before = started.wait_for_flops("running")
    inside = product.within(release.NAMESPACE)
    pod = inside.get_json("pod", release.OPERATOR_POD)

    nodeside.kill(pod["status"]["containerStatuses"][0])
    started.set_budget("running", STEP)

    status = started.wait_for_state("running", "Held")
    again = inside.get_json("pod", release.OPERATOR_POD)["status"]
    steps = nodeside.steps_logged(log)
    measured, upper = started.flops("running")
    assert again["containerStatuses"][0]["restartCount"] > 0
    assert before <= measured
    assert steps * STEP <= measured <= upper <= (steps + 1) * STEP
    assert int(status["overshoot"]) == upper - STEP
    assert [_holds(product, started, name) for name in ("spent", "running")] == [1, 1]
    assert started.workload("spent")["metadata"] == job["metadata"]
    assert started.status("spent")["holds"] == spent["holds"]


def test_without_prometheus_the_sidecars_are_read(
    started: Scene, product: Kubectl
) -> None:
    """The run says so, goes on being counted and is held; later all is as before."""
    name, kind = "unscraped", "PrometheusAvailable"
    monitoring = product.within(prometheus.NAMESPACE)
    release.scale(monitoring, prometheus.WORKLOAD, 0, prometheus.SELECTOR)
    try:
        started.wait(
            lambda: started.condition(name, kind)["status"] == "False",
            f"{kind}=False",
            name,
        )
        before = started.flops(name)[0]
        started.set_budget(name, started.wait_for_flops(name, before + 2 * STEP))
        started.wait_for_state(name, "Held")
        condition = started.condition(name, kind)
    finally:
        release.scale(monitoring, prometheus.WORKLOAD, 1, prometheus.SELECTOR)

    assert (condition["status"], condition["reason"]) == ("False", "NotAnswering")
    assert "read from the sidecars directly" in condition["message"]
    assert _sources(product, started, name)[-1] == "sidecar"
    started.wait(
        lambda: started.condition(name, kind)["status"] == "True",
        f"{kind}=True once it is back",
        name,
    )


def _sources(product: Kubectl, scene: Scene, name: str) -> list[str]:
    """Return where each settlement of a live stream came from."""
    told = release.events(product, scene.run(name))
    return [e.source for e in told if isinstance(e, Settlement) and not e.final]


def _holds(product: Kubectl, scene: Scene, name: str) -> int:
    told = release.events(product, scene.run(name))
    return sum(isinstance(event, HoldSet) for event in told)
