"""Where the entries of a long table stand, by their keys: numbers in place of objects (habit 8).

A dictionary with keys of bytes takes some 150 bytes an entry; this takes 16 to 32, for the keys lie in the table anyhow and
are read from there. Open addressing with linear probing, at most half full; in 256 parts, so that no block waits for all of
it to grow. Python's own hash is salted in each process, so nobody can choose keys that meet, and no result shows it (L8).
"""

from array import array
from collections.abc import Callable

_PARTS_BITS, _MARK_BITS, _NUMBER_BITS = 8, 24, 40
_PART_MASK, _MARK_MASK, _NUMBER_MASK = (1 << _PARTS_BITS) - 1, (1 << _MARK_BITS) - 1, (1 << _NUMBER_BITS) - 1
_SLOT_BYTES, _SLOTS_MIN = 8, 8


class CompactIndex:
    """Numbers from 0 by key; `key_at` gives the key of a number that is in it."""

    __slots__ = ("_counts", "_key_at", "_parts")

    def __init__(self, key_at: Callable[[int], bytes]) -> None:
        self._key_at = key_at
        # A slot holds some bits of a key's hash above its number and one: 0 is a free slot.
        self._parts = [array("Q", bytes(_SLOT_BYTES * _SLOTS_MIN)) for _ in range(1 << _PARTS_BITS)]
        self._counts = [0] * (1 << _PARTS_BITS)

    def get(self, key: bytes) -> int | None:
        """The number of a key, or None."""
        hashed = hash(key)
        mark, slots = hashed & _MARK_MASK, self._parts[hashed >> _MARK_BITS & _PART_MASK]
        last = len(slots) - 1
        place = mark & last
        while slot := slots[place]:
            if slot >> _NUMBER_BITS == mark and self._key_at((slot & _NUMBER_MASK) - 1) == key:
                return (slot & _NUMBER_MASK) - 1
            place = (place + 1) & last
        return None

    def put(self, key: bytes, number: int) -> None:
        """Take in a key that is not there."""
        hashed = hash(key)
        part = hashed >> _MARK_BITS & _PART_MASK
        slots, count = self._parts[part], self._counts[part]
        if 2 * count >= len(slots):
            slots = self._parts[part] = _grown(slots)
        self._counts[part] = count + 1
        mark, last = hashed & _MARK_MASK, len(slots) - 1
        place = mark & last
        while slots[place]:
            place = (place + 1) & last
        slots[place] = mark << _NUMBER_BITS | (number + 1)

    def move(self, key: bytes, number: int) -> None:
        """Give a key that is there another number."""
        hashed, before = hash(key), self.get(key)
        assert before is not None, "only what is there moves"
        mark, slots = hashed & _MARK_MASK, self._parts[hashed >> _MARK_BITS & _PART_MASK]
        place, last, found = mark & len(slots) - 1, len(slots) - 1, mark << _NUMBER_BITS | (before + 1)
        while slots[place] != found:
            place = (place + 1) & last
        slots[place] = mark << _NUMBER_BITS | (number + 1)


def _grown(slots: "array[int]") -> "array[int]":
    """The same slots with twice the room."""
    grown = array("Q", bytes(2 * _SLOT_BYTES * len(slots)))
    last = len(grown) - 1
    for slot in filter(None, slots):
        place = slot >> _NUMBER_BITS & last
        while grown[place]:
            place = (place + 1) & last
        grown[place] = slot
    return grown
