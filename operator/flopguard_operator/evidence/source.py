"""Read the ledger that a pack is made of: an export, or the operator's database."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from flopguard_operator.ledger import database, reading
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import (
    Header,
    Leaf,
    Rotation,
    SignedHead,
    lines_of,
    parse,
)


@dataclass(frozen=True)
class Source:
    """A ledger as a pack needs it."""

    vkey: str  # of the newest head
    heads: tuple[str, ...]  # signed notes, the newest last
    leaves: Callable[[], Iterator[bytes]]  # in order, from the first
    documents: Mapping[str, bytes] = field(default_factory=dict)  # by digest


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Give the ledger in a file; it is only read.

    Raises:
        LedgerError: the file is no ledger.
        LedgerUnavailableError: the file cannot be read now.
        OSError: the same.
    """
    with path.open("rb") as stream:
        if not database.is_database(stream.read(database.BEGINNING)):
            yield of_export(stream)
            return
    with reading.opened_to_read(path) as connection:
        yield Source(
            vkey=reading.custody_of(connection).vkey,
            heads=tuple(database.notes(connection)),
            leaves=lambda: (data for _, data, _ in database.leaves(connection)),
            documents=reading.Documents(connection),
        )


def of_export(stream: BinaryIO) -> Source:
    """Return the ledger in an export: its newest head, those of keys, no documents.

    Raises:
        LedgerError: the stream is not an export.
    """
    vkey, note = "", ""
    rotated: list[str] = []
    stream.seek(0)
    for part in parse(lines_of(stream)):
        match part:
            case Header():
                vkey = part.vkey
            case Rotation():
                rotated.append(part.note)
            case SignedHead():
                note = part.note

    def leaves() -> Iterator[bytes]:
        stream.seek(0, io.SEEK_SET)
        for part in parse(lines_of(stream)):
            if isinstance(part, Leaf):
                yield part.data

    if not note:
        message = "the export has no tree head"
        raise LedgerError(message)
    return Source(vkey, (*rotated, note), leaves)
