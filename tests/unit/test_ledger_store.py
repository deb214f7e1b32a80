"""The store: durable, append-only, all or nothing, never fooled by its file."""

import io
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.ledger import database, keys, note
from flopguard_operator.ledger.accounts import fold, mark_of
from flopguard_operator.ledger.encoding import encode_mark
from flopguard_operator.ledger.entries import Event, HoldReleased, Settlement
from flopguard_operator.ledger.errors import LedgerError, LedgerUnavailableError
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.store import SqliteStore, export_file
from flopguard_operator.ledger.tree import EMPTY_ROOT
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.marks import Mark
from vectors.ledger_story import KEY, A, B, settled, story

AT = "2026-11-22T00:20:00.000Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is to be."""
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Return an empty store."""
    with closing(SqliteStore(path, KEY)) as empty:
        yield empty


def tell(store: SqliteStore) -> None:
    """Commit the whole story."""
    for commit in story():
        store.commit(commit.events, [], f"2026-11-22T00:00:{commit.second:02d}.000Z")


def assert_whole(store: SqliteStore) -> None:
    """Check that the store verifies, and that marks and leaves say the same."""
    out = io.BytesIO()
    store.export(out)
    report = verify_lines(lines_of(io.BytesIO(out.getvalue())), check_signature)
    wrong = [check for check in report.checks if check.outcome != "ok"]
    loaded = store.load()
    accounts = fold(loaded.entries)
    settled_marks = {
        run: {s: encode_mark(m) for s, m in account.streams.items()}
        for run, account in accounts.items()
        if account.streams
    }
    marks = {
        run: {s: encode_mark(m) for s, m in streams.items()}
        for run, streams in loaded.marks.items()
    }

    assert not wrong
    assert (report.size, report.root) == (store.head.size, store.head.root_base64)
    assert marks == settled_marks


def test_a_new_ledger_is_empty_and_signed(store: SqliteStore) -> None:
    """Before the first entry there is a head of nothing, by our key."""
    assert store.head == note.Head(KEY.name, 0, EMPTY_ROOT)
    assert store.vkey == KEY.verifier.text
    assert_whole(store)


def test_what_was_committed_is_there_after_a_restart(
    store: SqliteStore, path: Path
) -> None:
    """Entries, marks and head come back as they were."""
    tell(store)
    events = [event for commit in story() for event in commit.events]
    store.close()
    with closing(SqliteStore(path, KEY)) as again:
        loaded = again.load()

        assert [entry.event for entry in loaded.entries] == events
        assert loaded.head == store.head
        assert loaded.marks[A.uid]["pod-1"].begun == 1050
        assert_whole(again)


def test_a_mark_alone_is_durable_without_a_new_head(
    store: SqliteStore, path: Path
) -> None:
    """Between settlements only the high-water mark rises."""
    tell(store)
    before = store.head
    after = store.commit([], [(A.uid, Mark("pod-3", {"forward": 500}, 501))], AT)
    store.close()
    with closing(SqliteStore(path, KEY)) as again:
        assert after == before == again.head
        assert again.load().marks[A.uid]["pod-3"].begun == 501


def test_a_mark_never_falls(store: SqliteStore) -> None:
    """I5: a late or replayed reading changes nothing."""
    store.commit([], [(A.uid, Mark("s", {"forward": 9, "backward": 2}, 20))], AT)
    store.commit([], [(A.uid, Mark("s", {"forward": 5, "backward": 4}, 1))], AT)
    mark = store.load().marks[A.uid]["s"]

    assert (mark.done["forward"], mark.done["backward"], mark.begun) == (9, 4, 20)


def test_the_same_stream_may_belong_to_two_runs(store: SqliteStore) -> None:
    """A run that is deleted and made again counts the pod that still runs anew."""
    store.commit([], [(A.uid, Mark("s", {"forward": 9}))], AT)
    store.commit([], [(B.uid, Mark("s", {"forward": 5}))], AT)
    marks = store.load().marks

    assert (marks[A.uid]["s"].measured, marks[B.uid]["s"].measured) == (9, 5)


def test_a_settlement_raises_its_mark_by_itself(store: SqliteStore) -> None:
    """I1: what is settled is in the high-water marks, in the same transaction."""
    event = settled(A, "pod-1", 9, 10)
    store.commit([event], [], AT)

    assert store.load().marks[A.uid]["pod-1"].done["forward"] == event.done["forward"]
    assert_whole(store)


def test_nothing_new_writes_nothing(store: SqliteStore, path: Path) -> None:
    """A cycle in which nothing was counted costs no disk write."""
    mark = (A.uid, Mark("s", {"forward": 9}, 9))
    store.commit([], [mark], AT)
    with closing(sqlite3.connect(path)) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        store.commit([], [mark], AT)
        store.commit([], [], AT)

        assert other.execute("PRAGMA data_version").fetchone() == before
        store.commit([], [(A.uid, Mark("s", {"forward": 10}, 10))], AT)
        assert other.execute("PRAGMA data_version").fetchone() != before


def test_figures_beyond_64_bits_are_exact(store: SqliteStore) -> None:
    """FLOPs pass every integer type of SQLite, so they are kept as text."""
    huge = 10**30 + 1
    store.commit([settled(A, "pod-1", huge, huge)], [], AT)

    assert store.load().marks[A.uid]["pod-1"].measured == huge


def test_the_file_is_private(store: SqliteStore, path: Path) -> None:
    """Only the operator's user reads the ledger and what SQLite keeps beside it."""
    store.commit([settled(A, "pod-1", 9, 9)], [], AT)
    modes = {each.stat().st_mode & 0o777 for each in path.parent.iterdir()}

    assert modes == {0o600}


@pytest.mark.parametrize("table", ["key", "leaves", "heads"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET rowid = rowid + 1", "DELETE FROM {}"])
def test_sqlite_itself_refuses_to_change_the_past(
    store: SqliteStore, path: Path, table: str, verb: str
) -> None:
    """A mistaken statement is stopped by a trigger."""
    tell(store)
    with (
        closing(sqlite3.connect(path)) as other,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        other.execute(verb.format(table))

    assert_whole(store)


def test_the_store_belongs_to_one_thread(store: SqliteStore) -> None:
    """Use from another thread is a mistake that shows at once."""
    caught: list[Exception] = []

    def use() -> None:
        try:
            store.load()
        except sqlite3.ProgrammingError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)

    assert len(caught) == 1
    assert "thread" in str(caught[0])


def test_an_event_that_cannot_be_encoded_leaves_no_trace(store: SqliteStore) -> None:
    """The other events of the commit are not written either."""
    tell(store)
    before = store.head
    with pytest.raises(LedgerError, match="bytes"):
        store.commit([settled(A, "p", 1, 1), HoldReleased(A, "", "x" * 70_000)], [], AT)

    assert store.head == before
    assert_whole(store)


def test_a_second_writer_is_noticed(store: SqliteStore, path: Path) -> None:
    """Two operators on one file never fork the tree: the slower one is refused."""
    with closing(SqliteStore(path, KEY)) as other:
        other.commit([settled(B, "pod-b", 1, 1)], [], AT)
        with pytest.raises(LedgerError, match="run one operator only"):
            store.commit([settled(A, "pod-1", 1, 1)], [], AT)

        assert_whole(other)


# The file, changed behind the store's back.

Edit = Callable[[sqlite3.Connection], Any]
EDITED: dict[str, tuple[Edit, str]] = {
    "a leaf was changed": (
        lambda db: db.execute("UPDATE leaves SET data = x'00' WHERE idx = 2"),
        "leaf 2 was changed",
    ),
    "a leaf and its hash were changed": (
        lambda db: db.execute(
            "UPDATE leaves SET (data, leaf_hash) ="
            " (SELECT data, leaf_hash FROM leaves WHERE idx = 1) WHERE idx = 2"
        ),
        "do not make the signed tree head",
    ),
    "the last leaf is gone": (
        lambda db: db.execute(
            "DELETE FROM leaves WHERE idx = (SELECT max(idx) FROM leaves)"
        ),
        "do not make the signed tree head",
    ),
    "a leaf in between is gone": (
        lambda db: db.execute("DELETE FROM leaves WHERE idx = 2"),
        "leaf 2 was changed or is missing",
    ),
    "all leaves are gone": (
        lambda db: db.execute("DELETE FROM leaves"),
        "do not make the signed tree head",
    ),
    "the newest head is gone": (
        lambda db: db.execute(
            "DELETE FROM heads WHERE size = (SELECT max(size) FROM heads)"
        ),
        "do not make the signed tree head",
    ),
    "all heads are gone": (lambda db: db.execute("DELETE FROM heads"), "no tree head"),
    "a head is not signed": (
        lambda db: db.execute("UPDATE heads SET note = substr(note, 1, 60)"),
        "not a signed note",
    ),
    "the key is gone": (lambda db: db.execute("DELETE FROM key"), "begun with the key"),
    "a table is gone": (lambda db: db.execute("DROP TABLE leaves"), "restore"),
    "it is not a ledger any more": (
        lambda db: db.execute("PRAGMA application_id = 7"),
        "not a flopguard ledger",
    ),
    "it is of a version of tomorrow": (
        lambda db: db.execute("PRAGMA user_version = 2"),
        "not a flopguard ledger of this version",
    ),
}


def edit(path: Path, change: Edit) -> None:
    """Change the file as somebody with a shell on the volume can."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for (name,) in db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall():
            db.execute(f"DROP TRIGGER {name}")
        change(db)


@pytest.mark.parametrize(("change", "why"), EDITED.values(), ids=EDITED.keys())
def test_an_edited_file_is_refused(
    store: SqliteStore, path: Path, change: Edit, why: str
) -> None:
    """The operator does not append to a ledger that somebody has touched."""
    tell(store)
    store.close()
    edit(path, change)

    with pytest.raises(LedgerError, match=why):
        SqliteStore(path, KEY)


def test_a_lowered_mark_rises_to_what_is_settled(
    store: SqliteStore, path: Path
) -> None:
    """Marks are not signed; the leaves, which are, bound them from below."""
    tell(store)
    store.close()
    edit(path, lambda db: db.execute("DELETE FROM marks"))
    with closing(SqliteStore(path, KEY)) as again:
        assert_whole(again)


STRANGERS = {
    "a text": b"not a database at all, but a text of some length" * 100,
    "half a ledger": None,
}


@pytest.mark.parametrize("content", STRANGERS.values(), ids=STRANGERS.keys())
def test_a_file_that_is_no_ledger_is_refused(
    store: SqliteStore, path: Path, content: bytes | None
) -> None:
    """Garbage and torn files are told from a full disk: trying again is no use."""
    tell(store)
    store.close()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if content is None else content)

    with pytest.raises(LedgerError, match="ledger"):
        SqliteStore(path, KEY)
    with pytest.raises(LedgerError, match="ledger"):
        export_file(path, io.BytesIO())


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    """A wrong path in the settings does not put tables into a stranger's file."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE photos (id INTEGER)")
    with pytest.raises(LedgerError, match="not a flopguard ledger"):
        SqliteStore(path, KEY)
    with closing(sqlite3.connect(path)) as other:
        tables = other.execute("SELECT name FROM sqlite_schema").fetchall()

    assert tables == [("photos",)]


def test_the_wrong_key_is_refused_with_both_keys(
    store: SqliteStore, path: Path
) -> None:
    """A lost Secret shows at start, not at the audit."""
    tell(store)
    store.close()
    other = keys.generate(KEY.name)

    with pytest.raises(LedgerError, match="give the operator that key") as refusal:
        SqliteStore(path, other)
    assert KEY.verifier.text in str(refusal.value)
    assert other.verifier.text in str(refusal.value)


def test_a_file_older_than_a_known_head_is_refused(
    store: SqliteStore, path: Path
) -> None:
    """A restored backup must not write the same history twice."""
    tell(store)
    known = (store.head.size + 1, bytes(32))
    store.close()

    with pytest.raises(LedgerError, match="does not extend it, so it is older"):
        SqliteStore(path, KEY, known)


def test_a_file_with_another_history_is_refused(store: SqliteStore, path: Path) -> None:
    """A head of the same size with another root is another ledger."""
    tell(store)
    known = (3, bytes(32))
    store.close()

    with pytest.raises(LedgerError, match="does not extend it"):
        SqliteStore(path, KEY, known)


def test_every_head_ever_given_is_extended(store: SqliteStore, path: Path) -> None:
    """The file fits each of its own earlier heads, and the newest."""
    heads = [store.head, *(store.commit(each.events, [], AT) for each in story())]
    store.close()
    for head in heads:
        with closing(SqliteStore(path, KEY, (head.size, head.root))) as again:
            assert again.head == heads[-1]


def test_an_old_copy_under_a_running_operator_is_noticed(
    store: SqliteStore, path: Path
) -> None:
    """After an error the store opens the file again and remembers its own head."""
    store.commit([settled(A, "pod-1", 1, 1)], [], AT)
    store.close()
    old = path.read_bytes()
    store.commit([settled(A, "pod-1", 2, 2)], [], AT)
    store.close()
    path.write_bytes(old)

    with pytest.raises(LedgerError, match="older"):
        store.commit([settled(A, "pod-1", 3, 3)], [], AT)


# Faults of the disk.


class Faulty(sqlite3.Connection):
    """A stand-in for a failing disk: one statement fails, before or after it ran."""

    fail_at = -1
    persisted = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run a statement, or fail as SQLite does when the disk fails."""
        self.fail_at -= 1
        if self.fail_at != -1:
            return super().execute(sql, *parameters)
        if self.persisted:
            super().execute(sql, *parameters)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


EVENTS: list[Event] = [settled(A, "pod-3", 100, 110), settled(B, "pod-4", 5, 5)]
STATEMENTS = 10  # of such a commit: begin, size, 4 of marks, 2 leaves, head, commit


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
        with pytest.raises(LedgerUnavailableError, match="the disk fails"):
            store.commit(EVENTS, [], AT)
        store.load()
        happened = store.head != before

        assert happened == (persisted and place == STATEMENTS - 1)
        assert_whole(store)
        if not happened:
            store.commit(EVENTS, [], AT)
        assert store.head.size == before.size + len(EVENTS)
        assert_whole(store)


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


# Readers beside the writer, and the end of the writer.


def test_an_export_of_a_live_ledger_is_one_moment_of_it(
    store: SqliteStore, path: Path
) -> None:
    """A reader gets a whole ledger while the operator goes on writing."""
    tell(store)

    class Interrupted(io.BytesIO):
        """A slow reader: the operator commits between two of its lines."""

        def write(self, data: Any, /) -> int:
            store.commit([settled(B, "pod-b", 12, 12, final=True)], [], AT)
            return super().write(data)

    out = Interrupted()
    size = store.head.size
    export_file(path, out)
    report = verify_lines(lines_of(io.BytesIO(out.getvalue())), check_signature)

    assert report.exit_code == 0
    assert report.size <= size + 1 < store.head.size


WRITER = """
    import sys
    from pathlib import Path
    from flopguard_operator.ledger import keys
    from flopguard_operator.ledger.entries import RunRef, Settlement
    from flopguard_operator.ledger.store import SqliteStore

    key = keys.from_raw(sys.argv[2], bytes(range(32)))
    store = SqliteStore(Path(sys.argv[1]), key)
    run = RunRef("uid-a", "ml", "support-sft")
    count = sum(1 for _ in store.load().entries)
    while True:
        count += 1
        done = {"forward": count * 10**20}
        event = Settlement(run, "pod-1", done, count * 10**20, 1, 1, "sidecar", False)
        head = store.commit([event], [], "2026-11-22T00:20:00.000Z")
        print(head.size, head.root_base64, flush=True)
"""


def test_a_killed_writer_leaves_marks_and_leaves_alike(path: Path) -> None:
    """I1 and I6: SIGKILL at any instant; what was told before is still there."""
    told: list[str] = []
    for kill_after in (1, 5, 23, 60):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), KEY.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told += [writer.stdout.readline() for _ in range(kill_after)]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.readlines()
        with closing(SqliteStore(path, KEY)) as store:
            whole_lines = [line.split() for line in told if line.endswith("\n")]
            size, root = whole_lines[-1]

            assert store.head.size in (int(size), int(size) + 1)
            if store.head.size == int(size):
                assert store.head.root_base64 == root
            assert_whole(store)
    assert len(told) >= 89


def test_marks_are_what_the_leaves_settle() -> None:
    """The comparison of `assert_whole` sees a difference where there is one."""
    event = settled(A, "pod-1", 9, 9)

    assert isinstance(event, Settlement)
    assert encode_mark(mark_of(event)) != encode_mark(Mark("pod-1"))
