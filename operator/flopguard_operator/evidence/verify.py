"""Verify an evidence pack offline, from its bytes to its verdicts.

Nothing is extracted and nothing outside the archive is read; no input raises: every
finding is a check in the report. The entries are streamed, so memory is bounded by the
runs and not by the pack.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import BinaryIO

from flopguard_operator.evidence import completeness, heads, layout, manifest
from flopguard_operator.evidence.archive import (
    Archive,
    CutError,
    PackError,
    open_archive,
    sha256,
)
from flopguard_operator.evidence.heads import History
from flopguard_operator.evidence.manifest import Statement, Told
from flopguard_operator.ledger import custody, note, tree
from flopguard_operator.ledger.contradiction import COUNTS, RULES
from flopguard_operator.ledger.custody import Custody
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import (
    MAX_ENTRY_BYTES,
    NO_RUN,
    DocumentNoted,
    Entry,
    KeyRotated,
    LedgerRecovered,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.findings import INCOMPLETE, MISMATCH, Findings, Report
from flopguard_operator.ledger.note import CheckSignature, Head
from flopguard_operator.ledger.replay import Replay
from flopguard_operator.ledger.verify import MAX_ROTATIONS

MAX_MANIFEST_BYTES = 1 << 25
MAX_SMALL_BYTES = 1 << 20
MAX_PROOF_BYTES = 4 * tree.HASH_BYTES * 64  # base64 of 64 levels, with room

ARCHIVE, FILES, SIGNATURE = "archive", "files", "signature"
ENTRIES, INCLUSION, ORDER = "entries", "inclusion", "order"
KEYS, CONSISTENCY, COMPLETE = "keys", "consistency", "completeness"
CUSTODY = "custody"
DOCUMENTS, DERIVED, POLICIES, STATED = "documents", "derived", "policies", "manifest"
OUTSIDE = "not in ledger"


@dataclass
class _Pack:
    """What is known of a pack so far."""

    archive: Archive
    check_signature: CheckSignature
    trusted: str  # vkey, "" if none was given
    findings: Findings
    told: Told
    digests: dict[str, str] = field(default_factory=dict)
    vkey: str = ""
    head: Head = field(default_factory=lambda: Head("", 0, tree.EMPTY_ROOT))
    signed: bool = False
    replay: Replay = field(default_factory=Replay)
    derived: layout.Derived = field(default_factory=layout.Derived)
    custody: Custody = field(default_factory=lambda: custody.begun(""))
    rotations: list[tuple[int, KeyRotated]] = field(default_factory=list)
    referred: set[str] = field(default_factory=set)
    seen: completeness.Seen = field(default_factory=completeness.Seen)


def verify_pack(
    stream: BinaryIO, check_signature: CheckSignature, vkey: str = ""
) -> Report:
    """Verify a pack.

    Args:
        stream: of the archive; it can seek.
        check_signature: tells whether an Ed25519 signature holds.
        vkey: a key of the ledger, present or past, from a source that the verifier
            trusts; without it the pack's own key is taken, and the report says so.
    """
    findings = Findings()
    try:
        archive = open_archive(stream)
        told = manifest.parse(archive.read(layout.MANIFEST, MAX_MANIFEST_BYTES))
    except PackError as error:
        cut = isinstance(error, CutError)
        findings.add(ARCHIVE, str(error), INCOMPLETE if cut else MISMATCH)
        return Report((findings.check(ARCHIVE, ""),), 0, "", "")
    pack = _Pack(archive, check_signature, vkey, findings, told)
    for name, step in _STEPS:
        _guarded(pack, name, step)
    return _report(pack)


def _guarded(pack: _Pack, name: str, step: Callable[[_Pack], None]) -> None:
    try:
        step(pack)
    except (PackError, LedgerError) as error:
        pack.findings.add(name, ascii(str(error))[1:-1])


def _files(pack: _Pack) -> None:
    """Hash every file, and compare with what the manifest says."""
    for name in pack.archive.files:
        if name == layout.MANIFEST:
            continue
        pack.digests[name] = sha256(pack.archive.pieces(name))
        if not layout.is_known(name):
            pack.findings.add(FILES, f"{name} is no file of a pack")
        elif pack.told.digests.get(name) != pack.digests[name]:
            pack.findings.add(FILES, f"{name} is not the file that the manifest names")
    for name in {*layout.ALWAYS, *pack.told.digests} - set(pack.digests):
        pack.findings.add(FILES, f"{ascii(name)[1:90]} is missing")


def _signature(pack: _Pack) -> None:
    """Open the signed head with the key that the pack names."""
    pack.vkey = _text(pack.archive, layout.VKEY).removesuffix("\n")
    if _text(pack.archive, layout.VKEY) != f"{pack.vkey}\n":
        message = "the key is not spelled as flopguard spells it"
        raise PackError(message)
    key = note.parse_vkey(pack.vkey)
    signed = _text(pack.archive, layout.HEAD)
    pack.head, pack.signed = note.open_note(signed, key, pack.check_signature), True


def _text(archive: Archive, name: str) -> str:
    try:
        return archive.read(name, MAX_SMALL_BYTES).decode()
    except UnicodeDecodeError as error:
        message = f"{name} is not UTF-8"
        raise PackError(message) from error


def _entries(pack: _Pack) -> None:
    """Read the entries with their proofs, and replay them."""
    proofs = pack.archive.lines(layout.PROOFS, MAX_PROOF_BYTES)
    leaves = pack.archive.lines(layout.LEAVES, MAX_ENTRY_BYTES)
    for leaf, proof in zip_longest(leaves, proofs):
        if leaf is None or proof is None:
            message = "there are not as many proofs as entries"
            raise PackError(message)
        try:
            entry = decode(leaf)
        except LedgerError as error:
            pack.findings.add(ENTRIES, f"an entry cannot be read: {error}")
            continue
        _included(pack, entry, leaf, proof)
        _take(pack, entry, leaf)
    pack.findings.contradict(pack.replay.settle())


def _included(pack: _Pack, entry: Entry, leaf: bytes, proof: bytes) -> None:
    hashed = tree.leaf_hash(leaf)
    head = pack.head
    if not tree.includes(hashed, entry.index, head.size, head.root, _hashes(proof)):
        why = f"entry {entry.index} is not proven to be in the signed tree"
        pack.findings.add(INCLUSION, why)
    if entry.index <= pack.seen.newest:
        why = f"entry {entry.index} stands after entry {pack.seen.newest}"
        pack.findings.add(ORDER, why)


def _hashes(proof: bytes) -> Sequence[bytes]:
    """Return the hashes in a line of proofs; one of a wrong length if it is none."""
    try:
        joined = base64.b64decode(proof, validate=True)
    except ValueError:
        return [b""]
    if base64.b64encode(joined) != proof:
        return [b""]
    return tree.hashes_in(joined)


def _take(pack: _Pack, entry: Entry, leaf: bytes) -> None:
    pack.findings.contradict(pack.replay.step(entry))
    pack.seen.take(entry)
    for _ in pack.derived.take(entry, leaf):
        pass
    if entry.event.run == NO_RUN:
        _own(pack, entry)
    if isinstance(entry.event, DocumentNoted):
        _document(pack, entry.index, entry.event)


def _own(pack: _Pack, entry: Entry) -> None:
    """Take an entry about the ledger itself: a pack has all of them."""
    event = entry.event
    if isinstance(event, KeyRotated):
        if not pack.rotations:
            first = custody.begun(event.before)
            pack.custody = replace(first, epoch=pack.custody.epoch)
        if len(pack.rotations) == MAX_ROTATIONS:
            message = f"there are more than {MAX_ROTATIONS} keys"
            raise PackError(message)
        pack.rotations.append((entry.index, event))
    for wrong in custody.contradictions(pack.custody, entry):
        pack.findings.add(CUSTODY, f"entry {entry.index}: {ascii(wrong)[1:-1]}")
    if not isinstance(event, LedgerRecovered):  # there may be any number in a file
        pack.custody = custody.apply(pack.custody, entry)


def _document(pack: _Pack, index: int, event: DocumentNoted) -> None:
    name = layout.document(event.digest)
    where = pack.archive.files.get(name)
    if where is None:
        why = f"the document that entry {index} notes is not in the pack"
        pack.findings.add(DOCUMENTS, why, INCOMPLETE)
        return
    pack.referred.add(name)
    if pack.digests.get(name) != event.digest or where.size != event.size:
        why = f"the document that entry {index} notes is another one"
        pack.findings.add(DOCUMENTS, why)


def _documents(pack: _Pack) -> None:
    """Refuse documents that no entry notes."""
    for name in pack.archive.files:
        if layout.digest_of(name) and name not in pack.referred:
            pack.findings.add(DOCUMENTS, f"no entry notes {name}")


def _heads(pack: _Pack) -> None:
    """Check the key history, and that older and newer heads are of the same tree."""
    if not pack.signed:
        message = "there is no signed head to compare with"
        raise PackError(message)
    history = History(pack.vkey, tuple(pack.rotations))
    others = pack.archive.lines(layout.HEADS, heads.MAX_LINE_BYTES)
    signed = _text(pack.archive, layout.HEAD)
    found = heads.check(history, pack.head, signed, others, pack.check_signature)
    for problem in found:
        name = KEYS if problem.of_keys else CONSISTENCY
        pack.findings.add(name, problem.message, problem.outcome)
    if pack.trusted and pack.trusted not in history.keys:
        why = "the ledger was never signed with the key that was given"
        pack.findings.add(KEYS, why)


def _complete(pack: _Pack) -> None:
    """Show that no entry of the runs was left out."""
    text = None
    if layout.CENSUS in pack.archive.files:
        text = pack.archive.read(layout.CENSUS, MAX_MANIFEST_BYTES)
    shown = completeness.Shown(
        seen=pack.seen,
        size=pack.head.size,
        about=pack.told.about,
        accounts=pack.replay.accounts,
        counted=pack.replay.counted,
        text=text,
    )
    for why, outcome in completeness.problems(shown):
        pack.findings.add(COMPLETE, why, outcome)


def _derived(pack: _Pack) -> None:
    """Compare the files that repeat the entries with the entries."""
    for name, digest in pack.derived.digests().items():
        if pack.digests.get(name) != digest:
            pack.findings.add(DERIVED, f"{name} does not say what the entries say")


def _policies(pack: _Pack) -> None:
    """Compare the rule sets in the pack with those that verdicts are replayed with."""
    if pack.archive.read(layout.POLICY, MAX_SMALL_BYTES) != layout.policies():
        why = "the pack's rule sets are others than this verifier judges by"
        pack.findings.add(POLICIES, why, INCOMPLETE)


def _stated(pack: _Pack) -> None:
    """Compose the manifest from what was found, and compare."""
    said = Statement(
        about=pack.told.about,
        version=pack.told.version,
        head=pack.head,
        vkey=pack.vkey,
        entries=pack.seen.entries,
        accounts=tuple(pack.replay.accounts.values()),
    )
    given = pack.archive.read(layout.MANIFEST, MAX_MANIFEST_BYTES)
    if manifest.compose(said, pack.digests) != given:
        why = "the manifest states something else than the pack's files show"
        pack.findings.add(STATED, why)


_STEPS: tuple[tuple[str, Callable[[_Pack], None]], ...] = (
    (FILES, _files),
    (SIGNATURE, _signature),
    (ENTRIES, _entries),
    (DOCUMENTS, _documents),
    (KEYS, _heads),
    (COMPLETE, _complete),
    (DERIVED, _derived),
    (POLICIES, _policies),
    (STATED, _stated),
)


def _report(pack: _Pack) -> Report:
    check = pack.findings.check
    entries, size = pack.seen.entries, pack.head.size
    files, noted = len(pack.digests), len(pack.referred)
    good = {
        ARCHIVE: "the file is an evidence pack in its one spelling",
        FILES: f"each of the {files} files is the one that the manifest names",
        SIGNATURE: _whose(pack),
        ENTRIES: f"each of the {entries} entries is spelled right",
        INCLUSION: f"each entry is proven to be in the signed tree of {size} entries",
        ORDER: "the entries are in the order in which they were written",
        COMPLETE: completeness.sentence(pack.seen, size, pack.told.about),
        CUSTODY: "writers and keys of the ledger follow in order",
        KEYS: "each key was handed over by the one before",
        CONSISTENCY: "older and newer heads are of one tree: nothing was rewritten",
        DOCUMENTS: f"each of the {noted} documents is the one that was noted",
        DERIVED: "the files for reading say what the entries say",
        POLICIES: "the rule sets in the pack are those that the replay judges by",
        STATED: "totals, limits and names in the manifest follow from the entries",
        OUTSIDE: _outside(pack),
    }
    rules = ((name, rule) for name, rule in RULES.items() if name != COUNTS)
    return Report(
        checks=tuple(check(name, text) for name, text in (*good.items(), *rules)),
        size=entries,
        root=pack.head.root_base64,
        vkey=pack.trusted or pack.vkey,
    )


def _whose(pack: _Pack) -> str:
    if pack.trusted:
        return f"signed by {pack.vkey}, of the ledger whose key was given"
    return (
        f"signed by the key that the pack names, {pack.vkey}; compare that key with one"
        " you trust"
    )


def _outside(pack: _Pack) -> str:
    names = ", ".join(sorted(set(pack.digests) & set(layout.NOT_IN_LEDGER)))
    return f"no entry vouches for {names}: only the manifest, which nobody signs, does"
