"""What happens to pods and nodes of `simulation`, as kubelet and controllers do it.

Every chance is drawn from the seed; what strikes is counted in `Api.struck`.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from flopguard_operator import sidecars
from flopguard_operator.observed import Pod as Seen
from flopguard_operator.sidecars import Heard
from standins import fleet
from standins.apiserver import BROKEN, Api
from standins.clock import Clock
from standins.fleet import Pod
from standins.scrapes import Prometheus

NODES = 3
PARALLEL = 2
MOST_PODS = 12
RELEASE = "the budget of a held run is raised"
GRACE = 30.0  # seconds that a kubelet gives containers


class Fleet:
    """The pods of one Job on a few nodes, and everything that befalls them."""

    def __init__(self, rng: random.Random, clock: Clock, api: Api) -> None:
        self.rng, self.clock, self.api = rng, clock, api
        self.prometheus = Prometheus(clock, rng)
        self.pods: list[Pod] = []  # all that ever were
        self.cut: set[str] = set()  # nodes that nobody reaches
        self.known: Callable[[], set[str]] = set  # streams whose devices are recorded
        self.budget = 2 * 10**17  # FLOPs: a minute of two pods
        self.open = True  # the Job's controller starts pods
        for index in range(NODES):
            self.api.nodes[f"node-{index}"] = "True"

    def alive(self) -> list[Pod]:
        """Return the pods whose containers run."""
        return [p for p in self.pods if p.ended is None and p.started is not None]

    def reachable(self, pod: Pod) -> bool:
        """Say whether the pod's sidecar answers."""
        return pod.alive and pod.speaks and pod.injected and pod.node not in self.cut

    async def read(self, seen: Iterable[Seen]) -> dict[str, Heard]:
        """Answer as the sidecars of these pods do: `sidecars.read`."""
        asked = [
            p.uid for p in seen if p.injected and not (p.ended or p.over or p.gone)
        ]
        now = self.clock.now
        await asyncio.sleep(self.rng.random())
        found: dict[str, Heard] = {}
        for pod in [p for p in self.pods if p.uid in asked and self.reachable(p)]:
            old = fleet.age(now)
            told = sidecars.parse_whole(pod.marks(now - old), pod.uid)
            assert told is not None
            found[pod.uid] = replace(told, asked=now, age=old)
        return found

    # Kubelet and controllers.

    def tick(self) -> None:
        """Let the Job's controller look, and Prometheus scrape."""
        job = self.api.job
        running = [p for p in self.pods if p.ended is None and p.deleting is None]
        if job["spec"]["suspend"] or not self.open:
            for pod in running:
                self.delete(pod)
        elif not self.api.is_held() and len(self.pods) < MOST_PODS:
            for _ in range(PARALLEL - len(running)):
                self.create()
        self.api.note_active()
        for pod in self.pods:
            if self.reachable(pod) and self.rng.random() < 0.15:
                self.prometheus.scrape(pod)

    def create(self) -> None:
        """Create a pod, which starts soon."""
        nodes = [
            n for n, r in self.api.nodes.items() if r == "True" and n not in self.cut
        ]
        if not nodes:
            return
        uid = f"pod-{len(self.pods)}"
        pod = Pod(uid, self.rng.choice(nodes), self.clock.now)
        missed = self.api.strikes("nobody injects a pod")
        pod.injected = self.api.has_run and not missed
        self.pods.append(pod)
        self.api.changed(pod, "ADDED")
        self.later(4.0, lambda: self._start(pod))

    def _start(self, pod: Pod) -> None:
        if pod.deleting is None and pod.ended is None and pod.node not in self.cut:
            if self.api.strikes("a hook is switched off"):
                pod.hooked = False
            fleet.start(pod, self.clock.now, self.rng)
            self.api.changed(pod)

    def later(self, most: float, do: Callable[[], None]) -> None:
        """Do something after a time, drawn up to `most` seconds."""
        asyncio.get_running_loop().call_later(self.rng.random() * most, do)

    def delete(self, pod: Pod) -> None:
        """Delete a pod as the API server does: its kubelet ends it within the grace."""
        pod.deleting = self.clock.now
        self.later(GRACE, lambda: self._reap(pod))

    def _reap(self, pod: Pod) -> None:
        if pod.node in self.cut or pod.ended is not None:
            return
        pod.end(self.clock.now, spoke=None, final=True, words=pod.speaks)
        if pod.uid in self.api.pods:
            self.api.changed(pod)
            self.later(2.0, lambda: self._gone(pod))

    def _gone(self, pod: Pod) -> None:
        if pod.uid in self.api.pods:
            self.api.changed(pod, "DELETED")

    # Faults.

    def strike(self) -> None:
        """Let what this seed has drawn happen now and then."""
        for name, do in FAULTS.items():
            if self.api.strikes(name):
                do(self)

    def _pick(self) -> Pod | None:
        some = [p for p in self.alive() if p.node not in self.cut and not p.deleting]
        return self.rng.choice(some) if some else None

    def kill_process(self) -> None:
        """Kill the processes of a pod, and start new ones."""
        pod = self._pick()
        if pod is not None:
            pod.computing.kill(self.clock.now)
            fleet.start(pod, self.clock.now, self.rng)

    def end_pod(self) -> None:
        """End a pod that its Job retries, with its final record."""
        self._end("final")

    def end_untold(self) -> None:
        """End a pod whose sidecar leaves an old record, or none."""
        self._end(self.rng.choice(("early", "stale", "none")))

    def _end(self, way: str) -> None:
        pod, now = self._pick(), self.clock.now
        if pod is None:
            return
        early = max(pod.started or 0, now - self.rng.randint(1, 9_000))
        spoke = early if way in ("early", "stale") else None
        words = way != "none" and pod.speaks
        pod.end(now, spoke=spoke, final=way != "stale", words=words)
        self.api.changed(pod)
        if self.rng.random() < 0.5:
            self.later(20.0, lambda: self._gone(pod))

    def force_delete(self) -> None:
        """Delete the object at once; the kubelet follows within its grace."""
        pod = self._pick()
        if pod is not None:
            pod.deleting = self.clock.now
            self.api.changed(pod, "DELETED")
            self.later(GRACE, lambda: self._kill(pod))

    def _kill(self, pod: Pod) -> None:
        if pod.node not in self.cut and pod.ended is None:
            pod.computing.kill(self.clock.now)
            pod.ended, pod.speaks = self.clock.now, False

    def cut_node(self) -> None:
        """Cut a node off; the API server notices within a minute."""
        name = self.rng.choice(list(self.api.nodes))
        if name not in self.cut and self.api.nodes[name] is not None:
            self.cut.add(name)
            self.later(50.0, lambda: self._not_ready(name))
            asyncio.get_running_loop().call_later(
                self.rng.uniform(5, 150), self.connect, name
            )

    def _not_ready(self, name: str) -> None:
        if name in self.cut and self.api.nodes[name] is not None:
            self.api.nodes[name] = "Unknown"

    def connect(self, name: str) -> None:
        """Connect a node again: its kubelet ends what was deleted meanwhile."""
        if name not in self.cut or self.api.nodes[name] is None:
            return
        self.cut.discard(name)
        self.api.nodes[name] = "True"
        for pod in self.alive():
            if pod.node == name and pod.deleting is not None:
                end = self._reap if pod.uid in self.api.pods else self._kill
                self.later(GRACE, lambda pod=pod, end=end: end(pod))  # type: ignore[misc] # of a loop
        for pod in self.pods:
            if pod.node == name and pod.started is None and pod.deleting is None:
                self._start(pod)

    def delete_node(self) -> None:
        """Delete a node that is switched off; its pods go with it."""
        name = self.rng.choice(list(self.api.nodes))
        here = {p.uid for p in self.pods if p.node == name and p.started is not None}
        left = [n for n, ready in self.api.nodes.items() if ready is not None]
        if name not in left or len(left) == 1 or here - self.known():
            return
        self.api.nodes[name] = None
        self.cut.add(name)
        for pod in [p for p in self.pods if p.node == name and p.ended is None]:
            pod.computing.kill(self.clock.now)
            pod.ended, pod.speaks, pod.deleting = self.clock.now, False, self.clock.now
            if pod.uid in self.api.pods:
                pod_dead = pod.ended
                pod.ended = None  # nobody tells: the object says that it runs
                self.api.changed(pod, "DELETED")
                pod.ended = pod_dead

    def silence(self) -> None:
        """Let a sidecar fall silent for a while."""
        pod = self._pick()
        if pod is not None and pod.speaks:
            pod.speaks = False
            delay = self.rng.uniform(5, 200)
            asyncio.get_running_loop().call_later(delay, self._speak, pod)

    def _speak(self, pod: Pod) -> None:
        pod.speaks = pod.ended is None

    def change_budget(self) -> None:
        """Give the run more, or less."""
        factor = self.rng.choice((2, 5, 20))
        self.budget = self.budget * factor if self.rng.random() < 0.7 else 10**17
        self.api.revise(budget=budget(self.budget))

    def raise_budget(self) -> None:
        """Let people find out, raise the budget of the held run, and so release it."""
        if self.api.is_held():
            self.budget = self.budget * 3
            self.api.revise(budget=budget(self.budget))

    def delete_run(self) -> None:
        """Remove the run while its pods train on; perhaps it is made anew later."""
        if self.api.has_run:
            self.api.delete_run()
            if self.rng.random() < 0.7:
                self.later(90.0, self._create_run)

    def _create_run(self) -> None:
        self.api.create_run(fleet.when(self.clock.now), budget(self.budget))

    def prometheus_down(self) -> None:
        """Let Prometheus be away for a while."""
        self.prometheus.down = True
        self.later(120.0, self._prometheus_up)

    def _prometheus_up(self) -> None:
        self.prometheus.down = False

    def forge(self) -> None:
        """Let another pod expose series of this one."""
        self.prometheus.forged = True

    def pair(self) -> None:
        """Let a second replica answer, too."""
        self.prometheus.replicas = 2

    def wipe(self) -> None:
        """Wipe the data of Prometheus."""
        self.prometheus.wipe()

    def break_watch(self) -> None:
        """Break the watches off; the list after it shows no deletion."""
        if not self.api.broken:
            self.api.broken = True
            self.later(60.0, self.mend_watch)

    def mend_watch(self) -> None:
        """List again."""
        if self.api.broken:
            self.api.broken = False
            if self.api.cache is not None:
                self.api.list_all()

    def end_all(self) -> None:
        """End everything in order, with all parts reachable."""
        self.open, self.api.calm = False, True
        self._prometheus_up()
        self.prometheus.forged = False
        self.mend_watch()
        for name in list(self.cut):
            self.connect(name)


def budget(flops: int) -> dict[str, Any]:
    """Return a budget as a spec has it."""
    return {"maxFlops": str(flops), "warnAtPercent": [50, 80]}


FAULTS: dict[str, Callable[[Fleet], None]] = {
    "processes are killed, and start anew": Fleet.kill_process,
    "a pod fails and is retried": Fleet.end_pod,
    "a sidecar dies before its pod, and leaves no final record": Fleet.end_untold,
    "a pod is deleted by force": Fleet.force_delete,
    "a node is cut off and comes back": Fleet.cut_node,
    "a node is lost": Fleet.delete_node,
    "a sidecar falls silent for a while": Fleet.silence,
    "the budget changes": Fleet.change_budget,
    RELEASE: Fleet.raise_budget,
    "a run is deleted while its pods train on": Fleet.delete_run,
    "Prometheus is away": Fleet.prometheus_down,
    "Prometheus' data is wiped": Fleet.wipe,
    "Prometheus has a second replica that lags": Fleet.pair,
    "series are forged": Fleet.forge,
    BROKEN: Fleet.break_watch,
}
