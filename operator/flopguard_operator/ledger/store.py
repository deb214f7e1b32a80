"""Keep the ledger: what a store promises, and the store in one SQLite file."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from flopguard_operator.ledger import (
    custody,
    database,
    migrating,
    note,
    opening,
    reading,
    tree,
    upkeep,
)
from flopguard_operator.ledger.accounts import mark_of
from flopguard_operator.ledger.custody import Custody, KnownHead
from flopguard_operator.ledger.documents import checked
from flopguard_operator.ledger.encoding import encode
from flopguard_operator.ledger.entries import (
    Entry,
    EpochOpened,
    Event,
    KeyRotated,
    Settlement,
)
from flopguard_operator.ledger.errors import LedgerBrokenError, LedgerError
from flopguard_operator.ledger.filesystems import refuse_network
from flopguard_operator.ledger.keys import SigningKey
from flopguard_operator.ledger.note import Head
from flopguard_operator.ledger.reading import export_file
from flopguard_operator.marks import Mark, merge

__all__ = ["Loaded", "SqliteStore", "Store", "export_file"]

WHOLE_UP_TO = 100_000  # leaves that are all hashed at the start: about a second

Connect = Callable[[Path], database.Connection]


@dataclass(frozen=True)
class Loaded:
    """What a ledger holds."""

    entries: Iterator[Entry]
    """In order; read it before the store is used again. After a start by the tail:
    only those whose fold is that of all, see `ledger/upkeep.py`."""
    marks: Mapping[str, Mapping[str, Mark]]  # run UID → stream → high-water mark
    head: Head
    counts: Mapping[str, int] = field(default_factory=dict)
    """Run UID → number of its entries, which `entries` may be fewer than."""


CHECKPOINT_EVERY = 64  # commits; the log holds a few pages of each until then


class Store(Protocol):
    """Where the ledger is kept, and what its keeper may rely on.

    There are two kinds of thing in it. Rows (leaves, marks, documents) are written in
    bulk; the head and the epoch are compared and swapped. One transaction holds both.

    - `commit` returns only when everything it was given is durable, with a signed head
      over it. It is one transaction: all or nothing.
    - It takes place only if epoch and newest head are those that this store knows. A
      writer whom another one has followed by `claim` gets `FencedError`, for good.
    - High-water marks only rise, and are never below what the leaves settle.
    - Leaves, heads and documents are never changed. A head is signed before it is
      stored, and only if it extends the head before it.
    - After any error the file is closed; before it is used again its tail is verified
      anew. A disk that failed to sync once may call the next sync a success.
    - After a `LedgerUnavailableError` from `commit` it is not known whether the commit
      took place. Call `load` and decide anew from what is there; never just repeat.
    - One thread makes the store and uses it; one process writes. Others may read.

    `tests/unit/store_contract.py` holds every implementation to this.
    """

    @property
    def head(self) -> Head:
        """The newest signed head."""

    @property
    def vkey(self) -> str:
        """The public key that signs now, in the form that verifiers take."""

    def claim(self, holder: str, version: str, at: str) -> int:
        """Become the only writer: append `EpochOpened`, and return its epoch.

        Args:
            holder: who writes from now on, as the Lease says.
            version: of flopguard.
            at: now, as in `commit`.

        Raises:
            LedgerError, LedgerUnavailableError: as `commit`.
        """

    def commit(
        self,
        events: Sequence[Event],
        marks: Sequence[tuple[str, Mark]],
        at: str,
        documents: Mapping[str, bytes] | None = None,
    ) -> Head:
        """Append events, raise the marks of (run UID, mark), sign and store the head.

        Args:
            events: in the order of their causes. Entries with one time are one commit,
                so a settlement goes with the crossings that it causes.
            marks: of every stream read, settled or not.
            at: now, in UTC, as "2026-11-22T00:20:00.000Z".
            documents: texts to keep, by their SHA-256 in hexadecimal.

        Raises:
            LedgerError: an event or document cannot be kept, or somebody else wrote.
            FencedError: another writer has claimed the ledger.
            LedgerUnavailableError: the disk is full or read-only.
            LedgerBrokenError: it failed; the process has to end, closing nothing.
        """

    def rotate(self, successor: SigningKey, reason: str, at: str) -> Head:
        """Append `KeyRotated`, with a head that both keys sign; the new one goes on."""

    def load(self) -> Loaded:
        """Return the entries, the high-water marks and the head."""

    def document(self, digest: str) -> bytes | None:
        """Return a document that was committed; None where there is none."""

    def export(self, out: BinaryIO) -> None:
        """Write the leaves and their head as a file that verifies offline."""

    def close(self) -> None:
        """Close the store; using it again opens it again."""


@dataclass(frozen=True)
class _Change:
    """Who writes, or signs, from a commit on, where that is another one."""

    epoch: int | None = None
    successor: SigningKey | None = None


class SqliteStore:
    """A `Store` in one SQLite file, of which no part is believed unchecked.

    Opening it, also again after an error, checks it: `opening` says how much.

    Args:
        path: the file; made if it is absent, but never its folder.
        key: signs the heads; its name is the ledger's origin.
        known: heads that were seen elsewhere (in the status of a run), so that an old
            copy of the file is noticed.
        connect: opens the file; tests put faults here.
        successor: the key that is to follow, or has followed, by `rotate`.
        whole_up_to: leaves up to which opening hashes all of them.

    Raises:
        LedgerError: the file is not this ledger, was changed, or is older than known;
            or it is on a network file system.
        LedgerUnavailableError: the file cannot be read or written now.
    """

    def __init__(  # noqa: PLR0913 - what a test or a tool varies, each with a default
        self,
        path: Path,
        key: SigningKey,
        known: Collection[KnownHead] = (),
        connect: Connect = database.connect,
        *,
        successor: SigningKey | None = None,
        whole_up_to: int = WHOLE_UP_TO,
    ) -> None:
        self._path, self._connect = path, connect
        self._keys = (key,) if successor is None else (key, successor)
        self._known, self._whole_up_to = tuple(known), whole_up_to
        self._connection: database.Connection | None = None
        self._commits = 0
        self._broken = ""  # why this process may not touch the file again
        self._own: KnownHead | None = None  # the newest head that this store has seen
        self._epoch: int | None = None
        self._custody: Custody
        self._opened()

    @property
    def head(self) -> Head:
        """See `Store.head`."""
        return _head(self._key.name, self._frontier)

    @property
    def vkey(self) -> str:
        """See `Store.vkey`."""
        return self._key.verifier.text

    @property
    def hashed_from(self) -> int:
        """The first leaf that opening has hashed; 0: all were."""
        return self._first

    @property
    def custody(self) -> Custody:
        """What the ledger says of itself: keys, recoveries, retention."""
        return self._custody

    def claim(self, holder: str, version: str, at: str) -> int:
        """See `Store.claim`."""
        self._opened()
        epoch = (self._epoch or 0) + 1
        event = EpochOpened(epoch, holder, version)
        self._write([event], [], at, change=_Change(epoch=epoch))
        return epoch

    def commit(
        self,
        events: Sequence[Event],
        marks: Sequence[tuple[str, Mark]],
        at: str,
        documents: Mapping[str, bytes] | None = None,
    ) -> Head:
        """See `Store.commit`. With nothing new to say, nothing is written."""
        return self._write(events, marks, at, documents)

    def rotate(self, successor: SigningKey, reason: str, at: str) -> Head:
        """See `Store.rotate`."""
        self._opened()
        event = KeyRotated(self.vkey, successor.verifier.text, reason)
        self._keys = (self._key, successor)
        return self._write([event], [], at, change=_Change(successor=successor))

    def load(self) -> Loaded:
        """See `Store.load`; the entries are read as they are asked for."""
        whole = self.hashed_from == 0
        with self._usable() as connection:
            marks = database.marks(connection)
            # Nobody signs the marks: one that was lowered rises to what is settled.
            for entry in reading.entries(connection, self._path, whole=whole):
                if isinstance(entry.event, Settlement):
                    streams = marks.setdefault(entry.event.run.uid, {})
                    mark = mark_of(entry.event)
                    streams[mark.stream] = merge(streams.get(mark.stream, mark), mark)
            told = reading.entries(connection, self._path, whole=whole)
            return Loaded(told, marks, self.head, upkeep.counts(connection))

    def document(self, digest: str) -> bytes | None:
        """See `Store.document`."""
        with self._usable() as connection:
            return database.document(connection, digest)

    def export(self, out: BinaryIO) -> None:
        """See `Store.export`."""
        with self._usable() as connection:
            reading.export(connection, out)

    def close(self) -> None:
        """See `Store.close`."""
        if self._connection is not None and not self._broken:
            self._connection.close()
            self._connection = None

    def _write(
        self,
        events: Sequence[Event],
        marks: Sequence[tuple[str, Mark]],
        at: str,
        documents: Mapping[str, bytes] | None = None,
        change: _Change = _Change(),
    ) -> Head:
        self._opened()
        entries = [
            Entry(self._frontier.size + place, at, event)
            for place, event in enumerate(events)
        ]
        leaves = [encode(entry) for entry in entries]
        settled = [(e.run.uid, mark_of(e)) for e in events if isinstance(e, Settlement)]
        kept = checked(documents or {})
        with self._usable() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._refuse_other_writers(connection)
            if change.epoch is not None:
                database.set_writer(connection, change.epoch, _holder(events))
            raised = database.raise_marks(connection, [*marks, *settled])
            frontier = _append(connection, self._frontier, leaves)
            for digest, text in kept.items():
                database.add_document(connection, digest, text)
            if leaves:
                self._upkeep.note(connection, entries)
                upkeep.keep_frontier(connection, self._frontier.size, frontier)
                signed = self._signed(frontier, change.successor)
                database.add_head(connection, frontier.size, signed)
            # A crash up to here leaves the old head with its leaves and marks,
            wanted = leaves or raised or kept
            connection.execute("COMMIT" if wanted else "ROLLBACK")
            # and from here on the new ones; `_opened` tells which.
            self._took_place(frontier, entries, change)
            self._commits += 1
            if self._commits % CHECKPOINT_EVERY == 0:
                database.checkpoint(connection)
        return self.head

    def _took_place(
        self, frontier: tree.Frontier, entries: Sequence[Entry], change: _Change
    ) -> None:
        self._frontier = frontier
        self._own = KnownHead(frontier.size, tree.root(frontier), "this process")
        for entry in entries:
            self._custody = custody.apply(self._custody, entry)
        if change.epoch is not None:
            self._epoch = change.epoch
        if change.successor is not None:
            self._key = change.successor

    def _opened(self) -> database.Connection:
        if self._broken:
            raise LedgerBrokenError(self._broken)
        if self._connection is not None:
            return self._connection
        refuse_network(self._path)
        with self._kept_if_broken(), database.errors_named(self._path):
            connection = self._connection = self._connect(self._path)
            key = self._keys[0]
            first = note.sign_head(
                _head(key.name, tree.Frontier()), key.verifier, key.sign
            )
            database.begin_if_new(connection, key.verifier.text, first)
            migrating.migrate(connection)
            self._check(connection)
        return connection

    def _check(self, connection: database.Connection) -> None:
        """Verify the file, and that it is still ours."""
        known = [*self._known, *([self._own] if self._own else [])]
        found = opening.inspect(connection, self._keys, known, self._whole_up_to)
        if self._epoch is not None:
            opening.refuse_late(found, self._epoch)
        self._epoch, self._first = found.epoch, found.first
        self._key, self._custody = found.key, found.custody
        self._frontier = found.frontier
        self._upkeep = upkeep.Upkeep()

    @contextmanager
    def _usable(self) -> Iterator[database.Connection]:
        """Give the connection; drop it after an error, since its state is unknown."""
        connection = self._opened()
        with self._kept_if_broken(), database.errors_named(self._path):
            yield connection

    @contextmanager
    def _kept_if_broken(self) -> Iterator[None]:
        """Close the connection after an error, but not after one of the disk.

        Closing would write. The process has to end with the connection open.
        """
        try:
            yield
        except LedgerBrokenError as error:
            self._broken = str(error)
            raise
        except BaseException:
            self.close()
            raise

    def _signed(self, frontier: tree.Frontier, successor: SigningKey | None) -> str:
        head = _head(self._key.name, frontier)
        signed = note.sign_head(head, self._key.verifier, self._key.sign)
        if successor is not None:
            signed = note.cosigned(signed, successor.verifier, successor.sign)
        return signed

    def _refuse_other_writers(self, connection: database.Connection) -> None:
        epoch, size = database.position(connection)
        if epoch != self._epoch:
            raise opening.fenced(epoch, self._epoch or 0)
        if size != self._frontier.size:
            message = f"somebody else wrote to {self._path}: run one operator only"
            raise LedgerError(message)


def _holder(events: Sequence[Event]) -> str:
    return next((e.holder for e in events if isinstance(e, EpochOpened)), "")


def _head(origin: str, frontier: tree.Frontier) -> Head:
    return Head(origin, frontier.size, tree.root(frontier))


def _append(
    connection: database.Connection, frontier: tree.Frontier, leaves: Sequence[bytes]
) -> tree.Frontier:
    if not leaves:
        return frontier
    hashes = [tree.leaf_hash(data) for data in leaves]
    places = range(frontier.size, frontier.size + len(leaves))
    database.add_leaves(connection, zip(places, leaves, hashes, strict=True))
    return tree.extend(frontier, hashes)
