"""What `make robustness` has found in the operator, each by the shortest way to it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flopguard_operator import auditing, sidecars
from flopguard_operator.cluster import ClusterError
from flopguard_operator.ledger.entries import GapCharged
from standins import fleet, objects
from standins.clock import Clock
from standins.faults import FULL, NONE, FaultyStore
from standins.fleet import PEAK, PRODUCT, Pod
from standins.world import World

SECOND = 1000 * PEAK


class Scene:
    """One pod on a clock, its sidecar, and an operator whose disk may fail."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.clock, self.fault = clock, NONE
        self.pod = Pod("pod-1", "node-1", clock.now)
        self.pod.started = clock.now
        self.world = World(folder)
        self.world.cluster.nodes["node-1"] = objects.node("node-1", product=PRODUCT)
        self.world.revise(budget={"maxFlops": str(10**25)})
        self.world.books.open_store = self._open

    def _open(self) -> FaultyStore:
        return FaultyStore(self.world.path, self.world.key, fault=lambda: self.fault)

    async def read(self, pods: object) -> dict[str, sidecars.Heard]:
        """Answer as `sidecars.read` does."""
        assert pods is not None
        answer = sidecars.parse_mark(self.pod.marks(self.clock.now), "pod-1")
        assert answer is not None
        answer = sidecars.Heard(answer.mark, asked=self.clock.now)
        return {"pod-1": answer} if self.pod.speaks else {}

    def look(self, after: int) -> None:
        """Let seconds pass, and the operator look."""
        self.clock.now += after * 1000
        self.world.once(self.pod.raw())

    def gaps(self) -> list[GapCharged]:
        """Return the gaps that the ledger has, in order."""
        found: list[GapCharged] = self.world.recorded(GapCharged)
        return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Return a pod that has started and counts nothing yet."""
    clock = Clock(1_000_000)
    with clock.installed():
        made = Scene(tmp_path, clock)
        monkeypatch.setattr(sidecars, "read", made.read)
        monkeypatch.setattr(sidecars, "listen", made.read)
        monkeypatch.setattr(auditing, "milliseconds", lambda: clock.now)
        yield made


def test_a_hook_that_was_switched_off_keeps_its_charge(scene: Scene) -> None:
    """The final record of a pod in which nothing counted does not undo it."""
    scene.look(0)
    scene.look(130)
    assert scene.gaps()[-1].reason == "NotMetered"
    scene.pod.end(scene.clock.now, spoke=None, final=True, words=True)
    assert json.loads(scene.pod.words)["pages"] == "0000"
    scene.look(1)

    assert scene.gaps()[-1].change == "Closed"
    assert scene.gaps()[-1].flops >= 130 * SECOND


def test_a_short_pod_that_counted_nothing_is_charged(scene: Scene) -> None:
    """Else many short ones with the hook switched off would cost nothing."""
    scene.look(0)
    scene.pod.end(scene.clock.now + 1000, spoke=None, final=True, words=True)
    scene.look(2)

    (gap,) = scene.gaps()
    assert (gap.change, gap.reason) == ("Closed", "EndedUnproven")
    assert SECOND <= gap.flops <= 5 * SECOND


def test_a_mark_proves_nothing_until_it_is_durable(scene: Scene) -> None:
    """The commit failed, and the pod that had counted more fell silent."""
    scene.pod.computing.start(scene.clock.now, PEAK, 1000)
    scene.look(1)
    scene.fault = FULL
    scene.look(2)
    scene.fault, scene.pod.speaks = NONE, False
    scene.look(2)

    (gap,) = scene.gaps()
    assert (gap.reason, gap.milliseconds) == ("Silent", 5000)


def test_a_charged_device_is_known_when_its_node_is_gone(scene: Scene) -> None:
    """After a restart the ledger alone knows what it was."""
    scene.pod.speaks = False
    scene.look(0)
    scene.look(130)
    scene.world.start()
    scene.world.cluster.nodes["node-1"] = None
    scene.look(5)

    assert scene.gaps()[-1].change == "Closed"
    assert scene.gaps()[-1].flops >= 135 * SECOND
    assert fleet.PRODUCT in scene.gaps()[-1].devices


def test_a_node_that_could_not_be_read_is_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one lost answer, and what its devices were is never known."""
    scene.pod.computing.start(scene.clock.now, PEAK, 1000)

    def lost(_: str) -> None:
        raise ClusterError(0, "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(scene.world.cluster, "node", lost)
        scene.look(1)
    scene.look(1)
    scene.world.cluster.nodes["node-1"] = None
    scene.pod.speaks = False
    scene.look(50)

    assert scene.gaps()[-1].change == "Closed"


def test_a_pod_that_an_operator_saw_and_died_is_charged_by_the_next(
    scene: Scene,
) -> None:
    """It was in its grace time, and is gone: the ledger knows that it ran."""
    scene.pod.speaks = False
    scene.look(5)
    scene.world.start()
    scene.world.cache.pods.clear()
    scene.clock.now += 10_000
    scene.world.once()

    (gap,) = scene.gaps()
    assert (gap.change, gap.reason) == ("Opened", "NotMetered")
    assert gap.flops >= 15 * SECOND


def test_a_deleted_pod_of_which_nothing_was_heard_is_charged_at_once(
    scene: Scene,
) -> None:
    """An operator that dies within the grace time would leave no trace of it."""
    scene.pod.speaks = False
    scene.clock.now += 5000
    scene.world.once(scene.pod.raw(), gone=True)

    (gap,) = scene.gaps()
    assert (gap.change, gap.reason) == ("Opened", "NotMetered")
