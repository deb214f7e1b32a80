"""The folder of pages, read within bounds whatever a tenant puts into it.

Shell. Only regular files named like a page are opened, no symbolic link is followed,
and no file is read further than its bound. The folder remembers the last valid figures
of every page, so that damage does not lower the mark.
"""

import fcntl
import hashlib
import os
import re
import stat
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from flopguard_hook.page import PAGE_BYTES, PageError
from flopguard_sidecar import meter
from flopguard_sidecar.meter import FactsError, PageMark

MAX_PAGES = 4_000
MAX_ENTRIES = 20_000
MAX_FACTS_BYTES = 1024 * 1024

_PAGE_NAME = re.compile(r"([0-9a-f]{32})\.page", re.ASCII)
_SETTLE_READS = 50
_OPEN_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
# O_NONBLOCK: opening a FIFO would wait for its writer.
_OPEN_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

Problem = tuple[str, str]  # nonce or "", what went wrong
_FactsKey = tuple[int, int, int]  # inode, size, time of change in ns


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over the folder found, in no order."""

    pages: tuple[PageMark, ...]
    problems: frozenset[Problem]


@dataclass(slots=True)
class _Seen:
    """A page as it was last read; `digest` of the bytes that its figures are from."""

    page: PageMark
    digest: bytes = b""
    facts_key: _FactsKey | None = None
    facts_problem: str = ""


class Folder:
    """One stream's folder; remembers its pages from scan to scan.

    A folder that does not exist is an empty one: the hook may not have made it yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[str, _Seen] = {}

    def scan(self) -> Scan:
        """Read all pages and the facts that changed.

        Raises:
            OSError: The folder cannot be listed; what is known stays as it was.
        """
        try:
            directory = os.open(self._path, _OPEN_FOLDER)
        except FileNotFoundError:
            self._seen = {}
            return Scan((), frozenset())
        try:
            return self._scan(directory)
        finally:
            os.close(directory)

    def is_written(self) -> bool:
        """Say whether a process that has not exited may still write one of the pages.

        To be asked before a scan: of the others the scan then tells all.
        """
        try:
            directory = os.open(self._path, _OPEN_FOLDER)
        except OSError:
            return False
        try:
            return any(
                _is_locked(directory, nonce) for nonce in self._unclosed(directory)
            )
        finally:
            os.close(directory)

    def _unclosed(self, directory: int) -> list[str]:
        nonces, _ = self._list(directory)
        seen = {n: self._seen.get(n) for n in nonces}
        return [n for n, one in seen.items() if one is None or not one.page.closed]

    def _scan(self, directory: int) -> Scan:
        nonces, problems = self._list(directory)
        found = {n: self._read_page(directory, n) for n in nonces}
        self._seen = {n: seen for n, seen in found.items() if seen is not None}
        spent = sum(len(seen.page.facts) for seen in self._seen.values())
        for seen in self._seen.values():
            spent += _read_facts(directory, seen, MAX_FACTS_BYTES - spent)
            if seen.facts_problem:
                problems.add((seen.page.nonce, seen.facts_problem))
            problems.update((seen.page.nonce, error) for error in seen.page.errors)
        pages = tuple(seen.page for seen in self._seen.values())
        return Scan(pages, frozenset(problems))

    def _list(self, directory: int) -> tuple[list[str], set[Problem]]:
        """Return the nonces to read: those known first, so that none is crowded out."""
        problems: set[Problem] = set()
        with os.scandir(directory) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES + 1)]
        if len(names) > MAX_ENTRIES:
            problems.add(("", "too_many_entries"))
        matches = (_PAGE_NAME.fullmatch(name) for name in sorted(names))
        nonces = dict.fromkeys(self._seen)
        nonces.update(dict.fromkeys(match[1] for match in matches if match))
        if len(nonces) > MAX_PAGES:
            problems.add(("", "too_many_pages"))
        return list(nonces)[:MAX_PAGES], problems

    def _read_page(self, directory: int, nonce: str) -> _Seen | None:
        """Read one page; None if it is gone."""
        seen = self._seen.get(nonce)
        try:
            settled = _settle(directory, nonce, seen)
        except FileNotFoundError:
            return None
        except OSError:
            return _after(seen, meter.unreadable(nonce, _page_of(seen)))
        # A writer that never paused is seen by the next scan.
        return seen if settled is None else _after(seen, *settled)


def _settle(
    directory: int, nonce: str, seen: _Seen | None
) -> tuple[PageMark, bytes] | None:
    """Read a page until one read can be believed; return it with its digest.

    The writer may be at work, so one read may mix two of its writes and look damaged,
    or older than what was published. That is believed only when a second read returns
    the very same bytes: every write changes them.
    """
    known, last = _page_of(seen), None
    for _ in range(_SETTLE_READS):
        data = _read(directory, f"{nonce}.page", PAGE_BYTES)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if seen is not None and digest == seen.digest:
            return meter.readable(seen.page), digest
        page = _decode(nonce, data)
        if page is not None and (data == last or not meter.is_older(page, known)):
            return page, digest
        if data == last:
            return meter.unreadable(nonce, known), b""
        last = data
    return None


def _page_of(seen: _Seen | None) -> PageMark | None:
    return None if seen is None else seen.page


def _after(seen: _Seen | None, page: PageMark, digest: bytes = b"") -> _Seen:
    """Return a page as read now, with the facts that were read before."""
    if seen is None:
        return _Seen(page, digest)
    seen.page = replace(page, facts=seen.page.facts)
    seen.digest = digest or seen.digest
    return seen


def _decode(nonce: str, data: bytes) -> PageMark | None:
    try:
        return meter.read(nonce, data)
    except PageError:
        return None


def _read_facts(directory: int, seen: _Seen, room: int) -> int:
    """Read the facts beside a page if they changed; they are replaced by rename.

    Args:
        directory: Descriptor of the folder.
        seen: The page; its facts are replaced.
        room: Bytes by which the facts of the whole folder may grow.

    Returns:
        The bytes by which they grew.
    """
    name = f"{seen.page.nonce}.json"
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return 0  # facts are optional, and what was read once stays
    key = (status.st_ino, status.st_size, status.st_mtime_ns)
    if key == seen.facts_key:
        return 0
    seen.facts_key, seen.facts_problem = key, ""
    before = len(seen.page.facts)
    try:
        text = meter.facts_text(_read(directory, name, meter.FACTS_BYTES))
    except (OSError, FactsError):
        seen.facts_problem = "facts_unreadable"
        return 0
    if len(text) - before > room:
        seen.facts_problem = "facts_left_out"
        return 0
    seen.page = replace(seen.page, facts=text)
    return len(text) - before


def _is_locked(directory: int, nonce: str) -> bool:
    """Say whether the hook of a living process holds the lock of its page."""
    try:
        file = os.open(f"{nonce}.page", _OPEN_FILE, dir_fd=directory)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no locks here
    finally:
        os.close(file)
    return False


def _read(directory: int, name: str, limit: int) -> bytes:
    """Read at most `limit` + 1 bytes of a regular file, so that excess is seen.

    Raises:
        OSError: Not there, not a regular file, or not readable.
    """
    file = os.open(name, _OPEN_FILE, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            msg = "not a regular file"
            raise OSError(msg)
        return os.pread(file, limit + 1, 0)
    finally:
        os.close(file)
