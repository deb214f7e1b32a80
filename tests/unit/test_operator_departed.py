"""What a deleted FineTuneRun leaves behind: pods that train on, and holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import auditing, naming, programs, sidecars
from flopguard_operator.cluster import ClusterError
from flopguard_operator.ledger.accounts import totals
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    GapCharged,
    HoldReleased,
    Settlement,
)
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.policy.verdict import HOLD
from standins import objects
from standins.clock import Clock
from standins.fleet import PEAK, PRODUCT, Pod
from standins.world import World

SECOND = 1000 * PEAK


class Scene:
    """Two pods of a run with a program, on one node and one clock."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.clock = clock
        self.pods = {uid: self.pod(uid) for uid in ("pod-1", "pod-2")}
        self.world = World(folder)
        self.world.cluster.nodes["node-1"] = objects.node("node-1", product=PRODUCT)
        self.world.cache.see_program("ADDED", objects.program())
        budget = {"maxFlops": str(10**25), "warnAtPercent": [50]}
        self.world.revise(budget=budget, program="support-bot")

    def pod(self, uid: str) -> Pod:
        """Return a pod that begins to compute now."""
        pod = Pod(uid, "node-1", self.clock.now)
        pod.started = self.clock.now
        pod.computing.start(self.clock.now, PEAK, 1000)
        return pod

    async def read(self, pods: object) -> dict[str, sidecars.Heard]:
        """Answer as `sidecars.read` does."""
        assert pods is not None
        return {uid: self._heard(pod) for uid, pod in self.pods.items() if pod.speaks}

    def _heard(self, pod: Pod) -> sidecars.Heard:
        answer = sidecars.parse_mark(pod.marks(self.clock.now), pod.uid)
        assert answer is not None
        return sidecars.Heard(answer.mark, asked=self.clock.now)

    def look(self, after: int = 0, *uids: str) -> None:
        """Let seconds pass, watches tell of pods, and the operator look."""
        self.clock.now += after * 1000
        self.world.once(*(self.pods[uid].raw() for uid in uids))

    def delete_run(self) -> None:
        """Let the API server forget the run; the Job stays."""
        uids = list(self.world.cache.runs)
        self.world.cache.see_run("DELETED", self.world.cache.runs[uids[0]])

    def truth(self) -> int:
        """Return what both pods have executed."""
        return sum(p.computing.executed(self.clock.now) for p in self.pods.values())

    def end(self, uid: str, *, words: bool = True) -> None:
        """End a pod, and let its object stay."""
        self.pods[uid].end(self.clock.now, spoke=None, final=True, words=words)
        self.clock.now += 1000

    def upper(self, run: str = "run-1") -> int:
        """Return the upper bound of a run, as the ledger has it."""
        return totals(self.world.books.accounts[run]).upper

    def gaps(self) -> list[GapCharged]:
        """Return the gaps that the ledger has, in order."""
        found: list[GapCharged] = self.world.recorded(GapCharged)
        return found


@pytest.fixture
def clock() -> Clock:
    """Return a clock that a test moves."""
    return Clock(1_000_000)


@pytest.fixture
def scene(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """Return a run with two pods that were heard once, and then its deletion."""
    with clock.installed():
        made = Scene(tmp_path, clock)
        monkeypatch.setattr(sidecars, "read", made.read)
        monkeypatch.setattr(sidecars, "listen", made.read)
        monkeypatch.setattr(auditing, "milliseconds", lambda: clock.now)
        made.look(1, "pod-1", "pod-2")
        made.delete_run()
        yield made


def test_what_its_pods_train_on_is_in_the_total(scene: Scene) -> None:
    """And in that of its program, though nobody is shown the run."""
    scene.look(60)

    assert scene.upper() >= scene.truth() == 2 * 61 * SECOND
    (member,) = programs.members({}, scene.world.books.accounts)["support-bot"]
    assert totals(member).upper == scene.upper()


def test_final_records_end_it_exactly(scene: Scene) -> None:
    """Then the run is not followed any more."""
    scene.look(60)
    scene.end("pod-1")
    scene.end("pod-2")
    scene.look(0, "pod-1", "pod-2")
    scene.look(30)

    assert scene.upper() - scene.truth() <= 2 * SECOND  # of the steps that were begun
    assert sorted(s.stream for s in scene.world.recorded(Settlement) if s.final) == [
        "pod-1",
        "pod-2",
    ]
    assert scene.world.cycle.departures.followed == set()
    size = scene.world.books.head
    scene.look(3600)
    assert scene.world.books.head == size


def test_its_silence_is_charged_until_its_pods_are_proven_dead(scene: Scene) -> None:
    """A node that is cut off proves nothing; one that is gone does."""
    scene.pods["pod-1"].speaks = scene.pods["pod-2"].speaks = False
    scene.world.cluster.nodes["node-1"] = objects.node("node-1", ready="Unknown")
    scene.look(300)
    assert scene.upper() >= scene.truth()
    assert scene.gaps()[-1].reason == "NodeLost"

    scene.world.cluster.nodes["node-1"] = None
    for pod in scene.pods.values():
        scene.world.once(pod.raw(), gone=True)

    assert [gap.change for gap in scene.gaps()[-2:]] == ["Closed", "Closed"]
    assert scene.upper() >= scene.truth()
    scene.look(1)
    assert scene.world.cycle.departures.followed == set()


def test_it_is_followed_after_a_restart(scene: Scene) -> None:
    """The ledger alone knows of the run; nothing that it may have done is lost."""
    scene.pods["pod-1"].speaks = False
    scene.world.start()
    scene.look(200)
    assert scene.upper() >= scene.truth()

    scene.end("pod-1", words=False)
    scene.end("pod-2")
    scene.look(0, "pod-1", "pod-2")

    assert scene.upper() >= scene.truth()
    assert scene.gaps()[-1].change == "Closed"
    scene.look(1)
    assert scene.world.cycle.departures.followed == set()


def test_pods_that_vanished_while_nobody_looked_are_charged(scene: Scene) -> None:
    """They are gone from the API server as the run is, and their node is ready."""
    scene.world.start()
    scene.world.cache.pods.clear()
    scene.pods["pod-1"].speaks = scene.pods["pod-2"].speaks = False
    scene.look(0)
    for _ in range(10):
        scene.look(15)

    assert {gap.stream for gap in scene.gaps() if gap.change == "Closed"} == {
        "pod-1",
        "pod-2",
    }
    assert scene.upper() >= 2 * 90 * SECOND
    assert scene.world.cycle.departures.followed == set()


def test_a_namesake_counts_its_own_pods_only(scene: Scene) -> None:
    """A new run of the same program, with a link to the one before; across a restart.

    Each pod is in one account, and the program's total is the sum.
    """
    scene.world.cache.see_run(
        "ADDED", objects.run(uid="run-2", program="support-bot", budget=None)
    )
    scene.look(30)
    scene.world.start()
    scene.pods["pod-3"] = scene.pod("pod-3")
    scene.look(30, "pod-3")

    accounts = scene.world.books.accounts
    opened = [(a.run.uid, a.stream) for a in scene.world.recorded(AttemptOpened)]
    assert sorted(opened) == [
        ("run-1", "pod-1"),
        ("run-1", "pod-2"),
        ("run-2", "pod-3"),
    ]
    assert accounts["run-2"].terms_set is not None
    assert accounts["run-2"].terms_set.previous == "run-1"
    total = sum(totals(each).measured for each in accounts.values())
    assert total == scene.truth()
    told = programs.members({}, accounts)["support-bot"]
    assert sum(totals(each).upper for each in told) >= scene.truth()


def test_a_pod_that_was_never_heard_is_charged_to_it(scene: Scene) -> None:
    """It was injected for the run, and starts just before the run goes."""
    scene.pods["pod-3"] = scene.pod("pod-3")
    scene.pods["pod-3"].speaks = False
    scene.look(0, "pod-3")
    scene.look(130)

    (gap,) = [gap for gap in scene.gaps() if gap.stream == "pod-3"]
    assert (gap.run.uid, gap.reason) == ("run-1", "NotMetered")
    assert gap.flops >= 130 * SECOND


def test_a_stranger_is_not_charged_to_it(scene: Scene) -> None:
    """A pod that came after the run is nobody's, whatever it asks for."""
    raw = scene.pod("pod-9").raw()
    raw["metadata"]["labels"] = {}
    scene.world.cluster.unwatched.append(raw)
    scene.look(0)
    scene.look(500)

    assert {gap.stream for gap in scene.gaps()} <= {"pod-1", "pod-2"}


def test_a_pod_without_a_label_is_still_its_own(scene: Scene) -> None:
    """Taking the label away makes the watch say that the pod is deleted."""
    raw = scene.pods["pod-1"].raw()
    scene.world.once(raw, gone=True)
    del raw["metadata"]["labels"][naming.RUN_LABEL]
    scene.world.cluster.unwatched.append(raw)
    scene.pods["pod-1"].speaks = False
    for _ in range(20):
        scene.look(15)

    last = [gap for gap in scene.gaps() if gap.stream == "pod-1"][-1]
    assert last.change != "Closed"
    assert scene.upper() >= scene.truth()


def test_lines_are_crossed_and_nothing_is_held(scene: Scene) -> None:
    """The ledger says that the limit was passed; the API server has nothing to lock."""
    scene.pods["pod-1"].speaks = False
    scene.world.cluster.calls.clear()
    scene.look(10**7)

    crossed = scene.world.recorded(Crossing)
    assert HOLD in {line.action for line in crossed}
    assert scene.world.books.accounts["run-1"].hold is None
    assert not scene.world.cache.jobs["ml", "train"].suspended
    assert "suspend" not in scene.world.cluster.calls
    assert "status" not in scene.world.cluster.calls


def test_a_watch_that_is_late_makes_no_run_depart(scene: Scene) -> None:
    """The API server is asked before anything is done for a run that is not seen."""
    scene.world.cluster.existing = lambda: {"run-1"}  # type: ignore[method-assign] # a lagging cache
    size = scene.world.books.head
    scene.look(300)

    assert scene.world.books.head == size
    assert scene.world.cycle.departures.followed == {"run-1"}


def test_what_is_heard_while_nobody_knows_whose_it_is_proves_nothing(
    scene: Scene,
) -> None:
    """No entry takes it, so the silence that follows is charged from before it."""

    def refuse() -> set[str]:
        raise ClusterError(429, "the API server answers 429")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.world.cluster, "existing", refuse)
        scene.look(300)
    for pod in scene.pods.values():
        pod.speaks = False
    scene.look(1)
    scene.look(300)

    assert scene.gaps()[-1].change in {"Opened", "Grown"}
    assert scene.upper() >= scene.truth()


def test_pods_that_the_watch_has_yet_to_tell_of_are_waited_for(scene: Scene) -> None:
    """After a start their absence would prove them dead."""
    scene.world.cluster.present = {"pod-1", "pod-2"}
    scene.world.start()
    scene.world.cache.pods.clear()
    scene.look(300)
    assert scene.gaps() == []

    scene.look(0, "pod-1", "pod-2")
    scene.look(0)
    assert scene.upper() >= scene.truth()


def held_and_gone(world: World) -> None:
    """Hold a run, then take its finalizer away and delete it."""
    world.once(objects.pod(words=objects.final_record(1000), ended=True))
    assert world.cache.jobs["ml", "train"].suspended
    (raw,) = world.cache.runs.values()
    world.cache.see_run("DELETED", raw)


def test_a_hold_ends_with_a_run_that_was_removed_by_force(tmp_path: Path) -> None:
    """Nobody can keep it any more, so nobody may say that it is held."""
    world = World(tmp_path)
    held_and_gone(world)
    world.once()
    world.once()

    (released,) = world.recorded(HoldReleased)
    assert released.reason == "RunGone"
    assert world.cache.jobs[
        "ml", "train"
    ].suspended  # by its own field: nobody lifts it


def test_processors_are_charged_after_a_restart_too(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt says that the run had asked for it."""
    cpu = Machine(2, "avx2", 3000)
    monkeypatch.setattr(auditing, "_machines", lambda *_: {"pod-1": cpu})
    with clock.installed():
        made = Scene(tmp_path, clock)
        monkeypatch.setattr(sidecars, "read", made.read)
        monkeypatch.setattr(sidecars, "listen", made.read)
        monkeypatch.setattr(auditing, "milliseconds", lambda: clock.now)
        made.world.revise(metering={"chargeCpuPods": True})
        made.pods.pop("pod-2")
        raw: dict[str, Any] = made.pods["pod-1"].raw()
        del raw["spec"]["containers"][0]["resources"]
        made.world.once(raw)
        made.delete_run()
        made.pods["pod-1"].speaks = False
        made.world.start()
        made.look(200)

    (gap,) = made.gaps()
    assert gap.flops >= 200 * 2 * 3_000_000_000 * 128
