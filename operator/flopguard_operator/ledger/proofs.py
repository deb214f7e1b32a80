"""Write and check proofs that stand alone: c2sp.org/tlog-proof, and one of growth.

c2sp.org/tlog-proof@v1                    an entry is in the tree of a signed head
extra <the entry's bytes, base64>
index 41
<hash, base64>                            from the leaf upwards
                                          an empty line, then the signed head
flopguard.dev/…/ledger
…

flopguard.dev/tlog-growth@v1              a head's tree goes on in that of another
from 40 <root, base64>
<hash, base64>

flopguard.dev/…/ledger
…
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from flopguard_operator.ledger import note, tree
from flopguard_operator.ledger.encoding import decode
from flopguard_operator.ledger.entries import MAX_ENTRY_BYTES, Entry
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.note import CheckSignature, Head

INCLUSION = "c2sp.org/tlog-proof@v1"
GROWTH = "flopguard.dev/tlog-growth@v1"
MAX_PROOF_BYTES = 2 * MAX_ENTRY_BYTES + note.MAX_NOTE_BYTES + 8192
_MAX_HASHES = 128  # two paths of a tree of 2**63 leaves


@dataclass(frozen=True)
class Proven:
    """What a proof shows."""

    head: Head
    vkey: str
    entry: Entry | None = None  # that is in the head's tree
    old: tuple[int, str] | None = None  # size and root (base64) that it goes on from


def inclusion(data: bytes, leaves: Sequence[bytes], index: int, signed: str) -> str:
    """Return the proof that an entry is in the tree of a signed head.

    Args:
        data: bytes of the entry.
        leaves: hashes of all leaves of that tree.
        index: of the entry.
        signed: the head's note.
    """
    lines = [INCLUSION, f"extra {_base64(data)}", f"index {index}"]
    lines += map(_base64, tree.inclusion_proof(leaves, index))
    return "\n".join(lines) + f"\n\n{signed}"


def growth(leaves: Sequence[bytes], old_size: int, signed: str) -> str:
    """Return the proof that the tree of a signed head goes on from an earlier one.

    Args:
        leaves: hashes of all leaves of the head's tree.
        old_size: of the earlier tree.
        signed: the head's note.
    """
    old = tree.root(tree.extend(tree.Frontier(), leaves[:old_size]))
    lines = [GROWTH, f"from {old_size} {_base64(old)}"]
    lines += map(_base64, tree.consistency_proof(leaves, old_size))
    return "\n".join(lines) + f"\n\n{signed}"


def check(text: str, vkey: str, check_signature: CheckSignature) -> Proven:
    """Return what a proof shows, if it holds.

    Args:
        text: the proof.
        vkey: the key that must have signed the head.
        check_signature: tells whether an Ed25519 signature holds.

    Raises:
        LedgerError: it is no proof, or shows nothing.
    """
    above, gap, signed = text[: MAX_PROOF_BYTES + 1].partition("\n\n")
    if len(text) > MAX_PROOF_BYTES or not gap:
        message = "this is no proof of a ledger"
        raise LedgerError(message)
    head = note.open_note(signed, note.parse_vkey(vkey), check_signature)
    kind, *lines = above.split("\n")
    if kind == INCLUSION:
        return Proven(head, vkey, entry=_included(lines, head))
    if kind == GROWTH:
        return Proven(head, vkey, old=_grown(lines, head))
    message = f"proofs begin with {INCLUSION} or {GROWTH}"
    raise LedgerError(message)


def _included(lines: Sequence[str], head: Head) -> Entry:
    extra, index, hashes = (*lines, "", "")[0], (*lines, "", "")[1], lines[2:]
    data = _bytes(extra.removeprefix("extra "))
    place = _number(index.removeprefix("index "))
    spelled = [f"extra {_base64(data)}", f"index {place}"] == [extra, index]
    proof = _hashes(hashes)
    holds = tree.includes(tree.leaf_hash(data), place, head.size, head.root, proof)
    if not spelled or not holds:
        message = "the proof does not show this entry in the tree of its head"
        raise LedgerError(message)
    entry = decode(data)
    if entry.index != place:
        message = f"the entry says that it is number {entry.index}, the proof {place}"
        raise LedgerError(message)
    return entry


def _grown(lines: Sequence[str], head: Head) -> tuple[int, str]:
    first = (*lines, "")[0]
    size, _, encoded = first.removeprefix("from ").partition(" ")
    old, root = _number(size), _bytes(encoded)
    proof = _hashes(lines[1:])
    spelled = f"from {old} {_base64(root)}" == first
    if not spelled or not tree.is_consistent(old, root, head.size, head.root, proof):
        message = (
            "the proof does not show that the head's tree goes on from the old one"
        )
        raise LedgerError(message)
    return old, encoded


def _hashes(lines: Sequence[str]) -> list[bytes]:
    if len(lines) > _MAX_HASHES:
        message = f"a proof has at most {_MAX_HASHES} hashes"
        raise LedgerError(message)
    return [_bytes(line) for line in lines]


def _number(text: str) -> int:
    good = text.isascii() and text.isdigit() and len(text) <= 18  # noqa: PLR2004 - below 2**63
    if not good:
        message = "a number in the proof is none"
        raise LedgerError(message)
    return int(text)


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        message = "a line of the proof is not base64"
        raise LedgerError(message) from error
    if _base64(data) != text:
        message = "a line of the proof is not base64 as it is written"
        raise LedgerError(message)
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
