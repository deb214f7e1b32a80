"""What forgers do to an evidence pack: with its bytes, with its files, with the key.

Each forgery takes dice, a good pack and another good pack, and returns a pack that says
something else; `None` where it finds nothing to change in this one.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from flopguard_operator.evidence import layout, manifest
from flopguard_operator.evidence.archive import BLOCK
from flopguard_operator.evidence.heads import claimed
from flopguard_operator.evidence.manifest import Statement
from flopguard_operator.ledger import census, note, tree
from flopguard_operator.ledger.accounts import fold
from flopguard_operator.ledger.encoding import decode, encode
from flopguard_operator.ledger.entries import (
    Crossing,
    Entry,
    Event,
    HoldProven,
    HoldSet,
    KeyRotated,
    RunsCounted,
    Settlement,
    TermsSet,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import dumped
from flopguard_operator.ledger.keys import SigningKey, from_raw
from vectors.ledger_story import KEY
from vectors.pack_story import Ledger, archived, own, packed

WRONG = "0" * 64

Files = dict[str, bytes]


@dataclass(frozen=True)
class Subject:
    """A good pack, and what it was made of."""

    name: str  # what it is about
    data: bytes
    files: Mapping[str, bytes]
    ledger: Ledger
    size: int  # of the tree that it ends at


Forgery = Callable[[Random, Subject, Subject], bytes | None]


# With bytes.


def flipped(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Flip a bit."""
    data = bytearray(one.data)
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def overwritten(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Overwrite some bytes."""
    at, new = dice.randrange(len(one.data)), dice.randbytes(dice.randrange(1, 65))
    return (one.data[:at] + new + one.data[at + len(new) :])[: len(one.data)]


def cut_out(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Take bytes, or whole blocks, out of the middle."""
    unit = dice.choice((1, BLOCK))
    at = dice.randrange(len(one.data) // unit) * unit
    return one.data[:at] + one.data[at + unit * dice.randrange(1, 9) :]


def put_in(dice: Random, one: Subject, other: Subject) -> bytes:
    """Put bytes, or blocks of another pack, into the middle."""
    unit = dice.choice((1, BLOCK))
    at = dice.randrange(len(one.data) // unit) * unit
    there = dice.randrange(len(other.data) // unit) * unit
    return one.data[:at] + other.data[there : there + unit] + one.data[at:]


def truncated(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Cut the end off."""
    return one.data[: dice.randrange(BLOCK, len(one.data))]


def lengthened(dice: Random, one: Subject, other: Subject) -> bytes:
    """Put something behind the end: zeros, noise, or another pack."""
    return one.data + dice.choice((bytes(BLOCK), dice.randbytes(9), other.data))


def swapped_blocks(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Let two blocks change places."""
    count = len(one.data) // BLOCK
    blocks = [one.data[n * BLOCK : (n + 1) * BLOCK] for n in range(count)]
    a, b = dice.randrange(count), dice.randrange(count)
    blocks[a], blocks[b] = blocks[b], blocks[a]
    return b"".join(blocks)


def odd_member(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Let the archive hold what a pack cannot: links, devices, paths, pax, doubles."""
    out = io.BytesIO()
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
    kinds += (
        tarfile.FIFOTYPE,
        tarfile.REGTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
    )
    names = ("/etc/passwd", "../out", "a/../../out", "VERIFY.md", "zzz", "x" * 200)
    odd = tarfile.TarInfo(dice.choice(names))
    odd.type, odd.linkname = dice.choice(kinds), "/etc/passwd"
    odd.mode, odd.mtime = dice.choice((0o644, 0o4755)), dice.choice((0, 1))
    form = dice.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    if form == tarfile.USTAR_FORMAT:
        odd.name = odd.name[:99]
    where = dice.randrange(len(one.files))
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for place, (name, data) in enumerate(sorted(one.files.items())):
            if place == where:
                archive.addfile(odd)
            plain = tarfile.TarInfo(name)
            plain.size = len(data)
            archive.addfile(plain, io.BytesIO(data))
    return out.getvalue()


# With files: whoever knows the format mends what anybody can mend.


def mended(files: Mapping[str, bytes]) -> bytes:
    """Return a pack of these files with derived files, totals and digests made anew."""
    made = dict(files)
    said = manifest.parse(made.pop(layout.MANIFEST))
    with suppress(LedgerError, ValueError):
        leaves = made[layout.LEAVES].splitlines()
        entries = [decode(leaf) for leaf in leaves]
        derived = layout.Derived()
        made |= dict.fromkeys(layout.DERIVED, b"")
        for entry, leaf in zip(entries, leaves, strict=True):
            for name, line in derived.take(entry, leaf):
                made[name] += line
        statement = Statement(
            about=said.about,
            version=said.version,
            head=claimed(made[layout.HEAD].decode()),
            vkey=made[layout.VKEY].decode().strip(),
            entries=len(entries),
            accounts=tuple(fold(entries).values()),
        )
        digests = {name: _hash(data) for name, data in made.items()}
        return archived(made | {layout.MANIFEST: manifest.compose(statement, digests)})
    return archived(digested(files))


def digested(files: Mapping[str, bytes]) -> Files:
    """Return the files with a manifest of their digests that says what it said."""
    others = {name: data for name, data in files.items() if name != layout.MANIFEST}
    document = json.loads(files[layout.MANIFEST])
    document["subject"] = [
        {"name": name, "digest": {"sha256": _hash(data)}}
        for name, data in sorted(others.items())
    ]
    return others | {layout.MANIFEST: dumped(document)}


def altered_entry(dice: Random, one: Subject, _other: Subject) -> bytes | None:
    """Change a figure in an entry."""
    leaves = _leaves(one)
    at = dice.randrange(len(leaves))
    places = [n for n, byte in enumerate(leaves[at]) if chr(byte).isdecimal()]
    where, digit = dice.choice(places), dice.choice(b"123456789")
    leaves[at] = leaves[at][:where] + bytes([digit]) + leaves[at][where + 1 :]
    return _with(one, leaves, _proofs(one))


def deleted_entry(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Leave an entry out, with its proof."""
    leaves, proofs = _leaves(one), _proofs(one)
    at = dice.randrange(len(leaves))
    del leaves[at], proofs[at]
    return _with(one, leaves, proofs)


def truncated_entries(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Leave out the last entries."""
    leaves = _leaves(one)
    keep = dice.randrange(len(leaves))
    return _with(one, leaves[:keep], _proofs(one)[:keep])


def deleted_run(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Leave out a run with all of its entries."""
    leaves = _leaves(one)
    uids = [decode(leaf).event.run.uid for leaf in leaves]
    gone = dice.choice(sorted(set(uids)))
    kept = [n for n, uid in enumerate(uids) if uid != gone]
    proofs = _proofs(one)
    return _with(one, [leaves[n] for n in kept], [proofs[n] for n in kept])


def inserted_entry(dice: Random, one: Subject, other: Subject) -> bytes:
    """Put an entry of another pack in, with its proof, under any number."""
    leaves = _leaves(one)
    others = _leaves(other)
    proofs, theirs = _proofs(one), _proofs(other)
    at, there = dice.randrange(len(leaves) + 1), dice.randrange(len(others))
    entry = decode(others[there])
    if dice.random() < 0.5:
        entry = replace(entry, index=dice.randrange(len(one.ledger.entries)))
    leaves.insert(at, encode(entry))
    proofs.insert(at, theirs[there])
    return _with(one, leaves, proofs)


def repeated_entry(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Put an entry in twice, with its proof."""
    leaves, proofs = _leaves(one), _proofs(one)
    at = dice.randrange(len(leaves))
    leaves.insert(at, leaves[at])
    proofs.insert(at, proofs[at])
    return _with(one, leaves, proofs)


def reordered_entries(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Let two entries change places, with their proofs."""
    leaves = _leaves(one)
    proofs, (a, b) = _proofs(one), dice.sample(range(len(leaves)), 2)
    leaves[a], leaves[b] = leaves[b], leaves[a]
    proofs[a], proofs[b] = proofs[b], proofs[a]
    return _with(one, leaves, proofs)


def swapped_proofs(dice: Random, one: Subject, other: Subject) -> bytes:
    """Give an entry the proof of another, of this pack or the other."""
    leaves = _leaves(one)
    proofs = _proofs(one)
    at = dice.randrange(len(leaves))
    proofs[at] = dice.choice(dice.choice((_proofs(one), _proofs(other))))
    return _with(one, leaves, proofs)


def altered_proof(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Change, shorten or lengthen a proof."""
    leaves = _leaves(one)
    proofs = _proofs(one)
    at = dice.randrange(len(leaves))
    where = dice.randrange(max(1, len(proofs[at])))
    changed = bytes([dice.choice(b"ABCDabcd0123+/=\x00 ")])
    proofs[at] = dice.choice(
        (
            proofs[at][:where],
            proofs[at] + proofs[at][:44],
            proofs[at][:where] + changed + proofs[at][where + 1 :],
        )
    )
    return _with(one, leaves, proofs)


def swapped_file(dice: Random, one: Subject, other: Subject) -> bytes | None:
    """Take a file of the other pack."""
    ours, theirs = dict(one.files), dict(other.files)
    names = [n for n in theirs if theirs[n] != ours.get(n) and n != layout.MANIFEST]
    ledgers = [n for n in names if not _is_free(n)]
    if not ledgers:
        return None
    name = dice.choice(sorted(ledgers))
    swapped = ours | {name: theirs[name]}
    return dice.choice(
        (mended(swapped), archived(digested(swapped)), archived(swapped))
    )


def deleted_file(dice: Random, one: Subject, _other: Subject) -> bytes | None:
    """Leave a file out."""
    name = dice.choice(sorted(set(one.files) - {layout.MANIFEST, *layout.DERIVED}))
    files = {each: data for each, data in one.files.items() if each != name}
    if name in (layout.LEAVES, layout.HEAD, layout.VKEY):
        return archived(digested(files))
    return mended(files)


def added_file(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Put a file in that nobody asked for, or a document that no entry notes."""
    text = dice.randbytes(20)
    names = (layout.document(_hash(text)), "evil.sh", "ledger/more.jsonl", "zzz")
    return mended({**one.files, dice.choice(names): text})


def altered_file(dice: Random, one: Subject, _other: Subject) -> bytes | None:
    """Change a byte of a file that the ledger speaks for."""
    skip = (layout.MANIFEST, layout.LEAVES, layout.PROOFS)
    names = [n for n, data in one.files.items() if data and not _is_free(n)]
    name = dice.choice(sorted(set(names) - set(skip)))
    data = bytearray(one.files[name])
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return archived(digested({**one.files, name: bytes(data)}))


def altered_manifest(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Let the manifest state something else, in its one spelling."""
    document = json.loads(one.files[layout.MANIFEST])
    said = document["predicate"]
    run = dice.choice(said["runs"])
    dice.choice(_LIES)(said, run)
    return archived({**one.files, layout.MANIFEST: dumped(document)})


_LIES: tuple[Callable[[dict[str, Any], dict[str, Any]], None], ...] = (
    lambda said, _: said["totals"].update(upper="1"),
    lambda said, _: said["totals"].update(measured="0"),
    lambda said, _: said.update(entries=said["entries"] - 1),
    lambda said, _: said.update(more="lies"),
    lambda said, _: said.update(notInLedger=[]),
    lambda said, _: said["about"].update(name="another-program"),
    lambda said, _: said["about"].update(kind="all"),
    lambda said, _: said["head"].update(size=said["head"]["size"] + 1),
    lambda said, run: said["runs"].remove(run),
    lambda _, run: run["flops"].update(upper="1"),
    lambda _, run: run.update(held=not run["held"]),
    lambda _, run: run["terms"].update(limit="9" * 25),
    lambda _, run: run["terms"].update(citation="an article that there is not"),
    lambda _, run: run.update(name="another-run"),
)


def older_head(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Put a head of another time in the place of the pack's."""
    heads = [
        head for head in one.ledger.heads if head.encode() != one.files[layout.HEAD]
    ]
    return mended({**one.files, layout.HEAD: dice.choice(heads).encode()})


def reordered_heads(dice: Random, one: Subject, other: Subject) -> bytes | None:
    """Repeat a head, let two change places, or take one of another ledger."""
    lines = one.files[layout.HEADS].splitlines(keepends=True)
    theirs = other.files[layout.HEADS].splitlines(keepends=True)
    at = dice.randrange(len(lines))
    if other.ledger is one.ledger:
        theirs = lines[at : at + 1]
    lines.insert(at, dice.choice(theirs))
    return mended({**one.files, layout.HEADS: b"".join(lines)})


# With a key.


def strangers_key(dice: Random, one: Subject, _other: Subject) -> bytes:
    """Write the same ledger, and sign it with a key of one's own."""
    key = from_raw(KEY.name, dice.randbytes(32))
    return packed(signed_anew(one.ledger, one.ledger.entries, key).source(), one.name)[
        0
    ]


def with_known_head(dice: Random, one: Subject, _other: Subject) -> bytes | None:
    """Write another ledger with the real key, beside a head that was known before."""
    if _rotates(one):
        return None
    entries = list(one.ledger.entries)
    known = {claimed(head).size: head for head in one.ledger.heads}
    older = dice.choice([each for each in known if 2 < each < one.size])
    changed = [
        at for at in range(older) if isinstance(entries[at].event, Settlement)
    ] or [0]
    at = dice.choice(changed)
    entries[at] = replace(entries[at], at="2026-11-21T00:00:00.000Z")
    forged = signed_anew(one.ledger, entries, KEY)
    heads = {one.size: forged.heads[one.size - 1], older: known[older]}
    forged.heads = [heads[each] for each in sorted(heads)]
    return packed(forged.source(), one.name)[0]


def contradictory(dice: Random, one: Subject, _other: Subject) -> bytes | None:
    """Write a ledger with the real key that its own rules do not allow."""
    if _rotates(one):
        return None
    leaves = one.files[layout.LEAVES].splitlines()
    own = [decode(leaf).index for leaf in leaves]
    found = [
        (at, forge)
        for at in own
        for kind, forge in _CONTRADICTIONS
        if isinstance(one.ledger.entries[at].event, kind)
        # Of the counts only the newest is believed: what others say misleads nobody.
        and (kind is not RunsCounted or at == one.size - 1)
    ]
    at, forge = dice.choice(found)
    entries = list(one.ledger.entries)
    entries[at : at + 1] = [
        replace(entries[at], event=event) for event in forge(entries[at].event)
    ]
    return packed(signed_anew(one.ledger, entries, KEY).source(), one.name)[0]


_CONTRADICTIONS: tuple[tuple[type, Callable[[Any], list[Event]]], ...] = (
    (Crossing, lambda _: []),
    (Crossing, lambda event: [replace(event, upper=event.upper + 1)]),
    (Crossing, lambda event: [replace(event, limit="9" * 25)]),
    (Crossing, lambda event: [event, event]),
    (HoldSet, lambda _: []),
    (HoldSet, lambda event: [replace(event, reason="ThresholdApproached")]),
    (HoldProven, lambda event: [replace(event, overshoot=event.overshoot - 1)]),
    (HoldProven, lambda event: [replace(event, upper=event.upper - 1)]),
    (TermsSet, lambda event: [replace(event, limit=event.limit + "0")]),
    (TermsSet, lambda event: [replace(event, rule="known-base")]),
    (Settlement, lambda event: [event, replace(event, done={}, begun=0)]),
    (Settlement, lambda event: [replace(event, begun=0)]),
    (RunsCounted, lambda event: [replace(event, digest=WRONG)]),
)


def signed_anew(one: Ledger, entries: Sequence[Entry], key: SigningKey) -> Ledger:
    """Return a ledger of these entries with heads of this key, numbered and counted.

    A count of the digest `WRONG` stays as it is.
    """
    ledger, frontier = Ledger(key, documents=one.documents), tree.Frontier()
    for each in entries:
        event = each.event
        if isinstance(event, KeyRotated):
            continue
        if isinstance(event, RunsCounted) and event.digest != WRONG:
            event = census.entry(census.of(fold(ledger.entries)), own(ledger.entries))
        entry = Entry(frontier.size, each.at, event)
        frontier = tree.append(frontier, tree.leaf_hash(encode(entry)))
        head = note.Head(key.name, frontier.size, tree.root(frontier))
        ledger.entries.append(entry)
        ledger.heads.append(note.sign_head(head, key.verifier, key.sign))
    return ledger


def _rotates(one: Subject) -> bool:
    return any(isinstance(each.event, KeyRotated) for each in one.ledger.entries)


def _leaves(one: Subject) -> list[bytes]:
    return one.files[layout.LEAVES].splitlines()


def _proofs(one: Subject) -> list[bytes]:
    return one.files[layout.PROOFS].split(b"\n")[:-1]


def _with(one: Subject, leaves: list[bytes], proofs: list[bytes]) -> bytes:
    """Return the pack with other entries and proofs, and all else mended."""
    lines = {layout.LEAVES: leaves, layout.PROOFS: proofs}
    joined = {
        name: b"".join(each + b"\n" for each in found) for name, found in lines.items()
    }
    return mended({**one.files, **joined})


def _is_free(name: str) -> bool:
    """Tell whether a file can be replaced unseen, see `tampering.UNDETECTABLE`."""
    return name in layout.NOT_IN_LEDGER


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
