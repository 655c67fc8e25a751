"""The SQLite file under the stores: created once, opened ever after, synced at every commit."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, ResourceExhausted
from consilium.runtime.database import Database

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "CREATE TABLE rows (key BLOB PRIMARY KEY);CREATE TABLE more (key BLOB)"


def add(database: Database, *keys: bytes) -> None:
    with database.transaction() as connection:
        for key in keys:
            connection.execute("INSERT INTO rows VALUES (?)", (key,))


def keys(database: Database) -> list[bytes]:
    return [row[0] for row in database.rows("SELECT key FROM rows ORDER BY key")]


def test_create_and_open_never_stand_in_for_each_other(tmp_path: Path) -> None:
    """A missing store is a loss; it is never quietly replaced by an empty one."""
    path = tmp_path / "rows.db"
    with pytest.raises(DataLoss, match="STORE_MISSING"):
        Database.open(path)
    assert not path.exists()
    Database.create(path, SCHEMA).close()
    with pytest.raises(Conflict, match="STORE_EXISTS"):
        Database.create(path, SCHEMA)


def test_what_a_crash_left_half_made_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    (tmp_path / "rows.db.new").write_bytes(b"half of something")
    with pytest.raises(DataLoss, match="STORE_MISSING"):
        Database.open(path)
    database = Database.create(path, SCHEMA)
    add(database, b"a")
    assert keys(database) == [b"a"]
    assert not (tmp_path / "rows.db.new").exists()


def test_every_commit_is_synced_and_deleted_bytes_are_overwritten(tmp_path: Path) -> None:
    """Reference reliability.md section 6: WAL with synchronous = FULL (2), not NORMAL."""
    database = Database.create(tmp_path / "rows.db", SCHEMA)
    settings = {
        name: database.rows(f"PRAGMA {name}")[0][0]
        for name in ("synchronous", "journal_mode", "secure_delete", "locking_mode")
    }
    assert settings == {"synchronous": 2, "journal_mode": "wal", "secure_delete": 1, "locking_mode": "exclusive"}


def test_a_transaction_happens_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    database = Database.create(tmp_path / "rows.db", SCHEMA)
    add(database, b"a")
    with pytest.raises(sqlite3.IntegrityError):
        add(database, b"b", b"a")
    assert keys(database) == [b"a"]
    add(database, b"b")
    database.close()
    assert keys(Database.open(tmp_path / "rows.db")) == [b"a", b"b"]


def test_a_second_holder_is_refused(tmp_path: Path) -> None:
    first = Database.create(tmp_path / "rows.db", SCHEMA)
    with pytest.raises(FailedPrecondition, match="LOCKED"):
        Database.open(tmp_path / "rows.db")
    first.close()
    Database.open(tmp_path / "rows.db").close()


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    Database.create(path, SCHEMA).close()
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(DataLoss, match="STORE_DAMAGED"):
        Database.open(path)


def test_a_damaged_page_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    database = Database.create(path, SCHEMA)
    for number in range(300):
        add(database, number.to_bytes(100, "big"))
    database.close()
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    damaged = Database.open(path)
    with pytest.raises(DataLoss, match="STORE_DAMAGED"):
        keys(damaged)


def test_a_full_store_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    database = Database.create(tmp_path / "rows.db", SCHEMA)
    database.rows("PRAGMA max_page_count = 6")
    with pytest.raises(ResourceExhausted, match="DISK_FULL"):
        add(database, bytes(100_000))
    add(database, b"a")
    assert keys(database) == [b"a"]
