"""The index of long tables holds what a dictionary would, in a fraction of the room (habit 8)."""

from __future__ import annotations

import pytest

from consilium.ledger.core.compact_index import CompactIndex
from tests.alliance import seed_of

MANY = 20_000


@pytest.fixture
def keys() -> list[bytes]:
    return [seed_of(f"key {number}") for number in range(MANY)]


def test_it_holds_what_a_dictionary_would(keys: list[bytes]) -> None:
    """Through every growth of its parts; keys that are not there are not found."""
    index = CompactIndex(keys.__getitem__)
    for number, key in enumerate(keys):
        assert index.get(key) is None
        index.put(key, number)
        assert index.get(key) == number
    assert [index.get(key) for key in keys] == list(range(MANY))
    assert all(index.get(seed_of(f"stranger {number}")) is None for number in range(MANY))


def test_a_key_may_get_another_number(keys: list[bytes]) -> None:
    """As a transaction does that was ordered a second time (L6)."""
    twice = keys + keys
    index = CompactIndex(twice.__getitem__)
    for number, key in enumerate(keys):
        index.put(key, number)
    for number, key in enumerate(keys[::2]):
        index.put(key, MANY + 2 * number)
    expected = [number if number % 2 else MANY + number for number in range(MANY)]
    assert [index.get(key) for key in keys] == expected


def test_keys_whose_hashes_begin_alike_are_told_apart() -> None:
    """They meet in one part and one place; the whole key decides."""

    class Meeting(bytes):
        """A key that hashes like all others."""

        def __hash__(self) -> int:
            return 1

    keys = [Meeting(seed_of(f"{number}")) for number in range(200)]
    index = CompactIndex(keys.__getitem__)
    for number, key in enumerate(keys):
        index.put(key, number)
    assert [index.get(key) for key in keys] == list(range(200))
    assert index.get(Meeting(b"another")) is None
