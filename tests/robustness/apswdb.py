"""An APSW connection that the ledger's store takes for one of the standard library.

The store itself runs unchanged; only the SQLite beneath it is another, since the
standard library's takes no VFS of ours.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import apsw

_CODES = {apsw.IOError: sqlite3.SQLITE_IOERR, apsw.FullError: sqlite3.SQLITE_FULL}


class Connection:
    """What the store uses of `sqlite3.Connection`.

    Args:
        path: Name of the file on the disk of the VFS.
        vfs: Name of the VFS.
        synchronous: FULL, as the product does, or NORMAL, the control.
    """

    def __init__(self, path: str, vfs: str, synchronous: str = "FULL") -> None:
        with _errors_translated():
            self._db = apsw.Connection(path, vfs=vfs)
        try:
            # Without shared memory a write-ahead log needs the file for itself.
            self.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.execute("PRAGMA journal_mode = WAL")
            self.execute("PRAGMA wal_autocheckpoint = 0")
            self.execute(f"PRAGMA synchronous = {synchronous}")
        except sqlite3.Error:
            self.close()
            raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._db.in_transaction)

    def execute(self, sql: str, values: Any = ()) -> "Rows":
        """Run one statement."""
        with _errors_translated():
            return Rows(self._db.execute(sql, values))

    def executemany(self, sql: str, rows: Iterable[Any]) -> "Rows":
        """Run one statement for each row of values."""
        with _errors_translated():
            return Rows(self._db.cursor().executemany(sql, rows))

    def close(self) -> None:
        """Close; what fails then fails unseen, as at a crash."""
        with suppress(apsw.Error):
            self._db.close(True)  # noqa: FBT003 # force: positional in APSW


class Rows:
    """The rows of a statement."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def fetchone(self) -> Any:
        """Return the next row, None at the end."""
        with _errors_translated():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        with _errors_translated():
            return list(self._cursor.fetchall())

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows that are left."""
        while (row := self.fetchone()) is not None:
            yield row


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        told = sqlite3.OperationalError(str(error))
        # One that the VFS itself has raised has no code yet.
        code = getattr(error, "extendedresult", 0) or _CODES.get(type(error), 1)
        told.sqlite_errorcode = code
        raise told from error
