"""Append-only trees after RFC 9162 section 2.1, over SHA-256 (rule L4).

One tree shape serves the batch root (L2), the log, the results of a block and a ciphertext's chunks. A tree
hands out two kinds of proof: that a leaf stands at a place (inclusion), and that a longer tree only added
leaves (consistency). `MerkleLog` keeps the hash of every complete subtree, level by level, so appending costs
one hash per leaf on average and a root or a proof costs O(log n) look-ups and hashes.

Left out: where leaves come from, and who vouches for a root (`kernel.certificates`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar

from consilium.kernel.encoding import AtMost, Digest
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import DIGEST_BYTES

PATH_MAX = 63
"""The longest path of a tree whose size fits an encoded integer (2^63 - 1)."""
EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves (RFC 9162, 2.1.1)."""
COPIED_BYTES_MAX = 4_096
"""Up to so many bytes a leaf is copied behind its prefix to be hashed in one go, which is less work than two calls."""

_LEAF = b"\x00"
_INNER = b"\x01"


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That a leaf stands at `leaf_index` (from 0) in the tree of `tree_size` leaves (RFC 9162, 2.1.3)."""

    DOMAIN: ClassVar[str] = "consilium.inclusion-proof"
    leaf_index: int
    tree_size: int
    path: Annotated[tuple[Digest, ...], AtMost(PATH_MAX)]


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the tree of `new_size` leaves begins with the tree of `old_size` leaves (RFC 9162, 2.1.4)."""

    DOMAIN: ClassVar[str] = "consilium.consistency-proof"
    old_size: int
    new_size: int
    path: Annotated[tuple[Digest, ...], AtMost(PATH_MAX + 1)]


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf that holds `data` (RFC 9162, 2.1.1)."""
    if len(data) <= COPIED_BYTES_MAX:
        return sha256(_LEAF + data).digest()
    hasher = sha256(_LEAF)
    hasher.update(data)
    return hasher.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees joined (RFC 9162, 2.1.1)."""
    return sha256(_INNER + left + right).digest()


def merkle_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, in order; `EMPTY_ROOT` for none (RFC 9162, 2.1.1).

    Joining pairs level by level, an odd last subtree carried up, splits as the RFC does: at the largest power
    of two below the size.
    """
    level = list(leaf_hashes)
    while len(level) > 1:
        odd = level[-1:] if len(level) & 1 else []
        # Spelled out, not `node_hash`: this loop runs once for every transaction of every block.
        level = [sha256(_INNER + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)] + odd
    return level[0] if level else EMPTY_ROOT


def prove_inclusion(leaf_hashes: Sequence[bytes], index: int) -> InclusionProof:
    """The proof for the leaf at `index` of a tree given as a whole.

    Raises InvalidArgument: NO_SUCH_LEAF.
    """
    return MerkleLog(leaf_hashes).inclusion_proof(index, len(leaf_hashes))


def prove_consistency(leaf_hashes: Sequence[bytes], old_size: int) -> ConsistencyProof:
    """The proof that a tree given as a whole begins with its first `old_size` leaves.

    Raises InvalidArgument: NO_SUCH_SIZE.
    """
    return MerkleLog(leaf_hashes).consistency_proof(old_size, len(leaf_hashes))


def verify_inclusion(leaf: bytes, proof: InclusionProof, root: bytes) -> None:
    """Raise InvalidArgument (BAD_PROOF) unless the leaf stands where the proof says (RFC 9162, 2.1.3.2)."""
    place, last = proof.leaf_index, proof.tree_size - 1
    if not 0 <= place <= last:
        raise _refused("its leaf lies outside its tree")
    computed = leaf
    for sibling in proof.path:
        if last == 0:
            raise _refused("its path is too long")
        if place & 1 or place == last:
            computed = node_hash(sibling, computed)
            place, last = _skip_lone(place, last)
        else:
            computed = node_hash(computed, sibling)
        place, last = place >> 1, last >> 1
    if last != 0 or computed != root:
        raise _refused("it leads to another root")


def verify_consistency(old_root: bytes, new_root: bytes, proof: ConsistencyProof) -> None:
    """Raise InvalidArgument (BAD_PROOF) unless the new tree begins with the old one (RFC 9162, 2.1.4.2).

    Every tree begins with the empty tree, and with itself: both need an empty path and say nothing more.
    """
    old, new, path = proof.old_size, proof.new_size, proof.path
    if not 0 <= old <= new:
        raise _refused("its sizes shrink")
    if old in (0, new):
        if path or old_root != (new_root if old else EMPTY_ROOT):
            raise _refused("its roots or its path do not fit its sizes")
        return
    # A whole power of two is a subtree of the new tree, and so the proof need not repeat its root.
    steps = path if old & (old - 1) else (old_root, *path)
    if not steps:
        raise _refused("its path is too short")
    _verify_both(old_root, new_root, old - 1, new - 1, steps)


def _verify_both(old_root: bytes, new_root: bytes, place: int, last: int, steps: tuple[bytes, ...]) -> None:
    """Climb from the old tree's last subtree to both roots at once (RFC 9162, 2.1.4.2, steps 4 to 7)."""
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            raise _refused("its path is too long")
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            place, last = _skip_lone(place, last)
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    if last != 0 or old != old_root or new != new_root:
        raise _refused("it leads to other roots")


def _skip_lone(place: int, last: int) -> tuple[int, int]:
    """Past the levels where the right edge has no sibling and is carried up as it is."""
    while not place & 1 and place:
        place, last = place >> 1, last >> 1
    return place, last


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument("BAD_PROOF", f"The proof does not hold: {why}.", "L4")


class MerkleLog:
    """An append-only log of leaf hashes that serves roots and proofs for every size it ever had (L4)."""

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Sequence[bytes] = ()) -> None:
        # Level k holds the hashes of the complete subtrees of 2^k leaves, side by side: 64 bytes a leaf in
        # all.
        self._levels = [bytearray()]
        self.extend(leaf_hashes)

    @property
    def size(self) -> int:
        """How many leaves the log has."""
        return len(self._levels[0]) // DIGEST_BYTES

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf hash (32 bytes)."""
        self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Add leaf hashes (32 bytes each) in order."""
        added = b"".join(leaf_hashes)
        assert len(added) == DIGEST_BYTES * len(leaf_hashes), "a leaf hash has 32 bytes"
        self._levels[0] += added
        height = 0
        while _join_pairs(self._levels[height], self._level(height + 1)):
            height += 1

    def root(self) -> bytes:
        """The root over all leaves."""
        return self.root_at(self.size)

    def root_at(self, size: int) -> bytes:
        """The root as it was at `size` leaves.

        Raises InvalidArgument: NO_SUCH_SIZE.
        """
        self._check_size(size)
        root = b""
        for height in range(size.bit_length()):
            if size >> height & 1:  # a complete subtree, which all smaller ones stand to the right of
                peak = self._subtree(height, (size >> height) - 1)
                root = node_hash(peak, root) if root else peak
        return root or EMPTY_ROOT

    def leaf_at(self, index: int) -> bytes:
        """The leaf hash at `index`.

        Raises InvalidArgument: NO_SUCH_LEAF.
        """
        self._check_leaf(index, self.size)
        return self._subtree(0, index)

    def inclusion_proof(self, index: int, size: int) -> InclusionProof:
        """The proof that the leaf at `index` stands in the tree of the first `size` leaves.

        Raises InvalidArgument: NO_SUCH_SIZE or NO_SUCH_LEAF.
        """
        self._check_size(size)
        self._check_leaf(index, size)
        return InclusionProof(index, size, tuple(self._path(0, index, size)))

    def consistency_proof(self, old_size: int, new_size: int) -> ConsistencyProof:
        """The proof that the tree of `new_size` leaves begins with the tree of `old_size` leaves.

        Raises InvalidArgument: NO_SUCH_SIZE.
        """
        self._check_size(new_size)
        if not 0 <= old_size <= new_size:
            raise InvalidArgument("NO_SUCH_SIZE", f"{old_size} leaves are not within {new_size}.", "L4")
        if old_size in (0, new_size):
            return ConsistencyProof(old_size, new_size, ())
        # The old tree's last complete subtree: the place both trees are climbed from.
        level = (old_size & -old_size).bit_length() - 1
        place = (old_size >> level) - 1
        first = [self._subtree(level, place)] if place else []
        return ConsistencyProof(old_size, new_size, (*first, *self._path(level, place, new_size)))

    def _path(self, level: int, place: int, size: int) -> Iterator[bytes]:
        """The siblings from the subtree at (level, place) up to the root of the tree of `size` leaves."""
        for height, last, edge in self._right_edge(size):
            if height < level:
                continue
            sibling = (place >> (height - level)) ^ 1
            if sibling < last:
                yield self._subtree(height, sibling)
            elif sibling == last:
                yield edge

    def _right_edge(self, size: int) -> Iterator[tuple[int, int, bytes]]:
        """Level by level, the last subtree's place and hash in the tree of `size` leaves, complete or not."""
        height, last, edge = 0, size - 1, self._subtree(0, size - 1)
        yield height, last, edge
        while last:
            if size % (2 << height) == 0:
                edge = self._subtree(height + 1, last >> 1)
            elif last & 1:
                edge = node_hash(self._subtree(height, last - 1), edge)
            height, last = height + 1, last >> 1
            yield height, last, edge

    def _level(self, height: int) -> bytearray:
        if height == len(self._levels):
            self._levels.append(bytearray())
        return self._levels[height]

    def _subtree(self, level: int, place: int) -> bytes:
        start = place * DIGEST_BYTES
        return bytes(self._levels[level][start : start + DIGEST_BYTES])

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise InvalidArgument("NO_SUCH_SIZE", f"The log has {self.size} leaves, not {size}.", "L4")

    def _check_leaf(self, index: int, size: int) -> None:
        if not 0 <= index < size:
            raise InvalidArgument("NO_SUCH_LEAF", f"There is no leaf {index} among {size}.", "L4")


def _join_pairs(level: bytearray, above: bytearray) -> bool:
    """Add to the level above what the level below has completed since; whether anything was."""
    size_before = len(above)
    for start in range(2 * len(above), len(level) - 2 * DIGEST_BYTES + 1, 2 * DIGEST_BYTES):
        above += sha256(_INNER + level[start : start + 2 * DIGEST_BYTES]).digest()
    return len(above) > size_before
