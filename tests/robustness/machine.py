"""The operator's core among pods that know their truth, and what must always hold."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopguard_operator import (
    finalrecord,
    gaps,
    gathering,
    settling,
    sidecars,
)
from flopguard_operator.auditing import Auditor
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cycle import UNREAD
from flopguard_operator.gaps import Patience
from flopguard_operator.gathering import Reading
from flopguard_operator.hearing import Hearing
from flopguard_operator.ledger import keys
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.entries import NO_RUN, EpochOpened
from flopguard_operator.ledger.errors import FencedError, LedgerUnavailableError
from flopguard_operator.ledger.policies import judged
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.listening import Listener
from flopguard_operator.marks import Mark, merge
from flopguard_operator.policy.checks import holds
from flopguard_operator.settings import Settings
from robustness.durable import Durable
from standins import fleet, objects
from standins.clock import Clock, at_once
from standins.faults import AFTER, BEFORE, NONE, Crash, FaultyStore
from standins.fleet import PRODUCT, Pod, when

PATIENCE = Patience(15_000, 120_000)
NODES = ("node-a", "node-b")
BUDGET = 10**19  # FLOPs: some five seconds of one accelerator at its peak
KEY = keys.from_raw("flopguard.dev/test/ledger", b"k" * 32)


class Machine:
    """Pods with their truth on one side, the operator's core on the other."""

    def __init__(self, folder: Path, rng: random.Random, clock: Clock) -> None:
        self.rng, self.path, self.clock = rng, folder / "ledger.db", clock
        self.pods: dict[str, Pod] = {}
        self.unready: set[str] = set()
        self.lost: set[str] = set()  # nodes that are gone, with what ran on them
        self.late: list[tuple[str, Mark, int]] = []  # marks on their way
        self.cache, self.auditor = Cache(), self._auditor()
        self.runs, self.budget, self._next_fault = 1, BUDGET, NONE
        self.store = self._open("first")
        self.books = Books(lambda: self.store)
        at_once(self.books.load())
        self.see_run(objects.run(budget=self.terms()))
        self.cache.see_job("ADDED", objects.job())
        self.durable = Durable(self.path)
        self.start_pod()

    def _fault(self) -> str:
        """Return the fault of this commit; there is none at the next."""
        fault, self._next_fault = self._next_fault, NONE
        return fault

    def _open(self, holder: str) -> SqliteStore:
        store = FaultyStore(self.path, KEY, fault=self._fault)
        store.claim(holder, "test", when(self.now, precise=True))
        return store

    @property
    def now(self) -> int:
        """Milliseconds."""
        return self.clock.now

    @now.setter
    def now(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.now = milliseconds

    @property
    def hearing(self) -> Hearing:
        """What the operator remembers of its streams."""
        return self.auditor.hearing

    def _auditor(self) -> Auditor:
        nodes: Any = Nodes(self.unready, self.lost)
        return Auditor(Settings(), nodes)

    def close(self) -> None:
        """Close the files."""
        self.store.close()
        self.durable.close()

    def look(self, *, fault: str = NONE, heard: bool = True) -> None:
        """Let the operator look once: hear, decide, commit."""
        self._next_fault = fault
        self.now += 1  # no two commits of one time
        views, _ = gathering.views(self.cache)
        found = self._heard(anybody=heard)
        pods = dict(self.cache.pods)
        for pod in pods.values():
            last = finalrecord.mark(pod)
            if last is not None:
                known = found.get(pod.uid)
                found[pod.uid] = finalrecord.merged(known, last)
        raised = [
            (view.ref.uid, higher)
            for view in views
            for pod in view.pods
            if pod.uid in found
            and (higher := self.books.raise_mark(view.ref.uid, found[pod.uid]))
        ]
        events = [e for view in views for e in self._plan(view, raised).events]
        laws = [view.law for view in views if view.law is not None]
        events = [*self.books.noted.missing(events, laws), *events]
        try:
            self._commit(events, raised)
        except Crash:
            self.restart()
            return
        except LedgerUnavailableError:
            at_once(self.books.load())
            return
        self.auditor.settled()
        self.cache.forget_gone_pods(pods)
        for view in views:
            self._check_live(view, raised)

    def _heard(self, *, anybody: bool) -> dict[str, Mark]:
        """Return the marks that arrive now: fresh ones, then those from before."""
        told: dict[str, Any] = {}
        found: dict[str, Mark] = {}
        for uid in self.answering() if anybody else ():
            age = fleet.age(self.now)
            answer = sidecars.parse_mark(self.pods[uid].marks(self.now - age), uid)
            assert answer is not None
            told[uid] = replace(answer, asked=self.now, age=age)
            found[uid] = answer.mark
        proven = {uid: one.proven for uid, one in told.items()}
        here = self.cache.pods  # of others nobody asks Prometheus
        some = [a for a in self.late if a[0] in here and self.rng.random() < 0.5]
        some = some if anybody else []
        for uid, mark, at in some:
            found[uid] = merge(found[uid], mark) if uid in found else mark
            proven[uid] = max(at, proven.get(uid, at))
        if self.rng.random() < 0.5:  # else they come once more
            self.late = [letter for letter in self.late if letter not in some]
        reading = Reading(found, UNREAD, proven, told)
        self.auditor.hear(reading, {}, found, self.books)
        return found

    def answering(self) -> list[str]:
        """Return the UIDs of the pods whose sidecars can be asked."""
        reachable = [
            pod
            for pod in self.pods.values()
            if pod.alive
            and pod.speaks
            and pod.injected
            and pod.node not in self.unready
        ]
        known = self.cache.pods
        return [p.uid for p in reachable if p.uid in known and not known[p.uid].gone]

    def _plan(
        self, view: settling.RunView, raised: list[tuple[str, Mark]]
    ) -> settling.Plan:
        account, marks = self._account(view), self._marks(view.ref.uid, raised)
        view = self._watched(view, marks)
        due = self.rng.random() < 0.3
        return settling.plan(view, account, marks, (), settle_due=due)

    def _account(self, view: settling.RunView) -> Account:
        return self.books.account(view.ref)

    def _marks(self, uid: str, raised: list[tuple[str, Mark]]) -> dict[str, Mark]:
        higher = {mark.stream: mark for run, mark in raised if run == uid}
        return {**self.books.of_run(uid), **higher}

    def _watched(
        self, view: settling.RunView, marks: Mapping[str, Mark]
    ) -> settling.RunView:
        previous = self.books.previous(view.ref)
        view = replace(view, previous=previous, noted=self.books.noted)
        seen = at_once(self.auditor.look(view, self.books, Listener(), marks))
        assert isinstance(seen, settling.RunView)
        return seen

    def _commit(self, events: list[Any], raised: list[tuple[str, Mark]]) -> None:
        if events or raised:
            at_once(self.books.commit(events, raised))
        elif self._fault() in (BEFORE, AFTER):
            raise Crash

    def restart(self) -> None:
        """Start the operator anew: the ledger is all that it knows."""
        before = self.store
        self.now += 1
        self.store = self._open("next")
        if self.rng.random() < 0.5:  # the one before was only asleep
            _refused(before, when(self.now, precise=True))
        before.close()
        self.books, self.auditor = Books(lambda: self.store), self._auditor()
        at_once(self.books.load())
        for uid in [uid for uid, pod in self.cache.pods.items() if pod.gone]:
            del self.cache.pods[uid]  # no list shows what is deleted
        self.late = [one for one in self.late if self.rng.random() < 0.5]

    def pick(self) -> Pod | None:
        """Return one of the pods that run, None where none does."""
        some = self.alive()
        return self.rng.choice(some) if some else None

    def start_pod(self) -> None:
        """Start a pod on a node that is there."""
        node = self.rng.choice([n for n in NODES if n not in self.lost] or list(NODES))
        uid = f"pod-{len(self.pods)}"
        pod = Pod(uid, node, self.now, injected=self.rng.random() < 0.9)
        pod.run = "sft"
        self.pods[uid] = pod
        self._run_pod(pod)

    def see(self, pod: Pod, kind: str = "MODIFIED") -> None:
        """Let the watch tell of a pod; of one that nobody injected it never does."""
        raw = pod.raw()
        if not pod.injected:  # the listing of the namespace has it all the same
            raw["metadata"]["labels"]["flopguard.dev/run"] = pod.run
        self.cache.see_pod(kind, raw)

    def alive(self) -> list[Pod]:
        """Return the pods that run."""
        return [p for p in self.pods.values() if p.alive]

    def terms(self) -> dict[str, Any]:
        """Return the budget, as a run's spec has it."""
        return {"maxFlops": str(self.budget), "warnAtPercent": [50, 80]}

    def see_run(self, raw: dict[str, Any]) -> None:
        """Let the watch tell of a run."""
        self.cache.see_run("MODIFIED", raw)

    def _run_pod(self, pod: Pod) -> None:
        fleet.start(pod, self.now, self.rng)
        self.see(pod)

    # Invariants.

    def check(self) -> None:
        """Check what holds after every step, against what is durable."""
        entries = self.durable.news()
        assert not self.durable.wrong, self.durable.wrong
        for entry in entries:
            assert entry.event.run == NO_RUN or entry.event.run.name == "sft"
        assert self.durable.accounts == self.books.accounts, "the memory is another"
        for run, marks in self.books.marks.items():
            for uid, mark in marks.items():
                self._check_mark(run, uid, mark)

    def _check_mark(self, run: str, uid: str, mark: Mark) -> None:
        pod = self.pods[uid]
        truth = pod.computing.executed(self.now)
        assert mark.measured <= truth, f"{uid} counts {mark.measured} of {truth}"
        assert self.books.owner[uid] == run
        before = self.durable.marks.get(uid, mark)
        assert merge(before, mark) == merge(mark, before)
        rises = all(mark.done[c] >= before.done[c] for c in mark.done)
        assert rises, f"the mark of {uid} fell"
        assert mark.begun >= before.begun
        self.durable.marks[uid] = mark

    def _check_live(
        self, view: settling.RunView, raised: list[tuple[str, Mark]]
    ) -> None:
        """Check what holds after the operator has looked at a run."""
        account, marks = self._account(view), self._marks(view.ref.uid, raised)
        watched = self._watched(view, marks).watched
        patience = PATIENCE
        charged = dict(account.gaps)
        for known in watched.streams:
            uid = known.stream
            gap = gaps.charge(
                view.ref,
                known,
                account.gaps.get(uid),
                patience,
                closed=uid in account.closed,
            )
            if gap is not None:
                charged[uid] = gap
            self._check_bound(known, marks.get(uid, Mark(uid)), gap)
        current = replace(account, streams=marks, gaps=charged)
        if account.terms_set is not None:
            terms = account.terms_set
            demanded = holds(judged(terms, totals(current), self.books.noted))
            assert (demanded is not None) == (account.hold is not None), "the hold"

    def _check_bound(self, known: Any, mark: Mark, gap: Any) -> None:
        truth = self.pods[known.stream].computing.executed(self.now)
        begun = max(mark.begun, mark.measured)
        closed = known.final or known.over
        allowed = begun + (gap.flops if gap else 0)
        if not closed:
            since = known.proven if known.regressed is None else known.regressed
            passed = known.now - since + PATIENCE.poll
            allowed = max(allowed, begun + known.peak * passed // 1000)
        what = f"{known.stream}: {truth} executed, {allowed} at most, as {known}"
        assert truth <= allowed, what

    def finish(self) -> None:
        """Let everything end and settle; nothing is lost then, and nothing is twice."""
        self.unready &= self.lost
        for pod in self.alive():
            pod.end(self.now, spoke=None, final=True, words=pod.speaks)
            if pod.uid in self.cache.pods:
                self.see(pod)
        self.late.clear()
        for _ in range(4):
            self.now += 100_000
            self.look()
        self.check()
        lost, _, twice = self.sums()
        assert not lost, f"{lost} FLOPs are lost: {self._by_stream()}"
        assert not twice
        assert not list(self.durable.replay.settle())

    def _by_stream(self) -> dict[str, tuple[int, int]]:
        accounts = self.durable.accounts.values()
        found = {}
        for account in accounts:
            for uid, mark in account.streams.items():
                gap = account.gaps.get(uid)
                upper = max(mark.begun, mark.measured) + (gap.flops if gap else 0)
                found[uid] = upper, self.pods[uid].computing.executed(self.now)
        return {u: pair for u, pair in found.items() if pair[0] < pair[1]}

    def sums(self) -> tuple[int, int, int]:
        """Return the FLOPs lost and declared, and how many runs count twice."""
        known = self.books.owner
        lost = declared = twice = 0
        for uid, account in self.durable.accounts.items():
            total = totals(account)
            truth = sum(
                pod.computing.executed(self.now)
                for pod in self.pods.values()
                if known.get(pod.uid) == uid
            )
            lost += max(0, truth - total.upper)
            declared += total.upper - total.measured
            twice += total.measured > truth
        return lost, declared, twice


@dataclass
class Nodes:
    """A stand-in for the API server that knows nodes alone."""

    unready: set[str]
    deleted: set[str]

    def node(self, name: str) -> dict[str, Any] | None:
        """Return a raw node, None for one that is deleted."""
        if name in self.deleted:
            return None
        ready = "Unknown" if name in self.unready else "True"
        return objects.node(name, ready=ready, product=PRODUCT)


def _refused(store: SqliteStore, at: str) -> None:
    """See to it that a writer who was followed appends nothing."""
    try:
        store.commit([EpochOpened(99, "asleep", "")], [], at)
    except FencedError:
        return
    message = "a writer that was followed has written"
    raise AssertionError(message)
