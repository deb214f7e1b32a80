"""Keep one program's account in step with the ledger of this machine.

Several starts may share a ledger: whoever appends does it under the state's lock, from
what is in the file then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flopguard_operator.books import utc_now
from flopguard_operator.ledger.accounts import Account, apply, fold
from flopguard_operator.ledger.entries import Event, PolicyNoted, RunRef
from flopguard_operator.ledger.policies import Noted, noted_in
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.local import asking, state
from flopguard_operator.local.state import State
from flopguard_operator.marks import Mark, merge


@dataclass
class Books:
    """What the ledger says of one program."""

    state: State
    program: str
    account: Account = field(init=False)
    marks: dict[str, Mark] = field(default_factory=dict)  # by start
    noted: Noted = field(default_factory=Noted)  # rule sets

    def __post_init__(self) -> None:
        """Begin as a program that nothing is known of."""
        uid = state.uid()
        self.account = Account(RunRef(uid, asking.NAMESPACE, self.program))

    def load(self, store: SqliteStore) -> None:
        """Read the ledger."""
        loaded = store.load()
        entries = list(loaded.entries)
        self.noted = noted_in(entries)
        found = asking.find(fold(entries), self.program)
        if found is not None:
            self.account = found
            known = loaded.marks.get(found.ref.uid, {})
            self.marks = self.merged(known.values())

    def merged(self, marks: Iterable[Mark]) -> dict[str, Mark]:
        """Return the marks of all starts, with these taken in."""
        result = dict(self.marks)
        for mark in marks:
            before = result.get(mark.stream)
            result[mark.stream] = mark if before is None else merge(before, mark)
        return result

    def commit(
        self, store: SqliteStore, events: Sequence[Event], marks: Mapping[str, Mark]
    ) -> None:
        """Append events and raise marks, then take them into the memory.

        Raises:
            LedgerError, LedgerUnavailableError: nothing was taken in.
        """
        uid = self.account.ref.uid
        store.commit(events, [(uid, mark) for mark in marks.values()], utc_now())
        for event in events:
            if isinstance(event, PolicyNoted):
                self.noted.take(event)
            else:
                self.account = apply(self.account, event)
        self.marks = self.merged(marks.values())
