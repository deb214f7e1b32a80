"""Writes one process's page and facts file. Shell: the only module that writes files.

The page is written by `pwrite`, never mapped: a mapped page that somebody truncates
would kill the training process by SIGBUS.
"""

import contextlib
import errno
import fcntl
import json
import os
from typing import Any, Mapping

from flopguard_hook.facts import bounded
from flopguard_hook.interrupts import raise_users
from flopguard_hook.page import SLOT_BYTES

MOST_PAGES = 4000
_MODE = 0o644
_MARKS_FROM = 2**30  # and no further than any file system allows
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FolderFullError(Exception):
    """The folder holds as many pages as a reader reads."""


class PageWriter:
    """One process's page and facts file in the folder of pages.

    Both are made under another name and renamed, so that a reader never meets half of
    one. The page that fills the folder carries the flag `too_many_pages`. Where the
    volume has no room for a page, a hole of its size stands for it: a reader then knows
    that a process's figures are missing, until a write finds room.

    Attributes:
        fills_folder: Whether this page is the last one that the folder takes.
        is_empty: Whether there was no room for the first write.
    """

    def __init__(self, folder: str, nonce: str, slot: bytearray) -> None:
        """Write the first page, of generation 0.

        Raises:
            FolderFullError: The folder holds 4,000 pages.
            OSError: The folder cannot be written.
        """
        with os.scandir(folder) as entries:
            pages = sum(entry.name.endswith(".page") for entry in entries)
        if pages >= MOST_PAGES:
            msg = f"{folder} holds {pages} pages"
            raise FolderFullError(msg)
        self.fills_folder = pages == MOST_PAGES - 1
        self._stem = os.path.join(folder, nonce)
        hidden = os.path.join(folder, "." + nonce + ".page")
        # `pwrite` does not move a descriptor's offset: it tells whether it is ours.
        self._mark = _MARKS_FROM + int.from_bytes(os.urandom(4), "little") % _MARKS_FROM
        self._descriptor = _made(hidden)
        _lock(self._descriptor)
        try:
            os.fchmod(self._descriptor, _MODE)  # whatever the umask
            os.lseek(self._descriptor, self._mark, os.SEEK_SET)
            self.is_empty = not self._has_room(slot)
            os.rename(hidden, self._stem + ".page")
        except BaseException:  # interrupted: the next charge opens it anew
            os.close(self._descriptor)
            os.unlink(hidden)
            raise

    def _has_room(self, slot: bytearray) -> bool:
        """Write the first page; say whether the volume had room for it."""
        try:
            os.pwrite(self._descriptor, bytes(2 * SLOT_BYTES), 0)
            self.write(slot, 0)
        except OSError as error:
            raise_users(error)
            if error.errno not in _FULL:
                raise
            os.ftruncate(self._descriptor, 2 * SLOT_BYTES)  # a hole takes no room
            return False
        return True

    def write(self, slot: bytearray, generation: int) -> None:
        """Write the slot of a generation, whole, in one call.

        Raises:
            OSError: It could not be written; the other slot is untouched.
        """
        if not self._is_open():
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._stem + ".page", flags)
            _lock(self._descriptor)
            os.lseek(self._descriptor, self._mark, os.SEEK_SET)
        written = os.pwrite(self._descriptor, slot, (generation & 1) * SLOT_BYTES)
        if written != SLOT_BYTES:
            msg = f"only {written} bytes of a slot were written"
            raise OSError(errno.ENOSPC, msg)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Replace the facts file.

        Raises:
            OSError: It could not be written; the older one is untouched.
        """
        text = json.dumps(bounded(facts), sort_keys=True)
        hidden = os.path.join(
            os.path.dirname(self._stem), "." + os.path.basename(self._stem) + ".json"
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(hidden, flags, _MODE)
        try:
            os.fchmod(descriptor, _MODE)
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        os.rename(hidden, self._stem + ".json")

    def abandon(self) -> None:
        """Let go of the file: in a forked child it belongs to the parent."""
        if self._is_open():
            os.close(self._descriptor)

    def _is_open(self) -> bool:
        """Say whether the descriptor is still the page's.

        A program may close every descriptor it finds, as daemons do; the number is
        then given to a file of its own, which must not be written into.
        """
        try:  # the cheapest of all calls, in a process that has just run a model
            return os.lseek(self._descriptor, 0, os.SEEK_CUR) == self._mark
        except OSError as error:  # a handler's TimeoutError is one, too
            raise_users(error)
            return False


def _lock(descriptor: int) -> None:
    """Show a reader that the process lives: the kernel lets go when it dies."""
    with contextlib.suppress(OSError):  # not every file system has locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _made(path: str) -> int:
    """Make a file that only this process knows of; return its descriptor."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, _MODE)
    except FileExistsError:  # what a signal handler raised cut the first try off
        os.unlink(path)
        return os.open(path, flags, _MODE)
