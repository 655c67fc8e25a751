"""The rows of what a member stores, as another release or a hostile hand left them (S2)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import DataLoss, FailedPrecondition
from consilium.storage.holdings import Backup, Holding, Holdings, HoldingState
from tests.stores.objects import record_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NAMES = ("one", "two", "three")
COLUMNS = ("record_id", "home", "writer", "size_class", "bytes", "begun_s", "state", "root", "keepers", "digest")


def holding(name: str) -> Holding:
    """A complete object of a writer."""
    state, root = HoldingState.COMPLETE, name.encode() * 8
    return Holding(record_id(name), f"home of {name}", "writer", 4, 1_000, 7, state, root, (f"keeper of {name}",))


@pytest.fixture
def holdings(tmp_path: Path) -> Holdings:
    """Three rows."""
    made = Holdings.create(tmp_path / "holdings.db")
    for name in NAMES:
        made.write(holding(name))
    return made


def edited(holdings: Holdings, statement: str, *values: object) -> None:
    """Change rows behind the store's back."""
    with holdings._database.transaction() as connection:  # noqa: SLF001  held alone
        connection.execute(statement, values)


def pages(holdings: Holdings, size: int) -> Iterator[Holding]:
    """All that are complete."""
    page = holdings.complete(b"", size)
    while page:
        yield from page
        page = holdings.complete(page[-1].record_id, size)


def spoilt(value: object) -> list[object]:
    """A value with a bit flipped, cut, and gone."""
    if isinstance(value, int):
        return [value ^ 1, value ^ 2**40, 0]
    data = value if isinstance(value, bytes) else str(value).encode()
    changed = [bytes([data[0] ^ 1, *data[1:]]), bytes([data[0] ^ 0x80, *data[1:]]), data[:-1], b""]
    return [each if isinstance(value, bytes) else bytearray(each) for each in changed]


@pytest.mark.parametrize("column", COLUMNS)
def test_s2_a_row_changed_in_any_column_is_never_believed(holdings: Holdings, column: str) -> None:
    """It is left out of lists, which go on behind it, and is noted again by who knows better."""
    bad = record_id("two")
    [(kept,)] = holdings._database.rows(f"SELECT {column} FROM holdings WHERE record_id = ?", bad)  # noqa: S608, SLF001
    for value in spoilt(kept):
        is_text = isinstance(kept, str)
        change = f"UPDATE holdings SET {column} = {'CAST(? AS TEXT)' if is_text else '?'} WHERE record_id = ?"  # noqa: S608
        edited(holdings, change, value, bad)
        found = value if column == "record_id" else bad
        assert isinstance(found, bytes)
        with pytest.raises(DataLoss, match="BAD_HOLDING"):
            holdings.find(found)
        assert holdings.find_sound(found) is None
        for size in (1, 2, 9):
            assert list(pages(holdings, size)) == sorted(map(holding, ("one", "three")), key=lambda each: each.record_id)
        assert holdings.drafts(2**62) == holdings.erased() == []
        if column == "record_id":
            edited(holdings, "DELETE FROM holdings WHERE record_id = ?", found)
            holdings.write(holding("two"))
            continue
        holdings.begin_again(holding("two"), 3_000)
        holdings.write(holding("two"))
        assert (holdings.find(bad), holdings.bytes_by("writer")) == (holding("two"), 3_000)


def test_s2_rows_swapped_are_never_believed(holdings: Holdings) -> None:
    one, two, between = record_id("one"), record_id("two"), bytes(16)
    for now, then in ((one, between), (two, one), (between, two)):
        edited(holdings, "UPDATE holdings SET record_id = ? WHERE record_id = ?", then, now)
    for each in (one, two):
        with pytest.raises(DataLoss, match="BAD_HOLDING"):
            holdings.read(each)
    assert holdings.complete(b"", 9) == [holding("three")]


def test_s2_what_writers_have_is_added_up_anew(holdings: Holdings) -> None:
    """A sum that changed would refuse a writer, or let one have more than its quota; so would one that was lost."""
    had = holdings.bytes_by("writer")
    assert (had > 0, holdings.sum_up()) == (True, False)
    for change in ("UPDATE used SET bytes = 2000000000000", "UPDATE used SET bytes = 'x'", "DELETE FROM used"):
        edited(holdings, change)
        assert holdings.sum_up()
        assert (holdings.bytes_by("writer"), holdings.sum_up()) == (had, False)
    edited(holdings, "UPDATE holdings SET writer = CAST(x'ff' AS TEXT) WHERE record_id = ?", record_id("two"))
    assert (holdings.sum_up(), holdings.sum_up(), holdings.bytes_by("writer")) == (True, False, had - 1_000)
    holdings.begin_again(holding("two"), None)
    assert holdings.bytes_by("writer") == had
    edited(holdings, "INSERT INTO used VALUES ('stranger', 5)")
    assert (holdings.sum_up(), holdings.bytes_by("stranger")) == (True, 0)


@pytest.mark.parametrize("column", ["taken_ms", "height", "bytes_added", "objects", "damaged", "digest"])
def test_s10_word_of_a_backup_that_changed_is_not_believed(holdings: Holdings, column: str) -> None:
    """Nobody is told that there is one; the next is noted in its place."""
    backup = Backup(1_700_000_000_000, 7, 1_234, 5, 1)
    holdings.note_backup(backup)
    assert holdings.last_backup() == backup
    for value in ("4611686018427387904", "x'ff'", "'x'", "CAST(x'ff' AS TEXT)"):
        edited(holdings, f"UPDATE backups SET {column} = {value}")  # noqa: S608
        assert holdings.last_backup() is None
        holdings.note_backup(backup)
        assert holdings.last_backup() == backup


@pytest.mark.parametrize("table", ["used", "backups"])
def test_holdings_of_an_earlier_release_are_refused_with_what_to_do(tmp_path: Path, table: str) -> None:
    """At the start, and not at the first put; nor is the file held then."""
    path = tmp_path / "holdings.db"
    Holdings.create(path).close()
    Holdings.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TABLE {table}")
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=r"consilium storage heal.*STORE_OLDER"):
            Holdings.open(path)
