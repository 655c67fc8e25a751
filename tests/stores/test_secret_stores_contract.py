"""One contract for the stores of secrets, over both kinds of rows: put once, destroyed for ever (S2, S6, promise 6)."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, NotFound
from consilium.reencryption.store import KeyFragmentStore
from consilium.runtime.shreddable import DatabaseRows, MemoryRows, ShreddableRows
from consilium.storage.shredding import ShredSecretStore

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = b"1" * 16, b"2" * 16
SECRET = bytes(range(64, 96))
OTHER_SECRET = bytes(range(96, 128))
SEALING_KEY = b"k" * 32
KFRAG = b"a key fragment is some 260 bytes long " * 7


class Place(ABC):
    """Where rows are kept, and what may happen to them there."""

    rows: ShreddableRows

    @abstractmethod
    def restart(self) -> ShreddableRows:
        """End the process and open the rows again."""

    @abstractmethod
    def swap_in(self, values: dict[bytes, bytes]) -> None:
        """Change all kept values behind the store's back."""


class MemoryPlace(Place):
    """A simulated member's memory; a restart keeps it."""

    def __init__(self) -> None:
        self.rows: MemoryRows = MemoryRows()

    def restart(self) -> ShreddableRows:
        """As a `Place` does."""
        return self.rows

    def swap_in(self, values: dict[bytes, bytes]) -> None:
        """As a `Place` does."""
        self.rows._values = values  # noqa: SLF001  no other way to damage memory


class DatabasePlace(Place):
    """A file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "secrets.db"
        self.rows: DatabaseRows = DatabaseRows.create(self.path)

    def restart(self) -> ShreddableRows:
        """As a `Place` does."""
        self.rows.close()
        self.rows = DatabaseRows.open(self.path)
        return self.rows

    def swap_in(self, values: dict[bytes, bytes]) -> None:
        """As a `Place` does."""
        self.rows.close()
        connection = sqlite3.connect(self.path)
        connection.execute("DELETE FROM kept")
        connection.executemany("INSERT INTO kept VALUES (?, ?)", values.items())
        connection.commit()
        connection.close()
        self.rows = DatabaseRows.open(self.path)


@pytest.fixture(params=["memory", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return MemoryPlace() if request.param == "memory" else DatabasePlace(tmp_path)


def fragments(rows: ShreddableRows, holder: str = "hospital-a") -> KeyFragmentStore:
    """The key fragments of a member over these rows."""
    return KeyFragmentStore(rows, SEALING_KEY, holder)


def flip(data: bytes, place: int) -> bytes:
    """Flip one bit."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_s2_a_secret_is_kept(place: Place) -> None:
    store = ShredSecretStore(place.rows)
    store.put(TWO, OTHER_SECRET)
    store.put(ONE, SECRET)
    store.put(ONE, SECRET)
    again = ShredSecretStore(place.restart())
    assert (again.read(ONE), again.read(TWO)) == (SECRET, OTHER_SECRET)
    assert again.record_ids() == [ONE, TWO]
    with pytest.raises(NotFound, match="NOT_STORED"):
        again.read(b"3" * 16)


def test_s2_a_record_has_one_secret(place: Place) -> None:
    store = ShredSecretStore(place.rows)
    store.put(ONE, SECRET)
    with pytest.raises(Conflict, match="ALREADY_STORED"):
        store.put(ONE, OTHER_SECRET)
    assert store.read(ONE) == SECRET


def test_promise_6_a_destroyed_secret_stays_destroyed(place: Place) -> None:
    store = ShredSecretStore(place.rows)
    store.put(ONE, SECRET)
    store.put(TWO, OTHER_SECRET)
    store.destroy(ONE)
    store.destroy(ONE)
    for _ in range(2):
        with pytest.raises(NotFound, match="DESTROYED"):
            store.read(ONE)
        with pytest.raises(Conflict, match="DESTROYED"):
            store.put(ONE, SECRET)
        assert store.record_ids() == [TWO]
        assert place.rows.destroyed() == [ONE]
        assert store.read(TWO) == OTHER_SECRET
        store = ShredSecretStore(place.restart())


def test_promise_6_what_was_never_here_can_be_destroyed_in_advance(place: Place) -> None:
    store = ShredSecretStore(place.rows)
    store.destroy(ONE)
    with pytest.raises(Conflict, match="DESTROYED"):
        store.put(ONE, SECRET)


def test_promise_6_a_row_that_comes_back_is_not_served(place: Place) -> None:
    store = ShredSecretStore(place.rows)
    store.put(ONE, SECRET)
    kept = place.rows.read(ONE)
    store.destroy(ONE)
    place.swap_in({ONE: kept})
    with pytest.raises(NotFound, match="DESTROYED"):
        ShredSecretStore(place.rows).read(ONE)


def test_s2_a_changed_secret_is_never_returned(place: Place) -> None:
    ShredSecretStore(place.rows).put(ONE, SECRET)
    row = place.rows.read(ONE)
    for offset in range(len(row)):
        place.swap_in({ONE: flip(row, offset)})
        with pytest.raises(DataLoss, match="BAD_SECRET"):
            ShredSecretStore(place.rows).read(ONE)
    place.swap_in({ONE: row})
    assert ShredSecretStore(place.rows).read(ONE) == SECRET


def test_s9_a_damaged_secret_is_mended_and_a_destroyed_one_is_not(place: Place) -> None:
    ShredSecretStore(place.rows).put(ONE, SECRET)
    place.swap_in({ONE: flip(place.rows.read(ONE), 5)})
    ShredSecretStore(place.rows).mend(ONE, SECRET)
    store = ShredSecretStore(place.restart())
    assert store.read(ONE) == SECRET
    store.destroy(ONE)
    with pytest.raises(Conflict, match="DESTROYED"):
        store.mend(ONE, SECRET)
    with pytest.raises(NotFound, match="DESTROYED"):
        ShredSecretStore(place.restart()).read(ONE)


@pytest.mark.parametrize("cut", [0, 31, 32, 63])
def test_s2_a_cut_secret_is_never_returned(place: Place, cut: int) -> None:
    ShredSecretStore(place.rows).put(ONE, SECRET)
    place.swap_in({ONE: place.rows.read(ONE)[:cut]})
    with pytest.raises(DataLoss, match="BAD_SECRET"):
        ShredSecretStore(place.rows).read(ONE)


def test_s2_swapped_secrets_are_never_returned(place: Place) -> None:
    store = ShredSecretStore(place.rows)
    store.put(ONE, SECRET)
    store.put(TWO, OTHER_SECRET)
    place.swap_in({ONE: place.rows.read(TWO), TWO: place.rows.read(ONE)})
    for record in (ONE, TWO):
        with pytest.raises(DataLoss, match="BAD_SECRET"):
            ShredSecretStore(place.rows).read(record)


def test_s4_a_fragment_is_kept_sealed(place: Place) -> None:
    fragments(place.rows).put(ONE, KFRAG)
    fragments(place.rows).put(ONE, KFRAG)
    again = fragments(place.restart())
    assert again.read(ONE) == KFRAG
    assert again.grant_ids() == [ONE]
    assert KFRAG[:8] not in place.rows.read(ONE)
    with pytest.raises(NotFound, match="NOT_STORED"):
        again.read(TWO)


def test_s4_a_grant_has_one_fragment_per_holder(place: Place) -> None:
    store = fragments(place.rows)
    store.put(ONE, KFRAG)
    with pytest.raises(Conflict, match="ALREADY_STORED"):
        store.put(ONE, KFRAG + b"!")
    assert store.read(ONE) == KFRAG


def test_s6_a_deleted_fragment_stays_deleted(place: Place) -> None:
    store = fragments(place.rows)
    store.put(ONE, KFRAG)
    store.delete(ONE)
    store.delete(ONE)
    again = fragments(place.restart())
    with pytest.raises(NotFound, match="DESTROYED"):
        again.read(ONE)
    with pytest.raises(Conflict, match="DESTROYED"):
        again.put(ONE, KFRAG)
    assert again.grant_ids() == []


def test_s4_a_fragment_opens_only_in_its_place(place: Place) -> None:
    """Moved to another grant, another member or under another key, it is DataLoss; so it is with any byte changed."""
    fragments(place.rows).put(ONE, KFRAG)
    row = place.rows.read(ONE)
    strangers = [fragments(place.rows, "hospital-b"), KeyFragmentStore(place.rows, b"K" * 32, "hospital-a")]
    for stranger in strangers:
        with pytest.raises(DataLoss, match="BAD_FRAGMENT"):
            stranger.read(ONE)
    place.swap_in({TWO: row})
    with pytest.raises(DataLoss, match="BAD_FRAGMENT"):
        fragments(place.rows).read(TWO)
    for bad in [flip(row, offset) for offset in range(0, len(row), 7)] + [row[:-1], row[:12], row[:5], b""]:
        place.swap_in({ONE: bad})
        with pytest.raises(DataLoss, match="BAD_FRAGMENT"):
            fragments(place.rows).read(ONE)


# --- the database only ---


def test_promise_6_a_destroyed_secret_is_in_no_file(tmp_path: Path) -> None:
    place = DatabasePlace(tmp_path)
    store = ShredSecretStore(place.rows)
    for number in range(50):
        store.put(number.to_bytes(16, "big"), SECRET if number == 7 else bytes([number]) * 32)

    def holding() -> list[str]:
        return sorted(each.name for each in tmp_path.iterdir() if SECRET in each.read_bytes())

    assert holding() != []
    store.destroy((7).to_bytes(16, "big"))
    assert holding() == []
    place.restart()
    assert holding() == []


def test_promise_6_a_crash_before_the_overwriting_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    """The row is deleted and the process ends before the write-ahead log is emptied."""
    place = DatabasePlace(tmp_path)
    ShredSecretStore(place.rows).put(ONE, SECRET)
    place.rows._database.forget = lambda: None  # type: ignore[method-assign]  # noqa: SLF001  the crash
    ShredSecretStore(place.rows).destroy(ONE)
    copies = tmp_path / "after the crash"
    copies.mkdir()
    for each in ("secrets.db", "secrets.db-wal"):
        (copies / each).write_bytes((tmp_path / each).read_bytes())
    assert any(SECRET in each.read_bytes() for each in copies.iterdir())
    rows = DatabaseRows.open(copies / "secrets.db")
    assert not any(SECRET in each.read_bytes() for each in copies.iterdir())
    with pytest.raises(NotFound, match="DESTROYED"):
        ShredSecretStore(rows).read(ONE)


def test_rows_are_open_in_one_place_only(tmp_path: Path) -> None:
    place = DatabasePlace(tmp_path)
    with pytest.raises(FailedPrecondition, match="LOCKED"):
        DatabaseRows.open(place.path)
    place.rows.put(ONE, b"still works")
