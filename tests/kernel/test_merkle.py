from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.merkle import (
    EMPTY_ROOT,
    ConsistencyProof,
    InclusionProof,
    MerkleLog,
    leaf_hash,
    merkle_root,
    node_hash,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from tests.vectors import make

if TYPE_CHECKING:
    from collections.abc import Sequence

PUBLISHED = make.read("published")["tree"]
PUBLISHED_LEAVES = [leaf_hash(bytes.fromhex(each)) for each in PUBLISHED["leaves"]]
PUBLISHED_ROOTS = [bytes.fromhex(each) for each in PUBLISHED["roots"]]
LEAVES = [leaf_hash(index.to_bytes(4)) for index in range(300)]
SIZES = st.integers(0, len(LEAVES))


def split(size: int) -> int:
    """The largest power of two below `size` (RFC 9162, 2.1.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def by_definition(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1, over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


def inclusion_by_definition(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*inclusion_by_definition(index, leaves[:k]), by_definition(leaves[k:])]
    return [*inclusion_by_definition(index - k, leaves[k:]), by_definition(leaves[:k])]


def consistency_by_definition(old: int, leaves: Sequence[bytes], *, known: bool = True) -> list[bytes]:
    """PROOF and SUBPROOF of RFC 9162, 2.1.4.1."""
    if old == len(leaves):
        return [] if known else [by_definition(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*consistency_by_definition(old, leaves[:k], known=known), by_definition(leaves[k:])]
    return [*consistency_by_definition(old - k, leaves[k:], known=False), by_definition(leaves[:k])]


def refused(leaf: bytes, proof: InclusionProof, root: bytes) -> None:
    with pytest.raises(InvalidArgument, match="BAD_PROOF"):
        verify_inclusion(leaf, proof, root)


def refused_consistency(old_root: bytes, new_root: bytes, proof: ConsistencyProof) -> None:
    with pytest.raises(InvalidArgument, match="BAD_PROOF"):
        verify_consistency(old_root, new_root, proof)


def test_the_published_trees() -> None:
    """L4: RFC 9162's reference trees."""
    log = MerkleLog(PUBLISHED_LEAVES)
    for size, root in enumerate(PUBLISHED_ROOTS):
        assert merkle_root(PUBLISHED_LEAVES[:size]) == root
        assert log.root_at(size) == root


@pytest.mark.parametrize("case", PUBLISHED["inclusion"])
def test_the_published_inclusion_proofs(case: dict[str, list[str]]) -> None:
    proof = InclusionProof(case["leaf_index"], case["tree_size"], tuple(map(bytes.fromhex, case["path"])))  # type: ignore[arg-type]
    leaves = PUBLISHED_LEAVES[: proof.tree_size]
    assert prove_inclusion(leaves, proof.leaf_index) == proof
    verify_inclusion(leaves[proof.leaf_index], proof, PUBLISHED_ROOTS[proof.tree_size])


@pytest.mark.parametrize("case", PUBLISHED["consistency"])
def test_the_published_consistency_proofs(case: dict[str, list[str]]) -> None:
    proof = ConsistencyProof(case["old_size"], case["new_size"], tuple(map(bytes.fromhex, case["path"])))  # type: ignore[arg-type]
    assert prove_consistency(PUBLISHED_LEAVES[: proof.new_size], proof.old_size) == proof
    verify_consistency(PUBLISHED_ROOTS[proof.old_size], PUBLISHED_ROOTS[proof.new_size], proof)


@given(SIZES)
def test_roots_are_those_of_the_definition(size: int) -> None:
    expected = by_definition(LEAVES[:size])
    assert merkle_root(LEAVES[:size]) == expected
    assert MerkleLog(LEAVES).root_at(size) == expected


def test_every_small_proof_is_that_of_the_definition() -> None:
    """L4: exhaustive below 20 leaves, proofs served from a log that has grown further."""
    log = MerkleLog(LEAVES)
    for size in range(1, 20):
        leaves, root = LEAVES[:size], log.root_at(size)
        for index in range(size):
            proof = log.inclusion_proof(index, size)
            assert list(proof.path) == inclusion_by_definition(index, leaves)
            verify_inclusion(leaves[index], proof, root)
        for old in range(1, size + 1):
            consistency = log.consistency_proof(old, size)
            assert list(consistency.path) == consistency_by_definition(old, leaves)
            verify_consistency(log.root_at(old), root, consistency)


@given(st.integers(1, len(LEAVES)), st.data())
def test_inclusion_binds_leaf_place_and_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = MerkleLog(LEAVES).inclusion_proof(index, size), by_definition(LEAVES[:size])
    verify_inclusion(LEAVES[index], proof, root)
    refused(leaf_hash(b"another"), proof, root)
    refused(LEAVES[index], proof, leaf_hash(b"another"))
    refused(LEAVES[index], replace(proof, path=(*proof.path, root)), root)
    refused(LEAVES[index], replace(proof, path=(root, *proof.path)), root)
    refused(LEAVES[index], replace(proof, leaf_index=size), root)
    for place in range(len(proof.path)):
        path = list(proof.path)
        refused(LEAVES[index], replace(proof, path=tuple(path[:place] + path[place + 1 :])), root)
        path[place] = bytes(32)
        refused(LEAVES[index], replace(proof, path=tuple(path)), root)
    for other in range(size):
        if other != index:
            refused(LEAVES[index], replace(proof, leaf_index=other), root)


@given(st.integers(1, len(LEAVES)), st.data())
def test_consistency_binds_both_trees(new: int, data: st.DataObject) -> None:
    """L4: nobody can take back or rewrite what a light client has seen."""
    old = data.draw(st.integers(1, new))
    proof = MerkleLog(LEAVES).consistency_proof(old, new)
    old_root, new_root = by_definition(LEAVES[:old]), by_definition(LEAVES[:new])
    verify_consistency(old_root, new_root, proof)
    refused_consistency(leaf_hash(b"another"), new_root, proof)
    refused_consistency(old_root, leaf_hash(b"another"), proof)
    refused_consistency(old_root, new_root, replace(proof, path=(*proof.path, new_root)))
    for place in range(len(proof.path)):
        path = list(proof.path)
        path[place] = bytes(32)
        refused_consistency(old_root, new_root, replace(proof, path=tuple(path)))
        refused_consistency(old_root, new_root, replace(proof, path=proof.path[:place]))


@given(st.integers(2, 60), st.data())
def test_a_rewritten_log_has_no_consistency_proof(size: int, data: st.DataObject) -> None:
    """L4: change one old leaf, and the new log's own proofs no longer start from the old root."""
    old, place = data.draw(st.integers(1, size - 1)), data.draw(st.integers(0, size - 1))
    rewritten = [*LEAVES[:place], leaf_hash(b"rewritten"), *LEAVES[place + 1 : size]]
    proof, roots = prove_consistency(rewritten, old), (by_definition(LEAVES[:old]), by_definition(rewritten))
    if place < old:
        refused_consistency(*roots, proof)
    else:
        verify_consistency(*roots, proof)


def test_a_leaf_is_never_an_inner_hash() -> None:
    """RFC 9162, 2.1.1: leaves and inner hashes have domains of their own, against second preimages."""
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_a_proof_does_not_serve_a_tree_of_another_height() -> None:
    """RFC 9162, 2.1.3.2 and 2.1.4.2: a path too long or too short fails, even where its hashes lead to the roots."""
    log = MerkleLog(LEAVES)
    refused(LEAVES[1], InclusionProof(0, 1, (LEAVES[0],)), log.root_at(2))
    refused(LEAVES[2], InclusionProof(2, 8, log.inclusion_proof(2, 4).path), log.root_at(4))
    tall, low = log.consistency_proof(7, 8), log.consistency_proof(3, 4)
    refused_consistency(log.root_at(7), log.root_at(8), ConsistencyProof(3, 4, tall.path))
    refused_consistency(log.root_at(3), log.root_at(4), ConsistencyProof(7, 8, low.path))
    refused_consistency(log.root_at(4), log.root_at(4), ConsistencyProof(8, 4, ()))


def test_sizes_that_cannot_be() -> None:
    root = merkle_root(LEAVES)
    refused(LEAVES[0], InclusionProof(0, 0, ()), EMPTY_ROOT)
    refused(LEAVES[0], InclusionProof(-1, 8, ()), LEAVES[0])
    refused(LEAVES[0], InclusionProof(0, 2**62, (LEAVES[1],)), node_hash(LEAVES[0], LEAVES[1]))
    refused_consistency(root, root, ConsistencyProof(5, 4, ()))
    refused_consistency(root, root, ConsistencyProof(-1, 4, ()))
    refused_consistency(LEAVES[0], root, ConsistencyProof(0, 4, ()))
    refused_consistency(EMPTY_ROOT, root, ConsistencyProof(0, 4, (root,)))
    refused_consistency(root, LEAVES[0], ConsistencyProof(4, 4, ()))
    refused_consistency(root, root, ConsistencyProof(4, 4, (root,)))
    refused_consistency(root, LEAVES[0], ConsistencyProof(3, 4, ()))
    verify_consistency(EMPTY_ROOT, root, ConsistencyProof(0, 4, ()))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3), (0, 301), (0, -1)])
def test_a_log_has_no_proof_of_what_it_lacks(index: int, size: int) -> None:
    with pytest.raises(InvalidArgument, match="NO_SUCH"):
        MerkleLog(LEAVES).inclusion_proof(index, size)


@pytest.mark.parametrize(("old", "new"), [(4, 3), (-1, 3), (1, 301)])
def test_a_log_has_no_consistency_of_what_it_lacks(old: int, new: int) -> None:
    with pytest.raises(InvalidArgument, match="NO_SUCH_SIZE"):
        MerkleLog(LEAVES).consistency_proof(old, new)


@given(st.integers(1, 200), st.integers(0))
def test_proofs_travel(size: int, index: int) -> None:
    log = MerkleLog(LEAVES)
    for proof in (log.inclusion_proof(index % size, size), log.consistency_proof(index % size, size)):
        assert decode(type(proof), encode(proof, make.CHAIN_ID), make.CHAIN_ID) == proof


def test_frozen_vectors() -> None:
    assert make.merkle() == make.read("merkle")
    for each in make.read("merkle"):
        log = [leaf_hash(index.to_bytes(4)) for index in range(each["size"])]
        assert by_definition(log).hex() == each["root"]


class GrowingLog(RuleBasedStateMachine):
    """A log beside the plain list of its leaves; old sizes keep their roots and proofs."""

    @initialize()
    def empty(self) -> None:
        """Starts with nothing."""
        self.log, self.leaves = MerkleLog(), list[bytes]()

    @rule(count=st.integers(0, 40))
    def extend(self, count: int) -> None:
        """Adds several leaves at once."""
        added = [leaf_hash(b"%d" % (len(self.leaves) + index)) for index in range(count)]
        self.log.extend(added)
        self.leaves += added

    @rule()
    def append(self) -> None:
        """Adds one leaf."""
        self.leaves.append(leaf_hash(b"one %d" % len(self.leaves)))
        self.log.append(self.leaves[-1])

    @rule(ends=st.lists(st.integers(0, 10**6), min_size=2, max_size=5))
    def link(self, ends: list[int]) -> None:
        """Proves some old sizes consistent with one another."""
        for old, new in pairwise(sorted(end % (len(self.leaves) + 1) for end in ends)):
            proof = self.log.consistency_proof(old, new)
            verify_consistency(merkle_root(self.leaves[:old]), merkle_root(self.leaves[:new]), proof)

    @invariant()
    def holds(self) -> None:
        """Root, leaves and inclusion are those of the plain list."""
        assert self.log.size == len(self.leaves)
        assert self.log.root() == by_definition(self.leaves)
        if self.leaves:
            index = len(self.leaves) // 3
            assert self.log.leaf_at(index) == self.leaves[index]
            verify_inclusion(self.leaves[index], self.log.inclusion_proof(index, self.log.size), self.log.root())


TestGrowingLog = GrowingLog.TestCase
