"""Read a ledger's file as a stranger does: replayed, folded, each entry once."""

from pathlib import Path
from typing import Any

from flopguard_operator.ledger import database
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.replay import Replay


class Durable:
    """What a stranger reads in the file: each entry once, replayed and folded."""

    def __init__(self, path: Path) -> None:
        self._connection = database.connect_to_read(path)
        self.replay, self.size = Replay(), 0
        self.marks: dict[str, Any] = {}  # the highest that were seen, by stream
        self.wrong: list[str] = []

    @property
    def accounts(self) -> dict[str, Account]:
        """The fold."""
        return self.replay.accounts

    def news(self) -> list[Entry]:
        """Read the entries that were appended since the last time."""
        rows = self._connection.execute(
            "SELECT data FROM leaves WHERE idx >= ? ORDER BY idx", (self.size,)
        ).fetchall()
        entries = [decode(data) for (data,) in rows]
        for entry in entries:
            assert entry.index == self.size
            self.size += 1
            self.wrong += [str(one) for one in self.replay.step(entry)]
        return entries

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
