"""Read and write the ledger's tables: the one module that imports sqlite3.

In WAL mode with synchronous=FULL a commit that returned survives a power cut, and a
reader never blocks the writer (https://sqlite.org/wal.html).

key, leaves, heads, documents   the evidence: signed or hashed, never changed
marks                           high-water marks: they only rise
writer                          which epoch may append
latest, standing, counts, frontiers
                                for a quick start: made from the leaves, see `upkeep`
"""

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flopguard_operator.ledger.encoding import decode_mark, encode_mark
from flopguard_operator.ledger.errors import (
    LedgerBrokenError,
    LedgerError,
    LedgerUnavailableError,
)
from flopguard_operator.marks import Mark, merge

Connection = sqlite3.Connection
Rows = Generator[tuple[int, bytes, bytes], None, None]  # index, data, leaf hash

_MAGIC = b"SQLite format 3\0"  # sqlite.org/fileformat.html, offset 0
BEGINNING = len(_MAGIC)
_APPLICATION_ID = 0x666C7067  # "flpg"
VERSION = 2
_READABLE = (1, 2)
_BUSY_SECONDS = 5.0  # a reader's snapshot never blocks for that long
STANDS = -1  # in `latest`: every entry of this stream is in `standing`


def _guarded(*tables: str) -> Iterator[str]:
    """Yield triggers: a guard against mistakes, not against attackers."""
    for table in tables:
        for verb in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}"
                " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


_FIRST = (
    "CREATE TABLE key (vkey TEXT NOT NULL) STRICT",
    """CREATE TABLE leaves (idx INTEGER PRIMARY KEY, data BLOB NOT NULL,
      leaf_hash BLOB NOT NULL) STRICT""",
    "CREATE TABLE heads (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
    """CREATE TABLE marks (run_uid TEXT NOT NULL, stream TEXT NOT NULL,
      mark BLOB NOT NULL, PRIMARY KEY (run_uid, stream)) STRICT""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    *_guarded("key", "leaves", "heads"),
)
SECOND = (  # what version 2 has in addition
    """CREATE TABLE writer (one INTEGER PRIMARY KEY CHECK (one = 1),
      epoch INTEGER NOT NULL, holder TEXT NOT NULL) STRICT""",
    "INSERT INTO writer VALUES (1, 0, '')",
    "CREATE TABLE documents (digest TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT",
    """CREATE TABLE latest (kind TEXT NOT NULL, run_uid TEXT NOT NULL,
      stream TEXT NOT NULL, idx INTEGER NOT NULL,
      PRIMARY KEY (kind, run_uid, stream)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE standing (idx INTEGER PRIMARY KEY, own INTEGER NOT NULL) STRICT",
    "CREATE TABLE counts (run_uid TEXT PRIMARY KEY, entries INTEGER NOT NULL) STRICT",
    "CREATE TABLE frontiers (size INTEGER PRIMARY KEY, peaks BLOB NOT NULL) STRICT",
    *_guarded("documents"),
    f"PRAGMA user_version = {VERSION}",
)

# Primary result codes after which a later try can succeed: sqlite.org/rescode.html.
_PASSING = {
    sqlite3.SQLITE_FULL: "the disk is full: make room on the ledger's volume",
    sqlite3.SQLITE_IOERR: "the disk fails: look at the ledger's volume",
    sqlite3.SQLITE_READONLY: "the ledger's volume is read-only: make it writable",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: check its folder and rights",
    sqlite3.SQLITE_BUSY: "another process holds the ledger: run one operator only",
    sqlite3.SQLITE_LOCKED: "another process holds the ledger: run one operator only",
    sqlite3.SQLITE_NOMEM: "there is no memory left: raise the operator's limit",
    sqlite3.SQLITE_PERM: "the ledger's file may not be used: check its rights",
}


def is_database(beginning: bytes) -> bool:
    """Tell whether a file that begins with these bytes is one of SQLite's."""
    return beginning.startswith(_MAGIC)


def connect(path: Path) -> Connection:
    """Open the file for writing, private to its owner if it has to be made."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, mode=0o600))
    except OSError as error:
        message = f"the ledger {path} cannot be made or written: {error.strerror}"
        raise LedgerUnavailableError(message) from error
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # An automatic checkpoint keeps the errors of the disk to itself.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> Connection:
    """Open a file that another process may be writing to."""
    if path.is_dir():  # which SQLite takes for a disk that fails
        message = f"the ledger {path} is a directory: give its ledger.db"
        raise LedgerUnavailableError(message)
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into the two errors of a ledger."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a mistake of the caller: the wrong thread
    except (sqlite3.Error, UnicodeDecodeError) as error:  # text may be any bytes
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _PASSING:
            message = (
                f"the ledger {path} cannot be used now: {_PASSING[code]} ({error})"
            )
            if code == sqlite3.SQLITE_IOERR:
                raise LedgerBrokenError(message) from error
            raise LedgerUnavailableError(message) from error
        message = f"{path} is not an intact ledger: restore its newest copy ({error})"
        raise LedgerError(message) from error


def begin_if_new(connection: Connection, vkey: str, first_note: str) -> None:
    """Make the tables and store the head of the empty tree, in an empty file only."""
    connection.execute("BEGIN IMMEDIATE")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        for statement in (*_FIRST, *SECOND):
            connection.execute(statement)
        connection.execute("INSERT INTO key VALUES (?)", (vkey,))
        add_head(connection, 0, first_note)
    connection.execute("COMMIT")


def version(connection: Connection) -> int:
    """Return the version of a ledger's tables, 1 or 2.

    Raises:
        LedgerError: the database is not a ledger, or of a later version.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    # Version 1 is also what `begin_if_new` of its time wrote.
    if application != _APPLICATION_ID or found not in _READABLE:
        message = (
            "the file is not a flopguard ledger of this version: give the path of one,"
            " or of a file that does not exist yet"
        )
        raise LedgerError(message)
    return int(found)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Read one moment of the ledger, whatever is written meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def newest_note(connection: Connection) -> str:
    """Return the signed note of the newest head.

    Raises:
        LedgerError: there is none.
    """
    row = connection.execute(
        "SELECT note FROM heads ORDER BY size DESC LIMIT 1"
    ).fetchone()
    if row is None:
        message = "the ledger has no tree head: restore its newest copy"
        raise LedgerError(message)
    return str(row[0])


def notes(connection: Connection) -> Iterator[str]:
    """Yield the signed notes of all heads, the newest last."""
    rows = connection.execute("SELECT note FROM heads ORDER BY size")
    yield from (str(note) for (note,) in rows)


def note_at(connection: Connection, size: int) -> str:
    """Return the signed note of the head of this size, "" where there is none."""
    row = connection.execute(
        "SELECT note FROM heads WHERE size = ?", (size,)
    ).fetchone()
    return str(row[0]) if row else ""


def heads(connection: Connection) -> Iterator[tuple[int, str]]:
    """Yield (size, signed note) of all heads in order."""
    rows = connection.execute("SELECT size, note FROM heads ORDER BY size")
    yield from ((size, str(note)) for size, note in rows)


def vkey(connection: Connection) -> str:
    """Return the public key that the ledger was begun with, "" where none is."""
    row = connection.execute("SELECT vkey FROM key LIMIT 1").fetchone()
    return str(row[0]) if row else ""


def position(connection: Connection) -> tuple[int, int]:
    """Return the writer's epoch, and the number of leaves under the newest head."""
    epoch, size = connection.execute(
        "SELECT (SELECT epoch FROM writer), (SELECT max(size) FROM heads)"
    ).fetchone()
    return int(epoch or 0), int(size or 0)


def set_writer(connection: Connection, epoch: int, holder: str) -> None:
    """Give the ledger to the writer of this epoch."""
    connection.execute("UPDATE writer SET epoch = ?, holder = ?", (epoch, holder))


def add_head(connection: Connection, size: int, note: str) -> None:
    """Store the signed head of a tree."""
    connection.execute("INSERT INTO heads VALUES (?, ?)", (size, note))


def add_leaves(
    connection: Connection, rows: Iterable[tuple[int, bytes, bytes]]
) -> None:
    """Store leaves: (index, data, leaf hash)."""
    connection.executemany("INSERT INTO leaves VALUES (?, ?, ?)", rows)


def leaves(connection: Connection, first: int = 0) -> Rows:
    """Yield (index, data, leaf hash) in order, from an index on."""
    yield from intact(  # nothing is asked before somebody reads
        connection.execute(
            "SELECT idx, data, leaf_hash FROM leaves WHERE idx >= ? ORDER BY idx",
            (first,),
        )
    )


def intact(rows: Iterable[tuple[int, bytes, bytes]]) -> Rows:
    """Yield leaves as they are stored: (index, data, leaf hash).

    Raises:
        LedgerError: one has no bytes.
    """
    for index, data, digest in rows:
        yield index, blob(data), blob(digest)


def blob(value: object) -> bytes:
    """Return what a column of bytes holds; a file that was cut may hold nothing there.

    Raises:
        LedgerError: it is not bytes.
    """
    if isinstance(value, bytes):
        return value
    message = "the ledger has a hole where bytes should be: restore its newest copy"
    raise LedgerError(message)


def leaf(connection: Connection, index: int) -> bytes | None:
    """Return the bytes of one leaf; None where it is not there."""
    row = connection.execute(
        "SELECT data FROM leaves WHERE idx = ?", (index,)
    ).fetchone()
    return blob(row[0]) if row else None


def add_document(connection: Connection, digest: str, data: bytes) -> None:
    """Store a document under its digest, unless it is there."""
    connection.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (digest, data))


def document(connection: Connection, digest: str) -> bytes | None:
    """Return a document; None where it is not kept."""
    if version(connection) == 1:
        return None
    row = connection.execute(
        "SELECT data FROM documents WHERE digest = ?", (digest,)
    ).fetchone()
    return blob(row[0]) if row else None


def digests(connection: Connection) -> tuple[str, ...]:
    """Return the names of all documents."""
    if version(connection) == 1:
        return ()
    return tuple(row[0] for row in connection.execute("SELECT digest FROM documents"))


def raise_marks(connection: Connection, marks: Sequence[tuple[str, Mark]]) -> bool:
    """Merge marks into the high-water marks; tell whether any of them rose."""
    raised = False
    for run_uid, mark in marks:
        row = connection.execute(
            "SELECT mark FROM marks WHERE run_uid = ? AND stream = ?",
            (run_uid, mark.stream),
        ).fetchone()
        before = decode_mark(blob(row[0])) if row else Mark(mark.stream)
        after = merge(before, mark)
        if row and after == before:
            continue
        connection.execute(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)",
            (run_uid, mark.stream, encode_mark(after)),
        )
        raised = True
    return raised


def marks(connection: Connection) -> dict[str, dict[str, Mark]]:
    """Return the high-water marks: run UID → stream → mark.

    Raises:
        LedgerError: a row is not a mark.
    """
    marks: dict[str, dict[str, Mark]] = {}
    for run_uid, data in connection.execute("SELECT run_uid, mark FROM marks"):
        mark = decode_mark(blob(data))
        marks.setdefault(run_uid, {})[mark.stream] = mark
    return marks


def back_up(source: Connection, target: Path) -> None:
    """Copy a ledger that is in use into a new file, as one moment of it."""
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
    finally:
        copy.close()


def damage(connection: Connection) -> str:
    """Return what SQLite itself finds wrong with the file, "" if nothing."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return "" if found == "ok" else str(found)


def checkpoint(connection: Connection) -> None:
    """Copy the write-ahead log into the file, as far as no reader is in the way."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
