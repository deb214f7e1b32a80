"""Keep the ledger's fold and the high-water marks in memory, in step with the store.

All store calls run on one dedicated thread. Whatever goes wrong there, the next cycle
loads the store anew and decides from what is durable.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flopguard_operator.forecast.history import Track
from flopguard_operator.hearing import dated
from flopguard_operator.ledger import coverage
from flopguard_operator.ledger.accounts import Account, apply
from flopguard_operator.ledger.encoding import encode
from flopguard_operator.ledger.entries import (
    NO_RUN,
    AttemptOpened,
    Crossing,
    DecisionRecorded,
    Entry,
    Event,
    GapCharged,
    HoldSet,
    PolicyNoted,
    RetentionSet,
    RunRef,
    RunsCounted,
)
from flopguard_operator.ledger.errors import (
    FencedError,
    LedgerBrokenError,
    LedgerError,
)
from flopguard_operator.ledger.note import Head
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.ledger.standing import newest
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.marks import Mark, merge
from flopguard_operator.policy.reasons import THRESHOLD_EXCEEDED

_FAR = 10**18  # an index as long as any that will be


def utc_now() -> str:
    """Return the time for an entry: RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def refuse_unfit(events: Iterable[Event]) -> None:
    """Refuse events that no ledger can hold, before they take others down with them.

    Raises:
        LedgerError: a field of one is out of bounds, or the entry is too long.
    """
    for event in events:
        encode(Entry(_FAR, utc_now(), event))


@dataclass
class Books:
    """The operator's memory of what is in the ledger."""

    open_store: Callable[[], SqliteStore]
    accounts: dict[str, Account] = field(default_factory=dict)  # by run UID
    marks: dict[str, dict[str, Mark]] = field(default_factory=dict)  # by run, stream
    owner: dict[str, str] = field(default_factory=dict)  # stream → run UID
    held: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Run UID → when its hold was set: for people, and on the monotonic clock."""
    met: dict[str, str] = field(default_factory=dict)
    """UID of a run or program → when the threshold that governs was crossed first."""
    own: int = 0  # entries about the ledger itself, without counts of the runs'
    retention: RetentionSet | None = None  # for how long the ledger is kept
    decided: set[str] = field(default_factory=set)  # UIDs of the recorded decisions
    told: dict[str, str] = field(default_factory=dict)  # stream → its last entry's time
    spans: dict[str, coverage.Spans] = field(default_factory=dict)  # by run UID
    noted: Noted = field(default_factory=Noted)  # rule sets
    named: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(namespace, name) → UIDs of the runs that had it, oldest first."""
    tracks: dict[str, Track] = field(default_factory=dict)  # by run UID
    head: Head | None = None
    vkey: str = ""
    fenced: asyncio.Event = field(default_factory=asyncio.Event)
    """Another operator has taken the ledger over: this one has to stop."""
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    """The disk failed under the ledger: this process has to end, closing nothing."""
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    _store: SqliteStore | None = None
    _wrong: str = ""  # with the file, as the check beside the work has found
    _loaded: bool = False
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="ledger")
    )

    async def load(self) -> None:
        """Read the store, unless the memory is already in step with it.

        Raises:
            LedgerError: the file is not this ledger, or older than known.
            LedgerUnavailableError: it cannot be read now.
        """
        if not self._loaded:
            await self._in_thread(self._load)
            self.opened.set()

    @property
    def hashed_from(self) -> int:
        """The first leaf that opening the store has hashed; 0: all were."""
        return self._store.hashed_from if self._store is not None else 0

    def distrust(self, why: str) -> None:
        """Append nothing more: the file was found to be changed."""
        self._wrong, self._loaded = why, False

    def raise_mark(self, run_uid: str, mark: Mark) -> Mark | None:
        """Return a stream's new high-water mark if `mark` raises it, else None.

        A stream belongs to the run that counted it first.
        """
        if self.owner.setdefault(mark.stream, run_uid) != run_uid:
            return None
        before = self.marks.get(run_uid, {}).get(mark.stream, Mark(mark.stream))
        after = merge(before, mark)
        return None if after == before else after

    async def commit(
        self,
        events: Sequence[Event],
        marks: Sequence[tuple[str, Mark]],
        documents: Mapping[str, bytes] | None = None,
    ) -> None:
        """Make events, marks and documents durable, then take them into the memory.

        Args:
            events: in the order of their causes.
            marks: (run UID, mark) of every stream that has counted more.
            documents: texts that events note, by digest.

        Raises:
            LedgerError, LedgerUnavailableError: nothing was taken in.
        """
        self._loaded = False  # until the commit is known to have happened
        await self._in_thread(self._commit, events, marks, utc_now(), documents)
        self._loaded = True

    async def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            await self._in_thread(self._store.close)
        self._thread.shutdown()

    async def _in_thread(self, function: Callable[..., None], *args: object) -> None:
        if self._wrong and function != getattr(self._store, "close", None):
            message = f"{self._wrong}: restore the newest copy of the ledger"
            raise LedgerError(message)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, function, *args)
        except FencedError:
            self.fenced.set()
            raise
        except LedgerBrokenError:
            self.broken.set()
            raise

    def _load(self) -> None:
        if self._store is None:
            self._store = self.open_store()
        loaded = self._store.load()
        read = Books(self.open_store)
        for entry in loaded.entries:
            read._take(entry)
        for uid, account in read.accounts.items():  # not all entries were needed
            counted = loaded.counts.get(uid, account.entries)
            read.accounts[uid] = replace(account, entries=counted)
        # From here on nothing fails: the memory is never half of what was read.
        self.accounts, self.held, self.told = read.accounts, read.held, read.told
        self.met = read.met
        self.spans, self.named, self.own = read.spans, read.named, read.own
        self.noted = read.noted
        self.retention = read.retention
        self.tracks = read.tracks
        self.decided = read.decided
        self.marks = {run: dict(marks) for run, marks in loaded.marks.items()}
        self.owner = read.owner
        self.owner |= {s: run for run, marks in self.marks.items() for s in marks}
        self.head, self.vkey = loaded.head, self._store.vkey
        self._loaded = True

    def _commit(
        self,
        events: Sequence[Event],
        marks: Sequence[tuple[str, Mark]],
        at: str,
        documents: Mapping[str, bytes] | None,
    ) -> None:
        if self._store is None:
            self._store = self.open_store()
        self.head = self._store.commit(events, marks, at, documents)
        for event in events:
            self._take(Entry(index=0, at=at, event=event))
        for run_uid, mark in marks:
            self.marks.setdefault(run_uid, {})[mark.stream] = mark

    def account(self, ref: RunRef) -> Account:
        """Return a run's account; an empty one if the ledger does not know it."""
        return self.accounts.get(ref.uid, Account(ref))

    def previous(self, ref: RunRef) -> str:
        """Return the UID of the run that had a run's name before it, "" for none."""
        known = self.named.get((ref.namespace, ref.name), [])
        before = known[: known.index(ref.uid)] if ref.uid in known else known
        return before[-1] if before else ""

    def program(self, name: str) -> Account | None:
        """Return the account of the program of a name, None for none."""
        found = (self.accounts[uid] for uid in self.named.get(("", name), []))
        return newest(one for one in found if one.program_set is not None)

    def met_at(self, ref: RunRef) -> str:
        """Return when a run, or a program of a name, met its criterion first, or "".

        RFC 3339.
        """
        known = [ref.uid] if ref.namespace else self.named.get(("", ref.name), [])
        return min((self.met[uid] for uid in known if uid in self.met), default="")

    def of_run(self, run_uid: str) -> Mapping[str, Mark]:
        """Return the high-water marks of a run's streams."""
        return self.marks.get(run_uid, {})

    def _take(self, entry: Entry) -> None:
        """Fold an entry into the memory."""
        event, ref = entry.event, entry.event.run
        if isinstance(event, PolicyNoted):
            self.noted.take(event)
        if ref == NO_RUN:
            self.own += not isinstance(event, RunsCounted)
            if isinstance(event, RetentionSet):
                self.retention = event
            return
        account = self.accounts.get(ref.uid)
        if account is None:
            account = Account(ref)
            self.named.setdefault((ref.namespace, ref.name), []).append(ref.uid)
        self.accounts[ref.uid] = apply(account, event)
        self.spans[ref.uid] = coverage.extend(self.spans.get(ref.uid, {}), entry)
        self.tracks.setdefault(ref.uid, Track()).take(entry)
        stream = dated(event, self.accounts[ref.uid])
        if stream:
            self.told[stream] = entry.at
        if isinstance(event, DecisionRecorded):
            self.decided.add(event.decision)
        if isinstance(event, AttemptOpened | GapCharged):
            self.owner.setdefault(event.stream, ref.uid)
        if isinstance(event, Crossing) and event.reason == THRESHOLD_EXCEEDED:
            self.met.setdefault(ref.uid, entry.at)
        if isinstance(event, HoldSet):
            since = datetime.fromisoformat(entry.at)
            ago = (datetime.now(UTC) - since).total_seconds()
            self.held[ref.uid] = (entry.at, time.monotonic() - max(0.0, ago))
