"""Faults of a real cluster: API server, kubelet, containerd, Prometheus, flopguard.

Each fault has a namespace of its own with runs that count. Faults of one pod strike
every run of a crew at once, one trial each; faults of a part that all share strike
again and again while a small crew counts. At the end the trainers stop, and what the
ledger says of each run is compared with the truth that its trainer wrote elsewhere.
"""

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from cluster import controlplane, volumes
from cluster.addresses import Addresses
from cluster.kubectl import Kubectl
from cluster.progress import say
from cluster.state import ProcessId, State
from robustness.crew import SECONDS, Crew, exact
from robustness.rows import Row, merge
from stage import nodeside, prometheus, release
from stage.scene import Object, sidecar, trainer

SHARED_CREW = 3
WAVE = 5  # pods that start at once
BACK_SECONDS = 60.0
STRUCK_SECONDS = SECONDS
TOLD_TRIALS = 5  # between two lines of progress
_HOOK = "mutatingwebhookconfiguration/flopguard"
_SHORT = ("--lease-seconds=4", "--grace-seconds=20")


@dataclass
class Stage:
    """The cluster that the faults strike.

    Attributes:
        kubectl: For the whole cluster.
        state: Its processes and folders.
    """

    kubectl: Kubectl
    state: State

    @classmethod
    def of(cls, state: State) -> "Stage":
        """Install flopguard, with shortened times, and Prometheus on a cluster."""
        kubectl = Kubectl(state.kubeconfig)
        kubectl.apply(*prometheus.manifests())
        release.install(kubectl, prometheus.URL)
        inside = kubectl.within(release.NAMESPACE)
        path = "/spec/template/spec/containers/0/args/-"
        _patch(inside, release.OPERATOR, *((path, value) for value in _SHORT))
        # A pod that a busy webhook is too late for would not be metered at all.
        _patch(kubectl, _HOOK, ("/webhooks/0/timeoutSeconds", 30))
        ask = ("rollout", "status", release.OPERATOR, "--timeout=30s")
        inside.wait_for(
            lambda: inside.run(*ask), 3 * BACK_SECONDS, "an operator with short times"
        )
        return cls(kubectl, state)

    @property
    def addresses(self) -> Addresses:
        """Where the cluster's parts listen."""
        return Addresses(self.state.slot, with_node=True)

    def crew(self, size: int) -> Crew:
        """Return runs to be started, in a namespace of their own."""
        space = f"fault-{uuid.uuid4().hex[:8]}"
        self.kubectl.run("create", "namespace", space)
        crew = Crew(self.kubectl.within(space), [f"run-{n}" for n in range(size)])
        crew.prepare()
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


def _patch(kubectl: Kubectl, what: str, *changes: tuple[str, str | int]) -> None:
    """Add to an object, or replace what is there."""
    patch = [{"op": "add", "path": path, "value": value} for path, value in changes]
    kubectl.run("patch", what, "--type=json", "-p", json.dumps(patch))


Strike = Callable[[Stage, Crew, str], None]
"""Strikes one run of a crew, or what all share while that crew counts."""


Told = Callable[[Stage, Crew, str], bool]
"""Says of a struck run, whose streams are closed, whether what was wrong is said."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: In the report.
        strike: What is done, once for each trial.
        is_shared: Whether it strikes what all runs share, again and again.
        is_whole: Whether it takes all that runs: each run has the cluster to itself.
        ends: Whether the run ends by it, without a word of its own.
        changes: Of the runs' Jobs, as `Crew.start` takes them.
        until: What has come of it in all runs before they are let end.
        told: Where more has to be said than the bounds; not asked where it is shared.
        restore: Makes the cluster what it was before, after all trials.
    """

    name: str
    strike: Strike
    is_shared: bool = False
    is_whole: bool = False
    ends: bool = False
    changes: tuple[tuple[str, Any], ...] = ()
    until: Callable[[Crew], bool] | None = None
    told: Told | None = None
    restore: Callable[[Stage], None] = field(default=lambda _: None)


def run(stage: Stage, fault: Fault, trials: int) -> Row:
    """Strike so many times; return the row.

    Raises:
        AssertionError: Something that was to come did not come in time, or the ledger
            does not verify.
    """
    crew = stage.crew(SHARED_CREW if fault.is_shared else trials)
    try:
        if fault.is_shared:
            row = replace(_shared(stage, crew, fault, trials), trials=trials)
        elif fault.is_whole:
            (row,) = merge(_trials(stage, crew, fault))
        else:
            row = _together(stage, crew, fault)
        release.check(stage.kubectl)
        return row
    finally:
        stage.leave(crew)
        fault.restore(stage)


def _shared(stage: Stage, crew: Crew, fault: Fault, trials: int) -> Row:
    """Strike what is shared, and each time wait until all runs count again."""
    crew.start(crew.names, **dict(fault.changes))
    slowest, twice = 0.0, 0
    for done in range(trials):
        _tell(fault, done, trials)
        began = time.monotonic()
        fault.strike(stage, crew, "")
        # What was finished by now has to be measured before this fault is over.
        until = {name: crew.finished(name) for name in crew.names}
        crew.wait_for_figures(exact, until, "to be measured, without a gap")
        slowest = max(slowest, time.monotonic() - began)
        twice += crew.is_ahead()
    row = _ended(stage, crew, replace(fault, told=None), crew.names)
    twice = max(twice, row.counted_twice)
    return replace(row, recovery_seconds=round(slowest, 1), counted_twice=twice)


def _together(stage: Stage, crew: Crew, fault: Fault) -> Row:
    """Strike every run of a crew once, then end those that live."""
    for first in range(0, len(crew.names), WAVE):
        crew.start(crew.names[first : first + WAVE], **dict(fault.changes))
    for done, name in enumerate(crew.names):
        _tell(fault, done, len(crew.names))
        fault.strike(stage, crew, name)
    if fault.until is not None:
        reached, what = partial(fault.until, crew), f"what comes of: {fault.name}"
        crew.kubectl.wait_for(reached, STRUCK_SECONDS, what, poll_seconds=1.0)
    elif not fault.ends:
        time.sleep(2.0)  # so that they count on
    return _ended(stage, crew, fault, crew.names)


def _trials(stage: Stage, crew: Crew, fault: Fault) -> Iterator[Row]:
    """Start one run after the other, strike it, and end it."""
    for done, name in enumerate(crew.names):
        _tell(fault, done, len(crew.names))
        crew.start([name], **dict(fault.changes))
        fault.strike(stage, crew, name)
        yield _ended(stage, crew, fault, [name])


def _tell(fault: Fault, done: int, trials: int) -> None:
    if done % TOLD_TRIALS == 0:
        say(f"{fault.name}: {done} of {trials} trials")


def _ended(stage: Stage, crew: Crew, fault: Fault, names: list[str]) -> Row:
    """Let trainers end; judge their runs once the last stream is closed."""
    began = time.monotonic()
    crew.stop(names)
    accounts = crew.wait_until_closed(names)
    seconds = round(time.monotonic() - began, 1)
    rows = []
    for name in names:
        row = crew.verdict(name, accounts[name])
        silent = fault.told is not None and not fault.told(stage, crew, name)
        row = replace(row, fault=fault.name, recovery_seconds=seconds)
        rows.append(replace(row, undetected=max(row.undetected, int(silent))))
    (row,) = merge(rows)
    return row


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
    kill(stage.state.processes[name])
    time.sleep(2.0)
    start(stage.state, stage.addresses)
    controlplane.wait_for_api_server(stage.state, stage.addresses)


def _restarts(pod: Object) -> int:
    statuses = pod["status"].get("containerStatuses", [])
    return int(statuses[0]["restartCount"]) if statuses else 0


def kill(process: ProcessId) -> None:
    """SIGKILL a process, and wait until it is gone."""
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
