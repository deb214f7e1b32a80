"""The bound holds whatever fails: the real accounting against a known truth.

A pod computes at most at the peak of its devices. Marks come late, twice, out of order
or never; the sidecar hangs, nodes are cut off, pods end or are deleted, pages are
removed, the ledger cannot be written, the operator restarts. After every cycle the
total covers what was really executed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from flopguard_operator import finalrecord, settling, watching
from flopguard_operator.allocation import Node
from flopguard_operator.gaps import Patience
from flopguard_operator.hearing import Hearing, dated
from flopguard_operator.ledger.accounts import Account, apply, totals
from flopguard_operator.ledger.entries import Entry, RunRef
from flopguard_operator.ledger.replay import Replay
from flopguard_operator.marks import Mark, merge
from flopguard_operator.observed import pod
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.terms import Budget, Terms
from flopguard_operator.settling import RunView
from flopguard_operator.sidecars import Heard
from flopguard_operator.watching import Sight
from standins import objects

PEAK = 1_979_000 * 10**9
UID = "pod-1"
EPOCH = datetime(2026, 11, 22, tzinfo=UTC)
PATIENCE = Patience(poll=1000, grace=10_000)
PRODUCT = "NVIDIA-H100-80GB-HBM3"
GRACE = 30_000  # of the pod, milliseconds
SHOWN = 50_000  # for so long a node that was cut off is still shown as ready


@dataclass(frozen=True)
class Snapshot:
    """What a scan of the pages found."""

    at: int
    done: int
    begun: int

    def mark(self) -> Mark:
        """Return it as a mark."""
        done = {"forward": self.done}
        return Mark(UID, done, self.begun, pages=1, source="sidecar")


class OneStream(RuleBasedStateMachine):
    """A pod with one H100, and an operator that sees it through its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000
        self.done = self.begun = 0
        self.snapshots = [Snapshot(self.now, 0, 0)]
        self.removed = 0  # FLOPs of pages that were removed
        self.cut: int | None = None
        self.deleted: int | None = None
        self.dies_at: int | None = None
        self.alive = True
        self.raw: dict[str, Any] = objects.gpu_pod()
        self.started = (EPOCH + timedelta(milliseconds=self.now)).isoformat()
        state = {"running": {"startedAt": self.started}}
        self.raw["status"]["containerStatuses"][0]["state"] = state
        self.forgotten = self.traceless = False
        self.hearing, self.account = Hearing(), Account(RunRef("run-1", "ml", "sft"))
        self.hwm: dict[str, Mark] = {}
        self.written: dict[str, Mark] = {}  # `hwm` as the ledger has it
        self.memory: tuple[dict[str, int], set[str]] | None = None
        self.unwritten = False  # pages were removed, and no cycle has said so
        self.told: dict[str, str] = {}
        self.replay, self.entries, self.judged = Replay(), 0, 0
        self.nodes: dict[str, Node] = {}

    @initialize()
    def begin(self) -> None:
        """See the pod once."""
        self.cycle(settle=True)

    @rule(
        seconds=st.sampled_from([0.1, 0.9, 3, 11, 70, 4000]), share=st.integers(0, 100)
    )
    def compute(self, seconds: float, share: int) -> None:
        """Let the pod work at a share of its peak, then begin something more."""
        end = self.now + int(seconds * 1000)
        until = end if self.dies_at is None else min(end, self.dies_at)
        if self.alive and until > self.now:
            flops = PEAK * (until - self.now) * share // 100_000
            self.done, self.begun = self.begun, self.begun + flops
        self.now = end
        if self.dies_at is not None and self.now >= self.dies_at:
            self.alive = False

    @rule()
    @precondition(lambda self: self.alive)
    def scan(self) -> None:
        """Let the sidecar read the pages."""
        hidden = self.removed
        at = Snapshot(self.now, max(0, self.done - hidden), self.begun - hidden)
        self.snapshots.append(at)

    @rule()
    @precondition(lambda self: self.alive and self.cut is None)
    def answer(self) -> None:
        """Let the sidecar answer with its last scan."""
        self._hear(self.snapshots[-1])

    @rule(lost=st.booleans())
    @precondition(lambda self: self.alive and self.cut is None and self.begun)
    def remove_pages(self, *, lost: bool = False) -> None:
        """Take pages away between two direct reads, the first maybe never written."""
        self.scan()
        if not self.removed:
            self._hear(self.snapshots[-1])
            self.unwritten = True
        if lost:
            self.fail_to_write()
        self.removed = max(self.removed, (self.begun + 1) // 2)
        self.scan()
        self._hear(self.snapshots[-1])

    @rule(which=st.integers(0, 10**6), times=st.integers(1, 3))
    @precondition(lambda self: not self.removed)
    def sample_late(self, which: int, times: int) -> None:
        """Deliver any earlier scan again, with the age that it has."""
        chosen = self.snapshots[which % len(self.snapshots)]
        self._remember()
        for _ in range(times):
            watching.rebuild(UID, self.account, self.hearing, self._sight())
            self._merge(chosen.mark())
            self.hearing.take({UID: chosen.at})

    @rule(which=st.integers(0, 10**6))
    def sample_without_age(self, which: int) -> None:
        """Deliver any earlier scan, as a range of Prometheus does: no age is known."""
        self._merge(self.snapshots[which % len(self.snapshots)].mark())

    def _hear(self, snapshot: Snapshot) -> None:
        heard = Heard(snapshot.mark(), asked=self.now, age=self.now - snapshot.at)
        self._remember()
        watching.rebuild(UID, self.account, self.hearing, self._sight())
        self.hearing.compare({UID: heard}, self.written)
        self.hearing.take({UID: heard.proven})
        self._merge(heard.mark)

    def _merge(self, mark: Mark) -> None:
        self.hwm[UID] = merge(self.hwm.get(UID, mark), mark)

    def _remember(self) -> None:
        if self.memory is None:
            self.memory = self.hearing.memory()

    @rule()
    def fail_to_write(self) -> None:
        """Let a cycle fail to write what it heard; its operator goes on."""
        if self.memory is not None:
            self.hearing.recall(self.memory)
        self.hwm, self.memory = dict(self.written), None

    @rule()
    def cut_off(self) -> None:
        """Cut the node off."""
        if self.cut is None:
            self.cut = self.now

    @rule()
    def come_back(self) -> None:
        """Connect the node; its kubelet stops the containers of a deleted pod."""
        self.cut = None
        if self.deleted is not None and self.dies_at is None:
            self.dies_at = self.now + GRACE

    @rule()
    @precondition(lambda self: self.deleted is None)
    def delete_by_force(self) -> None:
        """Delete the object; the containers go on until their kubelet knows."""
        self.deleted = self.now
        if self.cut is None and self.dies_at is None:
            self.dies_at = self.now + GRACE

    @rule(record=st.booleans())
    @precondition(lambda self: self.alive and self.cut is None and self.deleted is None)
    def end(self, *, record: bool) -> None:
        """End the pod, with or without the sidecar's last words."""
        self.alive, self.dies_at = False, self.now
        self.done = self.begun
        words = objects.final_record(self.begun - self.removed) if record else "x"
        ended = objects.gpu_pod(ended=True, words=words)
        self.raw = {**ended, "status": {**ended["status"], "phase": "Succeeded"}}
        state = self.raw["status"]["containerStatuses"][0]["state"]
        state["terminated"]["startedAt"] = self.started

    @rule()
    def restart(self) -> None:
        """Start another operator, which has nothing but the ledger.

        Of a pod that was never heard and is gone by then there is no trace; what came
        and went while nobody looked is not promised. Nor is what was in pages of which
        an operator heard that they were removed, and could not write it.
        """
        recorded = self.account.attempts or self.account.gaps
        self.traceless |= self.deleted is not None and not recorded
        self.traceless |= self.unwritten
        self.hearing, self.nodes = Hearing(), {}
        self.hwm, self.memory = dict(self.written), None

    @rule(settle=st.booleans())
    def look(self, *, settle: bool) -> None:
        """Run a cycle of the operator."""
        self.cycle(settle=settle)

    def cycle(self, *, settle: bool) -> None:
        """Decide, and fold what was decided."""
        seen = pod(self.raw, gone=self.deleted is not None)
        pods = () if self.forgotten else (seen,)
        for mark in self.hearing.with_said({}).values():
            self._merge(mark)
        last = finalrecord.mark(seen) if pods else None
        if last is not None:
            self._merge(last)
        view = self._view(pods)
        plan = settling.plan(view, self.account, self.hwm, settle_due=settle)
        at = self._wall().replace("+00:00", "Z")
        for event in plan.events:
            entry = Entry(self.entries, at, event)
            assert list(self.replay.step(entry)) == []
            self.account = apply(self.account, event)
            if dated(event, self.account):
                self.told[UID] = at
            self.entries += 1
        assert list(self.replay.settle()) == []
        self.judged, self.judged_at = plan.totals.upper, self.now
        self.forgotten = self.forgotten or seen.gone
        self.written, self.memory, self.unwritten = dict(self.hwm), None, False

    def _wall(self) -> str:
        when = EPOCH + timedelta(milliseconds=self.now)
        return when.isoformat(timespec="milliseconds")

    def _view(self, pods: tuple[Any, ...]) -> RunView:
        terms = Terms(budget=Budget(max_flops=10**21))
        known = {p.uid: p for p in pods}
        found = watching.subjects(known, self.account, self.hearing)
        shown = self.cut is None or self.now - self.cut < SHOWN
        self.nodes["node-1"] = Node("node-1", ready=shown, product=PRODUCT)
        sight = self._sight()
        given = {
            s.stream: watching.given(s.place.allocation, self.nodes) for s in found
        }
        self.seen = watching.watched(found, self.account, self.hwm, self.hearing, sight)
        return RunView(
            ref=self.account.ref,
            generation=1,
            program="",
            workload="batch/v1/Job/train",
            terms=terms,
            governing=governing(terms.base),
            jobs=(),
            pods=pods,
            watched=self.seen,
            given=given,
            patience=PATIENCE,
        )

    def _sight(self) -> Sight:
        """Return what the operator knows beside the run."""
        return Sight(self.now, self._wall(), PATIENCE, self.nodes, {}, self.told)

    @invariant()
    def the_bound_holds(self) -> None:
        """What was judged covers the truth, or its time since the mark does."""
        if self.traceless or self.judged_at != self.now:
            return
        live = 0
        for stream in self.seen.streams:
            waited = self.now - stream.proven
            limit = PATIENCE.silence
            if not (stream.heard and stream.metered):
                limit = max(limit, PATIENCE.grace)
            if waited < limit:  # nothing is charged yet: the time since the mark is
                live += -(-PEAK * waited // 1000)
        assert self.begun <= self.judged + live

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        """What is proven was executed; the ledger never says more than the marks."""
        settled = totals(self.account).measured
        assert settled <= max(self.begun, self.done)


TestOneStream = OneStream.TestCase
TestOneStream.settings = settings(
    max_examples=600,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_a_stream_known_by_its_gap_alone_is_charged_after_a_restart() -> None:
    """Heard again, it was not charged; its devices stand in the entry of its gap."""
    stream = OneStream()
    stream.begin()
    stream.cut_off()
    stream.delete_by_force()
    stream.look(settle=False)
    stream.come_back()
    stream.answer()
    stream.look(settle=False)
    stream.compute(70, 1)
    stream.restart()
    stream.look(settle=False)

    assert stream.begun > 0
    stream.the_bound_holds()


def test_removed_pages_are_known_after_a_restart_though_a_gap_was_open() -> None:
    """That they fell was kept for the next settlement, and a restart forgot it."""
    stream = OneStream()
    stream.begin()
    stream.compute(0.1, 1)
    stream.compute(11, 0)
    stream.look(settle=False)
    stream.remove_pages()
    stream.look(settle=False)
    stream.restart()
    stream.compute(0.1, 1)
    stream.compute(0.1, 0)
    stream.remove_pages()
    stream.look(settle=False)

    assert not stream.traceless
    stream.the_bound_holds()


def test_what_was_read_before_a_fall_counts_though_it_could_not_be_written() -> None:
    """The charge starts at that read: its mark has to be in the ledger, too."""
    stream = OneStream()
    stream.begin()
    stream.compute(11, 100)
    stream.compute(0.1, 0)
    stream.remove_pages(lost=True)
    stream.look(settle=False)

    assert stream.begun > 0
    stream.the_bound_holds()


def test_a_late_mark_does_not_undo_that_pages_were_removed() -> None:
    """Its entry took the place of the one that said so: the final record won."""
    stream = OneStream()
    stream.begin()
    stream.compute(11, 100)
    stream.compute(0.1, 0)
    stream.remove_pages()
    stream.look(settle=True)
    stream.compute(70, 100)
    stream.compute(0.1, 0)
    unheard = len(stream.snapshots)
    stream.remove_pages()
    stream.end(record=True)
    stream.look(settle=True)
    stream.sample_without_age(unheard)
    stream.look(settle=True)
    stream.restart()
    stream.look(settle=True)

    (gap,) = stream.account.gaps.values()
    assert (gap.change, gap.reason) == ("Reduced", "Regressed")
    stream.the_bound_holds()
