"""Read a ledger's file, also one that an operator is writing to."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from flopguard_operator.ledger import custody, database, upkeep
from flopguard_operator.ledger import export as exporting
from flopguard_operator.ledger.custody import Custody
from flopguard_operator.ledger.encoding import decode, decode_trusted
from flopguard_operator.ledger.entries import Entry
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.tree import (
    EMPTY_ROOT,
    Frontier,
    Growing,
    leaf_hash,
    root,
)


class Documents(Mapping[str, bytes]):
    """The documents of an open file, by digest, each read when it is asked for."""

    def __init__(self, connection: database.Connection) -> None:
        self._connection = connection
        self._digests = database.digests(connection)

    def __getitem__(self, digest: str) -> bytes:
        """Return the document of this digest."""
        found = database.document(self._connection, digest)
        if found is None:
            raise KeyError(digest)
        return found

    def __iter__(self) -> Iterator[str]:
        """Yield the digests."""
        return iter(self._digests)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._digests)


@contextmanager
def opened_to_read(path: Path) -> Iterator[database.Connection]:
    """Give one moment of a ledger's file; it is only read.

    Raises:
        LedgerError: the file is not a ledger.
        LedgerUnavailableError: the file cannot be read now.
    """
    with (
        database.errors_named(path),
        closing(database.connect_to_read(path)) as connection,
    ):
        database.version(connection)
        with database.snapshot(connection):
            yield connection


@contextmanager
def opened_to_back_up(path: Path) -> Iterator[database.Connection]:
    """Give a ledger's file for a copy, which takes a moment of its own."""
    with (
        database.errors_named(path),
        closing(database.connect_to_read(path)) as connection,
    ):
        database.version(connection)
        yield connection


def roots(connection: database.Connection, sizes: Collection[int]) -> dict[int, bytes]:
    """Return the roots of the tree at some sizes, from the stored hashes of leaves."""
    found = {0: EMPTY_ROOT}
    growing = Growing(Frontier())
    for _, _, leaf in database.leaves(connection):
        growing.append(leaf)
        if growing.size in sizes:
            found[growing.size] = root(growing.frontier)
    return found


def export_file(path: Path, out: BinaryIO) -> None:
    """Export a ledger that another process may be writing to; it is only read.

    Raises:
        LedgerError: the file is not a ledger.
        LedgerUnavailableError: the file cannot be read now.
    """
    with opened_to_read(path) as connection:
        _export(connection, out)


def read_document(path: Path, digest: str) -> bytes | None:
    """Return a document that a ledger keeps; None where it keeps none of that digest.

    Raises:
        LedgerError: the file is not a ledger.
        LedgerUnavailableError: the file cannot be read now.
    """
    with opened_to_read(path) as connection:
        return database.document(connection, digest)


def export(connection: database.Connection, out: BinaryIO) -> None:
    """Write the leaves and their head as a file that verifies offline."""
    with database.snapshot(connection):
        _export(connection, out)


def entries(
    connection: database.Connection, path: Path, *, whole: bool
) -> Iterator[Entry]:
    """Yield the entries of a file that was checked, or those whose fold is the same.

    Raises:
        LedgerError: a leaf is not what its hash says: the file changed meanwhile.
    """
    rows = database.leaves(connection) if whole else upkeep.folded(connection)
    with database.errors_named(path), closing(rows):
        for index, data, stored in rows:
            if leaf_hash(data) != stored:
                message = f"leaf {index} was changed: restore the newest copy"
                raise LedgerError(message)
            yield decode_trusted(data)


def custody_of(connection: database.Connection) -> Custody:
    """Return what a ledger says of itself, from all of its leaves."""
    own = custody.begun(database.vkey(connection))
    for _, data, _ in database.leaves(connection):
        if any(marker in data for marker in custody.MARKERS):
            own = custody.apply(own, decode(data))
    return own


def _export(connection: database.Connection, out: BinaryIO) -> None:
    vkey, signed = database.vkey(connection), database.newest_note(connection)
    out.write(exporting.header_line(exporting.Header(vkey.partition("+")[0], vkey)))
    rotations: list[int] = []
    for index, data, _ in database.leaves(connection):
        out.write(exporting.leaf_line(data))
        if custody.ROTATED in data:
            rotations.append(index + 1)
    for size in rotations:
        note = database.note_at(connection, size)
        out.write(exporting.rotation_line(note))
    out.write(exporting.head_line(signed))
