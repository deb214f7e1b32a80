"""Hash leaves into a Merkle tree as RFC 6962 section 2 does, and prove and check it.

RFC 9162 section 2.1 defines the same tree and gives the verification algorithms that
are followed here. Hashes are SHA-256, 32 bytes. Checks return False for anything that
is not a proof, whatever it is; they never raise.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def hashes_in(joined: bytes) -> tuple[bytes, ...]:
    """Return the hashes in bytes that hold one after the other; the last may be cut."""
    places = range(0, len(joined), HASH_BYTES)
    return tuple(joined[at : at + HASH_BYTES] for at in places)


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf; the prefix keeps leaves and nodes apart."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over the hashes of its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """A tree of `size` leaves, reduced to the roots of its perfect subtrees.

    `peaks` run from the largest subtree (oldest leaves) to the smallest: one for each
    bit that is set in `size`. It is all that appending needs.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()


def append(frontier: Frontier, leaf: bytes) -> Frontier:
    """Return the frontier after one more leaf hash."""
    peaks, node, size = list(frontier.peaks), leaf, frontier.size
    while size & 1:
        node = node_hash(peaks.pop(), node)
        size >>= 1
    return Frontier(frontier.size + 1, (*peaks, node))


class Growing:
    """A frontier that grows in place: `append` without a copy for each leaf."""

    def __init__(self, frontier: Frontier) -> None:
        self.size = frontier.size
        self._peaks = list(frontier.peaks)

    @property
    def frontier(self) -> Frontier:
        """The frontier as it is now."""
        return Frontier(self.size, tuple(self._peaks))

    def append(self, leaf: bytes) -> None:
        """Take one more leaf hash."""
        peaks, node, size = self._peaks, leaf, self.size
        while size & 1:
            node = hashlib.sha256(b"\x01" + peaks.pop() + node).digest()
            size >>= 1
        peaks.append(node)
        self.size += 1


def extend(frontier: Frontier, leaves: Iterable[bytes]) -> Frontier:
    """Return the frontier after more leaf hashes."""
    growing = Growing(frontier)
    for leaf in leaves:
        growing.append(leaf)
    return growing.frontier


def root(frontier: Frontier) -> bytes:
    """Return the Merkle tree head of a frontier (RFC 6962 section 2.1)."""
    if not frontier.peaks:
        return EMPTY_ROOT
    node = frontier.peaks[-1]
    for peak in reversed(frontier.peaks[:-1]):
        node = node_hash(peak, node)
    return node


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return PATH(index, leaves) of RFC 6962 section 2.1.1, from the leaf upwards.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        message = f"no leaf {index} among {len(leaves)}"
        raise IndexError(message)
    path: list[bytes] = []
    while len(leaves) > 1:
        split = _split(len(leaves))
        if index < split:
            path.append(_root_of(leaves[split:]))
            leaves = leaves[:split]
        else:
            path.append(_root_of(leaves[:split]))
            leaves, index = leaves[split:], index - split
    return tuple(reversed(path))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Return PROOF(old_size, leaves) of RFC 6962 section 2.1.2; () where trivial.

    Raises:
        IndexError: the old tree is larger than the new one.
    """
    if not 0 <= old_size <= len(leaves):
        message = f"no tree of {old_size} leaves in one of {len(leaves)}"
        raise IndexError(message)
    if old_size in (0, len(leaves)):
        return ()
    path: list[bytes] = []
    left_edge = True  # the old root itself is known to the verifier
    while old_size != len(leaves):
        split = _split(len(leaves))
        if old_size <= split:
            path.append(_root_of(leaves[split:]))
            leaves = leaves[:split]
        else:
            path.append(_root_of(leaves[:split]))
            leaves, old_size, left_edge = leaves[split:], old_size - split, False
    if not left_edge:
        path.append(_root_of(leaves))
    return tuple(reversed(path))


def includes(
    leaf: bytes, index: int, size: int, tree_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the proof shows this leaf hash at `index` (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size or any(len(each) != HASH_BYTES for each in proof):
        return False
    node, here, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            return False  # the proof is longer than the path
        if here & 1 or here == last:
            node = node_hash(sibling, node)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and node == tree_root


def is_consistent(
    old_size: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the proof shows that the new tree extends the old one (2.1.4.2).

    The empty tree, which the RFC leaves out, is consistent with every tree.
    """
    if not 0 <= old_size <= size or any(len(each) != HASH_BYTES for each in proof):
        return False
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    if old_size == size:
        return not proof and old_root == new_root
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a perfect tree: its root is the first node
        path.insert(0, old_root)
    return _climb(old_size, old_root, size, new_root, path)


def _climb(
    old_size: int, old_root: bytes, size: int, new_root: bytes, path: Sequence[bytes]
) -> bool:
    """Rebuild both roots from the path, beginning at the old tree's last leaf."""
    if not path:
        return False
    here, last = old_size - 1, size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old, new = path[0], path[0]
    for sibling in path[1:]:
        if last == 0:
            return False  # the proof is longer than the path
        if here & 1 or here == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


def _root_of(leaves: Sequence[bytes]) -> bytes:
    return root(extend(Frontier(), leaves))


def _split(size: int) -> int:
    """Return the largest power of two below `size` (≥ 2)."""
    return 1 << (size - 1).bit_length() - 1
