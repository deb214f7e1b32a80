"""Check a pack's other heads and its key history against its signed head.

A line of `ledger/heads.jsonl` is a head that the ledger signed at another time, with
the proof that its tree and the pack's are one: whoever kept an old head compares it.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flopguard_operator.evidence.archive import PackError
from flopguard_operator.ledger import note, tree
from flopguard_operator.ledger.entries import KeyRotated
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.export import dumped
from flopguard_operator.ledger.findings import INCOMPLETE, MISMATCH
from flopguard_operator.ledger.note import CheckSignature, Head

MAX_LINE_BYTES = 2 * note.MAX_NOTE_BYTES + 8192
MOST_LINES = 4096
_SHORT = 200


@dataclass(frozen=True)
class Problem:
    """What is wrong with a head, or with the keys."""

    message: str
    of_keys: bool = False
    outcome: str = MISMATCH


@dataclass(frozen=True)
class History:
    """The keys of a ledger: the newest, and the entries that handed over."""

    vkey: str
    rotations: tuple[tuple[int, KeyRotated], ...]  # (index of the entry, entry)

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, the first one first."""
        return (*(event.before for _, event in self.rotations), self.vkey)

    def key_at(self, size: int) -> str:
        """Return the key that signs a tree of `size` leaves."""
        for index, event in self.rotations:
            if size <= index:
                return event.before
        return self.vkey

    def breaks(self) -> Iterator[str]:
        """Yield where a key was not handed over to the next one."""
        for (index, event), after in zip(self.rotations, self.keys[1:], strict=True):
            if event.after != after:
                yield f"entry {index} hands over to another key than signed next"


def line(signed: str, proof: Sequence[bytes]) -> bytes:
    """Return a line of the file of heads."""
    return dumped({"head": signed, "proof": base64.b64encode(b"".join(proof)).decode()})


def parse_line(data: bytes) -> tuple[str, tuple[bytes, ...]]:
    """Return the signed note and the proof in a line, which comes without its end.

    Raises:
        PackError: the line is not spelled as `line` spells it.
    """
    try:
        document = json.loads(data)
        signed = document["head"]
        joined = base64.b64decode(document["proof"], validate=True)
        proof = tree.hashes_in(joined)
        right = isinstance(signed, str) and line(signed, proof) == data + b"\n"
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        message = "a head is not spelled as flopguard spells it"
        raise PackError(message) from error
    if not right:
        message = "a head is not spelled as flopguard spells it"
        raise PackError(message)
    return signed, proof


def claimed(signed: str) -> Head:
    """Return the head in a note whose signature was not checked.

    Raises:
        LedgerError: it is no note of a head.
    """
    return note.parse_head(signed.rpartition("\n\n")[0] + "\n")


def check(
    history: History,
    head: Head,
    signed: str,
    lines: Iterable[bytes],
    check_signature: CheckSignature,
) -> Iterator[Problem]:
    """Yield what is wrong with the key history and with the other heads.

    Args:
        history: the keys, as the entries tell.
        head: of the pack, its signature checked.
        signed: the note of that head.
        lines: of the file of heads.
        check_signature: tells whether an Ed25519 signature holds.
    """
    for why in history.breaks():
        yield Problem(why, of_keys=True)
    handed = _handed_over(history, signed, head.size, check_signature)
    newest = -1
    for number, data in enumerate(lines):
        if number == MOST_LINES:
            yield Problem(f"there are more than {MOST_LINES} heads")
            return
        other, proof = parse_line(data)
        try:
            size = claimed(other).size
            key = note.parse_vkey(history.key_at(size))
            opened = note.open_note(other, key, check_signature)
        except LedgerError as error:
            yield Problem(f"a head was not signed by its key: {str(error)[:_SHORT]}")
            continue
        if not newest < size:
            yield Problem("the heads are not in order, each once")
        newest = size
        if not _one_tree(opened, head, proof):
            yield Problem(f"the head of {size} entries is of another tree")
            continue
        handed |= _handed_over(history, other, size, check_signature)
    for index, _ in history.rotations:
        if index not in handed:
            why = f"no head in the pack bears both keys that entry {index} names"
            yield Problem(why, of_keys=True, outcome=INCOMPLETE)


def _one_tree(a: Head, b: Head, proof: Sequence[bytes]) -> bool:
    old, new = sorted((a, b), key=lambda head: head.size)
    return a.origin == b.origin and tree.is_consistent(
        old.size, old.root, new.size, new.root, proof
    )


def _handed_over(
    history: History, signed: str, size: int, check_signature: CheckSignature
) -> set[int]:
    """Return which rotation a head bears out: the newest in it, if both keys signed."""
    before = [each for each in history.rotations if each[0] < size][-1:]
    return {
        index
        for index, event in before  # an older key signs nothing any more
        if _opens(signed, event.before, check_signature)
        and _opens(signed, event.after, check_signature)
    }


def _opens(signed: str, vkey: str, check_signature: CheckSignature) -> bool:
    try:
        note.open_note(signed, note.parse_vkey(vkey), check_signature)
    except LedgerError:
        return False
    return True
