"""Write and read the one spelling of a pack's archive: plain ustar files, sorted.

Of an archive with given files there is exactly one: the reader makes each header anew
and compares. So links, devices, absolute paths, sparse files, pax records, duplicates,
other owners or times, and bytes between files are not filtered: they cannot be there.
Nothing is extracted; a file is read in pieces from where it lies.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

BLOCK = 512
PIECE = 1 << 16
MAX_FILES = 65_536
MAX_FILE_BYTES = 1 << 32
_END = bytes(2 * BLOCK)
_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}(/[A-Za-z0-9][A-Za-z0-9._-]{0,79}){0,2}", re.ASCII
)
_LONGEST_NAME = 100  # ustar's first name field


class PackError(Exception):
    """A file is not an evidence pack as flopguard writes it; the message says why."""


class CutError(PackError):
    """The file ends early: part of a pack, perhaps a good one."""


@dataclass(frozen=True)
class Slice:
    """Where a file lies in its archive."""

    offset: int
    size: int


@dataclass(frozen=True)
class Archive:
    """An archive whose shape was checked; what its files hold was not."""

    stream: BinaryIO
    files: Mapping[str, Slice]

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file in pieces of at most `PIECE` bytes; nothing if it is absent.

        Pieces of two files may be read in turn.
        """
        where = self.files.get(name, Slice(0, 0))
        done = 0
        while done < where.size:
            self.stream.seek(where.offset + done)
            piece = self.stream.read(min(PIECE, where.size - done))
            if not piece:
                message = "the archive became shorter while it was read"
                raise PackError(message)
            done += len(piece)
            yield piece

    def lines(self, name: str, longest: int) -> Iterator[bytes]:
        r"""Yield the lines of a file, without their line feeds.

        Raises:
            PackError: a line is longer than `longest`, or the last one has no line end.
        """
        rest = b""
        for piece in self.pieces(name):
            *whole, rest = (rest + piece).split(b"\n")
            if max(map(len, [*whole, rest])) > longest:
                message = f"{name}: a line is longer than {longest} bytes"
                raise PackError(message)
            yield from whole
        if rest:
            message = f"{name}: the last line is cut off"
            raise PackError(message)

    def read(self, name: str, largest: int) -> bytes:
        """Return a whole file.

        Raises:
            PackError: it is absent, or larger than `largest` bytes.
        """
        if name not in self.files:
            message = f"there is no file {name}"
            raise PackError(message)
        if self.files[name].size > largest:
            message = f"{name} is larger than {largest} bytes"
            raise PackError(message)
        return b"".join(self.pieces(name))


def sha256(pieces: Iterable[bytes]) -> str:
    """Return the SHA-256 of a file that comes in pieces, hexadecimal."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def is_archive(beginning: bytes) -> bool:
    """Tell whether a file that begins with these bytes is meant to be a pack."""
    return beginning[257:263] == b"ustar\0"


def header(name: str, size: int) -> bytes:
    """Return the block before a file: mode 0644, owner 0, time 0.

    Raises:
        PackError: the name or the size cannot stand in a pack.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        message = f"{ascii(name)[:60]} is not a name for a file of a pack"
        raise PackError(message)
    if not 0 <= size <= MAX_FILE_BYTES:
        message = f"{name}: {size} bytes are more than a pack can hold"
        raise PackError(message)
    fields = (
        name.encode().ljust(100, b"\0"),
        b"0000644\0" + 2 * b"0000000\0",  # mode, owner, group
        f"{size:011o}\0".encode() + 11 * b"0" + b"\0",  # size, time
        8 * b" " + b"0" + bytes(100),  # checksum, a regular file, no link
        b"ustar\x0000" + bytes(64) + 2 * b"0000000\0" + bytes(167),
    )
    block = b"".join(fields)
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def write(out: BinaryIO, files: Mapping[str, tuple[int, Iterable[bytes]]]) -> None:
    """Write files, name → (size, pieces), sorted by name: same files, same bytes.

    Raises:
        PackError: a name or size cannot stand in a pack, or is not that of the pieces.
    """
    for name, (size, pieces) in sorted(files.items()):
        out.write(header(name, size))
        written = 0
        for piece in pieces:
            out.write(piece)
            written += len(piece)
        if written != size:
            message = f"{name}: {written} bytes were written instead of {size}"
            raise PackError(message)
        out.write(bytes(-size % BLOCK))
    out.write(_END)


def open_archive(stream: BinaryIO) -> Archive:
    """Read the shape of an archive from a stream that can seek.

    Raises:
        PackError: it is not spelled as `write` spells it.
    """
    files: dict[str, Slice] = {}
    newest = ""
    stream.seek(0)
    while (block := stream.read(BLOCK)) != bytes(BLOCK):
        name, size = _entry(block)
        if name <= newest:
            message = f"{name} stands after {newest}: files are sorted, each once"
            raise PackError(message)
        if len(files) == MAX_FILES:
            message = f"there are more than {MAX_FILES} files"
            raise PackError(message)
        files[name], newest = Slice(stream.tell(), size), name
        _skip(stream, name, size)
    end = stream.read(BLOCK + 1)
    if end != bytes(BLOCK):
        message = "the archive does not end with two blocks of zeros"
        raise (CutError if len(end) < BLOCK else PackError)(message)
    return Archive(stream, MappingProxyType(files))


def _entry(block: bytes) -> tuple[str, int]:
    """Return name and size in a header that is as `header` makes it."""
    if len(block) != BLOCK:
        message = "the archive is cut off"
        raise CutError(message)
    name = block[:100].rstrip(b"\0").decode("latin-1")
    digits = block[124:135]
    if not re.fullmatch(rb"[0-7]{11}", digits):
        message = f"{ascii(name)[:60]}: the size is not a number"
        raise PackError(message)
    size = int(digits, 8)
    if header(name, size) != block:
        message = f"{ascii(name)[:60]}: the header is not as flopguard writes it"
        raise PackError(message)
    return name, size


def _skip(stream: BinaryIO, name: str, size: int) -> None:
    """Pass a file's bytes and the zeros that fill its last block."""
    filling = -size % BLOCK
    stream.seek(max(0, size - 1), 1)
    end = stream.read(min(1, size) + filling)
    if len(end) < min(1, size) + filling:
        message = f"the archive is cut off in {name}"
        raise CutError(message)
    if end[min(1, size) :] != bytes(filling):
        message = f"{name}: the last block is not filled with zeros"
        raise PackError(message)
