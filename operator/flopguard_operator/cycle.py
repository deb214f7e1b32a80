"""Run the operator's loop: gather, decide, commit, publish, act.

One cycle settles all runs in one ledger transaction. After each step a crash leaves a
state from which the next start carries on: before the commit nothing has happened,
after it everything that follows is derived from the ledger again.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from flopguard_operator import auditing, gathering, overseeing, settling, sidecars
from flopguard_operator import conditions as c
from flopguard_operator.auditing import Auditor
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.conditions import Condition
from flopguard_operator.departed import Departures, claimed
from flopguard_operator.documents import Documents
from flopguard_operator.gathering import Reading, Refused
from flopguard_operator.ledger.accounts import totals
from flopguard_operator.ledger.encoding import encode_mark
from flopguard_operator.ledger.entries import Event
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.listening import EVERY_CYCLES, Listener
from flopguard_operator.marks import Mark, merge
from flopguard_operator.models.shelf import Shelf
from flopguard_operator.observed import Pod
from flopguard_operator.planning import Planned, Planner, isolated, newest
from flopguard_operator.programs import retentions
from flopguard_operator.publishing import Publisher, Situation
from flopguard_operator.ruleshelf import RuleShelf
from flopguard_operator.settings import Settings
from flopguard_operator.settling import Plan, RunView

LISTING_SECONDS = 15.0
LEAST_SECONDS = 1.0  # between two cycles
COMPARE_SECONDS, WAITING_SECONDS = 300.0, 30.0  # the second while a hold is unproven
UNREAD = Condition(
    c.PROMETHEUS_AVAILABLE,
    c.FALSE,
    "NotAnswering",
    "The marks could not be read: the operator's log says why. Counting goes on in the "
    "pods and holds stay in force.",
)

_log = structlog.get_logger()


@dataclass
class Cycle:
    """The loop's handles and its short memory; what must last is in the ledger."""

    settings: Settings
    cache: Cache
    cluster: Cluster
    books: Books
    publisher: Publisher
    listener: Listener = field(default_factory=Listener)
    auditor: Auditor = field(init=False)
    documents: Documents = field(init=False)
    shelf: Shelf = field(init=False)
    rules: RuleShelf = field(init=False)
    departures: Departures = field(init=False)
    planner: Planner = field(init=False)
    leads: Callable[[], bool] = lambda: True  # without it nothing is acted on
    ended_at: float = 0.0  # monotonic, of the last whole cycle; health looks at it
    _compared_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Start without any memory of streams and nodes."""
        self.auditor = Auditor(self.settings, self.cluster)
        self.documents = Documents(self.cluster)
        self.shelf = Shelf(self.settings.models)
        self.rules = RuleShelf(self.settings.policies)
        known = (self.cache, self.books, self.listener)
        self.planner = Planner(self.settings, *known)
        self.departures = Departures(self.cluster)

    async def run(self, stop: asyncio.Event) -> None:
        """Repeat until `stop` is set; a failing cycle is logged, never fatal."""
        with contextlib.suppress(TimeoutError):  # in an empty cluster nothing is listed
            await asyncio.wait_for(self.cache.complete.wait(), LISTING_SECONDS)
        while not stop.is_set():
            self.cache.wake.clear()
            began = time.monotonic()
            try:
                whole = await self.once()
            except Exception:  # noqa: BLE001 - the loop outlives every surprise
                _log.exception("cycle failed")
                whole = False
            if self.books.broken.is_set():  # said in every status by now
                _log.critical("the disk failed under the ledger: starting anew")
                os._exit(os.EX_IOERR)
            ended = time.monotonic()
            if whole:
                self.ended_at = ended
            self.publisher.collector.cycle_seconds = ended - began
            await self._pause(stop, self.settings.cycle_seconds)

    async def _look_up(self) -> None:
        """Take the newest base models and rule sets; say what is wrong, once."""
        wrong = self.rules.problems
        self.cache.laws = await asyncio.to_thread(self.rules.laws)
        if self.rules.problems != wrong:
            for problem in self.rules.problems:
                _log.warning("the rule sets", why=problem)
        before = self.cache.catalogue
        self.cache.catalogue = await asyncio.to_thread(self.shelf.catalogue)
        if self.cache.catalogue.problems != before.problems:
            for problem in self.cache.catalogue.problems:
                _log.warning("the catalogue of base models", why=problem)

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait for the next cycle, for something to look at, or for the end.

        However often something is to be looked at, there is a pause: what happens in it
        is looked at together, and nobody keeps the loop and the ledger busy.
        """
        least = min(LEAST_SECONDS, seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), least)
        waits = [asyncio.ensure_future(e.wait()) for e in (stop, self.cache.wake)]
        first = asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait(waits, timeout=seconds - least, return_when=first)
        finally:
            for one in waits:
                one.cancel()

    async def once(self) -> bool:
        """Gather, decide, commit, publish, act: once for all runs.

        Returns:
            Whether the marks could be read; where not, the rest is done all the same.
        """
        await self._miss_deleted()
        await self._look_up()
        pods = dict(self.cache.pods)
        ledger = await self._load()
        views, refused = gathering.views(self.cache)
        read = await self._marks(pods)
        reading = read or Reading({}, UNREAD)
        found = await self._listen(pods, views, reading)
        views = [await self._of_held(view) for view in views]
        if ledger.status == c.TRUE:
            known = self.cache, self.books, self.auditor.hearing
            views += await self.departures.views(*known, claimed(views, refused))
        views = await self.auditor.strays(views, self.cache, self.books.owner)
        leaving, refused = await self._leaving(refused)
        views += leaving
        raised = self._raise(views, refused, found) if ledger.status == c.TRUE else []
        self.auditor.unhear(self._unsettled(found, raised))
        views = [await self._watched(view, raised, ledger) for view in views]
        kept = {*self.cache.runs, *self.departures.followed}
        self.auditor.keep({*kept, *(view.ref.uid for view in views)}, pods)
        planned = self.planner.plan(views, raised)
        # A crash before this line: the marks are read again, nothing was decided.
        ledger, events = await self._commit(planned, raised, ledger)
        # A crash after it: the account asks for the same status and the same hold.
        if ledger.status == c.TRUE:
            self.auditor.settled()
            self.departures.settled(views, self.auditor.hearing)
        if ledger.status == c.TRUE and read is not None:
            self.cache.forget_gone_pods(pods)
        if self.leads() and not self.books.fenced.is_set():
            told = Situation(reading.condition, ledger, self.listener)
            await self._publish(planned.runs, refused, events, told)
            await self.publisher.finish(ledger, planned.overseen)
        return read is not None

    async def _publish(
        self,
        plans: list[tuple[RunView, Plan]],
        refused: list[Refused],
        events: list[Event],
        told: Situation,
    ) -> None:
        """Publish what was decided, and act on it, run by run."""
        for view, plan in plans:
            own = overseeing.told(events, view)
            with isolated(view.ref):
                await self.publisher.publish_and_act(view, plan, told, own)
        for one in refused if told.ledger.status == c.TRUE else ():
            with isolated(gathering.reference(one.raw)):
                await self.publisher.refuse(one)

    async def _marks(self, pods: Mapping[str, Pod]) -> Reading | None:
        """Read the newest marks; None where even that which cannot fail has failed."""
        stale = 2 * auditing.patience(self.settings).poll
        try:
            return await gathering.marks(self.settings.prometheus_url, pods, stale)
        except Exception:  # noqa: BLE001 - the cycle also releases, refuses and says
            _log.exception("marks could not be read")
            return None

    async def _listen(
        self, pods: Mapping[str, Pod], views: list[RunView], read: Reading
    ) -> dict[str, Mark]:
        """Ask some sidecars for the facts of their processes; return all marks.

        What fails here costs second opinions, never the count.
        """
        kept = {*pods, *(s for uid in self.cache.runs for s in self.books.of_run(uid))}
        self.listener.keep(kept)
        pause = EVERY_CYCLES * self.settings.cycle_seconds
        due = self.listener.due(pods.values(), self._urgent(views), pause)
        try:
            heard = await sidecars.listen(due)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("facts could not be read")
            heard = {}
        self.listener.take(heard)
        found = dict(read.marks)
        for uid, told in heard.items():
            found[uid] = merge(found[uid], told.mark) if uid in found else told.mark
        self.auditor.hear(read, heard, found, self.books)
        return self.auditor.hearing.with_said(found)

    async def _watched(
        self, view: RunView, raised: list[tuple[str, Mark]], ledger: Condition
    ) -> RunView:
        """Return a view with what is known of each of its streams as of now."""
        if ledger.status != c.TRUE:
            return view  # without the accounts nothing would be known of the streams
        marks = newest(self.books, view.ref.uid, raised)
        previous = self.books.previous(view.ref)
        view = replace(view, previous=previous, noted=self.books.noted)
        with isolated(view.ref):
            return await self.auditor.look(view, self.books, self.listener, marks)
        return view

    def _urgent(self, views: list[RunView]) -> set[str]:
        """Return the UIDs of the pods of runs that near a limit, or are being held."""
        found = set()
        for view in views:
            account = self.books.account(view.ref)
            marks = self.books.of_run(view.ref.uid)
            upper = totals(replace(account, streams=marks)).upper
            waiting = account.hold is not None and account.proven is None
            if waiting or settling.is_near(view, upper):
                found |= {pod.uid for pod in view.pods}
        return found

    async def _miss_deleted(self) -> None:
        """Find the objects whose deletion no watch has told, from time to time."""
        accounts = self.books.accounts.values()
        waiting = any(a.hold is not None and a.proven is None for a in accounts)
        since = time.monotonic() - self._compared_at
        if since < (WAITING_SECONDS if waiting else COMPARE_SECONDS):
            return
        for known, ask in (
            (list(self.cache.pods), self.cluster.injected_pods),
            (self.cache.owners(), self.cluster.existing),
        ):
            try:
                present = await asyncio.to_thread(ask)
            except ClusterError as error:
                _log.warning("cannot list what exists", why=str(error))
                return
            self.cache.miss(known, present)
        self._compared_at = time.monotonic()

    async def _load(self) -> Condition:
        try:
            await self.books.load()
        except (LedgerError, LedgerUnavailableError) as error:
            return _unavailable(error)
        return Condition(c.LEDGER_AVAILABLE, c.TRUE)

    async def _leaving(
        self, refused: list[Refused]
    ) -> tuple[list[RunView], list[Refused]]:
        """Part the refused runs that go away and take their hold along from others."""
        leaving, staying = [], []
        for one in refused:
            account = self.books.account(gathering.reference(one.raw))
            view = None
            if gathering.is_deleting(one.raw):
                with isolated(account.ref):
                    noted = self.books.noted
                    view = gathering.as_recorded(one, account, self.cache, noted)
                    view = None if view is None else await self._of_held(view)
            if view is not None and view.release_because:
                leaving.append(view)
            else:
                staying.append(one)
        return leaving, staying

    async def _of_held(self, view: RunView) -> RunView:
        """Ask the API server live about a run that is held and unproven, or deleted."""
        account = self.books.account(view.ref)
        deleting = gathering.is_deleting(self.cache.runs.get(view.ref.uid))
        waiting = account.hold is not None and account.proven is None
        if not waiting and not deleting:
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
        self, views: list[RunView], refused: list[Refused], found: Mapping[str, Mark]
    ) -> list[tuple[str, Mark]]:
        """Return (run UID, mark) of every stream that has counted more.

        The pods of a refused run count too: what they spend stays spent. A mark that
        the ledger cannot hold is left out, so that it stops no other.
        """
        counted = [(view.ref, view.pods) for view in views]
        counted += [(gathering.reference(one.raw), one.pods) for one in refused]
        raised = []
        for ref, pod in ((ref, pod) for ref, pods in counted for pod in pods):
            mark = found.get(pod.uid)
            if mark is None:
                continue
            with isolated(ref):
                higher = self.books.raise_mark(ref.uid, mark)
                if higher is not None:
                    encode_mark(higher)
                    raised.append((ref.uid, higher))
        return raised

    def _unsettled(
        self, found: Mapping[str, Mark], raised: list[tuple[str, Mark]]
    ) -> set[str]:
        """Return the streams that told more than this cycle takes into the ledger."""
        higher = {mark.stream: mark for _, mark in raised}
        unsettled = set()
        for stream, mark in found.items():
            of_run = self.books.of_run(self.books.owner.get(stream, ""))
            known = higher.get(stream) or of_run.get(stream, Mark(stream))
            if merge(known, mark) != known:
                unsettled.add(stream)
        return unsettled

    async def _commit(
        self, planned: Planned, raised: list[tuple[str, Mark]], ledger: Condition
    ) -> tuple[Condition, list[Event]]:
        """Append all events and marks in one transaction; nothing if it fails."""
        if ledger.status != c.TRUE:
            return ledger, []
        events = planned.events(self.books)
        views = [view for view, _ in planned.runs]
        papers = await self.documents.gather(views, events, self.cache, self.books)
        events += papers.events
        # After the count of entries, which does not have it.
        years, programs = self.settings.retention_years, self.cache.programs
        events += retentions(self.books.retention, years, programs.values())
        if not (events or raised):
            return ledger, []
        try:
            await self.books.commit(events, raised, papers.texts)
        except (LedgerError, LedgerUnavailableError) as error:
            return _unavailable(error), []
        self.planner.settled(planned.runs)
        return ledger, events


def _unavailable(error: Exception) -> Condition:
    _log.error("ledger unavailable", why=str(error))
    message = f"{error}. Counting goes on in the pods and holds stay in force."
    return Condition(c.LEDGER_AVAILABLE, c.FALSE, "LedgerUnavailable", message)
