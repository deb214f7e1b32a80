"""Sum up a stretch of settlements, so that the replay can take it in at once.

Between two entries of other kinds a run's marks only rise. If in a whole stretch each
mark goes on from the one before, and at its end no run has reached a line of the policy
that it was below at its beginning, then no settlement of the stretch contradicts
anything and no commit in it owed a crossing. Wherever that is not so, the replay takes
the settlements one by one, as without a stretch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flopguard_operator.ledger import settlements
from flopguard_operator.ledger.accounts import mark_of
from flopguard_operator.ledger.entries import Entry, RunRef, Settlement
from flopguard_operator.marks import Mark, merge

_END = b'"type":"Settlement","v":1}'


@dataclass
class Row:
    """What a stretch says of one stream."""

    run: RunRef
    first: Mark
    last: Mark
    count: int
    index: int  # of its last settlement


@dataclass(frozen=True)
class Stretch:
    """Settlements that follow one another, each plain and above the one before."""

    index: int  # of the first
    at: tuple[str, str]  # of the first and of the last
    rows: Sequence[Row]


def is_settlement(data: bytes) -> bool:
    """Tell at once whether a leaf is a settlement, if it is an entry at all."""
    return data.endswith(_END)


def summed_up(batch: Sequence[bytes]) -> Stretch | None:
    """Return what leaves say together; None where one of them is not plain."""
    rows: dict[tuple[str, str], Row] = {}
    first = settlements.read(batch[0])
    if first is None:
        return None
    at = first.at
    for place, data in enumerate(batch):
        entry = settlements.read(data)
        if entry is None or entry.index != first.index + place:
            return None
        if not _take(rows, entry):
            return None
        at = entry.at
    return Stretch(first.index, (first.at, at), tuple(rows.values()))


def _take(rows: dict[tuple[str, str], Row], entry: Entry) -> bool:
    """Take one more settlement in; tell whether it goes on from those before."""
    event = entry.event
    if not isinstance(event, Settlement):
        return False
    mark = mark_of(event)
    row = rows.get((event.run.uid, event.stream))
    if row is None:
        new = Row(event.run, mark, mark, 1, entry.index)
        rows[event.run.uid, event.stream] = new
        return mark.measured <= mark.begun
    if row.run != event.run or merge(row.last, mark) is not mark:
        return False
    row.last, row.count, row.index = mark, row.count + 1, entry.index
    return True
