"""Note documents about runs in the ledger, and count the runs' entries, for evidence.

A document is a redacted manifest (of the run at each change, of its workloads at each
change of their spec, of a pod once it runs and once it ended) or a Kubernetes Event
that concerns scheduling, preemption or holds. Shell: it asks the API server for Events
and keeps the time; what of an object is kept, `evidence.redaction` decides.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from flopguard_operator import naming
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster, ClusterError
from flopguard_operator.evidence import redaction
from flopguard_operator.ledger import census
from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.documents import digest as digest_of
from flopguard_operator.ledger.entries import (
    NO_RUN,
    Crossing,
    DocumentNoted,
    Event,
    HoldProven,
    HoldReleased,
    HoldSet,
    RunRef,
    RunsCounted,
    Settlement,
    TermsSet,
)
from flopguard_operator.observed import Pod, Raw, text
from flopguard_operator.settling import RunView

EVENT_SECONDS = 60.0  # the API server forgets Events after an hour
COUNT_SECONDS = 300.0
MOST_A_CYCLE = 64  # documents; the rest waits for the next
MOST_A_RUN = 4096
MOST_EVENTS_A_RUN = 256
MOST_OF_ONE = {naming.RUN_KIND: 256, "Job": 256, "Pod": 2}
REASONS = (
    "FailedScheduling",
    "Preempted",
    "Evicted",
    "EvictedDueToPreemption",
    "TriggeredScaleUp",
    "NotTriggerScaleUp",
    "Suspended",
    "Resumed",
    "HoldSet",
    "HoldProven",
    "HoldReleased",
)

_LONGEST_NAME = 253
_TELLING = (TermsSet, Crossing, HoldSet, HoldProven, HoldReleased)

_log = structlog.get_logger()


@dataclass(frozen=True)
class Papers:
    """What goes into a commit besides what was decided."""

    events: tuple[Event, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)  # by digest


@dataclass(frozen=True)
class _Sheet:
    """A document about a run that may be known already."""

    kind: str
    name: str
    uid: str
    data: bytes
    by: str = ""


@dataclass
class Documents:
    """Remembers what was looked at, so that an unchanged object costs nothing."""

    cluster: Cluster
    _seen: dict[str, Raw] = field(default_factory=dict)  # UID → as last looked at
    _happened: dict[str, list[Raw]] = field(default_factory=dict)  # by object's UID
    _offered: DocumentNoted | None = None  # the first of the last commit
    _asked_at: float = float("-inf")
    _counted_at: float = float("-inf")

    async def gather(
        self,
        views: Sequence[RunView],
        decided: Sequence[Event],
        cache: Cache,
        books: Books,
    ) -> Papers:
        """Return documents that are new, and perhaps a count; never raises.

        Evidence that cannot be gathered stops no metering.
        """
        try:
            self._look_again_if_lost(books)
            await self._ask()
            events, texts = self._noted(views, cache, books)
            events += self._count([*decided, *events], books)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("documents could not be gathered")
            return Papers()
        noted = [event for event in events if isinstance(event, DocumentNoted)]
        self._offered = noted[0] if noted else None
        return Papers(tuple(events), texts)

    def _look_again_if_lost(self, books: Books) -> None:
        """Begin anew if the commit of what was gathered last has failed."""
        offered, self._offered = self._offered, None
        if offered and offered not in books.account(offered.run).documents:
            self._seen.clear()
            self._asked_at = self._counted_at = float("-inf")

    async def _ask(self) -> None:
        """Ask for the Events of the cluster, from time to time."""
        now = time.monotonic()
        if now - self._asked_at < EVENT_SECONDS:
            return
        self._asked_at = now
        self._happened.clear()
        for reason in REASONS:
            try:
                found = await asyncio.to_thread(self.cluster.happenings, reason)
            except ClusterError as error:
                _log.warning("cannot list Events", reason=reason, why=str(error))
                return
            for raw in found:
                about = text(raw, "involvedObject", "uid")
                self._happened.setdefault(about, []).append(raw)

    def _noted(
        self, views: Sequence[RunView], cache: Cache, books: Books
    ) -> tuple[list[Event], dict[str, bytes]]:
        events: list[Event] = []
        texts: dict[str, bytes] = {}
        for view in views:
            account = books.account(view.ref)
            for event, data in _new(view.ref, account, self._sheets(view, cache)):
                if len(texts) == MOST_A_CYCLE:
                    self._seen.clear()  # the rest is looked at again
                    return events, texts
                events.append(event)
                texts[event.digest] = data
        self._happened.clear()
        self._forget(views, cache)
        return events, texts

    def _sheets(self, view: RunView, cache: Cache) -> Iterator[_Sheet]:
        """Yield the documents about a run's objects that have changed."""
        run = cache.runs.get(view.ref.uid)
        if run is not None and self._is_new(view.ref.uid, run):
            yield _manifest(naming.RUN_KIND, run)
        for job in view.jobs:
            if job.raw and self._is_new(job.uid, job.raw):
                yield _manifest("Job", job.raw)
        for pod in view.pods:
            if _stage(pod) and self._is_new(pod.uid, pod.raw):
                yield _manifest("Pod", pod.raw, status=True)
        objects = [
            view.ref.uid,
            *(j.uid for j in view.jobs),
            *(p.uid for p in view.pods),
        ]
        for uid in objects:
            for raw in self._happened.get(uid, ()):
                name = text(raw, "metadata", "name")
                data = redaction.event(raw)
                yield _Sheet("Event", name, text(raw, "metadata", "uid"), data)

    def _is_new(self, uid: str, raw: Raw) -> bool:
        """Tell whether an object is another than when it was looked at last."""
        if self._seen.get(uid) is raw:
            return False
        self._seen[uid] = raw
        return True

    def _forget(self, views: Sequence[RunView], cache: Cache) -> None:
        if len(self._seen) > 2 * (len(cache.runs) + len(cache.jobs) + len(cache.pods)):
            kept = {view.ref.uid for view in views}
            kept |= {job.uid for view in views for job in view.jobs}
            kept |= {pod.uid for view in views for pod in view.pods}
            self._seen = {uid: raw for uid, raw in self._seen.items() if uid in kept}

    def _count(self, events: Sequence[Event], books: Books) -> list[Event]:
        """Return a count of all entries after these, when one is due."""
        now = time.monotonic()
        due = now - self._counted_at >= COUNT_SECONDS
        if not events or not (due or any(_is_telling(event) for event in events)):
            return []
        self._counted_at = now
        return [counted(books.accounts, events, books.own)]


def counted(
    accounts: Mapping[str, Account], events: Iterable[Event], own: int
) -> RunsCounted:
    """Return the count of all entries after `events` were appended.

    Args:
        accounts: by run UID, before them.
        events: of the same commit.
        own: entries about the ledger itself before them, without counts.
    """
    after = dict(accounts)
    for event in events:
        if event.run != NO_RUN:
            uid = event.run.uid
            after[uid] = apply(after.get(uid, Account(event.run)), event)
        else:
            own += not isinstance(event, RunsCounted)
    return census.entry(census.of(after), own)


def _is_telling(event: Event) -> bool:
    """Tell whether somebody may want to prove an event soon."""
    ended = isinstance(event, Settlement) and event.final
    return ended or isinstance(event, _TELLING)


def _stage(pod: Pod) -> bool:
    """Tell whether a pod has come to where its manifest is worth noting."""
    return pod.over or pod.gone or text(pod.raw, "status", "phase") == "Running"


def _manifest(kind: str, raw: Raw, *, status: bool = False) -> _Sheet:
    return _Sheet(
        kind=kind,
        name=text(raw, "metadata", "name"),
        uid=text(raw, "metadata", "uid"),
        data=redaction.redacted(raw, status=status),
        by=redaction.last_manager(raw),
    )


def _new(
    ref: RunRef, account: Account, sheets: Iterable[_Sheet]
) -> Iterator[tuple[DocumentNoted, bytes]]:
    """Yield those documents that the ledger does not know, within what is allowed."""
    known: set[str] | None = None
    of_one: dict[tuple[str, str], int] = {}
    for sheet in sheets:
        if known is None:  # only now: most runs have nothing new
            known = {each.digest for each in account.documents}
            for each in account.documents:
                for key in ((each.kind, each.uid), (each.kind, "")):
                    of_one[key] = of_one.get(key, 0) + 1
        digest = digest_of(sheet.data)
        if digest in known or not _fits(sheet, len(known), of_one):
            continue
        known.add(digest)
        for key in ((sheet.kind, sheet.uid), (sheet.kind, "")):
            of_one[key] = of_one.get(key, 0) + 1
        yield (
            DocumentNoted(
                run=ref,
                kind=sheet.kind,
                name=_short(sheet.name),
                uid=_short(sheet.uid),
                digest=digest,
                size=len(sheet.data),
                by=_short(sheet.by),
            ),
            sheet.data,
        )


def _short(name: str) -> str:
    """Return what an entry can hold of a name: a lone surrogate would refuse it all."""
    return name[:_LONGEST_NAME].encode(errors="replace").decode()


def _fits(sheet: _Sheet, known: int, of_one: Mapping[tuple[str, str], int]) -> bool:
    """Tell whether a run may have one more document of this kind and object."""
    if known >= MOST_A_RUN:
        return False
    if sheet.kind == "Event":
        return of_one.get(("Event", ""), 0) < MOST_EVENTS_A_RUN
    return of_one.get((sheet.kind, sheet.uid), 0) < MOST_OF_ONE[sheet.kind]
