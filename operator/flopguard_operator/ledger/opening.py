"""Check a ledger's file before anything is appended to it: all of it, or its tail.

all    every leaf is hashed, and the tree has to have the signed root
tail   the newest head's signature, then the leaves since an earlier signed head, whose
       peaks are kept: they have to lead from that head's root to the newest one

A tail leaves an old leaf that somebody edited for `flopguard ledger check` to find. It
never accepts less at the end of the file, which is where crashes and old copies show.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from flopguard_operator.ledger import custody, database, note, reading, tree, upkeep
from flopguard_operator.ledger.custody import Custody, KnownHead
from flopguard_operator.ledger.errors import FencedError, ForkedError, LedgerError
from flopguard_operator.ledger.keys import SigningKey, check_signature
from flopguard_operator.ledger.note import Head

RESTORE = "restore the newest copy of the file"


@dataclass(frozen=True)
class Opened:
    """What the check of a file found."""

    frontier: tree.Frontier
    custody: Custody
    key: SigningKey  # that signs now
    epoch: int
    first: int  # leaves from this index on were hashed; 0: all of them


def inspect(
    connection: database.Connection,
    keys: Iterable[SigningKey],
    known: Collection[KnownHead],
    whole_up_to: int,
) -> Opened:
    """Check a file: all of it up to a size, else its tail.

    Args:
        connection: to the file.
        keys: one of them signs the ledger now.
        known: heads that were seen elsewhere, which the file has to extend.
        whole_up_to: number of leaves up to which all of them are hashed.

    Raises:
        LedgerError: the file was changed, or is no ledger.
        ForkedError: it does not extend a head that is known.
    """
    epoch, size = database.position(connection)
    start = tree.Frontier()
    if size > whole_up_to:
        start = upkeep.oldest_frontier(connection)
    own = _own(connection, whole=not start.size)
    key = signing(keys, own.vkey)
    head = _signed_head(database.newest_note(connection), own.vkey)
    if start.size and not _is_signed(connection, start, own):
        start, own = tree.Frontier(), _own(connection, whole=True)
    wanted = {each.size for each in known}
    frontier, roots = _hashed(connection, start, wanted)
    computed = Head(head.origin, frontier.size, tree.root(frontier))
    if head != computed:
        message = (
            f"the {computed.size} leaves do not make the signed tree head of"
            f" {head.size}: {RESTORE}"
        )
        raise LedgerError(message)
    for size in wanted - set(roots):
        if 0 < size < start.size:
            roots[size] = _signed_root(connection, size, own)
    refuse_forks(known, roots, own, head.size)
    return Opened(frontier, own, key, epoch, start.size)


def refuse_forks(
    known: Iterable[KnownHead], roots: dict[int, bytes], own: Custody, size: int
) -> None:
    """Refuse a file that lacks a head which was seen, and which nobody gave up.

    Args:
        known: the heads that were seen.
        roots: of this file's tree, by size.
        own: what the file says of itself.
        size: of the file's newest head.

    Raises:
        ForkedError: there is one; the message has the command that gives it up.
    """
    lost = lost_heads(known, roots, own)
    if lost:
        where = f" (in {lost[0].where})" if lost[0].where else ""
        heads = " ".join(f"--head {each.text}" for each in lost[:20])
        message = (
            f"a head of {lost[0].size} leaves is known{where}, and this file of {size}"
            f" leaves does not extend it, so it is older or another: {RESTORE}; where"
            f" there is none, accept the loss: flopguard ledger recover {heads}"
        )
        raise ForkedError(message)


def lost_heads(
    known: Iterable[KnownHead], roots: dict[int, bytes], own: Custody
) -> list[KnownHead]:
    """Return the heads that a file lacks and nobody gave up, the largest first."""
    return [
        each
        for each in sorted(known, key=lambda each: each.size, reverse=True)
        if not each.is_of(roots.get(each.size, b"")) and not own.accepts_loss_of(each)
    ]


def refuse_late(opened: Opened, epoch: int) -> None:
    """Refuse to go on as a writer whom another one has followed.

    Raises:
        FencedError: the file's epoch is not this one.
    """
    if opened.epoch != epoch:
        raise fenced(opened.epoch, epoch)


def fenced(now: int, ours: int) -> FencedError:
    """Return the error of a writer who comes too late."""
    message = (
        f"another operator took the ledger over (epoch {now}, ours was {ours}): this"
        " one appends nothing more; run one operator only"
    )
    return FencedError(message)


def signing(keys: Iterable[SigningKey], vkey: str) -> SigningKey:
    """Return the key of those given that signs the ledger now.

    Raises:
        LedgerError: it is none of them.
    """
    found = {key.verifier.text: key for key in keys}
    if vkey not in found:
        message = (
            f"the ledger was begun with the key {vkey[:300]}, not with"
            f" {' or '.join(found)}: give the operator that key, or a new file"
        )
        raise LedgerError(message)
    return found[vkey]


def _own(connection: database.Connection, *, whole: bool) -> Custody:
    """Return what the file says of itself: from every leaf, or from the kept index."""
    if whole:
        return reading.custody_of(connection)
    own = custody.begun(database.vkey(connection))
    for entry in upkeep.own(connection):
        own = custody.apply(own, entry)
    return own


def _signed_head(signed: str, vkey: str) -> Head:
    return note.open_note(signed, note.parse_vkey(vkey), check_signature)


def _signed_root(connection: database.Connection, size: int, own: Custody) -> bytes:
    """Return the root of an earlier head that this ledger has signed, or nothing."""
    signed = database.note_at(connection, size)
    if not signed:
        return b""
    head = _signed_head(signed, own.vkey_at(size))
    return head.root if head.size == size else b""


def _is_signed(
    connection: database.Connection, frontier: tree.Frontier, own: Custody
) -> bool:
    """Tell whether the ledger has signed the head that a kept frontier makes."""
    try:
        root = _signed_root(connection, frontier.size, own)
    except LedgerError:
        return False
    return root == tree.root(frontier)


def _hashed(
    connection: database.Connection, start: tree.Frontier, wanted: Collection[int]
) -> tuple[tree.Frontier, dict[int, bytes]]:
    """Hash the leaves after a frontier; return the new one, and the roots wanted."""
    roots: dict[int, bytes] = {0: tree.EMPTY_ROOT}
    growing = tree.Growing(start)
    if start.size in wanted:
        roots[start.size] = tree.root(start)
    for index, data, stored in database.leaves(connection, start.size):
        leaf = tree.leaf_hash(data)
        if index != growing.size or leaf != stored:
            message = f"leaf {growing.size} was changed or is missing: {RESTORE}"
            raise LedgerError(message)
        growing.append(leaf)
        if growing.size in wanted:
            roots[growing.size] = tree.root(growing.frontier)
    return growing.frontier, roots
