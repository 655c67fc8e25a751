"""An SQLite file as a store of rows that outlive a power cut, and that nobody else has open.

`synchronous=FULL` on a write-ahead log syncs at every commit (NORMAL may lose acknowledged commits when the power goes:
reference reliability.md section 6); `secure_delete` overwrites what a row held; exclusive locking refuses a second
process. A file is created once and opened ever after: a missing one is a loss, and never quietly replaced by an empty one.
Values that can change under a bad disk carry their own check; SQLite's own complaints become DataLoss.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, ResourceExhausted
from consilium.runtime.disk import OsDisk

_RESOURCE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_TOOBIG)


class Database:
    """One open SQLite file; its statements may come from any thread, one transaction at a time."""

    def __init__(self, path: Path) -> None:
        """Not for callers: `create` and `open` make databases."""
        self._path = path
        self._lock = Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)

    @classmethod
    def create(cls, path: Path, schema: str) -> "Database":
        """A new database with these tables, durable on return.

        Raises Conflict: STORE_EXISTS.
        """
        if path.exists():
            raise Conflict("STORE_EXISTS", f"{path} is there already: open it, do not create it.")
        disk, fresh = OsDisk(), path.with_name(f"{path.name}.new")
        disk.remove(fresh)
        # Made under another name, so that a crash leaves no half-made store behind.
        file = disk.open(fresh, create=True)
        file.close()
        made = cls(fresh)
        with made.transaction() as connection:
            for statement in schema.split(";"):
                connection.execute(statement)
        made.close()
        disk.rename(fresh, path)
        disk.sync_directory(path.parent)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, anew: str = "a new member creates it") -> "Database":
        """The database at `path`, held alone; `anew` says to people how one begins that never was.

        Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED.
        """
        if not path.exists():
            raise DataLoss("STORE_MISSING", f"{path} is not there: put your copy of it back; {anew}.")
        database = cls(path)
        try:
            with database._translated() as connection:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
            # The first transaction takes the exclusive lock, and reads what a crash left.
            with database.transaction() as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Statements that happen together or not at all; durable when the block ends.

        Raises DataLoss: STORE_DAMAGED; ResourceExhausted: DISK_FULL or STORE_FULL.
        """
        with self._lock, self._translated() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: bytes | int | str) -> list[tuple[bytes, ...]]:
        """All rows a query gives. Raises DataLoss: STORE_DAMAGED."""
        with self._lock, self._translated() as connection:
            return connection.execute(query, values).fetchall()

    def forget(self) -> None:
        """Empty the write-ahead log, so that no file of the store holds what was deleted."""
        with self._lock, self._translated() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[sqlite3.Connection]:
        """SQLite's errors as ours; what breaks a constraint is the caller's business."""
        try:
            yield self._connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.DatabaseError) -> DataLoss | FailedPrecondition | ResourceExhausted:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return FailedPrecondition("LOCKED", f"{self._path} is open elsewhere; end that process first.")
        if code in _RESOURCE_CODES:
            reason = "DISK_FULL" if code == sqlite3.SQLITE_FULL else "STORE_FULL"
            return ResourceExhausted(reason, f"{self._path} cannot grow: {error}. Add room.")
        return DataLoss("STORE_DAMAGED", f"{self._path} cannot be read or written: {error}. Restore it or fetch it anew.")
