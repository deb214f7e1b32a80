"""Faults of a real cluster: API server, kubelet, containerd, Prometheus, flopguard.

Each fault has a namespace of its own with runs that count. Faults of one pod strike
every run of a crew at once, one trial each; faults of a part that all share strike
again and again while a small crew counts. At the end the trainers stop, and what the
ledger says of each run is compared with the truth that its trainer wrote elsewhere.
"""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster import controlplane, volumes
from cluster.addresses import Addresses
from cluster.kubectl import Kubectl
from cluster.state import ProcessId, State
from robustness.crew import Crew, is_final, measured
from robustness.rows import Row
from stage import nodeside, prometheus, release
from stage.scene import Object, sidecar, trainer

SHARED_CREW = 3
BACK_SECONDS = 60.0


@dataclass
class Stage:
    """The cluster that the faults strike.

    Attributes:
        kubectl: For the whole cluster.
        state: Its processes and folders.
    """

    kubectl: Kubectl
    state: State

    def crew(self, size: int, **changes: Any) -> Crew:
        """Return runs that count, in a namespace of their own."""
        space = f"fault-{uuid.uuid4().hex[:8]}"
        self.kubectl.run("create", "namespace", space)
        crew = Crew(self.kubectl.within(space), [f"run-{n}" for n in range(size)])
        crew.start(**changes)
        return crew

    def leave(self, crew: Crew) -> None:
        """Delete a crew's namespace; nothing waits for it."""
        self.kubectl.run(
            "delete", "namespace", str(crew.kubectl.namespace), "--wait=false"
        )
        volumes.delete_volumes(crew.kubectl)

    def operator(self) -> Object:
        """Return the operator's pod."""
        return self.kubectl.within(release.NAMESPACE).get_json(
            "pod", release.OPERATOR_POD
        )

    def prometheus(self) -> Object:
        """Return the pod of Prometheus."""
        inside = self.kubectl.within(prometheus.NAMESPACE)
        found: Object = inside.get_json("pods", "-l", prometheus.SELECTOR)["items"][-1]
        return found


Strike = Callable[[Stage, Crew, str], None]
"""Strikes one run of a crew, or what all share while that crew counts."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: In the report.
        strike: What is done, once for each trial.
        is_shared: Whether it strikes what all runs share, again and again.
        ends: Whether the run ends by it, without a word of its own.
        changes: Of the pods' spec.
    """

    name: str
    strike: Strike
    is_shared: bool = False
    ends: bool = False
    changes: tuple[tuple[str, Any], ...] = ()


def run(stage: Stage, fault: Fault, trials: int) -> Row:
    """Strike so many times; return the row.

    Raises:
        AssertionError: Something that was to come did not come in time.
    """
    crew = stage.crew(SHARED_CREW if fault.is_shared else trials, **dict(fault.changes))
    try:
        seconds = (_shared if fault.is_shared else _single)(stage, crew, fault, trials)
        row = crew.judge(fault.name, crew.names, seconds)
        return row if not fault.is_shared else _with_trials(row, trials)
    finally:
        stage.leave(crew)


def _with_trials(row: Row, trials: int) -> Row:
    return Row(**{**row.as_json(), "trials": trials})


def _shared(stage: Stage, crew: Crew, fault: Fault, trials: int) -> float:
    """Strike what is shared, and each time wait until all runs count again."""
    slowest = 0.0
    for _ in range(trials):
        began = time.monotonic()
        fault.strike(stage, crew, "")
        # What was finished by now has to be measured before this fault is over.
        until = {name: crew.finished(name) for name in crew.names}
        _wait_until_measured(crew, until)
        slowest = max(slowest, time.monotonic() - began)
    _end(crew)
    return slowest


def _wait_until_measured(crew: Crew, until: dict[str, int]) -> None:
    for name, flops in until.items():
        what = f"{flops} FLOPs of {name} to be measured"
        crew.wait_for(partial(_has_measured, flops), what, [name])


def _has_measured(flops: int, status: Object) -> bool:
    return measured(status) >= flops


def _single(stage: Stage, crew: Crew, fault: Fault, _trials: int) -> float:
    """Strike every run of a crew once, then end those that live."""
    for name in crew.names:
        fault.strike(stage, crew, name)
    if not fault.ends:
        time.sleep(2.0)  # so that they count on
    return _end(crew)


def _end(crew: Crew) -> float:
    """Let all trainers end; return the seconds until the last run was closed."""
    crew.stop()
    took = crew.wait_for(is_final, "every stream to be closed")
    return max(took.values())


# Faults of one pod


def kill_sidecar(_stage: Stage, crew: Crew, name: str) -> None:
    """SIGKILL the sidecar."""
    nodeside.kill(sidecar(crew.pods()[name]))


def kill_trainer(_stage: Stage, crew: Crew, name: str) -> None:
    """SIGKILL the trainer; the kubelet starts it anew in the same pod."""
    nodeside.kill(trainer(crew.pods()[name]))


def delete_pod(_stage: Stage, crew: Crew, name: str) -> None:
    """Delete the pod; the Job makes another."""
    pod = crew.pods()[name]["metadata"]["name"]
    crew.kubectl.run("delete", "pod", str(pod), "--wait=false")


def force_delete(_stage: Stage, crew: Crew, name: str) -> None:
    """Delete the pod without grace: nobody hears its last words."""
    pod = crew.pods()[name]["metadata"]["name"]
    crew.kubectl.run("delete", "pod", str(pod), "--force", "--grace-period=0")


# Faults of what all share


def kill_operator(stage: Stage, _crew: Crew, _name: str) -> None:
    """SIGKILL the operator."""
    before = _restarts(stage.operator())
    nodeside.kill(stage.operator()["status"]["containerStatuses"][0])
    stage.kubectl.wait_for(
        lambda: _restarts(stage.operator()) > before, BACK_SECONDS, "its restart"
    )


def restart_operator(stage: Stage, _crew: Crew, _name: str) -> None:
    """Delete the operator's pod."""
    inside = stage.kubectl.within(release.NAMESPACE)
    inside.run("delete", "pod", release.OPERATOR_POD)


def kill_prometheus(stage: Stage, _crew: Crew, _name: str) -> None:
    """SIGKILL Prometheus."""
    nodeside.kill(stage.prometheus()["status"]["containerStatuses"][0])


def wipe_prometheus(stage: Stage, _crew: Crew, _name: str) -> None:
    """Delete the pod of Prometheus, and all that it has stored."""
    pod = str(stage.prometheus()["metadata"]["name"])
    stage.kubectl.within(prometheus.NAMESPACE).run("delete", "pod", pod)


def kill_api_server(stage: Stage, _crew: Crew, _name: str) -> None:
    """SIGKILL the API server, and start it again after two seconds."""
    _kill_and_start(stage, "kube-apiserver", controlplane.start_api_server)


def kill_etcd(stage: Stage, _crew: Crew, _name: str) -> None:
    """SIGKILL etcd, and start it again on its data after two seconds."""
    _kill_and_start(stage, "etcd", controlplane.start_etcd)


def _kill_and_start(
    stage: Stage, name: str, start: Callable[[State, Addresses], None]
) -> None:
    _kill(stage.state.processes[name])
    time.sleep(2.0)
    addresses = Addresses(stage.state.slot, with_node=True)
    start(stage.state, addresses)
    controlplane.wait_for_api_server(stage.state, addresses)


def _restarts(pod: Object) -> int:
    statuses = pod["status"].get("containerStatuses", [])
    return int(statuses[0]["restartCount"]) if statuses else 0


def _kill(process: ProcessId) -> None:
    os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + BACK_SECONDS
    while process.alive and time.monotonic() < end:
        time.sleep(0.05)


FAULTS = (
    Fault("SIGKILL of the sidecar", kill_sidecar),
    Fault("SIGKILL of the trainer", kill_trainer),
    Fault("pod deleted", delete_pod),
    Fault("pod deleted by force", force_delete, ends=True),
    Fault("SIGKILL of the operator", kill_operator, is_shared=True),
    Fault("operator's pod deleted", restart_operator, is_shared=True),
    Fault("SIGKILL of Prometheus", kill_prometheus, is_shared=True),
    Fault("data of Prometheus wiped", wipe_prometheus, is_shared=True),
    Fault("SIGKILL of the API server", kill_api_server, is_shared=True),
    Fault("SIGKILL of etcd", kill_etcd, is_shared=True),
)


def faults(stage: Stage, trials: int) -> Iterator[Row]:
    """Strike with every fault; yield a row for each."""
    for fault in FAULTS:
        yield run(stage, fault, trials)
