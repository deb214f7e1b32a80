"""Check a whole file of a ledger: its bytes, its tree, every head, and what is beside.

What the entries say is for `verify`; this is about the file that keeps them.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flopguard_operator.ledger import custody, database, documents, note, tree, upkeep
from flopguard_operator.ledger.accounts import mark_of
from flopguard_operator.ledger.custody import DEFAULT_YEARS, Custody
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import DocumentNoted, Settlement
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.findings import INCOMPLETE, OK, Check, Findings
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.note import Head
from flopguard_operator.ledger.reading import opened_to_read
from flopguard_operator.marks import Mark, merge

NAMES = {
    "file": "SQLite finds nothing wrong with the file",
    "tree": "each leaf has its hash, and they make the signed root",
    "heads": "each head that was ever signed is one of this tree",
    "quick start": "what a quick start reads is what the leaves say",
    "high-water marks": "no mark is below what is settled",
    "documents": "each document that an entry names is kept as it was",
}


@dataclass
class _Walk:
    """What one pass over the leaves gathers."""

    own: Custody
    growing: tree.Growing
    named: dict[str, int]  # digest → index of an entry that names it
    settled: dict[tuple[str, str], Mark]  # (run UID, stream) → mark
    rows: upkeep.Rows  # that a quick start needs


def check_file(path: Path, today: datetime) -> list[Check]:
    """Return what a whole check of a file found, retention among it.

    Raises:
        LedgerError: the file is not a ledger, or a leaf is no entry.
        LedgerUnavailableError: it cannot be read now.
    """
    findings = Findings()
    with opened_to_read(path) as connection:
        damage = database.damage(connection)
        if damage:
            findings.add("file", damage)
        walk = _walked(connection, findings)
        _check_beside(connection, walk, findings)
        retention = _retention(connection, walk.own, today)
    checks = [findings.check(name, good) for name, good in NAMES.items()]
    return [*checks, retention]


def damage(path: Path) -> str:
    """Return what is wrong with the bytes of a file, "" if nothing.

    Raises:
        LedgerUnavailableError: it cannot be read now.
    """
    findings = Findings()
    try:
        with opened_to_read(path) as connection:
            _walked(connection, findings, entries=False)
    except LedgerError as error:
        return str(error)
    return next((found.first for found in findings.found.values()), "")


def _walked(
    connection: database.Connection, findings: Findings, *, entries: bool = True
) -> _Walk:
    """Hash all leaves and hold every head against them."""
    begun = custody.begun(database.vkey(connection))
    walk = _Walk(begun, tree.Growing(tree.Frontier()), {}, {}, upkeep.Rows())
    heads = dict(database.heads(connection))
    roots = {0: tree.EMPTY_ROOT} if 0 in heads else {}
    for index, data, stored in database.leaves(connection):
        leaf = tree.leaf_hash(data)
        if leaf != stored or index != walk.growing.size:
            findings.add("tree", f"leaf {walk.growing.size} was changed or is missing")
        walk.growing.append(leaf)
        if walk.growing.size in heads:
            roots[walk.growing.size] = tree.root(walk.growing.frontier)
        if entries or any(marker in data for marker in custody.MARKERS):
            _gather(walk, data)
    newest = max(heads, default=-1)
    if newest != walk.growing.size:
        findings.add("tree", f"the newest head is of {newest} leaves, not of these")
    for size, signed in heads.items():
        _check_head(size, signed, roots.get(size, b""), walk.own, findings)
    return walk


def _gather(walk: _Walk, data: bytes) -> None:
    entry = decode(data)
    event = entry.event
    walk.own = custody.apply(walk.own, entry)
    walk.rows.take(entry)
    if isinstance(event, DocumentNoted):
        walk.named[event.digest] = entry.index
    elif isinstance(event, Settlement):
        key, mark = (event.run.uid, event.stream), mark_of(event)
        walk.settled[key] = merge(walk.settled.get(key, Mark(mark.stream)), mark)


def _check_head(
    size: int, signed: str, root: bytes, own: Custody, findings: Findings
) -> None:
    keys = {own.vkey_at(size)}
    keys |= {before for at, before, _ in own.rotations if at == size}
    try:
        for vkey in keys:
            head = note.open_note(signed, note.parse_vkey(vkey), check_signature)
            if head != Head(head.origin, size, root):
                findings.add("heads", f"the head of {size} leaves is of another tree")
    except LedgerError as error:
        findings.add("heads", f"the head of {size} leaves: {error}")


def _check_beside(
    connection: database.Connection, walk: _Walk, findings: Findings
) -> None:
    """Hold what is not hashed itself against the leaves."""
    marks = database.marks(connection)
    for (uid, stream), mark in walk.settled.items():
        kept = marks.get(uid, {}).get(stream, Mark(stream))
        if merge(kept, mark) != merge(kept, kept):
            findings.add("high-water marks", f"the mark of {stream} was lowered")
    if database.version(connection) == 1:
        return
    if upkeep.counts(connection) != walk.rows.counts:
        findings.add("quick start", "the runs have other numbers of entries")
    if upkeep.indices(connection) != walk.rows.needed():
        findings.add("quick start", "other entries are kept than the fold needs")
    present = set()
    for digest in database.digests(connection):
        present.add(digest)
        data = database.document(connection, digest)
        if data is None or documents.digest(data) != digest:
            findings.add("documents", f"document {digest[:64]} was changed")
    for digest, index in walk.named.items():
        if digest not in present:
            text = f"the document that entry {index} names is not kept"
            findings.add("documents", text, INCOMPLETE)


def _retention(connection: database.Connection, own: Custody, today: datetime) -> Check:
    """Say for how long the ledger is kept, who decided it, and whether it is due."""
    name = "retention"
    first = database.leaf(connection, 0)
    set_by = own.retention
    years = set_by.years if set_by else DEFAULT_YEARS
    who = f"as {set_by.by} decided" if set_by else "the default; nobody has decided"
    since = decode(first).at if first else ""
    text = f"Kept for {years} years, {who}"
    if not since:
        return Check(name, OK, f"{text}; there is no entry yet.")
    begun = datetime.fromisoformat(since)
    due = begun.replace(year=min(begun.year + years, 9999), day=min(begun.day, 28))
    if due <= today:
        return Check(name, OK, f"{text}: since {due:%Y-%m-%d} the oldest entry is due.")
    return Check(name, OK, f"{text}: nothing is due before {due:%Y-%m-%d}.")
