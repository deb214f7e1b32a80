"""What does a commit leave in the store, and what does a restart find there?"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flopguard_operator.ledger import note
from flopguard_operator.ledger.accounts import mark_of
from flopguard_operator.ledger.encoding import encode_mark
from flopguard_operator.ledger.entries import HoldReleased, Settlement
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.ledger.tree import EMPTY_ROOT
from flopguard_operator.marks import Mark
from standins.ledgers import AT, assert_whole, tell
from vectors.ledger_story import KEY, A, B, settled, story


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is to be."""
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Return an empty store."""
    with closing(SqliteStore(path, KEY)) as empty:
        yield empty


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


def test_an_event_that_cannot_be_encoded_leaves_no_trace(store: SqliteStore) -> None:
    """The other events of the commit are not written either."""
    tell(store)
    before = store.head
    with pytest.raises(LedgerError, match="bytes"):
        store.commit([settled(A, "p", 1, 1), HoldReleased(A, "", "x" * 70_000)], [], AT)

    assert store.head == before
    assert_whole(store)


def test_marks_are_what_the_leaves_settle() -> None:
    """The comparison of `assert_whole` sees a difference where there is one."""
    event = settled(A, "pod-1", 9, 9)

    assert isinstance(event, Settlement)
    assert encode_mark(mark_of(event)) != encode_mark(Mark("pod-1"))
