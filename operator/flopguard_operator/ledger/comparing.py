"""Compare two ledgers: how far they are the same, and where they part. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from flopguard_operator.ledger.export import Header, Leaf, Part, Rotation, SignedHead


@dataclass(frozen=True)
class Compared:
    """What two ledgers have in common, from the first entry on."""

    common: int  # entries that are the same, byte by byte
    sizes: tuple[int, int]
    differing: tuple[bytes, bytes] | None  # the first two entries that are not the same
    keys: tuple[str, str]  # vkeys that the ledgers were begun with

    @property
    def forked(self) -> bool:
        """Whether neither goes on where the other ends."""
        return self.differing is not None or self.keys[0] != self.keys[1]


def compare(first: Iterable[Part], second: Iterable[Part]) -> Compared:
    """Return how far two exports are the same.

    Raises:
        LedgerError: one of them is not an export.
    """
    keys: list[str] = ["", ""]
    sizes, common = [0, 0], 0
    differing: tuple[bytes, bytes] | None = None
    streams = (_leaves(first, keys, 0), _leaves(second, keys, 1))
    for a, b in zip_longest(*streams):
        sizes[0] += a is not None
        sizes[1] += b is not None
        if differing is None and a is not None and a == b:
            common += 1
        elif differing is None and a is not None and b is not None:
            differing = a, b
    return Compared(common, (sizes[0], sizes[1]), differing, (keys[0], keys[1]))


def sentences(found: Compared, names: tuple[str, str]) -> Iterator[str]:
    """Yield what a person wants to know of it; entries are told by the caller.

    Args:
        found: the comparison.
        names: what the two ledgers are called.
    """
    (a, b), (size_a, size_b) = names, found.sizes
    if found.keys[0] != found.keys[1]:
        yield "They were begun with different keys: they are two ledgers."
    if found.differing is not None:
        yield (
            f"The first {found.common} entries are the same, byte by byte; entry"
            f" {found.common} differs."
        )
    elif size_a == size_b:
        yield f"Both have the same {size_a} entries, byte by byte."
    else:
        longer, shorter = (a, b) if size_a > size_b else (b, a)
        more = abs(size_a - size_b)
        yield f"{longer} goes on from {shorter} with {more} more entries."


def _leaves(parts: Iterable[Part], keys: list[str], which: int) -> Iterator[bytes]:
    for part in parts:
        match part:
            case Header():
                keys[which] = part.vkey
            case Leaf():
                yield part.data
            case Rotation() | SignedHead():
                pass
