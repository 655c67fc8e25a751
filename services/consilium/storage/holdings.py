"""What this member stores for whom: drafts, objects at home, copies for other members, and what was erased (rule S2).

The object store knows bytes; here stands who may go on with a put, whose quota an object counts against, which members keep
copies, and that an erased record never comes back. One row a record, in a small SQLite file, with a check over all of it:
one that changed or moved is BAD_HOLDING and left out of lists, until the scrub or a heal notes it again. What a writer has
is kept summed up beside them, for a put among a million objects must not add them all up; each round of the scrub does.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from enum import IntEnum
from pathlib import Path
from threading import Lock

from consilium.kernel.errors import (
    Conflict,
    DataLoss,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from consilium.kernel.hashing import domain_hash
from consilium.runtime.database import Database

_SCHEMA = (
    "CREATE TABLE holdings (record_id BLOB PRIMARY KEY, home TEXT NOT NULL, writer TEXT NOT NULL,"
    " size_class INTEGER NOT NULL, bytes INTEGER NOT NULL, begun_s INTEGER NOT NULL, state INTEGER NOT NULL,"
    " root BLOB NOT NULL, keepers TEXT NOT NULL, digest BLOB NOT NULL);"
    "CREATE INDEX by_state ON holdings (state, begun_s, bytes);"
    "CREATE TABLE used (writer TEXT PRIMARY KEY, bytes INTEGER NOT NULL);"
    "CREATE TABLE backups (taken_ms INTEGER, height INTEGER, bytes_added INTEGER, objects INTEGER, damaged INTEGER,"
    " digest BLOB NOT NULL)"
)
_PARTS = {"holdings", "used", "backups", "holdings.digest", "backups.digest"}
_TEXT = "CAST({} AS BLOB)"
"""A word that changed may be no text any more, at which SQLite would refuse every row beside it."""
_COLUMNS = (
    f"record_id, {_TEXT.format('home')}, {_TEXT.format('writer')}, size_class, bytes, begun_s, state, root,"
    f" {_TEXT.format('keepers')}, digest"
)
_BACKUPS = (
    "SELECT CAST(taken_ms AS INTEGER), CAST(height AS INTEGER), CAST(bytes_added AS INTEGER), CAST(objects AS INTEGER),"
    " CAST(damaged AS INTEGER), CAST(digest AS BLOB) FROM backups"
)
_SUMS = "SELECT writer, sum(bytes) FROM holdings WHERE state NOT IN (?, ?) GROUP BY writer HAVING sum(bytes) <> 0"
_SUMS_DIFFER = (
    f"WITH sums AS MATERIALIZED ({_SUMS}) SELECT"  # noqa: S608
    " EXISTS (SELECT * FROM used WHERE bytes <> 0 EXCEPT SELECT * FROM sums)"
    " OR EXISTS (SELECT * FROM sums EXCEPT SELECT * FROM used)"
)
_CHARGE = "INSERT INTO used VALUES (?, ?) ON CONFLICT (writer) DO UPDATE SET bytes = bytes + excluded.bytes"


class HoldingState(IntEnum):
    """The life of a stored object."""

    DRAFT = 1
    COMPLETE = 2
    ERASED = 3
    """Here; copies may be left elsewhere."""
    GONE = 4
    """Here and at every member that kept a copy."""


ERASED_STATES = (HoldingState.ERASED, HoldingState.GONE)


@dataclass(frozen=True, slots=True)
class Holding:
    """One record's object as it is kept here.

    `home` is the member whose record it is; `size` in bytes; `writer` who may go on with the put;
    `begun_s` in seconds since 1970-01-01 UTC;
    `root` is empty until it is complete; `keepers` are the members with copies, at the home only.
    """

    record_id: bytes
    home: str
    writer: str
    size_class: int
    size: int
    begun_s: int
    state: HoldingState = HoldingState.DRAFT
    root: bytes = b""
    keepers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was taken of this member (S10); `taken_ms` in milliseconds since 1970-01-01 UTC."""

    taken_ms: int
    height: int
    bytes_added: int
    objects: int
    damaged: int


class Holdings:
    """All rows; every change is durable on return."""

    def __init__(self, database: Database) -> None:
        """Not for callers: `create` and `open` make holdings."""
        self._database = database
        self._lock = Lock()

    @classmethod
    def create(cls, path: Path) -> "Holdings":
        """The holdings of a member that never had any. Raises Conflict: STORE_EXISTS."""
        return cls(Database.create(path, _SCHEMA))

    @classmethod
    def open(cls, path: Path) -> "Holdings":
        """The member's holdings.

        Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED, or STORE_OLDER.
        """
        database = Database.open(path)
        try:
            _check_tables(database, path)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def begin(self, wanted: Holding, bytes_max: int) -> Holding:
        """Begin a put or find the one begun before; `bytes_max` is its writer's quota, of copies their home's storage.

        Raises Conflict: ERASED, OTHER_SIZE; PermissionDenied: OTHER_WRITER; ResourceExhausted: QUOTA.
        """
        with self._lock:
            kept = self.find(wanted.record_id)
            if kept is not None:
                _check_same(kept, wanted)
                return kept
            self._check_quota(wanted, bytes_max)
            self._write(wanted)
            return wanted

    def begin_again(self, wanted: Holding, bytes_max: int | None) -> Holding:
        """Begin an object that was lost, or whose row is damaged, in the place of what is noted of it.

        Raises Conflict: ERASED; ResourceExhausted: QUOTA.
        """
        with self._lock:
            kept = self.find_sound(wanted.record_id)
            if kept is not None and kept.state in ERASED_STATES:
                raise erased()
            if not self._database.rows("SELECT 1 FROM holdings WHERE record_id = ?", wanted.record_id):
                self._check_quota(wanted, bytes_max)  # else it is charged already, sound or not
            begun = wanted if kept is None else replace(wanted, keepers=kept.keepers)
            self._write(begun)
            return begun

    def read(self, record_id: bytes) -> Holding:
        """What is kept of a record. Raises NotFound: NO_SUCH_OBJECT; DataLoss: BAD_HOLDING."""
        kept = self.find(record_id)
        if kept is None:
            raise NotFound("NO_SUCH_OBJECT", f"Nothing of record {record_id.hex()} is kept here.", "S2")
        return kept

    def find(self, record_id: bytes) -> Holding | None:
        """What is kept of a record, None for nothing. Raises DataLoss: BAD_HOLDING."""
        query = f"SELECT {_COLUMNS} FROM holdings WHERE record_id = ?"  # noqa: S608
        rows = self._database.rows(query, record_id)
        return _holding(rows[0]) if rows else None

    def find_sound(self, record_id: bytes) -> Holding | None:
        """The same, None also for a row that is not what was written: for who can do without, or notes it again."""
        with suppress(DataLoss):
            return self.find(record_id)
        return None

    def write(self, holding: Holding) -> None:
        """Replace a row."""
        with self._lock:
            self._write(holding)

    def finish(self, record_id: bytes, root: bytes) -> Holding:
        """Note that the object is complete; no step lies between looking and writing, in which its draft could be dropped.

        Raises NotFound: NO_SUCH_OBJECT, where the draft was too old and is gone; Conflict: ERASED.
        """
        with self._lock:
            kept = self.read(record_id)
            if kept.state in ERASED_STATES:
                raise erased()
            done = replace(kept, state=HoldingState.COMPLETE, root=root)
            self._write(done)
            return done

    def drop_draft(self, record_id: bytes) -> bool:
        """Forget a put that was not finished; False where there is none, for it may have been finished meanwhile."""
        with self._lock:
            kept = self.find_sound(record_id)
            if kept is None or kept.state is not HoldingState.DRAFT:
                return False
            with self._database.transaction() as connection:
                _charge(connection, kept, None)
                connection.execute("DELETE FROM holdings WHERE record_id = ?", (record_id,))
            return True

    def drafts(self, begun_before_s: int) -> list[Holding]:
        """The unfinished puts that began before a time."""
        query = f"SELECT {_COLUMNS} FROM holdings WHERE state = ? AND begun_s < ?"  # noqa: S608  the columns are ours
        return list(_sound(self._database.rows(query, HoldingState.DRAFT, begun_before_s)))

    def erased(self) -> list[Holding]:
        """The erased records of which copies may be left elsewhere."""
        query = f"SELECT {_COLUMNS} FROM holdings WHERE state = ?"  # noqa: S608
        return list(_sound(self._database.rows(query, HoldingState.ERASED)))

    def shared_with(self, own: str, other: str, after: bytes, count: int) -> list[Holding]:
        """What is complete and concerns another member, from a record on: copies kept for it, and own objects it keeps."""
        query = (
            f"SELECT {_COLUMNS} FROM holdings WHERE state = ? AND record_id > ?"  # noqa: S608
            " AND (home = ? OR (home = ? AND instr(',' || keepers || ',', ',' || ? || ',') > 0)) ORDER BY record_id LIMIT ?"
        )
        return self._page(query, after, count, other, own, other)

    def complete(self, after: bytes, count: int) -> list[Holding]:
        """The complete objects from a record on."""
        query = f"SELECT {_COLUMNS} FROM holdings WHERE state = ? AND record_id > ? ORDER BY record_id LIMIT ?"  # noqa: S608
        return self._page(query, after, count)

    def complete_ids(self) -> list[bytes]:
        """The records whose objects are complete."""
        return [
            row[0] for row in self._database.rows("SELECT record_id FROM holdings WHERE state = ?", HoldingState.COMPLETE)
        ]

    def count(self) -> int:
        """How many objects are complete."""
        [(total,)] = self._database.rows("SELECT count(*) FROM holdings WHERE state = ?", HoldingState.COMPLETE)
        return int(total)

    def at_home(self, own: str) -> list[Holding]:
        """The complete objects of this member's own records."""
        query = f"SELECT {_COLUMNS} FROM holdings WHERE state = ? AND home = ?"  # noqa: S608
        return list(_sound(self._database.rows(query, HoldingState.COMPLETE, own)))

    def staged(self) -> tuple[int, int]:
        """How many puts are unfinished, and how many bytes they are to have."""
        [(count, size)] = self._database.rows(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM holdings WHERE state = ?", HoldingState.DRAFT
        )
        return int(count), int(size)

    def bytes_by(self, writer: str) -> int:
        """How many bytes a writer has here, unfinished puts included."""
        rows = self._database.rows("SELECT CAST(bytes AS INTEGER) FROM used WHERE writer = ?", writer)
        return int(rows[0][0]) if rows else 0

    def sum_up(self) -> bool:
        """Add up anew what writers have; whether what was kept of it had to be mended."""
        with self._lock, self._database.transaction() as connection:
            [differ] = connection.execute(_SUMS_DIFFER, ERASED_STATES).fetchone()
            if differ:
                _sum_up(connection)
            return bool(differ)

    def note_backup(self, backup: Backup) -> None:
        """Keep word of a backup, unless a newer one is known."""
        with self._lock:
            known = self.last_backup()
            if known is not None and known.taken_ms > backup.taken_ms:
                return
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM backups")
                row = astuple(backup)
                connection.execute("INSERT INTO backups VALUES (?, ?, ?, ?, ?, ?)", (*row, _check(row)))

    def last_backup(self) -> Backup | None:
        """The last one that was noted; None also where that is not what was written: then it is time for another."""
        for *written, digest in self._database.rows(_BACKUPS):
            if _check(written) == digest:
                return Backup(*map(int, written))
        return None

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _page(self, query: str, after: bytes, count: int, *values: str) -> list[Holding]:
        """So many complete ones from a record on, or all there are."""
        found = list[Holding]()
        while True:
            rows = self._database.rows(query, HoldingState.COMPLETE, after, *values, count)
            found += _sound(rows)
            if len(found) >= count or len(rows) < count:
                return found[:count]
            after = rows[-1][0]

    def _check_quota(self, wanted: Holding, bytes_max: int | None) -> None:
        used = self.bytes_by(wanted.writer)
        if bytes_max is not None and used + wanted.size > bytes_max:
            limit = f"the settings writer_bytes_max and foreign_bytes_max allow {bytes_max}"
            raise ResourceExhausted("QUOTA", f"{wanted.writer} has {used} bytes here, and {limit}.", "S2")

    def _write(self, each: Holding) -> None:
        row = (
            each.record_id, each.home, each.writer, each.size_class, each.size, each.begun_s, int(each.state), each.root,
            ",".join(each.keepers),
        )  # fmt: skip
        try:
            before, is_damaged = self.find(each.record_id), False
        except DataLoss:
            before, is_damaged = None, True
        with self._database.transaction() as connection:
            _charge(connection, before, each)
            connection.execute("INSERT OR REPLACE INTO holdings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, _check(row)))
            if is_damaged:  # nobody knows what it was charged with
                _sum_up(connection)


def _check_tables(database: Database, path: Path) -> None:
    """Raise FailedPrecondition (STORE_OLDER) unless all parts are there: else the first put would find it damaged."""
    columns = "SELECT '{0}.' || name FROM pragma_table_info('{0}')"
    parts = " UNION ".join([
        "SELECT name FROM sqlite_schema WHERE type = 'table'", columns.format("holdings"), columns.format("backups"),
    ])  # fmt: skip
    if not {name for (name,) in database.rows(parts)} >= _PARTS:
        sentence = "was made by an earlier release: move the state directory away, start anew, run `consilium storage heal`"
        raise FailedPrecondition("STORE_OLDER", f"{path} {sentence}.", "S2")


def erased() -> Conflict:
    """The refusal to have an erased object again."""
    return Conflict("ERASED", "The object of this record was erased for ever; use a new record.", "S8")


def _check_same(kept: Holding, wanted: Holding) -> None:
    """Raise unless the put may be gone on with: one record, one writer, one size, and never after an erasure."""
    if kept.state in ERASED_STATES:
        raise erased()
    if (kept.home, kept.writer) != (wanted.home, wanted.writer):
        raise PermissionDenied("OTHER_WRITER", "Somebody else puts the object of this record.", "S2")
    if kept.size_class != wanted.size_class:
        raise Conflict("OTHER_SIZE", f"This put began with size class {kept.size_class}.", "S2")


def _charge(connection: sqlite3.Connection, before: Holding | None, after: Holding | None) -> None:
    """Keep the sums of what writers have, where a row takes another's place."""
    sums = dict[str, int]()
    for each, sign in ((before, -1), (after, 1)):
        if each is not None and each.state not in ERASED_STATES:
            sums[each.writer] = sums.get(each.writer, 0) + sign * each.size
    connection.executemany(_CHARGE, [(writer, change) for writer, change in sums.items() if change])


def _sum_up(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM used")
    connection.execute(f"INSERT INTO used {_SUMS}", ERASED_STATES)


def _check(row: Iterable[object]) -> bytes:
    """What lies beside a row, so that one that changed or moved to another record is known for it."""
    parts = (each if isinstance(each, bytes) else str(each).encode() for each in row)
    return domain_hash("consilium.stored-holding", *parts)


def _sound(rows: Iterable[tuple[bytes, ...]]) -> Iterator[Holding]:
    """The rows that are what was written."""
    for row in rows:
        with suppress(DataLoss):
            yield _holding(row)


def _holding(row: tuple[bytes, ...]) -> Holding:
    """Raises DataLoss: BAD_HOLDING."""
    *written, digest = row
    if _check(written) != digest:
        raise DataLoss("BAD_HOLDING", "What is noted of a record is not what was written; the scrub notes it again.", "S2")
    record_id, home, writer, size_class, count, begun_s, state, root, keepers = written
    size, length, begun, stage = map(int, (size_class, count, begun_s, state))
    names = tuple(filter(None, keepers.decode().split(",")))
    return Holding(record_id, home.decode(), writer.decode(), size, length, begun, HoldingState(stage), root, names)
