"""Does a ledger of the first version go on as it was?"""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flopguard_operator.ledger import note, tree
from flopguard_operator.ledger.encoding import encode, encode_mark
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.reading import export_file, read_document
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.marks import Mark
from standins.ledgers import AT, assert_whole
from vectors.ledger_story import KEY, A, entries, exported, settled, story

# Word for word what version 1 made.
SCHEMA = """
CREATE TABLE key (vkey TEXT NOT NULL) STRICT;
CREATE TABLE leaves (idx INTEGER PRIMARY KEY, data BLOB NOT NULL,
  leaf_hash BLOB NOT NULL) STRICT;
CREATE TABLE heads (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE marks (run_uid TEXT NOT NULL, stream TEXT NOT NULL,
  mark BLOB NOT NULL, PRIMARY KEY (run_uid, stream)) STRICT;
CREATE TRIGGER leaves_UPDATE BEFORE UPDATE ON leaves
  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
PRAGMA application_id = 1718382695;
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a ledger of version 1 with the story in it."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(SCHEMA)
        db.execute("INSERT INTO key VALUES (?)", (KEY.verifier.text,))
        frontier = tree.Frontier()
        told = entries(story())
        for index in range(len(told) + 1):
            if index == 0 or index == len(told) or told[index].at != told[index - 1].at:
                head = note.Head(KEY.name, frontier.size, tree.root(frontier))
                signed = note.sign_head(head, KEY.verifier, KEY.sign)
                db.execute("INSERT INTO heads VALUES (?, ?)", (index, signed))
            if index < len(told):
                data = encode(told[index])
                row = (index, data, tree.leaf_hash(data))
                db.execute("INSERT INTO leaves VALUES (?, ?, ?)", row)
                frontier = tree.append(frontier, row[2])
        mark = encode_mark(Mark("pod-2", {"forward": 300}, 900))
        db.execute("INSERT INTO marks VALUES (?, 'pod-2', ?)", (A.uid, mark))
    return path


def digest(path: Path) -> str:
    """Return a digest over everything that version 1 knew."""
    tables = ("key", "leaves", "heads")
    with closing(sqlite3.connect(path)) as db:
        rows = [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608 - names from above
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def test_it_goes_on_where_it_was(path: Path) -> None:
    """Leaves, heads and key keep every byte; the higher mark stays."""
    before = digest(path)
    with closing(SqliteStore(path, KEY)) as store:
        assert digest(path) == before
        assert store.head.size == len(entries(story()))
        assert store.load().marks[A.uid]["pod-2"].begun == 900
        assert store.claim("pod", "0.1.0", AT) == 1
        store.commit([settled(A, "pod-2", 900, 901)], [], AT)
        assert_whole(store)
    with closing(SqliteStore(path, KEY, whole_up_to=0)) as store:
        assert_whole(store)


def test_it_can_be_read_without_being_changed(path: Path) -> None:
    """An auditor's copy stays what it is."""
    before = path.read_bytes()
    with (path.parent / "out").open("wb") as out:
        export_file(path, out)

    assert (path.parent / "out").read_bytes() == exported(entries(story()))
    assert read_document(path, "0" * 64) is None
    assert path.read_bytes() == before


def test_a_leaf_that_is_no_entry_stops_the_migration(path: Path) -> None:
    """Then the file stays of version 1."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER leaves_UPDATE")
        db.execute("UPDATE leaves SET data = x'00' WHERE idx = 2")
    with pytest.raises(LedgerError):
        SqliteStore(path, KEY)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
