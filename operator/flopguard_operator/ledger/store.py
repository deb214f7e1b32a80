"""Keep the ledger: what a store promises, and the store in one SQLite file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from flopguard_operator.ledger import database, export, note, tree
from flopguard_operator.ledger.accounts import mark_of
from flopguard_operator.ledger.encoding import decode, encode
from flopguard_operator.ledger.entries import Entry, Event, Settlement
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.keys import SigningKey, check_signature
from flopguard_operator.ledger.note import Head
from flopguard_operator.marks import Mark, merge

_RESTORE = "restore the newest copy of the file"

Connect = Callable[[Path], database.Connection]


@dataclass(frozen=True)
class Loaded:
    """What a ledger holds."""

    entries: Iterator[Entry]  # in order; read it before the store is used again
    marks: Mapping[str, Mapping[str, Mark]]  # run UID → stream → high-water mark
    head: Head


class Store(Protocol):
    """Where the ledger is kept, and what its keeper may rely on.

    - `commit` returns only when everything it was given is durable, with a signed head
      over it. It is one transaction: all or nothing.
    - High-water marks only rise, and are never below what the leaves settle.
    - Leaves and heads are never changed. A head is signed before it is stored, and
      only if it extends the head before it.
    - After a `LedgerUnavailableError` from `commit` it is not known whether the commit
      took place. Call `load` and decide anew from what is there; never just repeat.
    - One thread makes the store and uses it; one process writes. Others may read.
    """

    def commit(
        self, events: Sequence[Event], marks: Sequence[tuple[str, Mark]], at: str
    ) -> Head:
        """Append events, raise the marks of (run UID, mark), sign and store the head.

        Args:
            events: in the order of their causes. Entries with one time are one commit,
                so a settlement goes with the crossings that it causes.
            marks: of every stream read, settled or not.
            at: now, in UTC, as "2026-11-22T00:20:00.000Z".

        Raises:
            LedgerError: an event cannot be encoded, or somebody else wrote the file.
            LedgerUnavailableError: the disk is full, failing or read-only.
        """

    def load(self) -> Loaded:
        """Return the entries, the high-water marks and the head."""

    def export(self, out: BinaryIO) -> None:
        """Write the leaves and their head as a file that verifies offline."""


class SqliteStore:
    """A `Store` in one SQLite file, of which no part is believed unchecked.

    Opening it, also again after an error, reads and hashes every leaf.

    Args:
        path: the file; made if it is absent, but never its folder.
        key: signs the heads; its name is the ledger's origin.
        newest_known: size and root of the newest head that was seen elsewhere (in the
            status of a run), so that an old copy of the file is noticed.
        connect: opens the file; tests put faults here.

    Raises:
        LedgerError: the file is not this ledger, was changed, or is older than known.
        LedgerUnavailableError: the file cannot be read or written now.
    """

    def __init__(
        self,
        path: Path,
        key: SigningKey,
        newest_known: tuple[int, bytes] | None = None,
        connect: Connect = database.connect,
    ) -> None:
        self._path, self._key, self._connect = path, key, connect
        self._newest_known = newest_known
        self._connection: database.Connection | None = None
        self._frontier = tree.Frontier()
        self._opened()

    @property
    def head(self) -> Head:
        """The newest signed head."""
        return _head(self._key.name, self._frontier)

    @property
    def vkey(self) -> str:
        """The public key in the form that verifiers take."""
        return self._key.verifier.text

    def commit(
        self, events: Sequence[Event], marks: Sequence[tuple[str, Mark]], at: str
    ) -> Head:
        """See `Store.commit`. With nothing new to say, nothing is written."""
        self._opened()
        leaves = [
            encode(Entry(self._frontier.size + place, at, event))
            for place, event in enumerate(events)
        ]
        settled = [(e.run.uid, mark_of(e)) for e in events if isinstance(e, Settlement)]
        with self._usable() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._refuse_other_writers(connection)
            raised = database.raise_marks(connection, [*marks, *settled])
            frontier = _append(connection, self._frontier, leaves)
            if leaves:
                database.add_head(connection, frontier.size, self._signed(frontier))
            # A crash up to here leaves the old head with its leaves and marks,
            connection.execute("COMMIT" if leaves or raised else "ROLLBACK")
            # and from here on the new ones; `_opened` tells which.
            self._frontier = frontier
            self._newest_known = (frontier.size, tree.root(frontier))
        return self.head

    def load(self) -> Loaded:
        """See `Store.load`; the entries are read as they are asked for."""
        with self._usable() as connection:
            marks = database.marks(connection)
            # Nobody signs the marks: one that was lowered rises to what is settled.
            for entry in _entries(connection, self._path):
                if isinstance(entry.event, Settlement):
                    streams = marks.setdefault(entry.event.run.uid, {})
                    mark = mark_of(entry.event)
                    streams[mark.stream] = merge(streams.get(mark.stream, mark), mark)
            return Loaded(_entries(connection, self._path), marks, self.head)

    def export(self, out: BinaryIO) -> None:
        """See `Store.export`."""
        with self._usable() as connection:
            _export(connection, out)

    def close(self) -> None:
        """Close the file; using the store again opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> database.Connection:
        if self._connection is not None:
            return self._connection
        with database.errors_named(self._path):
            connection = self._connect(self._path)
            try:
                first = self._signed(tree.Frontier())
                database.begin_if_new(connection, self.vkey, first)
                database.refuse_strangers(connection)
                self._frontier = _recomputed(connection, self._key, self._newest_known)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    @contextmanager
    def _usable(self) -> Iterator[database.Connection]:
        """Give the connection; drop it after an error, since its state is unknown."""
        connection = self._opened()
        try:
            with database.errors_named(self._path):
                yield connection
        except BaseException:
            self.close()
            raise

    def _signed(self, frontier: tree.Frontier) -> str:
        head = _head(self._key.name, frontier)
        return note.sign_head(head, self._key.verifier, self._key.sign)

    def _refuse_other_writers(self, connection: database.Connection) -> None:
        if database.newest_size(connection) != self._frontier.size:
            message = f"somebody else wrote to {self._path}: run one operator only"
            raise LedgerError(message)


def export_file(path: Path, out: BinaryIO) -> None:
    """Export a ledger that another process may be writing to; it is only read.

    Raises:
        LedgerError: the file is not a ledger.
        LedgerUnavailableError: the file cannot be read now.
    """
    with database.errors_named(path):
        connection = database.connect_to_read(path)
        try:
            database.refuse_strangers(connection)
            _export(connection, out)
        finally:
            connection.close()


def _head(origin: str, frontier: tree.Frontier) -> Head:
    return Head(origin, frontier.size, tree.root(frontier))


def _append(
    connection: database.Connection, frontier: tree.Frontier, leaves: Sequence[bytes]
) -> tree.Frontier:
    for data in leaves:
        leaf = tree.leaf_hash(data)
        database.add_leaf(connection, frontier.size, data, leaf)
        frontier = tree.append(frontier, leaf)
    return frontier


def _recomputed(
    connection: database.Connection,
    key: SigningKey,
    newest_known: tuple[int, bytes] | None,
) -> tree.Frontier:
    """Return the tree that the leaves make, if the signed head says the same."""
    vkey = database.vkey(connection)
    if vkey != key.verifier.text:
        message = (
            f"the ledger was begun with the key {vkey[:300]}, not with"
            f" {key.verifier.text}: give the operator that key, or a new file"
        )
        raise LedgerError(message)
    signed = database.newest_note(connection)
    head = note.open_note(signed, key.verifier, check_signature)
    known_size, known_root = newest_known or (0, tree.EMPTY_ROOT)
    frontier, root_then = tree.Frontier(), b""
    if known_size == 0:
        root_then = tree.EMPTY_ROOT
    for index, data, stored in database.leaves(connection):
        leaf = tree.leaf_hash(data)
        if index != frontier.size or leaf != stored:
            message = f"leaf {frontier.size} was changed or is missing: {_RESTORE}"
            raise LedgerError(message)
        frontier = tree.append(frontier, leaf)
        if frontier.size == known_size:
            root_then = tree.root(frontier)
    _refuse_misfit(head, _head(key.name, frontier))
    if root_then != known_root:
        message = (
            f"a head of {known_size} leaves is known, and this file of {head.size}"
            f" leaves does not extend it, so it is older or another: {_RESTORE}"
        )
        raise LedgerError(message)
    return frontier


def _refuse_misfit(head: Head, recomputed: Head) -> None:
    if head != recomputed:
        message = (
            f"the {recomputed.size} leaves do not make the signed tree head of"
            f" {head.size}: {_RESTORE}"
        )
        raise LedgerError(message)


def _entries(connection: database.Connection, path: Path) -> Iterator[Entry]:
    with database.errors_named(path):
        for _, data, _ in database.leaves(connection):
            yield decode(data)


def _export(connection: database.Connection, out: BinaryIO) -> None:
    connection.execute("BEGIN")  # one snapshot, whatever is written meanwhile
    vkey, signed = database.vkey(connection), database.newest_note(connection)
    header = export.Header(vkey.partition("+")[0], vkey)
    out.write(export.header_line(header))
    out.writelines(export.leaf_line(data) for _, data, _ in database.leaves(connection))
    out.write(export.head_line(signed))
    connection.execute("ROLLBACK")
