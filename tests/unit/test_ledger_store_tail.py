"""Is a start by the tail of a ledger as good as one that reads it all?"""

import random
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopguard_operator.books import Books
from flopguard_operator.ledger import database, migrating, note, reading, upkeep
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.entries import (
    Entry,
    Event,
    FactChanged,
    GapCharged,
    HoldReleased,
    HoldSet,
    LedgerRecovered,
    RunRef,
    Settlement,
)
from flopguard_operator.ledger.errors import ForkedError, LedgerError
from flopguard_operator.ledger.store import SqliteStore
from standins.ledgers import AT, assert_whole, tell
from unit.test_ledger_store_tampering import edit
from vectors.ledger_story import KEY, A, B, settled

RUNS = (A, B, RunRef("uid-a", "ml", "a namesake"))
small = st.integers(0, 4)
runs, streams = st.sampled_from(RUNS), st.sampled_from(("s", "t"))
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Settlement,
        runs,
        streams,
        st.dictionaries(st.sampled_from(("forward", "backward")), small),
        small,
        small,
        small,
        st.sampled_from(("prometheus", "sidecar", "pod-status")),
        st.booleans(),
    ),
    st.builds(
        GapCharged,
        runs,
        streams,
        st.just("pod"),
        st.sampled_from(("Opened", "Grown", "Closed", "Reduced")),
        st.just("NodeLost"),
        small,
        small,
        st.just("1 x X"),
        small,
    ),
    st.builds(HoldSet, runs, st.just("w"), st.just("j"), st.just("r"), st.booleans()),
    st.builds(HoldReleased, runs, st.just("j"), st.just("r")),
    st.builds(LedgerRecovered, small, st.just("AAAA"), st.just("x"), st.just("y")),
    st.builds(
        FactChanged,
        runs,
        streams,
        st.just("p"),
        st.just("f"),
        st.just("1"),
        st.just("2"),
        small,
        small,
    ),
)


def careless(path: Path) -> sqlite3.Connection:
    """Open a file without a sync: for tests that write many and pull no plug."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")
    return connection


def remembered(entries: Iterable[Entry]) -> dict[str, Any]:
    """Return what the operator's memory is after entries, but for clocks."""
    books = Books(lambda: pytest.fail("no store is opened"))
    for entry in entries:
        books._take(entry)  # noqa: SLF001 - the fold, without a store around it
    held = {uid: at for uid, (at, _) in books.held.items()}
    names = ("accounts", "told", "spans", "named", "owner", "own")
    return {"held": held} | {name: getattr(books, name) for name in names}


@given(st.lists(st.lists(EVENTS, max_size=6), max_size=8), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_kept_entries_fold_as_all_do(
    tmp_path_factory: pytest.TempPathFactory,
    commits: list[list[Event]],
    reopened: Any,
) -> None:
    """On any ledger, however little an honest operator would write it."""
    path = tmp_path_factory.mktemp("fold") / "ledger.db"
    store = SqliteStore(path, KEY, connect=careless, whole_up_to=0)
    for minute, events in enumerate(commits):
        store.commit(events, [], f"2026-11-22T00:{minute:02d}:00.000Z")
        if reopened:
            store.close()
    with reading.opened_to_read(path) as connection:
        whole = remembered(reading.entries(connection, path, whole=True))
        kept = remembered(reading.entries(connection, path, whole=False))
        own = list(upkeep.own(connection))
        indices = upkeep.indices(connection)
        counts = upkeep.counts(connection)
    store.close()
    events = [event for commit in commits for event in commit]

    for what, value in whole.items():
        assert kept[what] == value, what
    accounts = whole["accounts"].items()
    assert counts == {uid: account.entries for uid, account in accounts}
    assert [e.event for e in own] == [e for e in events if type(e) is LedgerRecovered]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrating.rebuild(connection)
        assert upkeep.indices(connection) == indices
        assert upkeep.counts(connection) == counts


def many(path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
    """Return a store of a hundred entries, with a frontier at every tenth."""
    monkeypatch.setattr("flopguard_operator.ledger.upkeep.EVERY_LEAVES", 10)
    store = SqliteStore(path, KEY, connect=careless, whole_up_to=0)
    draw = random.Random(5)  # noqa: S311 - no secret
    for count in range(100):
        stream = f"pod-{draw.randrange(7)}"
        store.commit([settled(A, stream, count, count + 1)], [], AT)
    return store


def test_the_tail_alone_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large ledger loads the first and the last settlement of each stream."""
    path = tmp_path / "ledger.db"
    before = many(path, monkeypatch)
    before.close()
    with closing(SqliteStore(path, KEY, whole_up_to=0)) as store:
        assert store.hashed_from in (80, 90)
        assert len(list(store.load().entries)) == 14
        assert store.head == before.head
        assert_whole(store)
        store.commit([settled(A, "pod-9", 1, 1)], [], AT)
        assert_whole(store)
    with closing(SqliteStore(path, KEY, whole_up_to=100)) as store:
        assert store.hashed_from > 0
    with closing(SqliteStore(path, KEY, whole_up_to=101)) as store:
        assert store.hashed_from == 0


def test_heads_of_before_the_tail_are_known_by_their_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status that was last written long ago still fits; a forged one does not."""
    path = tmp_path / "ledger.db"
    store = many(path, monkeypatch)
    store.close()
    heads = [KnownHead(0, b"\xe3\xb0")]
    for size in (3, 50, 90, 95, 100):
        with reading.opened_to_read(path) as connection:
            stored = opening_root(connection, size)
        heads.append(KnownHead(size, stored))
    with closing(SqliteStore(path, KEY, heads, whole_up_to=0)) as again:
        assert again.head == store.head
    for size in (50, 95, 101):
        with pytest.raises(ForkedError, match=f"head of {size}"):
            SqliteStore(path, KEY, [KnownHead(size, bytes(32))], whole_up_to=0)


def opening_root(connection: Any, size: int) -> bytes:
    """Return the root that the ledger has signed at a size."""
    text = database.note_at(connection, size)
    return note.parse_head(text.partition("\n\n")[0] + "\n").root


EDITED = {
    "a leaf of the tail": (
        "UPDATE leaves SET data = x'00' WHERE idx = 97",
        "leaf 97 was changed",
    ),
    "a leaf of the tail is gone": ("DELETE FROM leaves WHERE idx = 97", "leaf 97"),
    "the last leaf is gone": ("DELETE FROM leaves WHERE idx = 99", "do not make"),
    "the newest head is gone": ("DELETE FROM heads WHERE size = 100", "do not make"),
    "an older head stands for the newest": (
        "UPDATE heads SET note = (SELECT note FROM heads WHERE size = 9) WHERE size>99",
        "do not make",
    ),
}


@pytest.mark.parametrize(("change", "why"), EDITED.values(), ids=EDITED.keys())
def test_an_edited_tail_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, why: str
) -> None:
    """The end of the file is where crashes and old copies show."""
    path = tmp_path / "ledger.db"
    many(path, monkeypatch).close()
    edit(path, lambda db: db.execute(change))

    with pytest.raises(LedgerError, match=why):
        SqliteStore(path, KEY, whole_up_to=0)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE frontiers SET peaks = zeroblob(length(peaks))",
        "UPDATE frontiers SET peaks = x'00'",
        "UPDATE frontiers SET size = size - 1",
        "DELETE FROM frontiers",
    ],
)
def test_a_frontier_that_nobody_signed_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Then all leaves are hashed, as without one."""
    path = tmp_path / "ledger.db"
    many(path, monkeypatch).close()
    edit(path, lambda db: db.execute(change))
    with closing(SqliteStore(path, KEY, whole_up_to=0)) as store:
        assert store.hashed_from == 0


def test_a_changed_leaf_that_the_fold_needs_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also outside of the tail: its own hash is beside it."""
    monkeypatch.setattr("flopguard_operator.ledger.upkeep.EVERY_LEAVES", 2)
    path = tmp_path / "ledger.db"
    with closing(SqliteStore(path, KEY)) as store:
        tell(store)
    edit(path, lambda db: db.execute("UPDATE leaves SET data = x'00' WHERE idx = 0"))
    with closing(SqliteStore(path, KEY, whole_up_to=0)) as store:
        assert store.hashed_from > 0
        with pytest.raises(LedgerError, match="leaf 0 was changed"):
            store.load()
