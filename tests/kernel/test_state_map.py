from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.state_map import PATH_MAX, MapLeaf, MapProof, StateMap, verify_absence, verify_presence
from tests.vectors import make

KEYS = st.binary(max_size=3)
MAPS = st.dictionaries(KEYS, st.binary(max_size=4), max_size=30)
HUNDRED = {b"key %d" % index: b"value %d" % index for index in range(100)}


def by_definition(content: dict[bytes, bytes]) -> bytes:
    """The root as the module's first lines say it, from nothing but the content."""
    leaves = {sha256(key).digest(): sha256(value).digest() for key, value in content.items()}
    return subtree("", {f"{int.from_bytes(key):0256b}": (key, value) for key, value in leaves.items()})


def subtree(prefix: str, leaves: dict[str, tuple[bytes, bytes]]) -> bytes:
    """The hash of the subtree of all paths that begin with `prefix`."""
    inside = {path: leaf for path, leaf in leaves.items() if path.startswith(prefix)}
    if not inside:
        return bytes(32)
    if len(inside) == 1:
        ((key_hash, value_hash),) = inside.values()
        return sha256(b"\x02" + key_hash + value_hash).digest()
    return sha256(b"\x03" + subtree(prefix + "0", inside) + subtree(prefix + "1", inside)).digest()


def absent(root: bytes, key: bytes, proof: MapProof) -> None:
    with pytest.raises(InvalidArgument, match="BAD_PROOF"):
        verify_absence(root, key, proof)


def present(root: bytes, key: bytes, value: bytes, proof: MapProof) -> None:
    with pytest.raises(InvalidArgument, match="BAD_PROOF"):
        verify_presence(root, key, value, proof)


def close_keys(bits: int) -> tuple[bytes, bytes]:
    """Two keys whose paths part only after `bits` bits."""
    seen: dict[int, bytes] = {}
    for number in count():
        key = b"close %d" % number
        prefix = int.from_bytes(sha256(key).digest()) >> (256 - bits)
        if prefix in seen:
            return seen[prefix], key
        seen[prefix] = key
    raise AssertionError


@given(MAPS)
def test_the_root_is_that_of_the_definition(content: dict[bytes, bytes]) -> None:
    """L4: state root."""
    assert StateMap().updated(content).root == by_definition(content)


@given(MAPS, st.randoms(use_true_random=False))
def test_the_root_does_not_know_the_order(content: dict[bytes, bytes], random: object) -> None:
    one_by_one = StateMap()
    keys = sorted(content)
    random.shuffle(keys)  # type: ignore[attr-defined]
    for key in keys:
        one_by_one = one_by_one.updated({key: content[key]})
    assert one_by_one.root == StateMap().updated(content).root


@given(MAPS, MAPS)
def test_a_deletion_leaves_no_trace(content: dict[bytes, bytes], visitors: dict[bytes, bytes]) -> None:
    """L4: the root after a deletion is the root of a map that never held the key."""
    visitors = {key: value for key, value in visitors.items() if key not in content}
    visited = StateMap().updated(content).updated(visitors)
    assert visited.updated(dict.fromkeys(visitors)).root == StateMap().updated(content).root
    assert visited.updated(dict.fromkeys({**content, **visitors})).root == bytes(32)


@given(MAPS, st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=8))
def test_old_versions_stay_as_they_were(content: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> None:
    """L4: a verdict at a height is judged by the state at that height."""
    old = StateMap().updated(content)
    new = old.updated(changes)
    expected = {key: value for key, value in {**content, **changes}.items() if value is not None}
    assert dict(old.items()) == content
    assert old.root == by_definition(content)
    assert dict(new.items()) == expected
    assert new.root == by_definition(expected)


@given(MAPS, KEYS)
def test_presence_and_absence_are_proven(content: dict[bytes, bytes], key: bytes) -> None:
    held = StateMap().updated(content)
    proof = held.prove(key)
    if key in content:
        assert held.get(key) == content[key]
        verify_presence(held.root, key, content[key], proof)
        present(held.root, key, content[key] + b"!", proof)
        absent(held.root, key, proof)
    else:
        assert held.get(key) is None
        verify_absence(held.root, key, proof)
        present(held.root, key, b"", proof)


@pytest.mark.parametrize("key", [b"key 0", b"key 57", b"nobody", b"nothing"])
def test_no_altered_proof_holds(key: bytes) -> None:
    held = StateMap().updated(HUNDRED)
    proof, root = held.prove(key), held.root
    siblings = proof.siblings
    altered = [replace(proof, siblings=siblings[:place] + siblings[place + 1 :]) for place in range(len(siblings))]
    altered += [
        replace(proof, siblings=(*siblings[:i], bytes(31) + b"\1", *siblings[i + 1 :])) for i in range(len(siblings))
    ]
    altered += [replace(proof, siblings=(*siblings, bytes(32))), replace(proof, siblings=(root, *siblings))]
    altered += [replace(proof, neighbour=MapLeaf(sha256(b"key 1").digest(), sha256(b"value 1").digest()))]
    for each in altered:
        absent(root, key, each)
        present(root, key, HUNDRED.get(key, b""), each)


def test_a_proof_of_presence_proves_no_absence() -> None:
    """L4: a revoked grant cannot be hidden by its own leaf."""
    held = StateMap().updated(HUNDRED)
    leaf = MapLeaf(sha256(b"key 7").digest(), sha256(b"value 7").digest())
    proof = held.prove(b"key 7")
    absent(held.root, b"key 7", proof)
    absent(held.root, b"key 7", replace(proof, neighbour=leaf))


def test_a_leaf_of_another_place_proves_nothing() -> None:
    """L4: the neighbour must share the path so far. The root is made for the forged proof, so only that check refuses."""
    key_hash = sha256(b"grant/1").digest()
    far = MapLeaf(bytes([key_hash[0] ^ 0x80]) + key_hash[1:], bytes(32))
    leaf = sha256(b"\x02" + far.key_hash + far.value_hash).digest()
    sides = (leaf, bytes(32)) if key_hash[0] < 0x80 else (bytes(32), leaf)
    absent(sha256(b"\x03" + b"".join(sides)).digest(), b"grant/1", MapProof((bytes(32),), far))
    verify_absence(leaf, b"grant/1", MapProof((), far))


def test_an_absent_key_is_not_present_at_its_neighbour() -> None:
    """L4: a leaf binds its whole key hash, not only the path to it."""
    only = StateMap().updated({b"key": b"value"})
    assert only.prove(b"other") == MapProof((), MapLeaf(sha256(b"key").digest(), sha256(b"value").digest()))
    present(only.root, b"other", b"value", MapProof((), None))
    verify_presence(only.root, b"key", b"value", MapProof((), None))


def test_too_long_a_path_is_refused() -> None:
    long = MapProof((bytes(32),) * (PATH_MAX + 1), None)
    absent(bytes(32), b"key", long)
    absent(bytes(32), b"key", replace(long, neighbour=MapLeaf(bytes(32), bytes(32))))
    present(bytes(32), b"key", b"", long)


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_paths_that_part_late(bits: int) -> None:
    one, other = close_keys(bits)
    held = StateMap().updated({one: b"1", other: b"2"})
    assert held.root == by_definition({one: b"1", other: b"2"})
    assert len(held.prove(one).siblings) > bits
    verify_presence(held.root, one, b"1", held.prove(one))
    verify_absence(held.root, b"elsewhere", held.prove(b"elsewhere"))
    alone = held.updated({one: None})
    assert alone.root == by_definition({other: b"2"})
    verify_absence(alone.root, one, alone.prove(one))


def test_the_empty_map() -> None:
    assert StateMap().root == bytes(32)
    assert StateMap().prove(b"key") == MapProof((), None)
    verify_absence(StateMap().root, b"key", MapProof((), None))
    present(StateMap().root, b"key", b"", MapProof((), None))
    assert StateMap().updated({b"key": None}).root == bytes(32)


def subtrees(held: StateMap) -> dict[int, object]:
    """Every subtree of a map, by its identity."""
    waiting, found = [held._tree], dict[int, object]()  # noqa: SLF001
    while waiting:
        each = waiting.pop()
        if each is not None:
            found[id(each)] = each
            waiting += [getattr(each, "left", None), getattr(each, "right", None)]
    return found


def test_untouched_subtrees_are_shared() -> None:
    """L4: an update costs one path, not a copy of the map."""
    old = StateMap().updated(HUNDRED)
    new = old.updated({b"key 0": b"new"})
    path = len(new.prove(b"key 0").siblings)
    made = subtrees(new).keys() - subtrees(old).keys()
    assert len(made) == path + 1
    assert old.updated({}).root == old.root


@given(MAPS, KEYS)
def test_proofs_travel(content: dict[bytes, bytes], key: bytes) -> None:
    proof = StateMap().updated(content).prove(key)
    assert decode(MapProof, encode(proof, make.CHAIN_ID), make.CHAIN_ID) == proof


def test_frozen_vectors() -> None:
    assert make.state_map() == make.read("state_map")
    for each in make.read("state_map"):
        content = {b"key/%d" % index: b"value %d" % index for index in range(each["size"])}
        assert by_definition(content).hex() == each["root"]


class MapBesideDict(RuleBasedStateMachine):
    """The map beside a plain dict, with every version kept."""

    @initialize()
    def empty(self) -> None:
        """Starts with nothing."""
        self.map, self.model = StateMap(), dict[bytes, bytes]()
        self.versions = [(self.map, self.map.root)]

    @rule(changes=st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=6))
    def update(self, changes: dict[bytes, bytes | None]) -> None:
        """Puts in and takes out several keys."""
        self.map = self.map.updated(changes)
        for key, value in changes.items():
            self.model.pop(key, None)
            if value is not None:
                self.model[key] = value
        self.versions.append((self.map, self.map.root))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Takes out a key that is there."""
        if self.model:
            self.update({data.draw(st.sampled_from(sorted(self.model))): None})

    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        """Goes on from an older version."""
        self.map, root = data.draw(st.sampled_from(self.versions))
        assert self.map.root == root
        self.model = dict(self.map.items())

    @rule(key=KEYS)
    def prove(self, key: bytes) -> None:
        """Proves a key present or absent."""
        proof = self.map.prove(key)
        if key in self.model:
            verify_presence(self.map.root, key, self.model[key], proof)
        else:
            verify_absence(self.map.root, key, proof)

    @invariant()
    def equals_the_dict(self) -> None:
        """Holds what the dict holds, under the root of the definition."""
        assert dict(self.map.items()) == self.model
        assert self.map.root == by_definition(self.model)


TestMapBesideDict = MapBesideDict.TestCase
