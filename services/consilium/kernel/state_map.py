"""The authenticated map: one root over many keys, with proofs of presence and of absence (rule L4).

A compact sparse Merkle tree. A key's path is the bits of its SHA-256, the highest first. An empty subtree is
32 zero bytes, a subtree with one leaf is that leaf's hash, any other is the hash of its two halves; so the
root depends on what the map holds and never on the order it came in, and a deletion gives the root of a map
that never held the key. A leaf's hash binds the whole hash of its key, so a leaf proves nothing about a
neighbour that shares its place.

`StateMap` is a value: an update returns another map that shares all untouched subtrees, and the old one stays
as it was. Paths are as deep as hashes agree: with keys anyone can choose, that is some 60 to 80 bits at the
price of that many bits of work, and never more than 256; recursion here is as deep as that, and no deeper.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar, NamedTuple

from consilium.kernel.encoding import AtMost, Digest
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST

PATH_MAX = 256
"""The bits of a path, and so the most siblings a proof may carry."""

# Other prefixes than a log's (0 and 1), so that no hash of one tree ever stands in the other.
_LEAF = b"\x02"
_INNER = b"\x03"


@dataclass(frozen=True, slots=True)
class MapLeaf:
    """What a leaf's hash binds: the hash of its key and the hash of its value."""

    key_hash: Digest
    value_hash: Digest


@dataclass(frozen=True, slots=True)
class MapProof:
    """What a key's path ends in: the siblings from the root down, and the other leaf found there, if one was.

    For a key that is there, `neighbour` is None and the path ends in its own leaf.
    """

    DOMAIN: ClassVar[str] = "consilium.map-proof"
    siblings: Annotated[tuple[Digest, ...], AtMost(PATH_MAX)]
    neighbour: MapLeaf | None


class _Leaf(NamedTuple):
    key_hash: bytes
    key: bytes
    value: bytes
    hash: bytes


class _Branch(NamedTuple):
    left: "_Subtree"
    right: "_Subtree"
    hash: bytes


_Subtree = _Leaf | _Branch | None
_Change = tuple[bytes, _Leaf | None]


def verify_presence(root: bytes, key: bytes, value: bytes, proof: MapProof) -> None:
    """Raise InvalidArgument (BAD_PROOF) unless the map with this root holds `value` under `key`."""
    if proof.neighbour is not None:
        raise _refused("it proves an absence")
    key_hash = sha256(key).digest()
    _verify_path(root, key_hash, _leaf_hash(key_hash, sha256(value).digest()), _siblings(proof))


def verify_absence(root: bytes, key: bytes, proof: MapProof) -> None:
    """Raise InvalidArgument (BAD_PROOF) unless the map with this root holds nothing under `key`.

    The path must end in nothing, or in another key's leaf that shares the path so far: were the key there
    too, the two would part further down.
    """
    key_hash = sha256(key).digest()
    ending, neighbour, siblings = ZERO_DIGEST, proof.neighbour, _siblings(proof)
    if neighbour is not None:
        if neighbour.key_hash == key_hash or not _agree(neighbour.key_hash, key_hash, len(siblings)):
            raise _refused("its leaf is the key's own, or stands elsewhere")
        ending = _leaf_hash(neighbour.key_hash, neighbour.value_hash)
    _verify_path(root, key_hash, ending, siblings)


def _siblings(proof: MapProof) -> tuple[bytes, ...]:
    if len(proof.siblings) > PATH_MAX:
        raise _refused("its path is too long")
    return proof.siblings


def _verify_path(root: bytes, key_hash: bytes, ending: bytes, siblings: tuple[bytes, ...]) -> None:
    """Climb from the path's ending to the root."""
    computed = ending
    for depth in range(len(siblings) - 1, -1, -1):
        sibling = siblings[depth]
        computed = _inner_hash(sibling, computed) if _bit(key_hash, depth) else _inner_hash(computed, sibling)
    if computed != root:
        raise _refused("it leads to another root")


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument("BAD_PROOF", f"The proof does not hold: {why}.", "L4")


class StateMap:
    """A map from bytes to bytes as a persistent value; `StateMap()` is the empty one (L4)."""

    __slots__ = ("_tree",)

    def __init__(self) -> None:
        self._tree: _Subtree = None

    @property
    def root(self) -> bytes:
        """The hash that stands for everything the map holds; 32 zero bytes when it is empty."""
        return _hash_of(self._tree)

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        ending, _ = self._descend(sha256(key).digest())
        return ending.value if ending is not None and ending.key == key else None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, in the order of the keys' hashes."""
        waiting = [self._tree]
        while waiting:
            subtree = waiting.pop()
            if isinstance(subtree, _Leaf):
                yield subtree.key, subtree.value
            elif subtree is not None:
                waiting += [subtree.right, subtree.left]

    def updated(self, changes: Mapping[bytes, bytes | None]) -> "StateMap":
        """The map with these values put in and, where the value is None, these keys taken out.

        k changes in a map of n keys cost O(k log n) hashes.
        """
        ordered = sorted((_change(key, value) for key, value in changes.items()), key=_key_hash)
        result = StateMap()
        result._tree = _update(self._tree, ordered, 0)
        return result

    def prove(self, key: bytes) -> MapProof:
        """The proof that `key` is there, or that it is not."""
        key_hash = sha256(key).digest()
        ending, siblings = self._descend(key_hash)
        if ending is None or ending.key_hash == key_hash:
            return MapProof(siblings, None)
        return MapProof(siblings, MapLeaf(ending.key_hash, sha256(ending.value).digest()))

    def _descend(self, key_hash: bytes) -> tuple[_Leaf | None, tuple[bytes, ...]]:
        """What the path ends in, and the hashes beside it from the root down."""
        siblings: list[bytes] = []
        subtree = self._tree
        while isinstance(subtree, _Branch):
            to_right = _bit(key_hash, len(siblings))
            siblings.append(_hash_of(subtree.left if to_right else subtree.right))
            subtree = subtree.right if to_right else subtree.left
        return subtree, tuple(siblings)


def _change(key: bytes, value: bytes | None) -> _Change:
    key_hash = sha256(key).digest()
    if value is None:
        return key_hash, None
    return key_hash, _Leaf(key_hash, key, value, _leaf_hash(key_hash, sha256(value).digest()))


def _key_hash(change: _Change) -> bytes:
    return change[0]


def _update(subtree: _Subtree, changes: list[_Change], depth: int) -> _Subtree:
    """The subtree at `depth` after changes sorted by key hash, all of which lie in it."""
    if not changes:
        return subtree
    if not isinstance(subtree, _Branch):
        return _build(_with_existing(subtree, changes), depth)
    middle = _middle(changes, depth)
    left = _update(subtree.left, changes[:middle], depth + 1)
    right = _update(subtree.right, changes[middle:], depth + 1)
    return _join(left, right)


def _with_existing(leaf: _Leaf | None, changes: list[_Change]) -> list[_Change]:
    """The leaves that stand after the changes, sorted; `leaf` stays unless a change names its key."""
    kept = [change for change in changes if change[1] is not None]
    if leaf is not None and all(key_hash != leaf.key_hash for key_hash, _ in changes):
        kept = sorted([*kept, (leaf.key_hash, leaf)], key=_key_hash)
    return kept


def _build(leaves: list[_Change], depth: int) -> _Subtree:
    """The subtree at `depth` that holds exactly these leaves."""
    if not leaves:
        return None
    if len(leaves) == 1:
        return leaves[0][1]
    middle = _middle(leaves, depth)
    return _join(_build(leaves[:middle], depth + 1), _build(leaves[middle:], depth + 1))


def _middle(changes: list[_Change], depth: int) -> int:
    """Where the right half begins: changes are sorted and agree on all bits above `depth`."""
    low, high = 0, len(changes)
    while low < high:
        probe = (low + high) // 2
        if _bit(changes[probe][0], depth):
            high = probe
        else:
            low = probe + 1
    return low


def _join(left: _Subtree, right: _Subtree) -> _Subtree:
    """Two halves as one subtree; a lone leaf rises, so that the form depends on the content alone."""
    if left is None and not isinstance(right, _Branch):
        return right
    if right is None and not isinstance(left, _Branch):
        return left
    return _Branch(left, right, _inner_hash(_hash_of(left), _hash_of(right)))


def _hash_of(subtree: _Subtree) -> bytes:
    return ZERO_DIGEST if subtree is None else subtree.hash


def _leaf_hash(key_hash: bytes, value_hash: bytes) -> bytes:
    return sha256(_LEAF + key_hash + value_hash).digest()


def _inner_hash(left: bytes, right: bytes) -> bytes:
    return sha256(_INNER + left + right).digest()


def _bit(key_hash: bytes, depth: int) -> int:
    return key_hash[depth >> 3] >> (7 - (depth & 7)) & 1


def _agree(one: bytes, other: bytes, bits: int) -> bool:
    """Whether two hashes share their first `bits` bits."""
    return (int.from_bytes(one) ^ int.from_bytes(other)) >> (PATH_MAX - bits) == 0
