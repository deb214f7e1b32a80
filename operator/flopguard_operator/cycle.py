"""Run the operator's loop: gather, decide, commit, publish, act.

One cycle settles all runs in one ledger transaction. After each step a crash leaves a
state from which the next start carries on: before the commit nothing has happened,
after it everything that follows is derived from the ledger again.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from flopguard_operator import (
    acting,
    conditions,
    gathering,
    programs,
    settling,
    status,
)
from flopguard_operator import conditions as c
from flopguard_operator.api.fields import SpecError, read
from flopguard_operator.api.program import ProgramSpec
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.conditions import Condition, Surroundings
from flopguard_operator.gathering import Refused
from flopguard_operator.ledger.entries import Event, RunRef
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.marks import Mark
from flopguard_operator.metrics import Collector, RunSample
from flopguard_operator.observed import at
from flopguard_operator.settings import Settings
from flopguard_operator.settling import Plan, RunView

LISTING_SECONDS = 15.0
COMPARE_SECONDS, WAITING_SECONDS = 300.0, 30.0  # the second while a hold is unproven

_log = structlog.get_logger()


@dataclass
class Cycle:
    """The loop's handles and its short memory; what must last is in the ledger."""

    settings: Settings
    cache: Cache
    cluster: Cluster
    books: Books
    collector: Collector
    ended_at: float = 0.0  # monotonic; health looks at it
    _compared_at: float = field(default_factory=time.monotonic)
    _settled: dict[str, float] = field(default_factory=dict)
    _history: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Repeat until `stop` is set; a failing cycle is logged, never fatal."""
        with contextlib.suppress(TimeoutError):  # in an empty cluster nothing is listed
            await asyncio.wait_for(self.cache.complete.wait(), LISTING_SECONDS)
        while not stop.is_set():
            self.cache.wake.clear()
            began = time.monotonic()
            try:
                await self.once()
            except Exception:  # noqa: BLE001 - the loop outlives every surprise
                _log.exception("cycle failed")
            self.ended_at = time.monotonic()
            self.collector.cycle_seconds = self.ended_at - began
            await self._pause(stop, self.settings.cycle_seconds)

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait for the next cycle, for something to look at, or for the end."""
        waits = [asyncio.ensure_future(e.wait()) for e in (stop, self.cache.wake)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()

    async def once(self) -> None:
        """Gather, decide, commit, publish, act: once for all runs."""
        await self._miss_pods()
        pods = dict(self.cache.pods)
        ledger = await self._load()
        views, refused = gathering.views(self.cache)
        found, prometheus = await gathering.marks(self.settings.prometheus_url, pods)
        views = [await self._of_held(view) for view in views]
        raised = self._raise(views, found) if ledger.status == c.TRUE else []
        plans = [self._plan(view, raised) for view in views]
        # A crash before this line: the marks are read again, nothing was decided.
        ledger, events = await self._commit(plans, raised, ledger)
        # A crash after it: the account asks for the same status and the same hold.
        if ledger.status == c.TRUE:
            self.cache.forget_gone_pods(pods)
        samples = []
        for view, plan in plans:
            around = self._around(view, plan, prometheus, ledger)
            samples.append(self._sample(view, plan, around))
            own = [event for event in events if event.run.uid == view.ref.uid]
            await self._publish_and_act(view, plan, around, own)
        for one in refused:
            await self._refuse(one)
        for name in list(self.cache.programs):
            await self._publish_program(name)
        self.collector.samples = tuple(samples)
        self.collector.ledger_size = self.books.head.size if self.books.head else 0

    async def _miss_pods(self) -> None:
        """Find the pods whose deletion no watch has told, from time to time."""
        accounts = self.books.accounts.values()
        waiting = any(a.hold is not None and a.proven is None for a in accounts)
        since = time.monotonic() - self._compared_at
        if since < (WAITING_SECONDS if waiting else COMPARE_SECONDS):
            return
        known = list(self.cache.pods)
        try:
            present = await asyncio.to_thread(self.cluster.injected_pods)
        except ClusterError as error:
            _log.warning("cannot list pods", why=str(error))
            return
        self.cache.miss_pods(known, present)
        self._compared_at = time.monotonic()

    async def _load(self) -> Condition:
        try:
            await self.books.load()
        except (LedgerError, LedgerUnavailableError) as error:
            return _unavailable(error)
        return Condition(c.LEDGER_AVAILABLE, c.TRUE)

    async def _of_held(self, view: RunView) -> RunView:
        """Ask the API server live about a run that is held and not yet proven."""
        account = self.books.account(view.ref)
        raw = self.cache.runs.get(view.ref.uid)
        deleting = at(raw, "metadata", "deletionTimestamp") is not None
        if account.hold is None or (account.proven is not None and not deleting):
            return view
        _, since = self.books.held.get(view.ref.uid, ("", time.monotonic()))
        milliseconds = int((time.monotonic() - since) * 1000)
        view = replace(view, held_milliseconds=milliseconds)
        try:
            return await gathering.of_held(view, self.cluster, deleting=deleting)
        except ClusterError as error:
            _log.warning("cannot look for pods", run=view.ref.name, why=str(error))
            return view

    def _raise(
        self, views: list[RunView], found: Mapping[str, Mark]
    ) -> list[tuple[str, Mark]]:
        """Return (run UID, mark) of every stream that has counted more."""
        raised = []
        for view in views:
            for pod in view.pods:
                mark = found.get(pod.uid)
                if mark is not None:
                    higher = self.books.raise_mark(view.ref.uid, mark)
                    if higher is not None:
                        raised.append((view.ref.uid, higher))
        return raised

    def _plan(
        self, view: RunView, raised: list[tuple[str, Mark]]
    ) -> tuple[RunView, Plan]:
        uid = view.ref.uid
        marks = dict(self.books.of_run(uid))
        marks.update({mark.stream: mark for run, mark in raised if run == uid})
        since = time.monotonic() - self._settled.get(uid, 0.0)
        due = since >= self.settings.settle_seconds
        account = self.books.account(view.ref)
        return view, settling.plan(view, account, marks, settle_due=due)

    async def _commit(
        self,
        plans: list[tuple[RunView, Plan]],
        raised: list[tuple[str, Mark]],
        ledger: Condition,
    ) -> tuple[Condition, list[Event]]:
        """Append all events and marks in one transaction; nothing if it fails."""
        events = [event for _, plan in plans for event in plan.events]
        if ledger.status != c.TRUE or not (events or raised):
            return ledger, []
        try:
            await self.books.commit(events, raised)
        except (LedgerError, LedgerUnavailableError) as error:
            return _unavailable(error), []
        for view, plan in plans:
            if plan.events:
                self._settled[view.ref.uid] = time.monotonic()
        return ledger, events

    def _around(
        self, view: RunView, plan: Plan, prometheus: Condition, ledger: Condition
    ) -> Surroundings:
        head, uid = self.books.head, view.ref.uid
        wire = None
        if head is not None:
            wire = {
                "size": head.size,
                "rootHash": head.root_base64,
                "key": self.books.vkey,
            }
        return Surroundings(
            now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            prometheus=prometheus,
            ledger=ledger,
            head=wire,
            flops_per_second=self._rate(uid, plan.totals.upper),
            unmetered_pods=self._unmetered(view),
            marks=self.books.of_run(uid),
            held_since=self.books.held.get(uid, ("", 0.0))[0],
        )

    def _unmetered(self, view: RunView) -> int:
        """Return how many active pods of the Job are not counted for this run."""
        if view.job is None:
            return 0
        mine = [
            pod
            for pod in view.pods
            if self.books.owner.get(pod.uid, view.ref.uid) == view.ref.uid
            and pod.job_name == view.job.name
            and pod.injected
            and not (pod.gone or pod.ended)
        ]
        return max(0, view.job.active - len(mine))

    def _rate(self, uid: str, upper: int) -> int:
        """Return FLOPs per second over the settings' window, by the monotonic clock."""
        now = time.monotonic()
        history = self._history.setdefault(uid, deque())
        history.append((now, upper))
        while now - history[0][0] > self.settings.rate_seconds:
            history.popleft()
        began, first = history[0]
        return int((upper - first) / (now - began)) if now > began else 0

    def _sample(self, view: RunView, plan: Plan, around: Surroundings) -> RunSample:
        ref, limit = view.ref, status.nearest_limit(view)
        account = self.books.account(ref)
        return RunSample(
            labels=(ref.namespace, ref.name, view.program, view.terms.policy),
            measured=plan.totals.measured,
            upper=plan.totals.upper,
            limit=limit,
            crossing_seconds=status.seconds_to(
                limit, plan.totals.upper, around.flops_per_second
            ),
            held=account.hold is not None,
        )

    async def _publish_and_act(
        self, view: RunView, plan: Plan, around: Surroundings, events: list[Event]
    ) -> None:
        raw = self.cache.runs.get(view.ref.uid)
        if raw is None:
            return
        account = self.books.account(view.ref)
        wanted = status.build(view, account, plan, around)
        wanted["conditions"] = conditions.merged(
            at(raw, "status", "conditions") or (),
            conditions.of_run(view, account, plan, around),
            generation=view.generation,
            now=around.now,
        )
        held = account.hold is not None
        if held:
            await acting.keep_finalizer(self.cluster, raw, held=True)
        if await acting.publish(self.cluster, raw, wanted):
            await acting.on_workload(self.cluster, view, account, plan)
        if not held:
            await acting.keep_finalizer(self.cluster, raw, held=False)
        await acting.tell(self.cluster, view, events)

    async def _publish_program(self, name: str) -> None:
        raw = self.cache.programs[name]
        try:
            spec = read(ProgramSpec, at(raw, "spec") or {}, "spec")
        except SpecError as error:
            _log.warning("program cannot be read", program=name, why=str(error))
            return
        generation = int(at(raw, "metadata", "generation") or 0)
        runs = programs.members(name, self.books.accounts)
        wanted = programs.status(spec, runs, generation)
        await acting.publish_program(self.cluster, raw, wanted)

    async def _refuse(self, one: Refused) -> None:
        """Say why a run is not metered; a hold that it has stays in force."""
        ref: RunRef = gathering.reference(one.raw)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        generation = int(at(one.raw, "metadata", "generation") or 0)
        wanted: dict[str, Any] = {
            "state": "Held" if self.books.account(ref).hold else "Refused",
            "conditions": conditions.merged(
                at(one.raw, "status", "conditions") or (),
                [one.condition],
                generation=generation,
                now=now,
            ),
            "observedGeneration": generation,
        }
        await acting.publish(self.cluster, one.raw, wanted)


def _unavailable(error: Exception) -> Condition:
    _log.error("ledger unavailable", why=str(error))
    message = f"{error}. Counting goes on in the pods and holds stay in force."
    return Condition(c.LEDGER_AVAILABLE, c.FALSE, "LedgerUnavailable", message)
