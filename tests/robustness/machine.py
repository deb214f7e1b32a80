"""The random steps of `stateful`, and the invariants that hold after each of them."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flopguard_operator import (
    allocation,
    finalrecord,
    gathering,
    prometheus,
    settling,
    sidecars,
    watching,
)
from flopguard_operator.allocation import Node
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.gaps import Patience
from flopguard_operator.hearing import Hearing
from flopguard_operator.ledger import database, keys
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import NO_RUN, Entry, EpochOpened
from flopguard_operator.ledger.errors import FencedError
from flopguard_operator.ledger.replay import Replay
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.marks import Mark, merge
from flopguard_operator.policy.checks import evaluate, holds
from flopguard_operator.sidecars import Heard
from flopguard_operator.watching import Sight, counts
from standins import fleet, objects
from standins.fleet import PRODUCT, Pod, when

PATIENCE = Patience(15_000, 120_000)
NODES = ("node-a", "node-b")
BUDGET = 10**19  # FLOPs: some five seconds of one accelerator at its peak
KEY = keys.from_raw("flopguard.dev/test/ledger", b"k" * 32)


class Crash(BaseException):
    """The operator dies here."""


class Machine:
    """Pods with their truth on one side, the operator's core on the other."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng, self.path, self.now = rng, folder / "ledger.db", 1_000_000
        self.pods: dict[str, Pod] = {}
        self.unready: set[str] = set()
        self.lost: set[str] = set()  # nodes that are gone, with what ran on them
        self.late: list[tuple[str, Mark, int]] = []  # marks on their way
        self.cache, self.hearing = Cache(), Hearing()
        self.runs, self.budget = 1, BUDGET
        self.store = self._open("first")
        self.books = Books(lambda: self.store)
        self.books._load()
        self._see_run(objects.run(budget=self._budget()))
        self.cache.see_job("ADDED", objects.job())
        self._read = Durable(self.path)
        self._start_pod()

    def _open(self, holder: str) -> SqliteStore:
        store = SqliteStore(self.path, KEY)
        store.claim(holder, "test", when(self.now, precise=True))
        return store

    def close(self) -> None:
        """Close the files."""
        self.store.close()
        self._read.close()

    # Steps.

    def step(self) -> str:
        """Let one thing happen, and return its name."""
        names, weights = zip(*((n, w) for n, (w, _) in STEPS.items()), strict=True)
        (name,) = self.rng.choices(names, weights)
        self.now += self.rng.choice((1, 40, 900, 5_000, 14_000))
        STEPS[name][1](self)
        return str(name)

    def look(self, *, crash: str = "", heard: bool = True) -> None:
        """Let the operator look once: hear, decide, commit."""
        self.now += 1  # no two commits of one time
        views, _ = gathering.views(self.cache)
        found = self._heard() if heard else {}
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
        try:
            self._commit(events, raised, crash)
        except Crash:
            self.restart()
            return
        self.cache.forget_gone_pods(pods)
        for view in views:
            self._check_live(view, raised)

    def _heard(self) -> dict[str, Mark]:
        """Return the marks that arrive now: fresh ones, then those from before."""
        told, found = {}, {}
        for uid in self._answering():
            age = self.rng.choice((0, 200, 1_000))
            mark = sidecars.parse_mark(self.pods[uid].marks(self.now - age), uid)
            assert mark is not None
            told[uid] = replace(mark, asked=self.now, age=age)
            found[uid] = told[uid].mark
        proven = {uid: one.proven for uid, one in told.items()}
        some = [letter for letter in self.late if self.rng.random() < 0.5]
        for uid, mark, at in some:
            found[uid] = merge(found[uid], mark) if uid in found else mark
            proven[uid] = max(at, proven.get(uid, at))
        if self.rng.random() < 0.5:  # else they come once more
            self.late = [letter for letter in self.late if letter not in some]
        self._hear(told, proven, found)
        return found

    def _hear(
        self, told: dict[str, Heard], proven: dict[str, int], found: dict[str, Mark]
    ) -> None:
        self.hearing.take({u: t for u, t in proven.items() if counts(found.get(u))})
        self.hearing.compare(told)

    def _answering(self) -> list[str]:
        reachable = [
            pod
            for pod in self.pods.values()
            if pod.alive and pod.speaks and pod.injected and pod.node not in self.unready
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
        uid, account = view.ref.uid, self._account(view)
        owner = self.books.owner
        pods = {p.uid: p for p in view.pods if owner.get(p.uid, uid) == uid}
        found = watching.subjects(pods, account, self.hearing, self.now)
        sight = Sight(
            now=self.now,
            wall=when(self.now, precise=True),
            patience=PATIENCE,
            nodes={name: self._node(name) for name in NODES},
            told=self.books.told,
        )
        seen = watching.watched(found, account, marks, self.hearing, sight)
        given = {
            one.stream: watching.given(one.place.allocation, sight.nodes)
            for one in found
        }
        return replace(view, watched=seen, given=given, patience=PATIENCE)

    def _node(self, name: str) -> Node:
        raw = None
        if name not in self.lost:
            ready = "Unknown" if name in self.unready else "True"
            raw = objects.node(name, ready=ready, product=PRODUCT)
        found = allocation.node(name, raw)
        return found if found.product else replace(found, product=PRODUCT)

    def _commit(
        self, events: list[Any], raised: list[tuple[str, Mark]], crash: str
    ) -> None:
        if crash == "before":
            raise Crash
        if events or raised:
            at = when(self.now, precise=True)
            self.books._commit(events, raised, at, None)
        if crash == "after":
            raise Crash

    def restart(self) -> None:
        """Start the operator anew: the ledger is all that it knows."""
        before = self.store
        self.now += 1
        self.store = self._open("next")
        if self.rng.random() < 0.5:  # the one before was only asleep
            _refused(before, when(self.now, precise=True))
        before.close()
        self.books, self.hearing = Books(lambda: self.store), Hearing()
        self.books._load()
        for uid in [uid for uid, pod in self.cache.pods.items() if pod.gone]:
            del self.cache.pods[uid]  # no list shows what is deleted
        self.late = [one for one in self.late if self.rng.random() < 0.5]

    def crash_before(self) -> None:
        """Die before a commit."""
        self.look(crash="before")

    def crash_after(self) -> None:
        """Die after a commit, before anything was made of it."""
        self.look(crash="after")

    def silence(self) -> None:
        """Hear nobody for a while."""
        for _ in range(self.rng.randint(1, 4)):
            self.now += self.rng.choice((9_000, 15_000, 50_000))
            self.look(heard=False)

    def _pick(self, *, alive: bool = True) -> Pod | None:
        some = [p for p in self.pods.values() if p.alive or not alive]
        return self.rng.choice(some) if some else None

    def _start_pod(self) -> None:
        node = self.rng.choice([n for n in NODES if n not in self.lost] or list(NODES))
        uid = f"pod-{len(self.pods)}"
        pod = Pod(uid, node, self.now, injected=self.rng.random() < 0.9)
        pod.run = "sft"
        self.pods[uid] = pod
        self._run_pod(pod)

    def _run_pod(self, pod: Pod) -> None:
        fleet.start(pod, self.now, self.rng)
        self.see(pod)

    def see(self, pod: Pod, kind: str = "MODIFIED") -> None:
        """Let the watch tell of a pod; of one that nobody injected it never does."""
        raw = pod.raw()
        if not pod.injected:  # the listing of the namespace has it all the same
            raw["metadata"]["labels"]["flopguard.dev/run"] = pod.run
        self.cache.see_pod(kind, raw)

    def new_pod(self) -> None:
        """Start an attempt, while there are not too many."""
        if len(self._alive()) < 3 and len(self.lost) < len(NODES):
            self._start_pod()

    def _alive(self) -> list[Pod]:
        return [p for p in self.pods.values() if p.alive]

    def restart_process(self) -> None:
        """Kill the processes of a pod; it may start new ones."""
        pod = self._pick()
        if pod is not None:
            pod.computing.kill(self.now)
            if self.rng.random() < 0.8:
                fleet.start(pod, self.now, self.rng)

    def end_pod(self) -> None:
        """End a pod: with its final record, with an older one, or with none."""
        pod = self._pick()
        if pod is None or pod.node in self.unready:
            return
        way = self.rng.choice(("final", "final", "early", "stale", "none"))
        early = self.now - self.rng.randint(1_000, 9_000)
        spoke = early if way in ("early", "stale") else None
        pod.end(self.now, spoke=spoke, final=way != "stale", words=way != "none")
        self.see(pod)
        if self.rng.random() < 0.5:
            self.see(pod, "DELETED")

    def force_delete(self) -> None:
        """Delete the object; the containers go on for their grace period at most."""
        pod = self._pick()
        if pod is None:
            return
        self.see(pod, "DELETED")
        if pod.node not in self.unready:
            pod.computing.kill(self.now + self.rng.randint(0, 30_000))
            pod.ended, pod.speaks = self.now, False

    def lose_node(self) -> None:
        """Cut a node off: its pods go on, and nobody hears them."""
        self.unready.add(self.rng.choice(NODES))

    def node_back(self) -> None:
        """Connect the nodes again; deleted pods on them are stopped within a minute."""
        for pod in self._alive():
            if pod.node in self.unready and pod.uid not in self.cache.pods:
                pod.computing.kill(self.now)
                pod.ended, pod.speaks = self.now, False
        self.unready = {name for name in self.unready if name in self.lost}

    def delete_node(self) -> None:
        """Delete a node: whoever does it has switched it off."""
        name = self.rng.choice(NODES)
        if len(self.lost) == len(NODES) - 1 or name in self.lost:
            return
        self.lost.add(name)
        self.unready.add(name)
        for pod in self._alive():
            if pod.node == name:
                pod.computing.kill(self.now)
                pod.ended, pod.speaks = self.now, False

    def toggle_sidecar(self) -> None:
        """Let a sidecar fall silent, or speak again."""
        pod = self._pick()
        if pod is not None:
            pod.speaks = not pod.speaks

    def remove_pages(self) -> None:
        """Remove the pages of a pod that stops there, so that its marks fall."""
        pod = self._pick()
        if pod is not None and pod.uid in self.books.owner and pod.speaks:
            pod.computing.kill(self.now)
            pod.removed |= set(range(len(pod.computing.processes)))
            self.look()

    def mark_on_its_way(self) -> None:
        """Take a mark now that arrives later, perhaps twice, perhaps after others."""
        pod = self._pick()
        if pod is not None and pod.injected and pod.node not in self.unready:
            mark = sidecars.parse_mark(pod.marks(self.now), pod.uid)
            assert mark is not None
            self.late.append((pod.uid, mark.mark, self.now))

    def scrape(self) -> None:
        """The same by Prometheus, which rounds."""
        pod = self._pick()
        if pod is None or not pod.injected or pod.node in self.unready:
            return
        done, begun = fleet.rounded(pod.counted(self.now))
        own = {"pod_uid": pod.uid, "namespace": "ml", "pod": pod.name}
        values = {**done, "begun": begun, "pages": 1.0}
        series = [
            {"metric": {**own, "category": name}, "value": [0, repr(value)]}
            for name, value in values.items()
        ]
        forged = {"metric": {**own, "category": "forward"}, "value": [0, "1e30"]}
        forged["metric"] = {**own, "pod": "another", "category": "forward"}
        seen = {pod.uid: self.cache.pods[pod.uid]} if pod.uid in self.cache.pods else {}
        for uid, mark in prometheus.marks([*series, forged], seen).items():
            self.late.append((uid, mark, self.now))

    def clock_jump(self) -> None:
        """Move the clock of a pod by a year: it is in its facts, and nowhere else."""
        pod = self._pick()
        if pod is None:
            return
        raw = pod.marks(self.now) | {"time": when(self.now + 10**10)}
        told, mark = sidecars.parse_mark(raw, pod.uid), pod.marks(self.now)
        plain = sidecars.parse_mark(mark, pod.uid)
        assert told == plain

    def raise_budget(self) -> None:
        """Give the run more to spend, or take some of it away."""
        self.budget = self.rng.choice((BUDGET, 3 * self.budget, 10 * self.budget))
        self._revise(budget=self._budget())

    def _budget(self) -> dict[str, Any]:
        return {"maxFlops": str(self.budget), "warnAtPercent": [50, 80]}

    def _revise(self, **spec: Any) -> None:
        for raw in list(self.cache.runs.values()):
            changed = dict(raw)
            changed["spec"] = {**raw["spec"], **spec}
            metadata = dict(raw["metadata"])
            metadata["generation"] += 1
            self._see_run({**changed, "metadata": metadata})

    def _see_run(self, raw: dict[str, Any]) -> None:
        self.cache.see_run("MODIFIED", raw)

    def move_run(self) -> None:
        """Move the run to another program, or out of one."""
        names = ["one", "other"]
        for name in names:
            self.cache.see_program("ADDED", objects.program(name, name))
        self._revise(program=self.rng.choice([*names, None]))

    def recreate_run(self) -> None:
        """Delete the run and make one of the same name, with pods of its own."""
        for pod in self._alive():
            pod.end(self.now, spoke=None, final=True, words=True)
            self.see(pod)
        self.look()
        self.runs += 1
        for uid in list(self.cache.runs):
            self.cache.see_run("DELETED", {"metadata": {"uid": uid}})
        for pod in self.pods.values():
            self.see(pod, "DELETED")
        raw = objects.run(uid=f"run-{self.runs}", budget=self._budget())
        raw["metadata"]["creationTimestamp"] = when(self.now)
        self._see_run(raw)
        self.cache.pods.clear()

    # Invariants.

    def check(self) -> None:
        """Check what holds after every step, against what is durable."""
        entries = self._read.news()
        assert not self._read.wrong, self._read.wrong
        for entry in entries:
            assert entry.event.run == NO_RUN or entry.event.run.name == "sft"
        assert self._read.accounts == self.books.accounts, "the memory is another"
        for run, marks in self.books.marks.items():
            for uid, mark in marks.items():
                self._check_mark(run, uid, mark)

    def _check_mark(self, run: str, uid: str, mark: Mark) -> None:
        pod = self.pods[uid]
        truth = pod.computing.executed(self.now)
        assert mark.measured <= truth, f"{uid} counts {mark.measured} of {truth}"
        assert self.books.owner[uid] == run
        before = self._read.marks.get(uid, mark)
        assert merge(before, mark) == merge(mark, before)
        rises = all(mark.done[c] >= before.done[c] for c in mark.done)
        assert rises, f"the mark of {uid} fell"
        assert mark.begun >= before.begun
        self._read.marks[uid] = mark

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
            gap = settling.gaps.charge(
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
            demanded = holds(evaluate(account.terms_set.terms, totals(current)))
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
        self.unready -= self.unready - self.lost
        for pod in self._alive():
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
        assert not list(self._read.replay.settle())

    def _by_stream(self) -> dict[str, tuple[int, int]]:
        accounts = self._read.accounts.values()
        found = {}
        for account in accounts:
            for uid, mark in account.streams.items():
                gap = account.gaps.get(uid)
                upper = max(mark.begun, mark.measured) + (gap.flops if gap else 0)
                found[uid] = upper, self.pods[uid].computing.executed(self.now)
        return {u: pair for u, pair in found.items() if pair[0] < pair[1]}

    def sums(self) -> tuple[int, int, int]:
        """Return the FLOPs that are lost and declared, and how many runs count twice."""
        known = self.books.owner
        lost = declared = twice = 0
        for uid, account in self._read.accounts.items():
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


class Durable:
    """What a stranger reads in the file: each entry once, replayed and folded."""

    def __init__(self, path: Path) -> None:
        self._connection = database.connect_to_read(path)
        self.replay, self.size = Replay(), 0
        self.marks: dict[str, Mark] = {}
        self.wrong: list[str] = []

    @property
    def accounts(self) -> dict[str, Account]:
        """The fold."""
        return self.replay.accounts

    def news(self) -> list[Entry]:
        """Read the entries that were appended since the last time."""
        rows = self._connection.execute(
            "SELECT data FROM leaves WHERE idx >= ? ORDER BY idx", (self.size,)
        ).fetchall()
        entries = [decode(data) for (data,) in rows]
        for entry in entries:
            assert entry.index == self.size
            self.size += 1
            self.wrong += [str(one) for one in self.replay.step(entry)]
        return entries

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _refused(store: SqliteStore, at: str) -> None:
    """See to it that a writer who was followed appends nothing."""
    try:
        store.commit([EpochOpened(99, "asleep", "")], [], at)
    except FencedError:
        return
    message = "a writer that was followed has written"
    raise AssertionError(message)


STEPS: dict[str, tuple[int, Callable[[Machine], None]]] = {
    "the operator looks": (20, Machine.look),
    "nobody answers": (4, Machine.silence),
    "a pod starts": (5, Machine.new_pod),
    "processes are killed, and start anew": (5, Machine.restart_process),
    "a pod ends": (5, Machine.end_pod),
    "a pod is deleted by force": (2, Machine.force_delete),
    "a node is cut off": (2, Machine.lose_node),
    "a node is back": (4, Machine.node_back),
    "a node is deleted": (1, Machine.delete_node),
    "a sidecar falls silent, or speaks again": (4, Machine.toggle_sidecar),
    "pages are removed": (1, Machine.remove_pages),
    "a mark is late, twice, out of order": (6, Machine.mark_on_its_way),
    "a mark comes by Prometheus, and a forged one": (6, Machine.scrape),
    "a pod's clock jumps": (1, Machine.clock_jump),
    "the operator starts anew": (3, Machine.restart),
    "the operator dies before a commit": (3, Machine.crash_before),
    "the operator dies after a commit": (3, Machine.crash_after),
    "the budget changes": (2, Machine.raise_budget),
    "the run moves to another program": (1, Machine.move_run),
    "the run is made anew": (1, Machine.recreate_run),
}
"""How often, in parts, and what."""
