"""Write and read a ledger as one text file that verifies offline.

    {"format":"flopguard-ledger","origin":…,"version":1,"vkey":…}    what it is
    {"at":…,"index":0,…}                              each leaf: the very bytes hashed
    {"rotated":"…"}                                   each head that two keys signed
    {"head":"…"}                                      the signed tree head, last

Every line ends with a line feed and nothing else does: leaves are JSON, which escapes
it. The reader streams, bounds each line, and takes one spelling only.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import MAX_ENTRY_BYTES, Entry
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.note import MAX_NOTE_BYTES

FORMAT = "flopguard-ledger"
VERSION = 1
MAX_LINE_BYTES = 4 * MAX_NOTE_BYTES + MAX_ENTRY_BYTES  # a note's JSON escapes


class TruncatedError(LedgerError):
    """The file ends before its tree head: part of a ledger, perhaps a good one."""


@dataclass(frozen=True)
class Header:
    """The first line of the file."""

    origin: str
    vkey: str


@dataclass(frozen=True)
class Leaf:
    """The exact bytes of one leaf."""

    data: bytes


@dataclass(frozen=True)
class Rotation:
    """A signed note over the tree up to a `KeyRotated` entry, not yet checked."""

    note: str


@dataclass(frozen=True)
class SignedHead:
    """The last line of the file: a signed note, not yet checked."""

    note: str


Part = Header | Leaf | Rotation | SignedHead


@dataclass(frozen=True)
class Contents:
    """A whole export, read but not verified."""

    header: Header
    entries: tuple[Entry, ...]
    note: str


def header_line(header: Header) -> bytes:
    """Return the first line."""
    return dumped(
        {
            "format": FORMAT,
            "version": VERSION,
            "origin": header.origin,
            "vkey": header.vkey,
        }
    )


def leaf_line(data: bytes) -> bytes:
    """Return the line of a leaf, given the bytes that were hashed."""
    return data + b"\n"


def rotation_line(note: str) -> bytes:
    """Return the line of a head at which one key followed another."""
    return dumped({"rotated": note})


def head_line(note: str) -> bytes:
    """Return the last line."""
    return dumped({"head": note})


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, each with its line feed, none longer than allowed.

    Raises:
        LedgerError: a line is longer than `MAX_LINE_BYTES`.
    """
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            message = f"a line is longer than {MAX_LINE_BYTES} bytes"
            raise LedgerError(message)
        yield line


def parse(lines: Iterable[bytes]) -> Iterator[Part]:
    """Yield the header, leaves, rotations and signed head of an export, in this order.

    Raises:
        LedgerError: a line is not what an export holds at that place.
        TruncatedError: the lines end before the signed head.
    """
    remaining, after_leaves = iter(lines), False
    yield _header(next(remaining, b""))
    for line in remaining:
        if not line.endswith(b"\n"):
            message = "the last line is cut off; export the ledger again"
            raise TruncatedError(message)
        if line.startswith(b'{"head":'):
            yield SignedHead(_note(line, "head"))
            break
        if line.startswith(b'{"rotated":'):
            after_leaves = True
            yield Rotation(_note(line, "rotated"))
        elif after_leaves:
            message = "there is an entry after the heads of the keys"
            raise LedgerError(message)
        else:
            yield Leaf(line[:-1])
    else:
        message = "there is no tree head at the end; export the ledger again"
        raise TruncatedError(message)
    if next(remaining, b""):
        message = "there are lines after the tree head"
        raise LedgerError(message)


def read(lines: Iterable[bytes]) -> Contents:
    """Return a whole export, for a report. Verify it first: this checks no hash.

    Raises:
        LedgerError: the lines are not an export.
    """
    header, entries, note = Header("", ""), list[Entry](), ""
    for part in parse(lines):
        match part:
            case Header():
                header = part
            case Leaf():
                entries.append(decode(part.data))
            case SignedHead():
                note = part.note
    return Contents(header, tuple(entries), note)


def dumped(document: Mapping[str, Any]) -> bytes:
    """Return the one spelling of a JSON object: a line of ASCII with sorted keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return text.encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _header(line: bytes) -> Header:
    document = _object(line)
    texts = [document.get(name) for name in ("origin", "vkey")]
    if document.get("format") != FORMAT or not all(isinstance(t, str) for t in texts):
        message = "this is not an exported flopguard ledger"
        raise LedgerError(message)
    if document.get("version") != VERSION:
        message = f"the export is not of version {VERSION}; use a newer flopguard"
        raise LedgerError(message)
    header = Header(str(texts[0]), str(texts[1]))
    if header_line(header) != line:
        message = "the first line is not spelled as flopguard spells it"
        raise LedgerError(message)
    return header


def _note(line: bytes, name: str) -> str:
    note = _object(line).get(name)
    if not isinstance(note, str) or dumped({name: note}) != line:
        message = "a line is not a tree head as flopguard spells it"
        raise LedgerError(message)
    return note
