"""A store that fails, or lets the operator die, around its commits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flopguard_operator.ledger.entries import Event
from flopguard_operator.ledger.errors import LedgerUnavailableError
from flopguard_operator.ledger.note import Head
from flopguard_operator.ledger.store import SqliteStore
from flopguard_operator.marks import Mark

NONE, BEFORE, AFTER, FULL, UNSURE = "", "before", "after", "full", "unsure"


class Crash(BaseException):
    """The operator dies here."""


class FaultyStore(SqliteStore):
    """The real store, with a fault at each commit for which `fault` names one.

    before, after   the operator dies, and the commit has not, or has, taken place
    full            it has not, and an error says that the disk is full
    unsure          it has, and an error says that it may not have
    """

    def __init__(self, *args: Any, fault: Callable[[], str], **more: Any) -> None:
        super().__init__(*args, **more)
        self._fault = fault

    def commit(
        self,
        events: Sequence[Event],
        marks: Sequence[tuple[str, Mark]],
        at: str,
        documents: Mapping[str, bytes] | None = None,
    ) -> Head:
        """See `Store.commit`."""
        fault = self._fault()
        if fault == BEFORE:
            raise Crash
        if fault == FULL:
            message = "the disk is full: make room on the ledger's volume"
            raise LedgerUnavailableError(message)
        head = super().commit(events, marks, at, documents)
        if fault == AFTER:
            raise Crash
        if fault == UNSURE:
            message = "the disk fails: look at the ledger's volume"
            raise LedgerUnavailableError(message)
        return head
