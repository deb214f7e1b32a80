"""Does the store notice a file that was edited, exchanged or put back?"""

import io
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flopguard_operator.ledger import keys
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.store import SqliteStore, export_file
from standins.ledgers import AT, assert_whole, tell
from vectors.ledger_story import KEY, A, settled, story


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is to be."""
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Return an empty store."""
    with closing(SqliteStore(path, KEY)) as empty:
        yield empty


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
        lambda db: db.execute("PRAGMA user_version = 3"),
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
    known = [KnownHead(store.head.size + 1, bytes(32))]
    store.close()

    with pytest.raises(LedgerError, match="does not extend it, so it is older"):
        SqliteStore(path, KEY, known)


def test_a_file_with_another_history_is_refused(store: SqliteStore, path: Path) -> None:
    """A head of the same size with another root is another ledger."""
    tell(store)
    known = [KnownHead(3, bytes(32))]
    store.close()

    with pytest.raises(LedgerError, match="does not extend it"):
        SqliteStore(path, KEY, known)


def test_every_head_ever_given_is_extended(store: SqliteStore, path: Path) -> None:
    """The file fits each of its own earlier heads, and the newest."""
    heads = [store.head, *(store.commit(each.events, [], AT) for each in story())]
    store.close()
    for head in heads:
        with closing(
            SqliteStore(path, KEY, [KnownHead(head.size, head.root)])
        ) as again:
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
