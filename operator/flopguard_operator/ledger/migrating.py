"""Bring a ledger's file of version 1 to version 2: nothing that is hashed changes."""

from collections.abc import Iterator

from flopguard_operator.ledger import database, tree
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.upkeep import Upkeep, keep_frontier


def migrate(connection: database.Connection) -> bool:
    """Add the tables of version 2 and fill them, in one transaction; tell if it did.

    Raises:
        LedgerError: a leaf is no entry, or the file is no ledger.
    """
    if database.version(connection) == database.VERSION:
        return False
    connection.execute("BEGIN IMMEDIATE")
    if database.version(connection) != database.VERSION:  # nobody else was first
        for statement in database.SECOND:
            connection.execute(statement)
        rebuild(connection)
    connection.execute("COMMIT")
    return True


def rebuild(connection: database.Connection) -> None:
    """Make what a quick start needs from the leaves anew, in an open transaction."""
    for table in ("latest", "standing", "counts", "frontiers"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names from above
    Upkeep().note(connection, _entries(connection))
    sizes = {size for size, _ in database.heads(connection)}
    growing, before = tree.Growing(tree.Frontier()), 0
    for _, _, leaf in database.leaves(connection):
        growing.append(leaf)
        if growing.size in sizes:
            keep_frontier(connection, before, growing.frontier)
            before = growing.size


def _entries(connection: database.Connection) -> Iterator[Entry]:
    for _, data, _ in database.leaves(connection):
        yield decode(data)
