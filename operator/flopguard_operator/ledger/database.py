"""Read and write the ledger's tables: the one module that imports sqlite3.

In WAL mode with synchronous=FULL a commit that returned survives a power cut, and a
reader never blocks the writer (https://sqlite.org/wal.html).
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flopguard_operator.ledger.encoding import decode_mark, encode_mark
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.marks import Mark, merge

Connection = sqlite3.Connection

_APPLICATION_ID = 0x666C7067  # "flpg"
_SCHEMA_VERSION = 1
_BUSY_SECONDS = 5.0  # a reader's snapshot never blocks for that long

_SCHEMA = (
    "CREATE TABLE key (vkey TEXT NOT NULL) STRICT",
    """CREATE TABLE leaves (idx INTEGER PRIMARY KEY, data BLOB NOT NULL,
      leaf_hash BLOB NOT NULL) STRICT""",
    "CREATE TABLE heads (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
    """CREATE TABLE marks (run_uid TEXT NOT NULL, stream TEXT NOT NULL,
      mark BLOB NOT NULL, PRIMARY KEY (run_uid, stream)) STRICT""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
    # A guard against mistakes, not against attackers: those, the tree shows.
    *(
        f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for table in ("key", "leaves", "heads")
        for verb in ("UPDATE", "DELETE")
    ),
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
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> Connection:
    """Open a file that another process may be writing to."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into the two errors of a ledger."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a mistake of the caller: the wrong thread
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _PASSING:
            message = (
                f"the ledger {path} cannot be used now: {_PASSING[code]} ({error})"
            )
            raise LedgerUnavailableError(message) from error
        message = f"{path} is not an intact ledger: restore its newest copy ({error})"
        raise LedgerError(message) from error


def begin_if_new(connection: Connection, vkey: str, first_note: str) -> None:
    """Make the tables and store the head of the empty tree, in an empty file only."""
    connection.execute("BEGIN IMMEDIATE")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO key VALUES (?)", (vkey,))
        add_head(connection, 0, first_note)
    connection.execute("COMMIT")


def refuse_strangers(connection: Connection) -> None:
    """Refuse a database that is not a ledger of this version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (_APPLICATION_ID, _SCHEMA_VERSION):
        message = (
            "the file is not a flopguard ledger of this version: give the path of one,"
            " or of a file that does not exist yet"
        )
        raise LedgerError(message)


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


def vkey(connection: Connection) -> str:
    """Return the public key that the ledger was begun with, "" where none is."""
    row = connection.execute("SELECT vkey FROM key LIMIT 1").fetchone()
    return str(row[0]) if row else ""


def newest_size(connection: Connection) -> int:
    """Return the number of leaves under the newest head."""
    (size,) = connection.execute("SELECT max(size) FROM heads").fetchone()
    return int(size or 0)


def add_head(connection: Connection, size: int, note: str) -> None:
    """Store the signed head of a tree."""
    connection.execute("INSERT INTO heads VALUES (?, ?)", (size, note))


def add_leaf(connection: Connection, index: int, data: bytes, leaf: bytes) -> None:
    """Store a leaf with its hash."""
    connection.execute("INSERT INTO leaves VALUES (?, ?, ?)", (index, data, leaf))


def leaves(connection: Connection) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (index, data, leaf hash) in order."""
    yield from connection.execute(
        "SELECT idx, data, leaf_hash FROM leaves ORDER BY idx"
    )


def raise_marks(connection: Connection, marks: Sequence[tuple[str, Mark]]) -> bool:
    """Merge marks into the high-water marks; tell whether any of them rose."""
    raised = False
    for run_uid, mark in marks:
        row = connection.execute(
            "SELECT mark FROM marks WHERE run_uid = ? AND stream = ?",
            (run_uid, mark.stream),
        ).fetchone()
        before = decode_mark(row[0]) if row else Mark(mark.stream)
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
        mark = decode_mark(data)
        marks.setdefault(run_uid, {})[mark.stream] = mark
    return marks
