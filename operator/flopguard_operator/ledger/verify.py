"""Verify an exported ledger offline: the bytes, the tree, the signature, the reasoning.

Nothing here reads a file, a clock or a network, and no input raises: every finding is
a check in the report.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flopguard_operator.ledger import note, tree
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import (
    Header,
    Leaf,
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


@dataclass
class _Reading:
    """What was read so far, and what was wrong with it."""

    header: Header | None = None
    note: str | None = None
    frontier: tree.Frontier = field(default_factory=tree.Frontier)
    replay: Replay = field(default_factory=Replay)
    findings: Findings = field(default_factory=Findings)


def verify_lines(
    lines: Iterable[bytes], check_signature: CheckSignature, vkey: str = ""
) -> Report:
    """Verify an export.

    Args:
        lines: of the file, each with its line feed (`export.lines_of` bounds them).
        check_signature: tells whether an Ed25519 signature holds.
        vkey: the key that must have signed, from a source that the verifier trusts;
            without it the file's own key is taken, and the report says so.
    """
    reading = _Reading()
    try:
        for part in parse(lines):
            _take(reading, part)
    except TruncatedError as error:
        reading.findings.add("format", str(error), INCOMPLETE)
    except LedgerError as error:
        reading.findings.add("format", str(error))
    else:
        reading.findings.contradict(reading.replay.settle())
        reading.findings.contradict(reading.replay.recount())
    trusted = vkey or (reading.header.vkey if reading.header else "")
    size, root = reading.frontier.size, tree.root(reading.frontier)
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
            *_head_checks(reading, trusted, check_signature, given=bool(vkey)),
            *(check(name, rule) for name, rule in RULES.items()),
        ),
        size=size,
        root=Head("", size, root).root_base64,
        vkey=trusted,
    )


def _take(reading: _Reading, part: Header | Leaf | SignedHead) -> None:
    match part:
        case Header():
            reading.header = part
        case SignedHead():
            reading.note = part.note
        case Leaf():
            _leaf(reading, part.data)


def _leaf(reading: _Reading, data: bytes) -> None:
    index = reading.frontier.size
    reading.frontier = tree.append(reading.frontier, tree.leaf_hash(data))
    try:
        entry = decode(data)
    except LedgerError as error:
        reading.findings.add("leaves", f"entry {index}: {error}")
        return
    if entry.index != index:
        reading.findings.add("order", f"entry {entry.index} stands at place {index}")
    reading.findings.contradict(reading.replay.step(entry))


def _head_checks(
    reading: _Reading, vkey: str, check_signature: CheckSignature, *, given: bool
) -> Iterator[Check]:
    """Check the signature over the head, then the head against the leaves."""
    if reading.note is None or reading.header is None:
        yield Check("signature", INCOMPLETE, "There is no tree head to check.")
        yield Check("root", INCOMPLETE, "There is no tree head to compare with.")
        return
    try:
        key = note.parse_vkey(vkey)
        head = note.open_note(reading.note, key, check_signature)
    except LedgerError as error:
        yield Check("signature", MISMATCH, sentence(ascii(str(error))[1:-1]))
        yield Check("root", INCOMPLETE, "There is no signed tree head to compare with.")
        return
    if (reading.header.origin, reading.header.vkey) != (key.name, vkey):
        message = "The file's first line names another ledger or key than signed it."
        yield Check("signature", MISMATCH, message)
    else:
        whose = "the key that was given" if given else "the key that the file names"
        hint = "" if given else "; compare that key with one you trust"
        yield Check("signature", OK, f"Signed by {whose}, {key.text}{hint}.")
    size = reading.frontier.size
    if head != Head(head.origin, size, tree.root(reading.frontier)):
        reading.findings.add(
            "root",
            f"the signed head covers {head.size} entries with root {head.root_base64},"
            f" and the {size} entries here do not make it",
        )
    yield reading.findings.check("root", f"the {size} entries make the signed root")
