"""What silence costs, from the loop's first look at a pod to its last."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import auditing, sidecars, watching
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    GapCharged,
    HoldProven,
    HoldReleased,
    Settlement,
    TermsSet,
)
from flopguard_operator.ledger.errors import LedgerUnavailableError
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.marks import Mark
from flopguard_operator.observed import Pod
from flopguard_operator.sidecars import Heard
from standins import objects
from standins.objects import gpu_pod
from standins.world import World

H100 = 1_979_000 * 10**9  # FLOP/s of one, in its fastest format
BUDGET = 10**18
LABEL = "NVIDIA-H100-80GB-HBM3"


class Sidecars:
    """A stand-in for the pods' sidecars, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 10_000_000  # milliseconds
        self.says: dict[str, int] = {}  # pod UID → FLOPs; who is left out is silent
        self.pages = 1
        self.machine = Machine()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * 1000)

    async def read(self, pods: Iterable[Pod]) -> Mapping[str, Heard]:
        """Answer as `sidecars.read` does."""
        live = [p.uid for p in pods if not (p.ended or p.over or p.gone)]
        return {uid: self._heard(uid) for uid in live if uid in self.says}

    def _heard(self, uid: str) -> Heard:
        flops = self.says[uid]
        done = {"forward": flops}
        mark = Mark(uid, done, flops, pages=self.pages, source="sidecar")
        return Heard(mark, asked=self.now, machine=self.machine)


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> Sidecars:
    """Return sidecars that say what a test wants."""
    stand_in = Sidecars()
    monkeypatch.setattr(sidecars, "read", stand_in.read)
    monkeypatch.setattr(sidecars, "listen", stand_in.read)
    monkeypatch.setattr(auditing, "milliseconds", lambda: stand_in.now)
    return stand_in


@pytest.fixture
def world(tmp_path: Path, pods: Sidecars) -> World:
    """Return a run with a budget of 1e18 FLOPs and one node with H100s."""
    assert not pods.says
    made = World(tmp_path)
    made.revise(budget={"maxFlops": str(BUDGET), "warnAtPercent": [50]})
    made.cluster.nodes["node-1"] = objects.node("node-1", product=LABEL)
    return made


def started(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a pod whose trainer has started just now."""
    now = {"running": {"startedAt": datetime.now(UTC).isoformat()}}
    raw["status"]["containerStatuses"][0]["state"] = now
    return raw


def hear_once(world: World, pods: Sidecars) -> None:
    """Let the pod say 1,000 FLOPs, and the operator hear it."""
    pods.says["pod-1"] = 1000
    world.once(gpu_pod())


def gaps(world: World) -> list[GapCharged]:
    """Return the gaps that the ledger has, in order."""
    return world.recorded(GapCharged)


def test_a_stream_that_speaks_is_charged_nothing(world: World, pods: Sidecars) -> None:
    """Its mark covers whatever it did."""
    pods.says["pod-1"] = 1000
    for _ in range(5):
        world.once(gpu_pod())
        pods.wait(2.9)
    pods.says["pod-1"] = 2000
    world.once(gpu_pod())

    assert gaps(world) == []
    assert world.status()["flops"]["upper"] == "2000"


def test_three_silent_polls_are_charged_back_to_the_last_mark(
    world: World, pods: Sidecars
) -> None:
    """At the peak of the device, for all of the time and one poll on top."""
    hear_once(world, pods)
    pods.says.clear()
    pods.wait(3)
    world.once()

    (gap,) = gaps(world)
    assert (gap.change, gap.reason, gap.milliseconds) == ("Opened", "Silent", 4000)
    assert gap.flops == 4 * H100
    assert gap.devices == f"1 x {LABEL} (fp8)"
    assert world.status()["flops"]["upper"] == str(1000 + 4 * H100)


def test_the_total_that_is_judged_always_counts_to_now(
    world: World, pods: Sidecars
) -> None:
    """The line is crossed in the silence, and the ledger says by how much."""
    hear_once(world, pods)
    pods.says.clear()
    pods.wait(3)
    world.once()
    pods.wait(600)
    world.once()

    opened, grown = gaps(world)
    assert (opened.change, grown.change) == ("Opened", "Grown")
    assert grown.flops == 604 * H100
    assert {c.upper for c in world.recorded(Crossing)} == {1000 + 604 * H100}
    assert world.cache.jobs["ml", "train"].suspended


def test_a_stream_that_speaks_again_gives_the_charge_back(
    world: World, pods: Sidecars
) -> None:
    """Its mark is cumulative: it covers the silence."""
    hear_once(world, pods)
    pods.says.clear()
    pods.wait(30)
    world.once()
    pods.says["pod-1"] = 5000
    world.once()

    assert [(g.change, g.reason) for g in gaps(world)] == [
        ("Opened", "Silent"),
        ("Reduced", "Heard"),
    ]
    assert world.status()["flops"]["upper"] == "5000"


def test_a_final_record_closes_exactly(world: World, pods: Sidecars) -> None:
    """Nothing is charged between the last poll and the end."""
    hear_once(world, pods)
    pods.wait(60)
    words = objects.final_record(7000)
    world.once(gpu_pod(ended=True, words=words), gone=True)

    assert gaps(world) == []
    assert world.status()["flops"]["upper"] == "7000"


def test_an_end_without_a_final_record_is_closed_by_a_gap(
    world: World, pods: Sidecars
) -> None:
    """The sidecar was killed with the trainer; what it did last nobody knows."""
    hear_once(world, pods)
    pods.wait(2)
    world.once(gpu_pod(ended=True), gone=True)
    pods.wait(900)
    world.once()

    (gap,) = gaps(world)
    assert (gap.change, gap.reason, gap.milliseconds) == (
        "Closed",
        "EndedUnproven",
        3000,
    )
    assert world.status()["flops"]["upper"] == str(1000 + 3 * H100)


def test_a_pod_deleted_by_force_is_charged_until_its_node_is_ready(
    world: World, pods: Sidecars
) -> None:
    """That the object is gone says nothing about its containers."""
    hear_once(world, pods)
    world.cluster.nodes["node-1"] = objects.node("node-1", ready="Unknown")
    world.once(gpu_pod(), gone=True)
    pods.wait(300)
    world.once()
    assert gaps(world)[-1].change == "Opened"
    assert gaps(world)[-1].reason == "NodeLost"

    world.cluster.nodes["node-1"] = objects.node("node-1", product=LABEL)
    world.once()
    assert gaps(world)[-1].change == "Grown"
    pods.wait(watching.NODE_SECONDS + 30)
    world.once()

    assert gaps(world)[-1].change == "Closed"
    assert gaps(world)[-1].flops == 391 * H100


def test_a_node_that_is_gone_closes_its_streams(world: World, pods: Sidecars) -> None:
    """Its product is still known, though its label is gone with it."""
    hear_once(world, pods)
    pods.says.clear()
    pods.wait(50)
    world.cluster.nodes["node-1"] = None
    world.once()

    (gap,) = gaps(world)
    assert (gap.change, gap.flops) == ("Closed", 51 * H100)


def test_pages_that_were_removed_are_charged_from_the_read_before(
    world: World, pods: Sidecars
) -> None:
    """The sidecar goes on talking, but what it says proves nothing any more."""
    pods.says["pod-1"] = 5000
    world.once(gpu_pod())
    pods.wait(2)
    pods.says["pod-1"] = 4000
    world.once()
    pods.wait(10)
    pods.says["pod-1"] = 9000
    world.once()

    last = gaps(world)[-1]
    assert (last.reason, last.milliseconds) == ("Regressed", 13_000)
    assert world.condition("MeterRegressed")["status"] == "True"
    assert "train-pod-1" in world.condition("MeterRegressed")["message"]


def test_a_pod_that_nobody_injected_is_charged_from_its_start(
    world: World, pods: Sidecars
) -> None:
    """It is found by listing, since no watch tells of it."""
    raw = started(gpu_pod("pod-9"))
    del raw["metadata"]["labels"]["flopguard.dev/run"], raw["spec"]["initContainers"]
    world.cluster.unwatched.append(raw)
    world.once()
    assert gaps(world) == []
    pods.wait(120)
    world.once()

    (gap,) = gaps(world)
    assert (gap.change, gap.reason, gap.pod) == ("Opened", "NotMetered", "train-pod-9")
    assert gap.flops >= 121 * H100
    assert "train-pod-9" in world.condition("MeteringIncomplete")["message"]


def test_a_stranger_with_accelerators_is_charged_to_the_oldest_run(
    world: World, pods: Sidecars
) -> None:
    """Taking labels away gains nothing in a governed namespace."""
    raw = started(gpu_pod("pod-9"))
    raw["metadata"]["labels"] = {}
    world.cluster.unwatched.append(raw)
    world.once()
    pods.wait(120)
    world.once()

    assert [gap.pod for gap in gaps(world)] == ["train-pod-9"]


def test_a_namespace_may_be_left_out(world: World, pods: Sidecars) -> None:
    """By a label that an administrator sets."""
    raw = started(gpu_pod("pod-9"))
    raw["metadata"]["labels"] = {}
    world.cluster.unwatched.append(raw)
    world.cluster.ungoverned.add("ml")
    world.once()
    pods.wait(500)
    world.once()

    assert gaps(world) == []


def test_a_sidecar_without_a_page_proves_nothing(world: World, pods: Sidecars) -> None:
    """A hook that was disabled gains nothing; once it counts, its mark does."""
    pods.pages = 0
    pods.says["pod-1"] = 0
    world.once(gpu_pod())
    pods.wait(130)
    world.once()
    assert gaps(world)[-1].reason == "NotMetered"

    pods.pages, pods.says["pod-1"] = 1, 77
    world.once()

    assert gaps(world)[-1].change == "Reduced"
    assert world.status()["flops"]["upper"] == "77"


def test_a_device_without_a_peak_is_said(world: World, pods: Sidecars) -> None:
    """Never a default: the run shows which one it is."""
    world.cluster.nodes["node-1"] = objects.node("node-1", product="NVIDIA-X1")
    pods.says["pod-1"] = 5
    world.once(gpu_pod())

    condition = world.condition("MeteringIncomplete")
    assert condition["reason"] == "DeviceUnknown"
    assert "NVIDIA-X1" in condition["message"]


def test_a_pod_without_accelerators_is_not_charged(
    world: World, pods: Sidecars
) -> None:
    """Unless the run asks for it."""
    pods.says["pod-1"] = 5
    world.once(objects.pod())
    pods.says.clear()
    pods.wait(900)
    world.once()

    assert gaps(world) == []


def test_a_restart_charges_from_the_last_entry(world: World, pods: Sidecars) -> None:
    """The clock of the operator before is lost; the ledger's last word counts."""
    hear_once(world, pods)
    pods.says.clear()
    pods.wait(60)
    world.once()
    (before,) = gaps(world)
    world.start()
    world.once()

    assert gaps(world)[-1].flops >= before.flops
    pods.says["pod-1"] = 4000
    world.once()
    assert gaps(world)[-1].change == "Reduced"
    assert world.status()["flops"]["upper"] == "4000"


def test_a_pod_that_vanished_while_nobody_looked_is_charged(
    world: World, pods: Sidecars
) -> None:
    """The operator was down; the ledger knows its devices and its node."""
    hear_once(world, pods)
    world.start()
    world.cache.pods.clear()
    world.once()
    pods.wait(100)
    world.once()

    last = gaps(world)[-1]
    assert (last.change, last.pod) == ("Closed", "train-pod-1")
    assert last.flops >= 100 * H100


def test_no_hold_is_proven_while_containers_may_run(
    world: World, pods: Sidecars
) -> None:
    """A pod deleted by force on a lost node is no proof."""
    pods.says["pod-1"] = BUDGET
    world.once(gpu_pod())
    world.cluster.nodes["node-1"] = objects.node("node-1", ready="Unknown")
    world.once(gpu_pod(), gone=True)
    pods.wait(300)
    world.once()
    assert world.recorded(HoldProven) == []

    world.cluster.nodes["node-1"] = None
    world.once()
    world.once()

    (proven,) = world.recorded(HoldProven)
    assert proven.overshoot == 301 * H100


def test_a_fall_while_a_gap_is_open_is_known_after_a_restart(
    world: World, pods: Sidecars
) -> None:
    """It was kept for the next settlement: then a higher mark closed the matter."""
    pods.says["pod-1"] = 5000
    world.once(gpu_pod())
    pods.says.clear()
    pods.wait(50)
    world.once()
    settings = replace(world.cycle.settings, settle_seconds=3600)
    world.cycle.planner.settings = settings
    assert gaps(world)[-1].reason == "Silent"
    pods.says["pod-1"] = 4000
    world.once()

    assert gaps(world)[-1].reason == "Regressed"
    world.start()
    pods.says["pod-1"] = 9000
    world.once()
    assert gaps(world)[-1].reason == "Regressed"
    assert gaps(world)[-1].flops > 0


def test_what_was_said_before_a_fall_counts_though_its_cycle_failed(
    world: World, pods: Sidecars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The charge starts at that read, so that its mark has to be in the ledger."""

    async def fails(*_: object) -> None:
        message = "the disk is full"
        raise LedgerUnavailableError(message)

    pods.says["pod-1"] = 5000
    world.once(gpu_pod())
    pods.says["pod-1"] = 9000
    with monkeypatch.context() as patched:
        patched.setattr(world.books, "commit", fails)
        world.once()
    assert world.recorded(Settlement)[-1].begun == 5000
    pods.says["pod-1"] = 4000
    world.once()

    assert gaps(world)[-1].reason == "Regressed"
    assert world.recorded(Settlement)[-1].begun == 9000


def test_a_fall_is_seen_across_a_restart(world: World, pods: Sidecars) -> None:
    """What the ledger knows of a stream is compared with its first direct read."""
    pods.says["pod-1"] = 5000
    world.once(gpu_pod())
    world.start()
    pods.says["pod-1"] = 4000
    world.once()

    assert gaps(world)[-1].reason == "Regressed"
    world.start()
    pods.says["pod-1"] = 9000
    world.once()
    assert gaps(world)[-1].reason == "Regressed"


def test_coverage_is_shown(world: World, pods: Sidecars) -> None:
    """All of what is known of the pod is proven; then none of it."""
    hear_once(world, pods)
    pods.wait(1)
    pods.says["pod-1"] = 2000
    world.once()
    assert world.status()["coverage"] == "100.00"

    pods.says.clear()
    pods.wait(3600)
    world.once()
    assert world.status()["coverage"] == "0.00"
    (sample,) = world.cycle.publisher.collector.samples
    assert sample.coverage[0] == 0


def test_a_release_after_late_evidence_says_so(world: World, pods: Sidecars) -> None:
    """Nobody changed the terms: the charge was taken back."""
    hear_once(world, pods)
    pods.says.clear()
    pods.wait(3600)
    world.once()
    assert world.cache.jobs["ml", "train"].suspended

    pods.says["pod-1"] = 5000
    world.once()

    (released,) = world.recorded(HoldReleased)
    assert released.reason.startswith("GapReduced")
    assert not world.cache.jobs["ml", "train"].suspended


def test_an_attempt_says_its_devices(world: World, pods: Sidecars) -> None:
    """So that a restart knows what a silence costs."""
    hear_once(world, pods)

    (attempt,) = world.recorded(AttemptOpened)
    assert (attempt.devices, attempt.node) == (f"1 x {LABEL}", "node-1")


def test_a_namesake_is_a_new_run_with_a_link(world: World, pods: Sidecars) -> None:
    """Its account begins at zero; the program's goes on."""
    hear_once(world, pods)
    world.cache.see_run("DELETED", world.cache.runs["run-1"])
    world.cache.see_run("ADDED", objects.run(uid="run-2"))
    pods.says.clear()
    world.once()
    world.once()

    linked = [t.previous for t in world.recorded(TermsSet)]
    assert linked == ["", "run-1"]
    assert world.status_of("run-2")["flops"]["upper"] == "0"


def test_processors_are_charged_where_the_run_asks_for_it(
    world: World, pods: Sidecars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cores x clock x FLOPs per cycle, from the facts of its processes."""
    cpu = Machine(2, "avx2", 3000)
    monkeypatch.setattr(auditing, "_machines", lambda *_: {"pod-1": cpu})
    world.revise(metering={"chargeCpuPods": True})
    pods.says["pod-1"] = 1000
    world.once(objects.pod())
    pods.says.clear()
    pods.wait(3)
    world.once()

    (gap,) = gaps(world)
    assert gap.flops == 4 * 2 * 3_000_000_000 * 128


def test_processors_of_a_pod_in_which_nothing_counts_are_told_by_its_sidecar(
    world: World, pods: Sidecars
) -> None:
    """A hook that cannot write its page tells no facts."""
    pods.says["pod-1"], pods.pages = 0, 0
    pods.machine = Machine(2, "avx2", 3000)
    world.revise(metering={"chargeCpuPods": True})
    world.once(started(objects.pod()))
    pods.wait(200)
    world.once()

    (gap,) = gaps(world)
    assert (gap.reason, gap.peak) == ("NotMetered", 2 * 3_000_000_000 * 128)
    assert gap.flops >= 200 * gap.peak


def test_processors_of_a_pod_that_ended_at_once_are_those_of_its_sibling(
    world: World, pods: Sidecars
) -> None:
    """It was retried on the same node and ended before anybody could ask it."""
    pods.says["pod-1"] = 1000
    pods.machine = Machine(2, "avx2", 3000)
    world.revise(metering={"chargeCpuPods": True})
    first = started(objects.pod())
    first["spec"]["nodeName"] = "node-1"
    world.once(first)
    second = objects.pod("pod-2", ended=True, words=objects.final_record(0))
    second["spec"]["nodeName"] = "node-1"
    empty = json.loads(objects.final_record(0))
    words = objects.sealed({**empty, "pages": "0000"})
    second["status"]["initContainerStatuses"][0]["state"]["terminated"]["message"] = (
        words
    )
    second["status"]["phase"] = "Succeeded"
    pods.wait(2)
    world.once(second)

    (gap,) = [gap for gap in gaps(world) if gap.stream == "pod-2"]
    assert (gap.change, gap.peak) == ("Closed", 2 * 3_000_000_000 * 128)
    assert world.books.accounts["run-1"].closed == {"pod-2"}
