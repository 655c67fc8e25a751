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
        slots, place, _ = self._find(key)
        return (slots[place] & _NUMBER_MASK) - 1 if slots[place] else None

    def put(self, key: bytes, number: int) -> None:
        """Give a key this number, in place of the one that it had."""
        slots, place, part = self._find(key)
        if not slots[place]:
            self._counts[part] += 1
            if 2 * self._counts[part] > len(slots):
                self._parts[part] = _grown(slots)
                slots, place, _ = self._find(key)
        slots[place] = (hash(key) & _MARK_MASK) << _NUMBER_BITS | (number + 1)

    def _find(self, key: bytes) -> tuple["array[int]", int, int]:
        """The slots, the place among them where a key stands or may stand, and the number of their part."""
        hashed = hash(key)
        mark, part = hashed & _MARK_MASK, hashed >> _MARK_BITS & _PART_MASK
        slots = self._parts[part]
        last = len(slots) - 1
        place = mark & last
        while slot := slots[place]:
            if slot >> _NUMBER_BITS == mark and self._key_at((slot & _NUMBER_MASK) - 1) == key:
                break
            place = (place + 1) & last
        return slots, place, part


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
