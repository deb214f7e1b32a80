"""Faults of a real node and of its kubelet, and of two operators at once.

The one node of the cluster also carries the operator and Prometheus, which a lost node
would not. So what is lost or cut off is the node as the API server sees it, its
kubelet and the pods of the runs; operator and Prometheus go on as if elsewhere.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster import node
from cluster.kubectl import Kubectl
from cluster.processes import run as command
from cluster.progress import say
from cluster.state import ProcessId
from robustness.clusterfaults import BACK_SECONDS, Fault, Stage, kill
from robustness.crew import Crew, measured, upper
from stage import nodeside, release
from stage.scene import Object, sidecar, trainer

NODE = "node1"
UNSEEN_SECONDS = 3.0  # in which runs count and nobody hears of it
STILL_SECONDS = 3.0  # an open gap grows in every cycle
TAKEN_SECONDS = 20.0  # for a successor to open the ledger and to count
LEASE = "flopguard-operator"
SECOND = "second-operator"


# The kubelet


@contextlib.contextmanager
def _without_kubelet(stage: Stage) -> Iterator[None]:
    """SIGKILL the kubelet for as long as the block runs, then start it again."""
    outer = stage.state.processes["kubelet"]
    kill(_child(outer))
    _wait_gone([outer.pid], "the kubelet's end")
    try:
        yield
    finally:
        node.start_kubelet(stage.state, stage.addresses)
        node.wait_until_ready(stage.state)


def _child(process: ProcessId) -> ProcessId:
    """Return the kubelet itself: what was started has entered the node first."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = ProcessId.of(int(path.read_text(encoding="utf-8")))
    assert found is not None, "the kubelet does not run"
    return found


def _wait_gone(pids: list[int], what: str) -> None:
    end = time.monotonic() + BACK_SECONDS
    while any(ProcessId.of(pid) for pid in pids):
        assert time.monotonic() < end, f"not within {BACK_SECONDS:.0f} s: {what}"
        time.sleep(0.05)


def end_without_kubelet(stage: Stage, crew: Crew, name: str) -> None:
    """Let the trainer end while the kubelet is dead."""
    pod = crew.pods()[name]
    with _without_kubelet(stage):
        crew.stop([name])
        _wait_gone(nodeside.container_pids(trainer(pod)), "the trainer's end")
    _wait_until_over(crew, name)


def kill_without_kubelet(stage: Stage, crew: Crew, name: str) -> None:
    """SIGKILL trainer and sidecar while the kubelet is dead."""
    pod = crew.pods()[name]
    with _without_kubelet(stage):
        for status in (sidecar(pod), trainer(pod)):
            nodeside.kill(status)
        crew.stop([name])  # what the kubelet starts anew has nothing to do
    _wait_until_over(crew, name)


def _wait_until_over(crew: Crew, name: str) -> None:
    def over() -> bool:
        return str(crew.pods()[name]["status"]["phase"]) in {"Succeeded", "Failed"}

    crew.kubectl.wait_for(over, BACK_SECONDS, f"the end of the pod of {name}")


# The node


@contextlib.contextmanager
def _cut_off(stage: Stage, pods: list[Object]) -> Iterator[None]:
    """Drop all packets between these pods and others, and between node and API server.

    As a lost link does it: no connection ends, nothing is answered.
    """
    ours = stage.addresses
    port = str(ours.ports["apiserver"])
    rules = [["OUTPUT", "-d", ours.host, "-p", "tcp", "--dport", port]]
    for pod in pods:
        address = str(pod["status"]["podIP"])
        rules += [["FORWARD", "-d", address], ["FORWARD", "-s", address]]
    for rule in rules:
        _iptables(stage, "-I", *rule)
    try:
        yield
    finally:
        for rule in rules:
            _iptables(stage, "-D", *rule)


def _iptables(stage: Stage, *rule: str) -> None:
    command(node.inside(stage.state, ["iptables", "-w", *rule, "-j", "DROP"]))


def partition(stage: Stage, crew: Crew, _name: str) -> None:
    """Cut the node off until the runs are charged for what nobody hears of."""
    with _cut_off(stage, list(crew.pods().values())):
        time.sleep(UNSEEN_SECONDS)
        _wait_until_charged(crew, crew.names)


def lose_node(stage: Stage, crew: Crew, name: str) -> None:
    """Cut the node off; then it is gone, with all that its pods would have said."""
    pod = crew.pods()[name]
    with _without_kubelet(stage), _cut_off(stage, [pod]):
        time.sleep(UNSEEN_SECONDS)
        for pid in nodeside.pod_pids(pod):
            with contextlib.suppress(ProcessLookupError):  # ended with another one
                os.kill(pid, signal.SIGKILL)
        stage.kubectl.run("delete", "node", NODE, "--wait=false")
        force = ("--force", "--grace-period=0", "--wait=false")
        crew.kubectl.run("delete", "pod", str(pod["metadata"]["name"]), *force)
        _wait_until_charged(crew, [name])
        _wait_until_still(crew, name)


def _wait_until_charged(crew: Crew, names: list[str]) -> None:
    """Wait until the upper bounds cover what has begun by now and was not measured."""
    begun = {name: crew.begun(name) for name in names}
    crew.wait_for_figures(upper, begun, "to be charged")
    heard = [name for name in names if measured(crew.statuses()[name]) >= begun[name]]
    assert not heard, f"somebody heard {heard} though they were cut off"


def _wait_until_still(crew: Crew, name: str) -> None:
    """Wait until a run's charge grows no more: the operator knows that it is dead.

    Nobody can ask the operator itself: that takes a kubelet.
    """
    since, before = time.monotonic(), 0

    def still() -> bool:
        nonlocal since, before
        now = upper(crew.statuses()[name])
        if now != before:
            since, before = time.monotonic(), now
        return time.monotonic() - since >= STILL_SECONDS

    crew.kubectl.wait_for(still, BACK_SECONDS, f"the stream of {name} to be closed")


# Two operators


def pause_leader(stage: Stage, crew: Crew, _name: str) -> None:
    """SIGSTOP the leader until another one has taken over and counts; then SIGCONT."""
    inside = stage.kubectl.within(release.NAMESPACE)
    _ensure_second(inside)
    before = _leader(inside)
    status = inside.get_json("pod", before)["status"]
    pids = nodeside.container_pids(status["containerStatuses"][0])
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        inside.wait_for(lambda: _leader(inside) != before, BACK_SECONDS, "a successor")
        _wait_for_successor(crew)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    _wait_gone(pids, f"{before}, which leads no more, to stop")
    inside.wait_for(
        lambda: _runs(inside, before), BACK_SECONDS, f"{before} to stand by"
    )


def _wait_for_successor(crew: Crew) -> None:
    """Wait until another operator has counted, if it can.

    It cannot where the leader stopped within a transaction: the file is locked then.
    """
    until = {name: crew.finished(name) for name in crew.names}
    end = time.monotonic() + TAKEN_SECONDS
    while time.monotonic() < end:
        statuses = crew.statuses()
        if all(measured(statuses[name]) >= flops for name, flops in until.items()):
            return
        time.sleep(0.5)
    say("the paused leader keeps the ledger locked")


def _leader(inside: Kubectl) -> str:
    """Return the name of the pod that holds the Lease, "" for none."""
    holder = inside.get_json("lease", LEASE)["spec"].get("holderIdentity", "")
    return str(holder).partition("/")[0]


def _runs(inside: Kubectl, name: str) -> bool:
    statuses = inside.get_json("pod", name)["status"].get("containerStatuses", [])
    return any(status["ready"] for status in statuses)


def _ensure_second(inside: Kubectl) -> None:
    """Start a second operator by hand on the same volume, if there is none yet."""
    if inside.exists("pod", SECOND):
        return
    inside.apply(_second(inside.get_json(release.OPERATOR)))
    inside.wait_for(
        lambda: _runs(inside, SECOND), BACK_SECONDS, f"{SECOND} to stand by"
    )


def _second(own: Object) -> dict[str, Any]:
    """Return a pod as the StatefulSet makes them, with the volume of its first one."""
    template = own["spec"]["template"]["spec"]
    claim = f"ledger-{release.OPERATOR_POD}"
    volume = {"name": "ledger", "persistentVolumeClaim": {"claimName": claim}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": SECOND, "labels": {"robustness": "second"}},
        "spec": {**template, "volumes": [*template.get("volumes", []), volume]},
    }


def leave_one(stage: Stage) -> None:
    """Delete the second operator; return once the first one leads again."""
    inside = stage.kubectl.within(release.NAMESPACE)
    inside.run("delete", "pod", SECOND, "--ignore-not-found")
    first = release.OPERATOR_POD
    inside.wait_for(lambda: _leader(inside) == first, BACK_SECONDS, f"{first} to lead")


FAULTS = (
    Fault("kubelet dead while the trainer ends", end_without_kubelet),
    Fault("kubelet dead while the pod is killed", kill_without_kubelet, ends=True),
    Fault(
        "node lost",
        lose_node,
        is_whole=True,
        ends=True,
        changes=(("backoffLimit", 0),),
    ),
    Fault("node partitioned and back", partition, is_shared=True),
    Fault(
        "two operators, the leader paused",
        pause_leader,
        is_shared=True,
        restore=leave_one,
    ),
)
