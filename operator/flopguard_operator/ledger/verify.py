"""Verify an exported ledger offline: the bytes, the tree, the signature, the reasoning.

Nothing here reads a file, a clock or a network, and no input raises: every finding is
a check in the report.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from flopguard_operator.ledger import custody, note, tree
from flopguard_operator.ledger.custody import Custody
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import (
    NO_RUN,
    Entry,
    KeyRotated,
    LedgerRecovered,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import (
    Header,
    Leaf,
    Part,
    Rotation,
    SignedHead,
    TruncatedError,
    parse,
)
from flopguard_operator.ledger.findings import (
    INCOMPLETE,
    MISMATCH,
    OK,
    Check,
    Findings,
    Report,
    sentence,
)
from flopguard_operator.ledger.note import CheckSignature, Head
from flopguard_operator.ledger.replay import RULES, Replay
from flopguard_operator.ledger.stretches import Stretch

MAX_ROTATIONS = 1000  # of keys: more is no ledger, but an attempt to fill the memory


@dataclass
class _Reading:
    """What was read so far, and what was wrong with it."""

    header: Header | None = None
    note: str | None = None
    leaves: tree.Growing = field(default_factory=lambda: tree.Growing(tree.Frontier()))
    custody: Custody = field(default_factory=lambda: custody.begun(""))
    rotated: list[tuple[int, bytes]] = field(default_factory=list)  # size, root
    notes: list[str] = field(default_factory=list)  # of the heads that two keys signed
    replay: Replay = field(default_factory=Replay)
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True)
class Digested:
    """A leaf as the replay needs it."""

    leaf: bytes  # its hash
    entry: Entry | None
    wrong: str = ""  # why there is no entry


@dataclass(frozen=True)
class Stretched:
    """Leaves that are settlements and nothing else, summed up."""

    batch: Sequence[bytes]
    hashes: bytes  # of the leaves, one after the other
    stretch: Stretch


Digest = Callable[[Iterable[Part]], Iterable[Part | Digested | Stretched]]


def digested(parts: Iterable[Part]) -> Iterator[Part | Digested]:
    """Yield the parts of an export, each leaf digested."""
    for part in parts:
        yield digest_of(part.data) if isinstance(part, Leaf) else part


def digest_of(data: bytes) -> Digested:
    """Return the hash of a leaf, and its entry if the bytes are one."""
    try:
        return Digested(tree.leaf_hash(data), decode(data))
    except LedgerError as error:
        return Digested(tree.leaf_hash(data), None, str(error))


def verify_lines(
    lines: Iterable[bytes],
    check_signature: CheckSignature,
    vkey: str = "",
    digest: Digest = digested,
) -> Report:
    """Verify an export.

    Args:
        lines: of the file, each with its line feed (`export.lines_of` bounds them).
        check_signature: tells whether an Ed25519 signature holds.
        vkey: the key that must have signed, from a source that the verifier trusts;
            without it the file's own key is taken, and the report says so.
        digest: hashes and reads the leaves, perhaps elsewhere (`ledger/crew.py`).
    """
    reading = _Reading()
    try:
        for part in digest(parse(lines)):
            _take(reading, part)
    except TruncatedError as error:
        reading.findings.add("format", str(error), INCOMPLETE)
    except LedgerError as error:
        reading.findings.add("format", str(error))
    else:
        reading.findings.contradict(reading.replay.settle())
        reading.findings.contradict(reading.replay.recount())
    trusted = vkey or (reading.header.vkey if reading.header else "")
    size, root = reading.leaves.size, tree.root(reading.leaves.frontier)
    check = reading.findings.check
    return Report(
        checks=(
            check("format", "the file is an exported ledger"),
            reading.findings.check(
                "leaves", f"each of the {size} entries is spelled right"
            ),
            reading.findings.check(
                "order", "the entries are numbered from 0 without a gap"
            ),
            check("custody", "writers and keys of the ledger follow in order"),
            *_head_checks(reading, trusted, check_signature, given=bool(vkey)),
            *(check(name, rule) for name, rule in RULES.items()),
        ),
        size=size,
        root=Head("", size, root).root_base64,
        vkey=trusted,
    )


def _take(reading: _Reading, part: Part | Digested | Stretched) -> None:
    match part:
        case Digested():
            _leaf(reading, part)
        case Stretched():
            _stretch(reading, part)
        case Header():
            reading.header, reading.custody = part, custody.begun(part.vkey)
        case SignedHead():
            reading.note = part.note
        case Rotation():
            reading.notes = [*reading.notes, part.note][: MAX_ROTATIONS + 1]


def _stretch(reading: _Reading, part: Stretched) -> None:
    """Take a stretch in at once, or else leaf by leaf."""
    if part.stretch.index != reading.leaves.size or not reading.replay.takes(
        part.stretch
    ):
        for data in part.batch:
            _leaf(reading, digest_of(data))
        return
    reading.findings.contradict(reading.replay.take(part.stretch))
    append, hashes = reading.leaves.append, part.hashes
    for at in range(0, len(hashes), tree.HASH_BYTES):
        append(hashes[at : at + tree.HASH_BYTES])


def _leaf(reading: _Reading, digested: Digested) -> None:
    index, entry = reading.leaves.size, digested.entry
    reading.leaves.append(digested.leaf)
    if entry is None:
        reading.findings.add("leaves", f"entry {index}: {digested.wrong}")
        return
    if entry.index != index:
        reading.findings.add("order", f"entry {entry.index} stands at place {index}")
    if entry.event.run == NO_RUN:
        _own(reading, entry)
    reading.findings.contradict(reading.replay.step(entry))


def _own(reading: _Reading, entry: Entry) -> None:
    """Take an entry about the ledger itself."""
    for wrong in custody.contradictions(reading.custody, entry):
        reading.findings.add("custody", f"entry {entry.index}: {ascii(wrong)[1:-1]}")
    if isinstance(entry.event, LedgerRecovered):
        return  # it matters to a store alone, and there may be any number in a file
    if isinstance(entry.event, KeyRotated):
        if len(reading.rotated) == MAX_ROTATIONS:
            reading.findings.add("custody", f"there are more than {MAX_ROTATIONS} keys")
            return
        root = tree.root(reading.leaves.frontier)
        reading.rotated.append((reading.leaves.size, root))
    reading.custody = custody.apply(reading.custody, entry)


def _head_checks(
    reading: _Reading, vkey: str, check_signature: CheckSignature, *, given: bool
) -> Iterator[Check]:
    """Check the signature over the head, then the head against the leaves."""
    if reading.note is None or reading.header is None:
        yield Check("signature", INCOMPLETE, "There is no tree head to check.")
        yield Check("root", INCOMPLETE, "There is no tree head to compare with.")
        return
    newest = reading.custody.vkey
    try:
        _refuse_untrusted(reading, vkey)
        head = _opened(reading.note, newest, check_signature)
        _refuse_broken_chain(reading, check_signature)
    except LedgerError as error:
        yield Check("signature", MISMATCH, sentence(ascii(str(error))[1:-1]))
        yield Check("root", INCOMPLETE, "There is no signed tree head to compare with.")
        return
    if reading.header.origin != head.origin:
        message = "The file's first line names another ledger or key than signed it."
        yield Check("signature", MISMATCH, message)
    else:
        whose = "the key that was given" if given else "the key that the file names"
        if newest != vkey:
            whose = f"{newest}, which {len(reading.rotated)} rotations tie to {whose}"
        hint = "" if given else "; compare that key with one you trust"
        yield Check("signature", OK, f"Signed by {whose}, {vkey}{hint}.")
    size = reading.leaves.size
    if head != Head(head.origin, size, tree.root(reading.leaves.frontier)):
        reading.findings.add(
            "root",
            f"the signed head covers {head.size} entries with root {head.root_base64},"
            f" and the {size} entries here do not make it",
        )
    yield reading.findings.check("root", f"the {size} entries make the signed root")


def _opened(signed: str, vkey: str, check_signature: CheckSignature) -> Head:
    return note.open_note(signed, note.parse_vkey(vkey), check_signature)


def _refuse_untrusted(reading: _Reading, vkey: str) -> None:
    """Refuse a ledger whose keys the verifier's key is not among."""
    keys = [key for _, key in reading.custody.keys]
    if vkey not in keys:
        message = f"the tree head carries no signature of the key {vkey[:300]}"
        raise LedgerError(message)


def _refuse_broken_chain(reading: _Reading, check_signature: CheckSignature) -> None:
    """Refuse a key that the one before it has not brought in by its own signature."""
    if len(reading.notes) != len(reading.rotated):
        message = (
            f"{len(reading.rotated)} keys followed others, and"
            f" {len(reading.notes)} heads say so"
        )
        raise LedgerError(message)
    chain = zip(reading.notes, reading.rotated, reading.custody.rotations, strict=True)
    for signed, (size, root), (_, before, after) in chain:
        for key in (before, after):
            head = _opened(signed, key, check_signature)
            if (head.size, head.root) != (size, root):
                message = f"the head at which a key followed another is not of {size}"
                raise LedgerError(message)
