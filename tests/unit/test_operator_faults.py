"""What goes wrong around the loop: with one run, with what is read, with the ledger."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator import (
    binding,
    cycle,
    gathering,
    naming,
    programs,
    settling,
)
from flopguard_operator.api import resolve
from flopguard_operator.api.finetunerun import RunSpec
from flopguard_operator.api.program import ProgramSpec
from flopguard_operator.cache import Cache
from flopguard_operator.ledger.entries import Entry, HoldReleased, HoldSet
from flopguard_operator.ledger.errors import LedgerUnavailableError
from flopguard_operator.ledger.note import Head
from flopguard_operator.ledger.store import Loaded, SqliteStore
from flopguard_operator.marks import Mark
from flopguard_operator.models.catalogue import Catalogue
from flopguard_operator.observed import Pod, Raw
from flopguard_operator.policy.terms import Terms
from flopguard_operator.programs import ProgramPlan
from standins import objects
from standins.world import World, spent


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world with one run, one Job and no pods."""
    return World(tmp_path)


def crowd(count: int) -> Cache:
    """Return a cache with so many runs in one namespace, each with a pod of its own."""
    cache = Cache()
    for number in range(count):
        run = objects.run(f"run-{number}", f"uid-{number}")
        run["spec"]["workload"]["name"] = f"job-{number}"
        cache.see_run("ADDED", run)
        pod = objects.pod(f"pod-{number}")
        pod["metadata"]["labels"] = {
            "flopguard.dev/run": f"run-{number}",
            "batch.kubernetes.io/job-name": f"job-{number}",
        }
        cache.see_pod("ADDED", pod)
    return cache


def test_a_crowd_of_runs_is_bound_in_linear_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop waits for it: no run is compared with all others."""
    compared, claim = 0, binding.claim

    def counted(pod: Raw, runs: Iterable[Raw]) -> binding.Claim:
        nonlocal compared
        among = list(runs)
        compared += len(among)
        return claim(pod, among)

    monkeypatch.setattr(binding, "claim", counted)
    ready, refused = gathering.views(crowd(500))

    assert not refused
    assert [[pod.uid for pod in view.pods] for view in ready] == [
        [view.ref.uid.replace("uid", "pod")] for view in ready
    ]
    assert compared <= 4 * 500


def namesake(uid: str = "run-2") -> dict[str, Any]:
    """Return a run made anew under the name of the world's run."""
    raw = objects.run(uid=uid)
    raw["metadata"]["creationTimestamp"] = "2026-11-23T00:00:00Z"
    return raw


def test_a_run_made_anew_takes_the_place_of_its_namesake(world: World) -> None:
    """The API server has one run of a name, whatever a watch did not tell."""
    world.cache.see_run("ADDED", namesake())
    world.cache.see_run("MODIFIED", objects.run())  # a late event of the old one

    assert list(world.cache.runs) == ["run-2"]


def test_a_run_that_vanished_untold_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a ghost would claim the workload of whoever names it next."""
    other = objects.run("other", "run-2")
    other["metadata"]["creationTimestamp"] = "2026-11-23T00:00:00Z"
    world.cache.see_run("ADDED", other)
    world.cache.see_program("ADDED", objects.program())
    world.once()
    assert world.condition_of("run-2", "WorkloadConflict")["status"] == "True"

    monkeypatch.setattr(cycle, "COMPARE_SECONDS", 0.0)
    world.cluster.vanished = {"run-1", "program-1", "job-1"}
    world.once()

    assert world.condition_of("run-2", "WorkloadConflict")["status"] == "False"
    assert world.condition_of("run-2", "WorkloadFound")["status"] == "False"
    assert not world.cache.programs


def test_two_runs_of_one_name_are_told_apart_by_uid(world: World) -> None:
    """Two that were made in one second look the same but for it; one meters."""
    world.cache.see_run("ADDED", objects.run(uid="run-2"))
    ready, refused = gathering.views(world.cache)

    assert [view.ref.uid for view in ready] == ["run-1"]
    assert [one.raw["metadata"]["uid"] for one in refused] == ["run-2"]


def test_a_mark_that_no_ledger_holds_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a tenant's pod answers, the others are counted in the same cycle."""
    read = gathering.marks

    async def marks(url: str, pods: Mapping[str, Pod], stale: int) -> Any:
        found = await read(url, pods, stale)
        found.marks["pod-0"] = Mark("pod-0", begun=10**70)
        return found

    monkeypatch.setattr(gathering, "marks", marks)
    world.once(spent(1, "pod-0"), spent(500))

    assert world.status()["flops"]["upper"] == "500"
    assert world.condition("LedgerAvailable")["status"] == "True"


def test_an_event_that_no_ledger_holds_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is left out of the commit, and the next one is in it."""
    other = objects.run("other", "run-0")
    other["spec"]["workload"]["name"] = "elsewhere"
    world.cache.see_run("ADDED", other)
    judge = settling.plan

    def plan(view: settling.RunView, *rest: Any, **more: Any) -> settling.Plan:
        found = judge(view, *rest, **more)
        if view.ref.name != "other":
            return found
        unfit = HoldReleased(view.ref, "", "x" * 70_000)
        return replace(found, events=(*found.events, unfit))

    monkeypatch.setattr(settling, "plan", plan)
    world.once(spent(500))

    assert world.status_of("run-1")["flops"]["upper"] == "500"
    assert world.condition_of("run-1", "LedgerAvailable")["status"] == "True"
    assert not world.recorded(HoldReleased)


def test_what_the_pods_of_a_refused_run_spent_is_kept(world: World) -> None:
    """Its program is away for a while: the FLOPs are in the account afterwards."""
    world.cache.see_program("ADDED", objects.program())
    world.revise(program="support-bot")
    world.cache.see_program("DELETED", objects.program())
    world.once(spent(400, ended=True), gone=True)
    assert world.condition("SpecValid")["status"] == "False"

    world.start()  # all that it knows is in the ledger now
    world.cache.see_program("ADDED", objects.program())
    world.once()

    assert world.status()["flops"]["upper"] == "400"


def test_the_pods_of_a_refused_run_are_named(world: World) -> None:
    """Nothing of them is judged or charged: somebody has to know."""
    world.revise(program="nobody")
    world.cache.see_job("MODIFIED", objects.job(active=3))
    world.once(objects.pod())
    told = world.condition("MeteringIncomplete")
    assert (told["status"], told["reason"]) == ("True", "RunRefused")
    assert "train-pod-1" in told["message"]
    assert "2 pod(s) of its Job run without the meter" in told["message"]

    world.cache.see_job("MODIFIED", objects.job())
    world.once(objects.pod(ended=True))
    assert world.condition("MeteringIncomplete")["status"] == "False"


def test_a_run_in_conflict_says_nothing_of_the_older_runs_pods(world: World) -> None:
    """The pods of the Job are metered there."""
    younger = objects.run("younger", "run-2")
    younger["metadata"]["creationTimestamp"] = "2026-11-22T00:00:09Z"
    world.cache.see_run("ADDED", younger)
    world.cache.see_job("MODIFIED", objects.job(active=1))
    world.once(objects.pod())

    assert world.condition_of("run-2", "WorkloadConflict")["status"] == "True"
    told = [one["type"] for one in world.status_of("run-2")["conditions"]]
    assert "MeteringIncomplete" not in told


def held_and_refused(world: World) -> None:
    """Hold the run for its budget; then delete its program, and then the run."""
    world.cache.see_program("ADDED", objects.program())
    world.revise(program="support-bot")
    world.once(spent(1000, ended=True), gone=True)
    world.once()
    world.cache.see_program("DELETED", objects.program())
    world.once()
    (raw,) = world.cache.runs.values()
    raw["metadata"]["deletionTimestamp"] = "2026-11-22T01:00:00Z"
    world.once()


def test_a_refused_run_keeps_its_hold_and_what_was_said(world: World) -> None:
    """Deleting a program or a run lifts nothing, and hides nothing."""
    held_and_refused(world)

    assert world.status()["holds"]
    assert world.condition("SpecValid")["status"] == "False"
    assert world.condition("Held")["status"] == "True"
    (raw,) = world.cache.runs.values()
    assert raw["metadata"]["finalizers"] == [naming.HOLD_FINALIZER]


def test_a_refused_run_that_is_deleted_releases_if_it_says_so(world: World) -> None:
    """The Job resumes once, and nothing keeps the object."""
    held_and_refused(world)
    world.cluster.refusals = 1  # the lock has not seen the new status yet
    world.revise(onDelete="Release")
    for _ in range(3):  # refused, released, and only then may the object go
        world.once()

    assert not world.cache.jobs["ml", "train"].suspended
    assert world.status()["holds"] == []
    (raw,) = world.cache.runs.values()
    assert raw["metadata"]["finalizers"] == []
    assert [event.reason for event in world.recorded(HoldReleased)] == ["RunDeleted"]


def test_a_refused_run_keeps_no_namespace_from_being_deleted(world: World) -> None:
    """Its hold ends with the namespace."""
    held_and_refused(world)
    world.cluster.terminating = True
    world.once()
    world.once()

    (released,) = world.recorded(HoldReleased)
    assert released.reason == "NamespaceTerminating"
    (raw,) = world.cache.runs.values()
    assert raw["metadata"]["finalizers"] == []


def test_a_released_run_is_not_held_anew_while_its_namespace_goes(
    world: World,
) -> None:
    """The finalizer may need a second try: the release stands."""
    world.once(spent(1000, ended=True), gone=True)
    (raw,) = world.cache.runs.values()
    raw["metadata"]["deletionTimestamp"] = "2026-11-22T01:00:00Z"
    world.cluster.terminating = True
    world.once()
    world.once()

    assert len(world.recorded(HoldSet)) == 1


def test_a_refused_run_is_left_alone_while_the_ledger_is_away(world: World) -> None:
    """An operator that starts on a full disk knows of no hold: it must not deny one."""
    held_and_refused(world)
    world.start()
    world.fails = True
    world.once()

    assert world.status()["state"] == "Held"
    (raw,) = world.cache.runs.values()
    assert raw["metadata"]["finalizers"] == [naming.HOLD_FINALIZER]


def test_a_run_whose_spec_is_a_surprise_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, and told so."""
    other = objects.run("other", "run-0", budget={"maxFlops": "7"})
    other["spec"]["workload"]["name"] = "elsewhere"
    world.cache.see_run("ADDED", other)
    judge = resolve.terms

    def terms(
        spec: RunSpec, program: ProgramSpec | None, catalogue: Catalogue
    ) -> Terms:
        if spec.workload.name == "elsewhere":
            message = "a bug"
            raise RuntimeError(message)
        return judge(spec, program, catalogue)

    monkeypatch.setattr(resolve, "terms", terms)
    world.once(spent(500))

    assert world.condition_of("run-0", "SpecValid")["status"] == "False"
    assert world.status_of("run-1")["flops"]["upper"] == "500"


def test_an_unreadable_ledger_leaves_a_programs_total_alone(world: World) -> None:
    """An operator that starts on a full disk would make it zero."""
    world.cache.see_program("ADDED", objects.program())
    world.once()
    assert world.cluster.calls.count("program support-bot") == 1

    world.start()
    world.fails = True
    world.once()

    assert world.cluster.calls.count("program support-bot") == 1


def test_a_program_that_cannot_be_judged_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with one program, the next one is published."""
    world.cache.see_program("ADDED", objects.program("broken", "program-0"))
    world.cache.see_program("ADDED", objects.program())
    judge = programs.plan

    def plan(raw: Raw, *args: Any) -> ProgramPlan:
        if raw["metadata"]["name"] == "broken":
            message = "a bug"
            raise RuntimeError(message)
        return judge(raw, *args)

    monkeypatch.setattr(programs, "plan", plan)
    world.once()

    assert "program support-bot" in world.cluster.calls


def test_a_ledger_that_breaks_off_leaves_the_memory_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was known before is still known, not half of it."""
    world.once(spent(1000, ended=True), gone=True)
    known = dict(world.books.accounts)
    load = SqliteStore.load

    def broken(store: SqliteStore) -> Loaded:
        loaded = load(store)
        known_then = list(loaded.entries)

        def entries() -> Iterator[Entry]:
            yield known_then[0]
            message = "the disk fails: look at the ledger's volume"
            raise LedgerUnavailableError(message)

        return replace(loaded, entries=entries())

    def full(*_: Any) -> Head:
        message = "the disk is full: make room on the ledger's volume"
        raise LedgerUnavailableError(message)

    monkeypatch.setattr(SqliteStore, "commit", full)
    world.once(spent(1100, ended=True), gone=True)  # now the memory is in doubt
    monkeypatch.setattr(SqliteStore, "load", broken)
    world.once()

    assert world.books.accounts == known
    assert world.status()["holds"]
