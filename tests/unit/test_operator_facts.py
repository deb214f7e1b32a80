"""Facts on their way through the operator: asked, entered, shown, acted on."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import hardware, sidecars
from flopguard_operator.ledger.entries import FactChanged, FactsNoted, WeightsSaved
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.listening import EAGER_CYCLES, MOST_AT_ONCE, Listener
from flopguard_operator.observed import Pod, pod
from flopguard_operator.sidecars import Heard
from standins import objects
from standins.told import STEP_FLOPS, facts, marks_json, page
from standins.world import World

LIMIT = 25 * STEP_FLOPS + STEP_FLOPS // 2


class Told:
    """A stand-in for the sidecars: what each pod tells next."""

    def __init__(self) -> None:
        self.marks: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.devices: dict[str, hardware.Told] = {}

    async def listen(self, pods: Iterable[Pod]) -> Mapping[str, Heard]:
        """Answer as `sidecars.listen` does."""
        uids = [each.uid for each in pods]
        self.asked += uids
        answers = {
            uid: sidecars.parse_whole(self.marks[uid], uid)
            for uid in uids
            if uid in self.marks
        }
        return {
            uid: replace(heard, devices=self.devices.get(uid))
            for uid, heard in answers.items()
            if heard is not None
        }


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return what the pods tell; nothing until a test says so."""
    stand_in = Told()
    monkeypatch.setattr(sidecars, "listen", stand_in.listen)
    return stand_in


@pytest.fixture
def world(tmp_path: Path, told: Told) -> World:
    """Return an operator with one run, whose budget is 25 steps and a half."""
    assert not told.marks
    made = World(tmp_path)
    made.revise(budget={"maxFlops": str(LIMIT), "warnAtPercent": [50]})
    return made


def save(step: int) -> dict[str, Any]:
    """Return weights saved after so many steps."""
    flops = str(step * STEP_FLOPS)
    return {"path": f"/out/{step}.pt", "step": step, "flops": flops, "kind": "torch"}


def test_status_shows_hook_and_formula_side_by_side(world: World, told: Told) -> None:
    """With their ratio, and the condition says that they agree."""
    told.marks["pod-1"] = marks_json(page(1, 10))
    world.once(objects.pod())

    rows = {row["source"]: row for row in world.status()["estimates"]}
    assert rows["formula"]["flops"] == rows["hook"]["flops"] == str(10 * STEP_FLOPS)
    assert rows["formula"]["ratioToHook"] == "1.0000"
    assert world.condition("EstimatesDisagree")["status"] == "False"
    assert world.condition("CoverageIncomplete")["status"] == "False"


def test_status_shows_what_the_devices_say(world: World, told: Told) -> None:
    """Ten seconds of activity of an H100, beside ten steps in bf16."""
    raw = marks_json(page(1, 10, facts(10, gpus=["NVIDIA H100 80GB HBM3"])))
    told.marks["pod-1"] = raw | {"by_format": {"bf16": str(10 * STEP_FLOPS)}}
    told.devices["pod-1"] = hardware.Told("nvml", 1, 10_000)
    world.once(objects.pod())

    rows = {row["source"]: row for row in world.status()["estimates"]}
    assert rows["hardware"]["flops"] == str(989_500 * 10**9 * 10)


def test_what_the_sidecar_tells_is_counted_too(world: World, told: Told) -> None:
    """Its marks are newer and more exact than Prometheus'."""
    told.marks["pod-1"] = marks_json(page(1, 10))
    world.once(objects.pod())

    assert world.status()["flops"]["upper"] == str(10 * STEP_FLOPS)


def test_an_operator_that_is_missing_is_named(world: World, told: Told) -> None:
    """In the status, before anybody has asked."""
    unknown = [{"operator": "mamba::scan", "calls": 4}]
    found = facts(1, unknown_operators=unknown)
    told.marks["pod-1"] = marks_json(page(1, 1, found, errors=["unknown_operator"]))
    world.once(objects.pod())

    condition = world.condition("CoverageIncomplete")
    assert (condition["status"], condition["reason"]) == ("True", "UnknownOperators")
    assert "mamba::scan (4 calls)" in condition["message"]


def test_before_anything_is_heard_nothing_is_claimed(world: World) -> None:
    """Unknown is not False."""
    world.once(objects.pod())

    assert world.condition("EstimatesDisagree")["status"] == "Unknown"
    assert world.condition("CoverageIncomplete")["status"] == "Unknown"


def test_a_change_is_entered_and_everything_judged_anew(
    world: World, told: Told
) -> None:
    """The facts once, the change with its FLOPs, and a settlement with it."""
    world.cycle.settings = replace(world.cycle.settings, settle_seconds=10**6)
    told.marks["pod-1"] = marks_json(page(1, 10))
    world.once(objects.pod())
    event = {"fact": "accumulation", "before": 1, "after": 4, "step": 10}
    changed = facts(10, events=[event | {"flops": "100"}], accumulation=4)
    told.marks["pod-1"] = marks_json(page(1, 10, changed))
    world.once(objects.pod())
    world.once(objects.pod())

    (entry,) = world.recorded(FactChanged)
    assert (entry.fact, entry.before, entry.after) == ("accumulation", "1", "4")
    assert entry.flops == 100
    digests = [each.digest for each in world.recorded(FactsNoted)]
    assert len(digests) == len(set(digests)) == 2


def test_a_held_run_names_the_weights_to_go_back_to(world: World, told: Told) -> None:
    """The last below the budget: in the status, and in the hold's own message."""
    saved = facts(26, saves=[save(20), save(25), save(26)])
    told.marks["pod-1"] = marks_json(page(1, 26, saved))
    world.once(objects.pod())
    world.once(objects.pod())

    status = world.status()
    flops = str(25 * STEP_FLOPS)
    assert status["rollback"] == {"path": "/out/25.pt", "step": 25, "flops": flops}
    assert (
        "The last weights saved below it: /out/25.pt" in status["holds"][0]["message"]
    )
    assert "/out/25.pt (step 25" in world.condition("Held")["message"]
    budget, *policies = status["rollbacks"]
    assert budget == status["rollback"] | {"line": "budget", "limit": str(LIMIT)}
    told_of = [status["threshold"], *status["otherPolicies"]]
    assert [(one["line"], one["limit"], one["path"]) for one in policies] == [
        (one["policy"], one["limit"], "/out/26.pt") for one in told_of
    ]


def test_no_weights_are_named_line_by_line_before_a_line_is_near(
    world: World, told: Told
) -> None:
    """At 22 of 25.5 steps; at 23, of which none was saved below the budget, it is."""
    for steps, lines in ((22, []), (23, ["budget"])):
        told.marks["pod-1"] = marks_json(page(1, steps, facts(steps)))
        world.once(objects.pod())
        named = world.status().get("rollbacks", [])
        assert [one["line"] for one in named][:1] == lines
        assert not any("path" in one for one in named)


def test_a_programs_hold_names_weights_below_what_its_other_runs_left(
    world: World, told: Told
) -> None:
    """Of 60 steps others spent 40: the weights of step 25 are above the line."""
    spent = {"name": "spring", "method": "GpuHours", "digest": "0" * 64}
    spent |= dict.fromkeys(("low", "flops", "high"), str(40 * STEP_FLOPS))
    limit = {"maxFlops": str(60 * STEP_FLOPS)}
    world.cache.see_program("ADDED", objects.program(budget=limit))
    world.cache.see_decision("ADDED", objects.decision("Import", imported=spent))
    world.revise(program="support-bot", budget={"maxFlops": "1e20"})
    saved = facts(26, saves=[save(15), save(25)])
    told.marks["pod-1"] = marks_json(page(1, 26, saved))
    world.once(objects.pod())
    world.once(objects.pod())

    status = world.status()
    assert status["holds"][0]["reason"] == "ProgramBudgetExceeded"
    assert status["rollback"]["path"] == "/out/15.pt"
    named = {one["line"]: one for one in status["rollbacks"]}
    assert named["program budget"]["path"] == "/out/15.pt"
    assert named["budget"]["path"] == "/out/25.pt"


def test_the_weights_are_known_after_a_restart(world: World, told: Told) -> None:
    """They come from the ledger: the pod may be gone."""
    saved = facts(26, saves=[save(20), save(25)])
    told.marks["pod-1"] = marks_json(page(1, 26, saved))
    world.once(objects.pod())
    told.marks.clear()
    world.start()
    world.once()

    assert world.status()["rollback"]["path"] == "/out/25.pt"
    assert [e.step for e in world.recorded(WeightsSaved)] == [20, 25]


def test_the_ledger_with_facts_verifies(world: World, told: Told) -> None:
    """Facts, a change, weights, a hold: nothing contradicts."""
    event = {"fact": "precision", "before": "fp32", "after": "bf16", "step": 3}
    found = facts(26, saves=[save(20)], events=[event | {"flops": "7"}])
    told.marks["pod-1"] = marks_json(page(1, 26, found))
    world.once(objects.pod())
    told.marks["pod-1"] = marks_json(page(1, 27, found))
    world.once(objects.pod())
    world.once(objects.pod(ended=True, words=objects.final_record(30 * STEP_FLOPS)))
    store = SqliteStore(world.path, world.key)
    out = io.BytesIO()
    store.export(out)
    store.close()

    report = verify_lines(lines_of(io.BytesIO(out.getvalue())), check_signature)

    assert [check for check in report.checks if check.outcome != "ok"] == []
    assert len(world.recorded(FactsNoted)) == 2


def test_flops_per_step_are_those_of_all_workers(world: World, told: Told) -> None:
    """Two data-parallel pods of two processes each, and one that was started anew."""
    told.marks["pod-1"] = marks_json(page(1, 6), page(2, 6))
    told.marks["pod-2"] = marks_json(page(3, 6), page(4, 2))
    world.once(objects.pod(), objects.pod("pod-2"))

    assert world.status()["flops"]["perStep"] == str(4 * STEP_FLOPS)
    (sample,) = world.cycle.publisher.collector.samples
    assert sample.per_step == 4 * STEP_FLOPS
    families = world.cycle.publisher.collector.collect()
    (family,) = [f for f in families if f.name == "flopguard_run_flops_per_step"]
    assert [s.value for s in family.samples] == [float(4 * STEP_FLOPS)]


def test_a_sidecar_that_fails_costs_opinions_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting and holding go on."""

    async def listen(_: object) -> Mapping[str, Heard]:
        raise OSError

    monkeypatch.setattr(sidecars, "listen", listen)
    words = objects.final_record(30 * STEP_FLOPS)
    world.once(objects.pod(ended=True, words=words))

    assert world.status()["flops"]["upper"] == str(30 * STEP_FLOPS)


def test_pods_take_turns() -> None:
    """Bounded at once, the longest unheard first, the urgent ones always."""
    pods = [pod(objects.pod(f"pod-{n}")) for n in range(MOST_AT_ONCE + 9)]
    listener = Listener()

    first = listener.due(pods, {"pod-70"}, every_seconds=1000)
    listener.take({each.uid: answer(each.uid) for each in first})
    second = listener.due(pods, {"pod-70"}, every_seconds=1000)
    listener.take({each.uid: answer(each.uid) for each in second})
    third = listener.due(pods, {"pod-70"}, every_seconds=1000)

    assert len(first) == MOST_AT_ONCE
    assert len(second) == 9 + 1
    assert [each.uid for each in third] == ["pod-70"]
    assert {each.uid for each in [*first, *second]} == {each.uid for each in pods}


def test_a_new_pod_is_asked_until_it_answers() -> None:
    """What it runs on says what its silence costs; a mute one waits after some time."""
    early = replace(pod(objects.pod()), ip="")
    there = replace(early, ip="10.0.0.1")
    listener = Listener()

    before = [listener.due([early], set(), 1000) for _ in range(3 * EAGER_CYCLES)]
    asked = [listener.due([there], set(), 1000) for _ in range(EAGER_CYCLES)]
    mute = listener.due([there], set(), 1000)
    again = listener.due([there], set(), 0)
    later = Listener()
    later.take({there.uid: answer(there.uid)})

    assert all(before)
    assert all(asked)
    assert mute == []
    assert again == [there]
    assert later.due([there], set(), 1000) == [there]  # once: never asked so far
    assert later.due([there], set(), 1000) == []


def answer(uid: str) -> Heard:
    """Return what a pod of this UID tells."""
    heard = sidecars.parse_whole(marks_json(page(1, 1)), uid)
    assert heard is not None
    return heard


def test_pods_that_are_gone_are_forgotten(world: World, told: Told) -> None:
    """With their run; a pod's last facts stay as long as it."""
    told.marks["pod-1"] = marks_json(page(1, 1))
    world.once(objects.pod())
    world.once(objects.pod(), gone=True)
    assert "pod-1" in world.cycle.listener.processes

    world.cache.runs.clear()
    world.once()

    assert world.cycle.listener.processes == {}
