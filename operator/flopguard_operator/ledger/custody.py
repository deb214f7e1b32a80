"""Follow what the ledger says about itself: its writers, keys, losses and retention.

The same fold tells the store which key signs now and the verifier whom to believe.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace

from flopguard_operator.ledger.entries import (
    Entry,
    EpochOpened,
    KeyRotated,
    LedgerRecovered,
    RetentionSet,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.note import parse_vkey

DEFAULT_YEARS = 10  # of retention, where nobody has decided otherwise

KINDS = ("EpochOpened", "KeyRotated", "LedgerRecovered", "RetentionSet")
MARKERS = tuple(f'"type":"{kind}"'.encode() for kind in KINDS)
"""One of these is in the bytes of such an entry, and of no other: in a text of JSON the
quotation marks would be escaped."""
ROTATED = MARKERS[KINDS.index("KeyRotated")]


@dataclass(frozen=True)
class KnownHead:
    """A head that was seen somewhere outside the ledger's file."""

    size: int
    root: bytes  # or its first bytes, where a place has no room for all 32
    where: str = ""

    @property
    def text(self) -> str:
        """The head as `flopguard ledger recover --head` takes it: SIZE:ROOT."""
        return f"{self.size}:{base64.b64encode(self.root).decode()}"

    def is_of(self, root: bytes) -> bool:
        """Tell whether a tree with this root has the head."""
        return bool(self.root) and root[: len(self.root)] == self.root


def parse_head_option(text: str) -> KnownHead:
    """Return the head in a text like `KnownHead.text`.

    Raises:
        LedgerError: it is none.
    """
    size, colon, root = text.partition(":")
    good = size.isascii() and size.isdigit() and len(size) <= 18  # noqa: PLR2004 - below 2**63
    if not (colon and good and _is_base64(root)):
        message = f"{ascii(text)[:100]} is no head: SIZE:ROOT, the root in base64"
        raise LedgerError(message)
    return KnownHead(int(size), base64.b64decode(root), "--head")


@dataclass(frozen=True)
class Custody:
    """What the entries up to some place say about the ledger itself."""

    keys: tuple[tuple[int, str], ...]
    """(size of the first tree that it signs, vkey), the oldest first."""
    epoch: int = 0
    recovered: frozenset[tuple[int, str]] = frozenset()  # (size, root in base64)
    retention: RetentionSet | None = None

    @property
    def vkey(self) -> str:
        """The key that signs now."""
        return self.keys[-1][1]

    @property
    def rotations(self) -> tuple[tuple[int, str, str], ...]:
        """(size of the tree that both sign, key before, key after), in order."""
        pairs = zip(self.keys, self.keys[1:], strict=False)
        return tuple((size, before, after) for (_, before), (size, after) in pairs)

    def vkey_at(self, size: int) -> str:
        """Return the newest key that has signed the head of a tree of this size."""
        return next(vkey for since, vkey in reversed(self.keys) if since <= size)

    def accepts_loss_of(self, head: KnownHead) -> bool:
        """Tell whether a recovery gave this very head up."""
        return (head.size, base64.b64encode(head.root).decode()) in self.recovered


def begun(vkey: str) -> Custody:
    """Return the custody of an empty ledger."""
    return Custody(keys=((0, vkey),))


def apply(custody: Custody, entry: Entry) -> Custody:
    """Return the custody after one more entry, of whatever kind."""
    match entry.event:
        case EpochOpened() as opened:
            custody = replace(custody, epoch=opened.epoch)
        case KeyRotated() as rotated:
            keys = (*custody.keys, (entry.index + 1, rotated.after))
            custody = replace(custody, keys=keys)
        case LedgerRecovered() as loss:
            recovered = custody.recovered | {(loss.size, loss.root)}
            custody = replace(custody, recovered=recovered)
        case RetentionSet() as retention:
            custody = replace(custody, retention=retention)
    return custody


def contradictions(custody: Custody, entry: Entry) -> Iterator[str]:
    """Yield what is wrong with an entry, given the custody before it."""
    match entry.event:
        case EpochOpened(epoch=epoch):
            if epoch != custody.epoch + 1:
                yield f"writer {epoch} follows writer {custody.epoch}"
        case KeyRotated() as rotated:
            yield from _rotated(custody, rotated)
        case LedgerRecovered(root=root):
            if not _is_base64(root):
                yield "the head that was given up has no root"
        case RetentionSet(years=years):
            if not years:
                yield "the ledger is to be kept for no time at all"


def _rotated(custody: Custody, event: KeyRotated) -> Iterator[str]:
    if event.before != custody.vkey:
        yield "the key that is replaced is not the one that signed until here"
    try:
        before, after = parse_vkey(event.before), parse_vkey(event.after)
    except LedgerError as error:
        yield str(error)
        return
    if before.name != after.name or before == after:
        yield "a key is replaced by another one of the same ledger, or not at all"


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text.encode(), validate=True))
    except ValueError:
        return False
