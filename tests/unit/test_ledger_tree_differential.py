"""The Merkle tree against another implementation, pymerkle, on the same leaves."""

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopguard_operator.ledger.tree import (
    Frontier,
    consistency_proof,
    extend,
    includes,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    root,
)

LARGEST = 70  # beyond one full level of 64


def theirs(leaves: list[bytes]) -> pymerkle.InmemoryTree:
    """Return the other implementation's tree."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    return tree


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=LARGEST))
@settings(deadline=None)
def test_both_make_the_same_roots(leaves: list[bytes]) -> None:
    """At every size."""
    tree, hashes = theirs(leaves), [leaf_hash(leaf) for leaf in leaves]

    for size in range(1, len(leaves) + 1):
        assert tree.get_root(size) == root(extend(Frontier(), hashes[:size]))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33, 64, 65])
def test_both_make_the_same_inclusion_proofs(size: int) -> None:
    """Theirs begins with the leaf itself, and counts from 1; each accepts the other."""
    leaves = [str(index).encode() for index in range(size)]
    tree, hashes = theirs(leaves), [leaf_hash(leaf) for leaf in leaves]
    top = tree.get_root()
    for index in range(size):
        proof = tree.prove_inclusion(index + 1, size)
        path = [bytes.fromhex(each) for each in proof.serialize()["path"]]

        assert path[0] == hashes[index]
        assert tuple(path[1:]) == inclusion_proof(hashes, index)
        assert includes(hashes[index], index, size, top, path[1:])
        pymerkle.verify_inclusion(hashes[index], top, proof)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 9, 33, 64])
def test_both_agree_on_what_goes_on(size: int) -> None:
    """A tree and each of its prefixes; and one with a prefix of another tree."""
    leaves = [str(index).encode() for index in range(size)]
    tree, hashes = theirs(leaves), [leaf_hash(leaf) for leaf in leaves]
    forged = theirs([b"forged", *leaves[1:]])
    for old in range(1, size):
        theirs_proof = tree.prove_consistency(old, size)
        ours = consistency_proof(hashes, old)
        before, after = tree.get_root(old), tree.get_root(size)

        pymerkle.verify_consistency(before, after, theirs_proof)
        assert is_consistent(old, before, size, after, ours)
        with pytest.raises(pymerkle.InvalidProof):
            pymerkle.verify_consistency(forged.get_root(old), after, theirs_proof)
        assert not is_consistent(old, forged.get_root(old), size, after, ours)
