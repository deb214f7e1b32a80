"""Keep what a quick start needs beside the leaves, and read it back.

latest      of each stream the settlement, and the gap, that make all before it needless
            beside them the first of each run, and of each stream
standing    the indices of all other entries; `own` marks those about the ledger itself
counts      how many entries each run has, as `census` tells
frontiers   peaks of the tree at a few signed heads, from which the tail is hashed anew

The fold of `latest` and `standing` is that of all entries: `tests/unit` compares them
on random ledgers, and `flopguard ledger check` on a real one.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from flopguard_operator.ledger import database, tree
from flopguard_operator.ledger.accounts import mark_of
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import (
    NO_RUN,
    Entry,
    Event,
    GapCharged,
    Settlement,
)
from flopguard_operator.marks import Mark, merge

CLOSED = "Closed"  # of a gap: that it was closed once is remembered
EVERY_LEAVES = 4096  # between two frontiers
KEPT_FRONTIERS = 2

_RUN = "first of its run"  # a kind in `latest`, as "first Settlement" is

_Key = tuple[str, str, str]  # kind, run UID, stream


Lookup = Callable[[_Key], tuple[int, Event | None] | None]
"""A row of `latest`: its index, and the event there unless there is none."""


def _nothing(_: _Key) -> None:
    return None


@dataclass
class Rows:
    """The rows that entries make: new ones, and those that replace others.

    Attributes:
        lookup: What the tables say before these entries; empty ones if not given.
        known: What the last entries said, of these and earlier ones.
        standing: Index → own.
        latest: Index, by kind, run and stream.
        counts: Entries by run UID.
    """

    lookup: Lookup = _nothing
    known: dict[_Key, tuple[int, Event | None]] = field(default_factory=dict)
    standing: dict[int, int] = field(default_factory=dict)
    latest: dict[_Key, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, entry: Entry) -> None:
        """Take one more entry in."""
        event = entry.event
        if event.run == NO_RUN:
            self.standing[entry.index] = 1
            return
        self.counts[event.run.uid] += 1
        self._keep_first((_RUN, event.run.uid, ""), entry)
        if isinstance(event, Settlement | GapCharged):
            self._replace(entry, event)
        else:
            self.standing[entry.index] = 0

    def needed(self) -> list[int]:
        """Return the indices that the fold of all entries needs."""
        latest = {index for index in self.latest.values() if index >= 0}
        return sorted(self.standing.keys() | latest)

    def _replace(self, entry: Entry, event: Settlement | GapCharged) -> None:
        key = (type(event).__name__, event.run.uid, event.stream)
        self._keep_first((f"first {key[0]}", *key[1:]), entry)
        index, before = self._before(key) or (0, None)
        if before is None and index == database.STANDS:
            self.standing[entry.index] = 0
        elif before is None or supersedes(event, before):
            self.known[key] = (entry.index, event)
            self.latest[key] = entry.index
        else:
            self.standing |= {index: 0, entry.index: 0}
            self.known[key] = (database.STANDS, None)
            self.latest[key] = database.STANDS

    def _keep_first(self, key: _Key, entry: Entry) -> None:
        """Keep the first entry under a key: of a run its name, of a stream its time."""
        if self._before(key) is None:
            self.known[key] = (entry.index, None)
            self.latest[key] = entry.index

    def _before(self, key: _Key) -> tuple[int, Event | None] | None:
        if key not in self.known:
            found = self.lookup(key)
            if found is None:
                return None
            self.known[key] = found
        return self.known[key]


@dataclass
class Upkeep:
    """Takes entries into the tables, with a memory of what the last ones said.

    Drop it with its connection: after a failed commit it is ahead of the file.
    """

    known: dict[_Key, tuple[int, Event | None]] = field(default_factory=dict)

    def note(self, connection: database.Connection, entries: Iterable[Entry]) -> None:
        """Take entries that were appended into the tables."""
        rows = Rows(functools.partial(_row, connection), self.known)
        for entry in entries:
            rows.take(entry)
        connection.executemany(
            "INSERT INTO standing VALUES (?, ?)", rows.standing.items()
        )
        connection.executemany(
            "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)",
            [(*key, index) for key, index in rows.latest.items()],
        )
        connection.executemany(
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT (run_uid)"
            " DO UPDATE SET entries = entries + excluded.entries",
            list(rows.counts.items()),
        )


def _row(connection: database.Connection, key: _Key) -> tuple[int, Event | None] | None:
    row = connection.execute(
        "SELECT latest.idx, data FROM latest LEFT JOIN leaves USING (idx)"
        " WHERE kind = ? AND run_uid = ? AND stream = ?",
        key,
    ).fetchone()
    if row is None:
        return None
    index, data = row
    return int(index), None if data is None else decode(database.blob(data)).event


def supersedes(event: Event, before: Event) -> bool:
    """Tell whether the fold is the same without the entry before."""
    match event, before:
        case Settlement(), Settlement():
            same = event.run == before.run
            return same and _alone(mark_of(event)) == merge(
                _alone(mark_of(before)), mark_of(event)
            )
        case GapCharged(), GapCharged():
            return event.run == before.run and before.change != CLOSED
    return False


def _alone(mark: Mark) -> Mark:
    return merge(Mark(mark.stream), mark)


def folded(connection: database.Connection) -> database.Rows:
    """Yield the leaves whose fold is that of all leaves, in order."""
    yield from database.intact(
        connection.execute(
            "SELECT idx, data, leaf_hash FROM leaves WHERE idx IN"
            " (SELECT idx FROM standing UNION SELECT idx FROM latest) ORDER BY idx"
        )
    )


def counts(connection: database.Connection) -> dict[str, int]:
    """Return how many entries each run has, by its UID."""
    return dict(connection.execute("SELECT run_uid, entries FROM counts"))


def own(connection: database.Connection) -> Iterator[Entry]:
    """Yield the entries about the ledger itself, in order."""
    for (data,) in connection.execute(
        "SELECT data FROM standing JOIN leaves USING (idx) WHERE own = 1 ORDER BY idx"
    ):
        yield decode(database.blob(data))


def indices(connection: database.Connection) -> list[int]:
    """Return the indices that `folded` reads."""
    return [
        int(row[0])
        for row in connection.execute(
            "SELECT idx FROM standing UNION SELECT idx FROM latest WHERE idx >= 0"
            " ORDER BY idx"
        )
    ]


def keep_frontier(
    connection: database.Connection, before: int, frontier: tree.Frontier
) -> None:
    """Store the frontier of a head now and then, and forget old ones."""
    if before // EVERY_LEAVES == frontier.size // EVERY_LEAVES:
        return
    connection.execute(
        "INSERT OR REPLACE INTO frontiers VALUES (?, ?)",
        (frontier.size, b"".join(frontier.peaks)),
    )
    connection.execute(
        "DELETE FROM frontiers WHERE size NOT IN"
        " (SELECT size FROM frontiers ORDER BY size DESC LIMIT ?)",
        (KEPT_FRONTIERS,),
    )


def oldest_frontier(connection: database.Connection) -> tree.Frontier:
    """Return the oldest frontier that is kept; that of nothing if none is."""
    row = connection.execute(
        "SELECT size, peaks FROM frontiers ORDER BY size LIMIT 1"
    ).fetchone()
    if row is None:
        return tree.Frontier()
    size, peaks = int(row[0]), database.blob(row[1])
    parts = tree.hashes_in(peaks)
    if len(parts) != size.bit_count():
        return tree.Frontier()  # of no use: everything is hashed anew
    return tree.Frontier(size, parts)
