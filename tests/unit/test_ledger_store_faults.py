"""Is a commit all or nothing when the disk fails, fills up or is not there?"""

import io
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.ledger import database
from flopguard_operator.ledger.entries import Event, HoldReleased
from flopguard_operator.ledger.errors import LedgerBrokenError, LedgerUnavailableError
from flopguard_operator.ledger.store import SqliteStore, export_file
from standins.ledgers import AT, assert_whole, tell
from vectors.ledger_story import KEY, A, B, settled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is to be."""
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Return an empty store."""
    with closing(SqliteStore(path, KEY)) as empty:
        yield empty


class Faulty(sqlite3.Connection):
    """A stand-in for a failing disk: one statement fails, before or after it ran."""

    fail_at = -1
    persisted = False
    code = sqlite3.SQLITE_FULL

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run a statement, or fail as SQLite does when the disk fails."""
        self.fail_at -= 1
        if self.fail_at != -1:
            return super().execute(sql, *parameters)
        if self.persisted:
            super().execute(sql, *parameters)
        error = sqlite3.OperationalError("it failed")
        error.sqlite_errorcode = self.code
        raise error

    def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
        """Run a statement for each row, each of which may fail."""
        cursor = self.cursor()
        for row in rows:
            cursor = self.execute(sql, row)
        return cursor


EVENTS: list[Event] = [settled(A, "pod-3", 100, 110), settled(B, "pod-4", 5, 5)]

STATEMENTS = 20
"""Of such a commit: begin, position, 4 of marks, 2 leaves, 8 of their streams, 2 of
runs, head,
commit."""


@pytest.mark.parametrize("persisted", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("place", range(STATEMENTS))
def test_a_failed_statement_leaves_all_or_nothing(
    path: Path, place: int, *, persisted: bool
) -> None:
    """Each statement of a commit fails once, with and without its effect."""
    faulty: list[Faulty] = []

    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, factory=Faulty)
        faulty.append(connection)
        return connection

    with closing(SqliteStore(path, KEY, connect=connect)) as store:
        tell(store)
        before = store.head
        faulty[-1].fail_at, faulty[-1].persisted = place, persisted
        with pytest.raises(LedgerUnavailableError, match="the disk is full"):
            store.commit(EVENTS, [], AT)
        store.load()
        happened = store.head != before

        assert happened == (persisted and place == STATEMENTS - 1)
        assert_whole(store)
        if not happened:
            store.commit(EVENTS, [], AT)
        assert store.head.size == before.size + len(EVENTS)
        assert_whole(store)


def test_a_store_whose_disk_failed_is_used_no_more(path: Path) -> None:
    """Not even closed, which would write; a process that starts anew goes on."""
    faulty: list[Faulty] = []

    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, factory=Faulty)
        faulty.append(connection)
        return connection

    store = SqliteStore(path, KEY, connect=connect)
    tell(store)
    before = store.head
    faulty[-1].fail_at, faulty[-1].code = 3, sqlite3.SQLITE_IOERR
    with pytest.raises(LedgerBrokenError, match="the disk fails"):
        store.commit(EVENTS, [], AT)
    store.close()

    assert faulty[-1].in_transaction, "it is as the failure left it"
    with pytest.raises(LedgerBrokenError, match="the disk fails"):
        store.load()
    faulty[-1].close()  # as the end of the process does
    with closing(SqliteStore(path, KEY)) as anew:
        assert anew.head == before
        assert_whole(anew)


def test_the_table_of_faults_covers_every_statement(path: Path) -> None:
    """Were a statement added to a commit, the table above would miss its end."""
    with closing(SqliteStore(path, KEY, connect=counting)) as store:
        tell(store)
        seen.clear()
        store.commit(EVENTS, [], AT)

    assert seen[-1] == "COMMIT"
    assert len(seen) == STATEMENTS


seen: list[str] = []


def counting(path: Path) -> sqlite3.Connection:
    """Open a file and note down each statement."""
    connection = database.connect(path)
    connection.set_trace_callback(seen.append)
    return connection


def test_a_full_disk_is_told_and_outlived(path: Path) -> None:
    """With no page left nothing is half-written; with room again it goes on."""
    full = [False]

    def connect(path: Path) -> sqlite3.Connection:
        connection = database.connect(path)
        if full[0]:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    with closing(SqliteStore(path, KEY, connect=connect)) as store:
        tell(store)
        before = store.head
        store.close()
        full[0] = True
        events = [HoldReleased(A, "", "x" * 9000), *EVENTS]
        with pytest.raises(LedgerUnavailableError, match="make room on the ledger"):
            store.commit(events, [], AT)
        assert store.head == before
        assert_whole(store)
        store.close()
        full[0] = False
        after = store.commit(EVENTS, [], AT)

        assert after.size == before.size + len(EVENTS)
        assert_whole(store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of half a megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Write until the disk is full to the last page."""
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_disk_that_is_really_full_is_outlived(small_disk: Path) -> None:
    """The file system itself refuses, in the middle of the write-ahead log."""
    ballast = small_disk / "ballast"
    with closing(SqliteStore(small_disk / "ledger.db", KEY)) as store:
        tell(store)
        before = store.head
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        big: list[Event] = [HoldReleased(A, "", "x" * 9000)] * 10
        with pytest.raises(LedgerUnavailableError, match="ledger"):
            store.commit(big, [], AT)
        ballast.unlink()

        assert store.load().head == before
        store.commit(EVENTS, [], AT)
        assert_whole(store)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The volume may come later: that is not a broken ledger."""
    with pytest.raises(LedgerUnavailableError, match="No such file"):
        SqliteStore(tmp_path / "absent" / "ledger.db", KEY)
    with pytest.raises(LedgerUnavailableError, match="check its folder"):
        export_file(tmp_path / "absent" / "ledger.db", io.BytesIO())


def test_a_read_only_ledger_is_told(store: SqliteStore, path: Path) -> None:
    """SQLite says it in its own way; we say what to do."""
    tell(store)
    store.close()

    def connect(path: Path) -> sqlite3.Connection:
        uri = f"{path.as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, isolation_level=None)

    with (
        closing(SqliteStore(path, KEY, connect=connect)) as unwritable,
        pytest.raises(LedgerUnavailableError, match="make it writable"),
    ):
        unwritable.commit(EVENTS, [], AT)


def test_a_locked_ledger_is_told(store: SqliteStore, path: Path) -> None:
    """Another writer in the middle of a transaction: try again later."""

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=0, isolation_level=None)

    tell(store)
    with (
        closing(SqliteStore(path, KEY, connect=connect)) as impatient,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailableError, match="run one operator only"):
            impatient.commit(EVENTS, [], AT)
