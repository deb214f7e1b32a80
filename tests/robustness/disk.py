"""A disk that loses power: a VFS for SQLite that keeps what was not synced apart.

Each file has its durable bytes, and what was written since its last sync. When the
power fails, each of those writes has reached the disk in a random half of its sectors,
and each truncation or not: so unsynced data is lost, torn and re-ordered.
https://sqlite.org/vfs.html, https://sqlite.org/atomiccommit.html section 2
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import apsw

SECTOR = 512


@dataclass
class File:
    """One file.

    Attributes:
        durable: What is on the disk for certain.
        seen: What a read returns while the power is on.
        unsynced: (offset, data) of writes, (size, None) of truncations, in order.
    """

    durable: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)


Fault = Callable[[str], None]
"""Called before each change of the disk with its kind; raises to make it fail."""


def no_fault(_kind: str) -> None:
    """Let everything pass."""


class Disk:
    """All files, and how the next change fails.

    Attributes:
        files: By name.
        changes: Writes, truncations, syncs and deletions so far.
        fault: Decides what fails.
    """

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.changes = 0
        self.fault: Fault = no_fault

    def change(self, kind: str) -> None:
        """Count a change; raises what the fault raises."""
        self.changes += 1
        self.fault(kind)

    def power_cycle(self, chance: random.Random) -> None:
        """Switch off and on: of what was not synced, chance decides what is there."""
        for file in self.files.values():
            for at, data in file.unsynced:
                if data is not None:
                    _write_some(file.durable, at, data, chance)
                elif chance.random() < 0.5:
                    _resize(file.durable, at)
            file.unsynced.clear()
            file.seen = bytearray(file.durable)
        self.fault = no_fault

    def lose_unsynced(self, name: str) -> None:
        """Forget what a failed sync was to save, as Linux does with dirty pages."""
        file = self.files[name]
        file.unsynced.clear()
        file.seen = bytearray(file.durable)


def _write_some(
    content: bytearray, at: int, data: bytes, chance: random.Random
) -> None:
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR - (at + start) % SECTOR)
        if chance.getrandbits(1):
            _write(content, at + start, data[start:end])
        start = end


def _write(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


class Vfs(apsw.VFS):
    """Gives SQLite the files of a `Disk`."""

    def __init__(self, name: str, disk: Disk) -> None:
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - SQLite's
        """Open a file, made if it is absent."""
        path = name if isinstance(name, str) else name.filename()
        self._disk.files.setdefault(path, File())
        flags[1] = flags[0]
        return OpenFile(self._disk, path)

    def xAccess(self, pathname: str, _flags: int) -> bool:  # noqa: N802 - SQLite's
        """Say whether a file is there."""
        return pathname in self._disk.files

    def xDelete(self, filename: str, _sync: bool) -> None:  # noqa: FBT001, N802 - SQLite's
        """Remove a file."""
        self._disk.change("delete")
        self._disk.files.pop(filename, None)

    def xFullPathname(self, filename: str) -> str:  # noqa: N802 - SQLite's
        """Return the name: there are no folders."""
        return filename


class OpenFile:
    """One open file of a `Disk`; the names are SQLite's."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk, self._path = disk, path

    @property
    def _file(self) -> File:
        return self._disk.files[self._path]

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's
        """Return at most so many bytes."""
        return bytes(self._file.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's
        """Write, not yet durably; a write that fails may have written its beginning."""
        try:
            self._disk.change("write")
        except apsw.Error:
            _write(self._file.seen, offset, data[: len(data) // 2])
            self._file.unsynced.append((offset, bytes(data[: len(data) // 2])))
            raise
        _write(self._file.seen, offset, data)
        self._file.unsynced.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's
        """Cut or lengthen, not yet durably."""
        self._disk.change("truncate")
        _resize(self._file.seen, newsize)
        self._file.unsynced.append((newsize, None))

    def xSync(self, _flags: int) -> None:  # noqa: N802 - SQLite's
        """Make all of it durable."""
        self._disk.change(f"sync {self._path}")
        self._file.durable = bytearray(self._file.seen)
        self._file.unsynced.clear()

    def xFileSize(self) -> int:  # noqa: N802 - SQLite's
        """Return the size in bytes."""
        return len(self._file.seen)

    def xLock(self, _level: int) -> None:  # noqa: N802 - SQLite's
        """Lock: there is one process."""

    def xUnlock(self, _level: int) -> None:  # noqa: N802 - SQLite's
        """Unlock."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802 - SQLite's
        """Say whether another has the file."""
        return False

    def xSectorSize(self) -> int:  # noqa: N802 - SQLite's
        """Return what is written whole or not at all."""
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802 - SQLite's
        """Promise nothing."""
        return 0

    def xFileControl(self, _op: int, _pointer: int) -> bool:  # noqa: N802 - SQLite's
        """Know no special operation."""
        return False

    def xClose(self) -> None:  # noqa: N802 - SQLite's
        """Close; what is not synced stays so."""
