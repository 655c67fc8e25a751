"""Values that are put once, read often, and destroyed for ever (promise 6).

A key that was destroyed stays so: the same key is refused ever after, so a late or repeated put cannot undo an erasure.
Destroying overwrites the value in every file of the store before it returns. It cannot reach what lies below the files: a
flash drive's spare blocks, a snapshot, a backup. Keep the store on an encrypted volume of its own, out of backup (design
section 7). Values are opaque; who stores them makes them tell when they have changed.
"""

import sqlite3
from pathlib import Path
from typing import Protocol, Self

from consilium.kernel.errors import Conflict, NotFound
from consilium.runtime.database import Database


class ShreddableRows(Protocol):
    """Rows by key."""

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value, durable on return.

        Raises Conflict: ALREADY_STORED when there is another value, DESTROYED.
        """

    def mend(self, key: bytes, value: bytes) -> None:
        """Keep a value in the place of one that is known to be damaged, durable on return. Raises Conflict: DESTROYED."""

    def read(self, key: bytes) -> bytes:
        """The value of a key.

        Raises NotFound: NOT_STORED or DESTROYED.
        """

    def destroy(self, key: bytes) -> None:
        """Overwrite the value, and refuse the key from now on; durable on return, again is no fault."""

    def keys(self) -> list[bytes]:
        """The keys that have values, sorted."""

    def destroyed(self) -> list[bytes]:
        """The keys that are refused from now on, sorted."""


class MemoryRows:
    """Rows in memory."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._destroyed: dict[bytes, None] = {}

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; raises Conflict (ALREADY_STORED or DESTROYED)."""
        check_free(key, value, self._values.get(key), destroyed=key in self._destroyed)
        self._values[key] = value

    def mend(self, key: bytes, value: bytes) -> None:
        """Keep a value in the place of a damaged one; raises Conflict (DESTROYED)."""
        check_free(key, value, None, destroyed=key in self._destroyed)
        self._values[key] = value

    def read(self, key: bytes) -> bytes:
        """The value of a key; raises NotFound (NOT_STORED or DESTROYED)."""
        return check_found(key, self._values.get(key), destroyed=key in self._destroyed)

    def destroy(self, key: bytes) -> None:
        """Forget the value, and refuse the key from now on."""
        self._destroyed[key] = None
        self._values.pop(key, None)

    def keys(self) -> list[bytes]:
        """The keys that have values, sorted."""
        return sorted(self._values)

    def destroyed(self) -> list[bytes]:
        """The keys that are refused from now on, sorted."""
        return sorted(self._destroyed)


class DatabaseRows:
    """Rows in a small SQLite file of their own."""

    _SCHEMA = "CREATE TABLE kept (key BLOB PRIMARY KEY, value BLOB NOT NULL);CREATE TABLE destroyed (key BLOB PRIMARY KEY)"

    def __init__(self, database: Database) -> None:
        """Not for callers: `create` and `open` make rows."""
        self._database = database

    @classmethod
    def create(cls, path: Path) -> Self:
        """The rows of a member that never had any.

        Raises Conflict: STORE_EXISTS.
        """
        return cls(Database.create(path, cls._SCHEMA))

    @classmethod
    def open(cls, path: Path) -> Self:
        """The member's rows.

        Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED.
        """
        database = Database.open(path)
        # A crash may have come between destroying a value and overwriting it in the write-ahead log.
        database.forget()
        return cls(database)

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value, durable on return; raises Conflict (ALREADY_STORED or DESTROYED)."""
        with self._database.transaction() as connection:
            kept = connection.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
            check_free(key, value, kept[0] if kept else None, destroyed=_is_destroyed(connection, key))
            connection.execute("INSERT OR IGNORE INTO kept VALUES (?, ?)", (key, value))

    def mend(self, key: bytes, value: bytes) -> None:
        """Keep a value in the place of a damaged one, durable on return; raises Conflict (DESTROYED)."""
        with self._database.transaction() as connection:
            check_free(key, value, None, destroyed=_is_destroyed(connection, key))
            connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))
        self._database.forget()

    def read(self, key: bytes) -> bytes:
        """The value of a key; raises NotFound (NOT_STORED or DESTROYED)."""
        kept = self._database.rows("SELECT CAST(value AS BLOB) FROM kept WHERE key = ?", key)
        gone = self._database.rows("SELECT key FROM destroyed WHERE key = ?", key)
        return check_found(key, kept[0][0] if kept else None, destroyed=bool(gone))

    def destroy(self, key: bytes) -> None:
        """Overwrite the value, and refuse the key from now on; durable on return."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM kept WHERE key = ?", (key,))
            connection.execute("INSERT OR IGNORE INTO destroyed VALUES (?)", (key,))
        self._database.forget()

    def keys(self) -> list[bytes]:
        """The keys that have values, sorted."""
        return [row[0] for row in self._database.rows("SELECT key FROM kept ORDER BY key")]

    def destroyed(self) -> list[bytes]:
        """The keys that are refused from now on, sorted."""
        return [row[0] for row in self._database.rows("SELECT key FROM destroyed ORDER BY key")]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _is_destroyed(connection: sqlite3.Connection, key: bytes) -> bool:
    return connection.execute("SELECT 1 FROM destroyed WHERE key = ?", (key,)).fetchone() is not None


def check_free(key: bytes, value: bytes, kept: bytes | None, *, destroyed: bool) -> None:
    """Raise Conflict (ALREADY_STORED or DESTROYED) unless the value may be kept, or is."""
    if destroyed:
        raise Conflict("DESTROYED", f"What {key.hex()} named was destroyed for ever; use a new id.")
    if kept not in (None, value):
        raise Conflict("ALREADY_STORED", f"{key.hex()} names another value already.")


def check_found(key: bytes, kept: bytes | None, *, destroyed: bool) -> bytes:
    """The value; raises NotFound (NOT_STORED, or DESTROYED even where a value has come back from somewhere)."""
    if destroyed:
        raise NotFound("DESTROYED", f"What {key.hex()} named was destroyed.")
    if kept is None:
        raise NotFound("NOT_STORED", f"Nothing is stored under {key.hex()}.")
    return kept
