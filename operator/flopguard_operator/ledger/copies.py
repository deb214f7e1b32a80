"""Back a ledger up, and bring a copy back, without ever losing the file before it."""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flopguard_operator.ledger import checking, database, note, opening, reading
from flopguard_operator.ledger.custody import KnownHead
from flopguard_operator.ledger.errors import ForkedError, LedgerError
from flopguard_operator.ledger.note import Head

_BESIDE = ("", "-wal", "-shm")  # SQLite's files, which belong together


@dataclass(frozen=True)
class Restored:
    """What bringing a copy back has done."""

    head: Head
    kept: Path | None  # the file that was there before


def back_up(path: Path, target: Path) -> Head:
    """Copy a ledger that may be in use; the copy is verified before it has its name.

    Raises:
        LedgerError: there is a file of that name, or the copy is not intact.
        LedgerUnavailableError: the ledger cannot be read now.
        OSError: the copy cannot be written.
    """
    _refuse_present(target)
    part = target.with_name(f"{target.name}.part")
    os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode=0o600))
    try:
        with reading.opened_to_back_up(path) as connection:
            database.back_up(connection, part)
        _refuse_damaged(part)
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)
    return newest(target)


def restore(
    copy: Path,
    path: Path,
    known: Collection[KnownHead],
    now: datetime,
    *,
    lose: bool = False,
) -> Restored:
    """Put a copy in the place of a ledger that nobody uses, and keep what was there.

    Args:
        copy: a backup.
        path: where the ledger belongs.
        known: heads that were seen elsewhere, which the copy has to extend.
        now: for the name of the file that was there before.
        lose: accept that entries are lost which the present file, or a head, has.

    Raises:
        LedgerError: the copy is not intact.
        ForkedError: the present file, or a head, has entries that the copy lacks.
        OSError: a file cannot be written.
    """
    _refuse_damaged(copy)
    if not lose:
        _refuse_loss(copy, path, known)
    part = path.with_name(f"{path.name}.part")
    shutil.copyfile(copy, part)
    part.chmod(0o600)
    _sync(part)
    kept = _set_aside(path, now) if path.exists() else None
    part.rename(path)
    _sync(path.parent)
    return Restored(newest(path), kept)


def newest(path: Path) -> Head:
    """Return the newest head of a file, as it says."""
    with reading.opened_to_read(path) as connection:
        signed = database.newest_note(connection)
    return note.parse_head(signed.partition("\n\n")[0] + "\n")


def _refuse_damaged(path: Path) -> None:
    wrong = checking.damage(path)
    if wrong:
        message = f"{path} is not intact: {wrong}"
        raise LedgerError(message)


def _refuse_present(target: Path) -> None:
    if target.exists():
        message = f"{target} exists: give a backup a name of its own"
        raise LedgerError(message)


def _refuse_loss(copy: Path, path: Path, known: Collection[KnownHead]) -> None:
    heads = [*known, *_present(path)]
    with reading.opened_to_read(copy) as connection:
        own = reading.custody_of(connection)
        size = newest(copy).size
        roots = reading.roots(connection, {each.size for each in heads})
    lost = opening.lost_heads(heads, roots, own)
    if lost:
        most = lost[0]
        message = (
            f"the backup has {size} entries and does not extend the head of"
            f" {most.size} in {most.where}: take a newer one, or accept the loss with"
            f" --lose, then: flopguard ledger recover --head {most.text}"
        )
        raise ForkedError(message)


def _present(path: Path) -> list[KnownHead]:
    """Return the head of the file that is to be replaced, if it can be read at all."""
    try:
        head = newest(path) if path.exists() else None
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is being replaced
        return []
    return [] if head is None else [KnownHead(head.size, head.root, str(path))]


def _set_aside(path: Path, now: datetime) -> Path:
    """Rename a file and what SQLite keeps beside it; return its new name."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    kept = path.with_name(f"{path.name}.replaced-{stamp}")
    _refuse_present(kept)
    for end in _BESIDE:
        beside = path.with_name(path.name + end)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + end))
    return kept


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
