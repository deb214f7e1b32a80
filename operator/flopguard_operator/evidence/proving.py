"""Prove inclusion and consistency quickly in a tree of many leaves.

`ledger.tree` hashes the leaves anew for every proof; here each perfect subtree is
hashed once, so that a pack of thousands of leaves out of a million takes seconds.
"""

from collections.abc import Iterable

from flopguard_operator.ledger.tree import EMPTY_ROOT, HASH_BYTES, node_hash


class Tree:
    """The leaf hashes of a ledger and the roots of perfect subtrees: 64 B a leaf."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        level = bytearray()
        for leaf in leaves:
            level += leaf
        self.size = len(level) // HASH_BYTES
        self._levels = [level]
        while len(level) >= 2 * HASH_BYTES:
            above = bytearray()
            for at in range(0, len(level) - HASH_BYTES, 2 * HASH_BYTES):
                middle = at + HASH_BYTES
                left, right = level[at:middle], level[middle : middle + HASH_BYTES]
                above += node_hash(bytes(left), bytes(right))
            self._levels.append(above)
            level = above

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` leaves."""
        return self._root(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the proof that `tree.includes` takes, in the tree of `size` leaves."""
        path: list[bytes] = []
        begin, end = 0, size
        while end - begin > 1:
            middle = begin + _split(end - begin)
            if index < middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(begin, middle))
                begin = middle
        return tuple(reversed(path))

    def consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        """Return the proof that `tree.is_consistent` takes, of two trees' sizes."""
        if old in (0, size):
            return ()
        path: list[bytes] = []
        begin, end, left_edge = 0, size, True
        while old != end:
            middle = begin + _split(end - begin)
            if old <= middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(begin, middle))
                begin, left_edge = middle, False
        if not left_edge:
            path.append(self._root(begin, end))
        return tuple(reversed(path))

    def _root(self, begin: int, end: int) -> bytes:
        """Return the root of the leaves from `begin` to before `end`."""
        count = end - begin
        if count & (count - 1) == 0:  # perfect, and so aligned: it is in the table
            level = count.bit_length() - 1
            at = (begin >> level) * HASH_BYTES
            return bytes(self._levels[level][at : at + HASH_BYTES])
        middle = begin + _split(count)
        return node_hash(self._root(begin, middle), self._root(middle, end))


def _split(count: int) -> int:
    """Return the largest power of two below `count` (at least 2)."""
    return 1 << (count - 1).bit_length() - 1
