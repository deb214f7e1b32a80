"""Remember the processes of each pod as last heard, and whose turn it is to be asked.

Facts are read directly from the sidecars: Prometheus carries numbers only. A pod is
asked when it is new, until it answers for the first time: what it runs on says what its
silence costs. Then it is asked every few cycles, and in every cycle while its run nears
a limit: then the last saved weights matter.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator import energy, finalrecord, hardware
from flopguard_operator.hardware import Watched
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.observed import Pod
from flopguard_operator.processes import Process
from flopguard_operator.sidecars import Heard

EVERY_CYCLES = 4
EAGER_CYCLES = 8  # that a new pod has to answer in, one after the other
MOST_AT_ONCE = 64  # pods asked in one cycle; the others have their turn in the next


@dataclass
class Listener:
    """The processes of each stream, as last heard."""

    processes: dict[str, tuple[Process, ...]] = field(default_factory=dict)
    watched: dict[str, Watched] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)  # of their nodes
    energies: dict[str, tuple[energy.Told, ...]] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)  # by pod UID
    _tries: dict[str, int] = field(default_factory=dict)

    def due(
        self, pods: Iterable[Pod], urgent: Collection[str], every_seconds: float
    ) -> list[Pod]:
        """Return the pods to ask now, the longest unheard first, and note that.

        Args:
            pods: all pods; those that cannot speak are left out.
            urgent: UIDs of those to ask in every cycle.
            every_seconds: pause between two questions to the others.
        """
        now = time.monotonic()
        speaking = [pod for pod in pods if pod.injected and not (pod.ended or pod.gone)]
        waited = {pod.uid: now - self._asked.get(pod.uid, -1e9) for pod in speaking}
        eager = {*urgent, *(pod.uid for pod in speaking if self._is_new(pod.uid))}
        due = [p for p in speaking if p.uid in eager or waited[p.uid] >= every_seconds]
        due.sort(key=lambda pod: (pod.uid not in urgent, -waited[pod.uid]))
        for pod in due[:MOST_AT_ONCE]:
            self._asked[pod.uid] = now
            if pod.ip:  # without one it cannot be asked
                self._tries[pod.uid] = self._tries.get(pod.uid, 0) + 1
        return due[:MOST_AT_ONCE]

    def _is_new(self, uid: str) -> bool:
        """Say whether a pod has not answered yet, and may only just have started."""
        return uid not in self.machines and self._tries.get(uid, 0) < EAGER_CYCLES

    def take(self, heard: Mapping[str, Heard]) -> None:
        """Remember what the pods told."""
        for uid, told in heard.items():
            self.processes[uid] = told.processes
            self.machines[uid] = told.machine
            if told.energy is not None:
                known = self.energies.get(uid, ())[-energy.MOST_LIVES :]
                self.energies[uid] = energy.newest((*known, told.energy))
            if told.devices is not None:
                before = self.watched.get(uid)
                self.watched[uid] = hardware.follow(
                    before, uid, told.devices, told.by_format
                )

    def keep(self, streams: Collection[str]) -> None:
        """Forget all streams but these."""
        memories: tuple[dict[str, Any], ...] = (
            self.processes,
            self.watched,
            self.machines,
            self.energies,
            self._asked,
            self._tries,
        )
        for memory in memories:
            for uid in memory.keys() - set(streams):
                del memory[uid]

    def of(self, streams: Iterable[str]) -> tuple[Process, ...]:
        """Return the processes of these streams, as last heard."""
        return tuple(p for uid in streams for p in self.processes.get(uid, ()))

    def drawn(
        self, pods: Iterable[Pod], streams: Iterable[str]
    ) -> dict[str, tuple[energy.Told, ...]]:
        """Return what sidecars told of energy: as last heard, and in pods' statuses."""
        found = {uid: self.energies.get(uid, ()) for uid in streams}
        for pod in pods:
            last = finalrecord.energy(pod)
            if last is not None:
                found[pod.uid] = (*found.get(pod.uid, ()), last)
        return found

    def watched_of(self, streams: Iterable[str]) -> tuple[Watched, ...]:
        """Return the devices of these streams, as last heard."""
        return tuple(self.watched[uid] for uid in streams if uid in self.watched)
