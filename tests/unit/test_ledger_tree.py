"""The Merkle tree against RFC 6962: published vectors, a naive tree, and negatives."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.ledger.tree import (
    EMPTY_ROOT,
    Frontier,
    append,
    consistency_proof,
    extend,
    includes,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    node_hash,
    root,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text()
)
LEAVES = [leaf_hash(bytes.fromhex(each)) for each in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(each) for each in VECTORS["roots"]]
LARGEST = 130  # beyond one full level of 128, so every shape of a right edge occurs


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """Return MTH(D[n]) exactly as RFC 6962 section 2.1 writes it down."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = max(2**e for e in range(8) if 2**e < len(leaves))
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def hashes(size: int) -> list[bytes]:
    """Return leaf hashes that are all different."""
    return [leaf_hash(str(index).encode()) for index in range(size)]


def hexes(proof: list[str]) -> list[bytes]:
    """Return a vector's proof as bytes."""
    return [bytes.fromhex(each) for each in proof]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    """The root of no leaves is SHA-256 of the empty string."""
    assert root(Frontier()).hex() == VECTORS["empty_root"]


def test_the_published_roots_come_out() -> None:
    """Every size of the published tree has the published root."""
    frontier = Frontier()
    for leaf, expected in zip(LEAVES, ROOTS, strict=True):
        frontier = append(frontier, leaf)

        assert root(frontier) == expected


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=str)
def test_the_published_inclusion_proofs_come_out(vector: dict[str, Any]) -> None:
    """The published proof is made and accepted."""
    index, size, proof = vector["index"], vector["size"], hexes(vector["proof"])

    assert list(inclusion_proof(LEAVES[:size], index)) == proof
    assert includes(LEAVES[index], index, size, ROOTS[size - 1], proof)


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=str)
def test_the_published_consistency_proofs_come_out(vector: dict[str, Any]) -> None:
    """The published proof is made and accepted."""
    old, new, proof = vector["old"], vector["new"], hexes(vector["proof"])

    assert list(consistency_proof(LEAVES[:new], old)) == proof
    assert is_consistent(old, ROOTS[old - 1], new, ROOTS[new - 1], proof)


@pytest.mark.parametrize(
    "vector", VECTORS["refused"]["inclusion"], ids=lambda vector: vector["why"]
)
def test_a_spoiled_published_inclusion_is_refused(vector: dict[str, Any]) -> None:
    """What differs from a published vector in one thing proves nothing."""
    leaf, top, proof = (
        LEAVES[vector["leaf"]],
        ROOTS[vector["root"] - 1],
        vector["proof"],
    )

    assert not includes(leaf, vector["index"], vector["size"], top, hexes(proof))


@pytest.mark.parametrize(
    "vector", VECTORS["refused"]["consistency"], ids=lambda vector: vector["why"]
)
def test_a_spoiled_published_consistency_is_refused(vector: dict[str, Any]) -> None:
    """The same, of growth."""
    before, after = ROOTS[vector["old_root"] - 1], ROOTS[vector["new_root"] - 1]
    old, new, proof = vector["old"], vector["new"], hexes(vector["proof"])

    assert not is_consistent(old, before, new, after, proof)


def test_the_frontier_is_the_naive_tree_at_every_size() -> None:
    """Appending one by one gives the root that the recursive definition gives."""
    frontier = Frontier()
    for size in range(LARGEST + 1):
        assert frontier.size == size
        assert root(frontier) == naive_root(hashes(size))

        frontier = append(frontier, leaf_hash(str(size).encode()))


@given(st.data(), st.integers(1, LARGEST))
def test_each_leaf_can_be_proven_at_its_place_only(data: Any, size: int) -> None:
    """An inclusion proof holds for its leaf, index and size, and for no other index."""
    leaves = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size + 1).filter(lambda each: each != index))
    proof = inclusion_proof(leaves, index)

    assert includes(leaves[index], index, size, naive_root(leaves), proof)
    assert not includes(leaves[index], other, size, naive_root(leaves), proof)


@given(st.data(), st.integers(0, LARGEST))
def test_each_tree_is_consistent_with_each_earlier_one(data: Any, size: int) -> None:
    """A consistency proof holds between a tree and any prefix of it."""
    leaves = hashes(size)
    old = data.draw(st.integers(0, size))
    old_root, proof = naive_root(leaves[:old]), consistency_proof(leaves, old)

    assert is_consistent(old, old_root, size, naive_root(leaves), proof)


@given(st.integers(2, LARGEST), st.integers(0, LARGEST))
def test_a_rewritten_tree_is_not_consistent(size: int, place: int) -> None:
    """No honest proof of the new tree covers an old tree with another leaf in it."""
    leaves = hashes(size)
    old = 1 + place % (size - 1)
    forged = [*leaves[: old - 1], leaf_hash(b"forged"), *leaves[old:]]
    proof = consistency_proof(leaves, old)

    assert not is_consistent(
        old, naive_root(forged[:old]), size, naive_root(leaves), proof
    )


Spoil = Callable[[list[bytes]], list[bytes]]
SPOILED: dict[str, Spoil] = {
    "the proof has lost its first hash": lambda proof: proof[1:],
    "the proof has lost its last hash": lambda proof: proof[:-1],
    "the proof has a hash too many at its end": lambda proof: [*proof, EMPTY_ROOT],
    "the proof has a hash too many at its start": lambda proof: [EMPTY_ROOT, *proof],
    "a bit of the first hash is flipped": lambda proof: [
        bytes([proof[0][0] ^ 1]) + proof[0][1:],
        *proof[1:],
    ],
    "a bit of the last hash is flipped": lambda proof: [
        *proof[:-1],
        proof[-1][:-1] + bytes([proof[-1][-1] ^ 1]),
    ],
    "two hashes changed places": lambda proof: [proof[1], proof[0], *proof[2:]],
    "a hash is one byte short": lambda proof: [proof[0][:-1], *proof[1:]],
    "two hashes ran together": lambda proof: [proof[0] + proof[1], *proof[2:]],
    "the proof is empty": lambda _: [],
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_proof_is_refused(spoil: Spoil) -> None:
    """Neither kind of proof holds once anything in it has changed."""
    leaves = hashes(7)
    inclusion = spoil(list(inclusion_proof(leaves, 3)))
    consistency = spoil(list(consistency_proof(leaves, 3)))

    assert not includes(leaves[3], 3, 7, naive_root(leaves), inclusion)
    assert not is_consistent(
        3, naive_root(leaves[:3]), 7, naive_root(leaves), consistency
    )


@pytest.mark.parametrize("size", [5, 8, 9, 2**40], ids=str)
def test_a_tree_cannot_be_passed_off_as_a_larger_one(size: int) -> None:
    """A path that ends below the root of the claimed size proves nothing."""
    leaves = hashes(4)
    proof = inclusion_proof(leaves, 1)

    assert includes(leaves[1], 1, 4, naive_root(leaves), proof)
    assert not includes(leaves[1], 1, size, naive_root(leaves), proof)


@pytest.mark.parametrize(
    ("index", "size"),
    [(-1, 7), (7, 7), (3, 0), (3, -7), (0, 2**70)],
    ids=["below zero", "beyond the end", "empty", "negative size", "an absurd size"],
)
def test_an_impossible_place_is_refused(index: int, size: int) -> None:
    """Indices and sizes that cannot be are refused, not computed with."""
    leaves = hashes(7)
    proof = inclusion_proof(leaves, 3)

    assert not includes(leaves[3], index, size, naive_root(leaves), proof)


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (8, 7, []),
        (-1, 7, []),
        (0, 7, [EMPTY_ROOT]),
        (7, 7, [EMPTY_ROOT]),
        (4, 7, []),
        (2**70, 2**71, [EMPTY_ROOT]),
    ],
    ids=[
        "the tree shrank",
        "the old size is negative",
        "a proof from the empty tree is not empty",
        "a proof of the same tree is not empty",
        "the proof is missing",
        "an absurd size",
    ],
)
def test_an_impossible_growth_is_refused(
    old: int, new: int, proof: list[bytes]
) -> None:
    """Sizes that cannot be are refused, and so are proofs where none belongs."""
    leaves = hashes(7)

    assert not is_consistent(old, EMPTY_ROOT, new, naive_root(leaves), proof)


@pytest.mark.parametrize("index", [-1, 3], ids=["before the first", "after the last"])
def test_no_proof_is_made_of_a_leaf_that_is_not_there(index: int) -> None:
    """Asking for the proof of an absent leaf is a programming error."""
    with pytest.raises(IndexError, match="no leaf"):
        inclusion_proof(hashes(3), index)


@pytest.mark.parametrize("size", [-1, 4], ids=["negative", "larger than the tree"])
def test_no_proof_is_made_from_a_tree_that_never_was(size: int) -> None:
    """Asking for the proof from a tree that is no prefix is a programming error."""
    with pytest.raises(IndexError, match="no tree"):
        consistency_proof(hashes(3), size)


def test_a_leaf_is_never_taken_for_a_node() -> None:
    """RFC 6962 2.1: leaves and nodes are hashed with prefixes that keep them apart."""
    left, right = hashes(2)

    assert leaf_hash(left + right) != node_hash(left, right)


@given(st.lists(st.binary(max_size=8), max_size=40), st.integers(0, 40))
def test_extending_in_parts_is_extending_at_once(leaves: list[bytes], cut: int) -> None:
    """Where a commit ends makes no difference to the tree."""
    parts = extend(extend(Frontier(), leaves[:cut]), leaves[cut:])

    assert parts == extend(Frontier(), leaves)
