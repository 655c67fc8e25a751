"""What only the store in Cassandra can be asked (S2): its schema, its rows under a hostile hand, its timestamps."""

from __future__ import annotations

import gc
import time
from contextlib import closing
from dataclasses import replace
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import ref

import pytest
from cassandra import AuthenticationFailed, ConsistencyLevel
from cassandra.connection import ConnectionException

from consilium.kernel.errors import (
    ConsiliumError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from consilium.kernel.hashing import sha256
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import size_class_of
from consilium.storage.cassandra.schema import BUCKET_CHUNKS, VERSION, check, migrate
from consilium.storage.cassandra.session import Database, LightConnection, Pending, Row, Statement
from consilium.storage.cassandra.store import READ_BACK_CHUNKS, READ_BACK_TRIES, CassandraObjectStore
from consilium.storage.settings import StorageSettings
from tests.ring.ring import MIGRATOR, SERVICE
from tests.stores.objects import CHAIN_ID, ONE_CHUNK, TWO_CHUNKS, make_chunks, make_manifest, record_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.ring.ring import Ring

pytestmark = pytest.mark.slow
SCAN = record_id("scan")


@pytest.fixture(scope="module")
def made(ring: Ring, worker_id: str) -> StorageSettings:
    """The settings of a service whose keyspace is there."""
    return ring.migrated(f"schema_{worker_id}", CHAIN_ID)


def put(store: CassandraObjectStore, name: str = "scan", size_class: int = TWO_CHUNKS) -> list[bytes]:
    """Store a whole object."""
    chunks = make_chunks(name, size_class)
    for index, chunk in enumerate(chunks):
        store.put_chunk(record_id(name), index, chunk)
    store.complete(make_manifest(name, size_class, chunks))
    return chunks


def refused(settings: StorageSettings, reason: str, kind: type[ConsiliumError] = FailedPrecondition) -> None:
    """A service with these settings does not start."""
    with pytest.raises(kind, match=reason):
        CassandraObjectStore.open(settings, CHAIN_ID).close()


def set_version(made: StorageSettings, version: int) -> None:
    """Pretend that another release has migrated."""
    with closing(Database.open(made)) as database:
        database.enter(made.cassandra_keyspace)
        write = database.prepare("UPDATE schema_version SET version = ? WHERE name = 'store'")
        database.run(write, version)


# --- schema and settings ---


def test_a_service_starts_on_its_migrated_keyspace_only(ring: Ring, made: StorageSettings) -> None:
    refused(ring.settings("never_made"), "SCHEMA_MISSING")
    refused(replace(made, member_id="other"), "OTHER_KEYSPACE")
    refused(replace(made, cassandra_replication=1), "REPLICATION_DIFFERS")
    refused(replace(made, cassandra_keyspace="a; drop"), "BAD_SETTING", InvalidArgument)
    with pytest.raises(FailedPrecondition, match="OTHER_KEYSPACE"):
        CassandraObjectStore.open(made, bytes(32))
    CassandraObjectStore.open(made, CHAIN_ID).close()


def test_an_older_or_newer_schema_is_refused_with_what_to_do(ring: Ring, worker_id: str) -> None:
    made = ring.migrated(f"versions_{worker_id}", CHAIN_ID)
    migrator = ring.settings(made.cassandra_keyspace, MIGRATOR)
    with closing(Database.open(migrator)) as database:
        assert migrate(database, migrator, CHAIN_ID) == 0
        set_version(migrator, VERSION - 1)
        refused(made, "SCHEMA_OLDER")
        assert migrate(database, migrator, CHAIN_ID) == 1
        CassandraObjectStore.open(made, CHAIN_ID).close()
        set_version(migrator, VERSION + 1)
        refused(made, "SCHEMA_NEWER")
        with pytest.raises(FailedPrecondition, match="SCHEMA_NEWER"):
            migrate(database, migrator, CHAIN_ID)


def test_what_one_instance_has_just_made_is_there_for_all(ring: Ring, worker_id: str) -> None:
    """Another hears of it some milliseconds later; whoever asks that one finds nothing, and that is no answer."""
    with closing(Database.open(ring.settings("none", MIGRATOR))) as maker:
        maker.session.cluster.max_schema_agreement_wait = 0
        for attempt in range(4):
            made = ring.settings(f"heard_{worker_id}_{attempt}", MIGRATOR)
            name, copies = made.cassandra_keyspace, {"class": "NetworkTopologyStrategy", made.cassandra_datacenter: 3}
            with closing(Database.open(made)) as database:
                maker.say(f"CREATE KEYSPACE IF NOT EXISTS {name}_of_others WITH replication = {copies}")
                database.say(f"GRANT SELECT ON KEYSPACE {name}_of_others TO {SERVICE}")
                maker.say(f"CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {copies}")
                with pytest.raises(FailedPrecondition, match="has no tables"):
                    check(database, made, CHAIN_ID)
                maker.say(f"CREATE TABLE IF NOT EXISTS {name}.late (name text PRIMARY KEY)")
                assert database.run(database.prepare("SELECT * FROM late")) == []


def test_the_service_may_not_change_the_schema(made: StorageSettings) -> None:
    with closing(Database.open(made)) as database, pytest.raises(FailedPrecondition, match="DATABASE_REFUSED"):
        migrate(database, replace(made, cassandra_keyspace="another"), CHAIN_ID)


def test_design_8_nobody_without_password_and_certificate_gets_in(ring: Ring, made: StorageSettings, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    refused(replace(made, cassandra_password_file=wrong), "BAD_SETTING", InvalidArgument)
    wrong.write_text("guess")
    refused(replace(made, cassandra_password_file=wrong), "DATABASE_REFUSED")
    refused(replace(made, cassandra_tls_directory=tmp_path), "BAD_TLS_FILES", InvalidArgument)
    (tmp_path / "authorities.pem").write_bytes((ring.folder / "client" / "tls.crt").read_bytes())
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes((ring.folder / "client" / name).read_bytes())
    stranger = replace(made, cassandra_tls_directory=tmp_path, cassandra_wait_ms=0)
    refused(stranger, "DATABASE_UNREACHABLE", Unavailable)


def test_a_database_that_is_not_there_is_unavailable(made: StorageSettings) -> None:
    nobody = replace(made, cassandra_hosts=("127.0.0.1",), cassandra_port=9, cassandra_wait_ms=0)
    refused(nobody, "DATABASE_UNREACHABLE", Unavailable)


def test_a_slot_is_given_up_once_however_often_the_driver_answers() -> None:
    """It may have asked two instances, and tell of both."""
    database = Database(None, None, StorageSettings(cassandra_chunks_in_flight=1))
    for _ in range(2):
        give_up = database.slot()
        give_up()
        give_up()


class Refused(LightConnection):
    """A connection that its instance has refused."""

    def __init__(self, words: str, **_: object) -> None:
        self.connected_event, self.is_unsupported_proto_version = Event(), False
        self.connected_event.set()
        self.last_error = AuthenticationFailed(words)


def test_an_instance_that_cannot_look_a_password_up_is_not_left_for_good() -> None:
    """As one that has just come back and hears no others yet; the driver never returns to one that refuses a password."""
    with pytest.raises(ConnectionException, match="Cannot achieve"):
        Refused.factory("Unable to perform authentication: Cannot achieve consistency level LOCAL_QUORUM", 1)
    with pytest.raises(AuthenticationFailed, match="incorrect"):
        Refused.factory("Provided username consilium and/or password are incorrect", 1)


# --- rows under a hostile hand ---


def edited(database: Database, cql: str, *values: object) -> None:
    """Change rows by hand, above all that the store ever wrote."""
    database.run(database.prepare(cql), *values)


ABOVE = 2**61
HOSTILE = {
    "flipped": "UPDATE objects USING TIMESTAMP ? SET manifest = 0x00 WHERE record_id = ?",
    "cut": "UPDATE objects USING TIMESTAMP ? SET digest = 0x00 WHERE record_id = ?",
    "emptied": "UPDATE objects USING TIMESTAMP ? SET manifest = null WHERE record_id = ?",
}


@pytest.mark.parametrize("edit", HOSTILE)
def test_s2_a_manifest_changed_by_hand_is_never_returned(keyspace: Database, edit: str) -> None:
    store = CassandraObjectStore(keyspace, CHAIN_ID)
    name = f"manifest {edit}"
    chunks = put(store, name)
    edited(keyspace, HOSTILE[edit], store._timestamps.draw(), record_id(name))  # noqa: SLF001
    store = CassandraObjectStore(keyspace, CHAIN_ID)
    with pytest.raises(DataLoss, match="BAD_MANIFEST"):
        store.read_manifest(record_id(name))
    with pytest.raises(DataLoss, match="BAD_MANIFEST"):
        store.read_chunk(record_id(name), 0)
    assert record_id(name) in store.record_ids()
    store.mend_manifest(make_manifest(name, TWO_CHUNKS, chunks))
    assert [store.read_chunk(record_id(name), index) for index in range(2)] == chunks
    store.delete(record_id(name))
    assert record_id(name) not in store.record_ids()


def test_s2_manifests_swapped_by_hand_are_never_returned(keyspace: Database) -> None:
    store = CassandraObjectStore(keyspace, CHAIN_ID)
    names = ("one", "two")
    for name in names:
        put(store, name)
    find = keyspace.prepare("SELECT manifest, digest FROM objects WHERE record_id = ?")
    rows = [keyspace.run(find, record_id(name))[0] for name in names]
    for name, row in zip(names, reversed(rows), strict=True):
        write = "INSERT INTO objects (record_id, manifest, digest) VALUES (?, ?, ?) USING TIMESTAMP ?"
        edited(keyspace, write, record_id(name), row.manifest, row.digest, store._timestamps.draw())  # noqa: SLF001
    store = CassandraObjectStore(keyspace, CHAIN_ID)
    for name in names:
        with pytest.raises(DataLoss, match="BAD_MANIFEST"):
            store.read_manifest(record_id(name))
        store.delete(record_id(name))


@pytest.mark.parametrize("edit", ["DELETE FROM chunks WHERE record_id = ? AND bucket = 0", "by row"])
def test_s2_chunks_deleted_by_hand_are_missed_and_healed(keyspace: Database, edit: str) -> None:
    """An operator's deletion carries the time of the database's clock; healing outranks it."""
    store = CassandraObjectStore(keyspace, CHAIN_ID)
    chunks = put(store, edit)
    record = record_id(edit)
    cql = "DELETE FROM chunks USING TIMESTAMP ? WHERE record_id = ? AND bucket = 0"
    edited(keyspace, cql + (" AND chunk_index = 1" if edit == "by row" else ""), store._timestamps.draw(), record)  # noqa: SLF001
    with pytest.raises(DataLoss, match="BAD_CHUNK"):
        store.read_chunk(record, 1)
    store.heal(record, 1, chunks[1])
    assert CassandraObjectStore(keyspace, CHAIN_ID).read_chunk(record, 1) == chunks[1]
    store.delete(record)


def test_s2_a_row_that_nothing_can_outrank_stays_data_loss(keyspace: Database) -> None:
    """Whoever writes under the largest timestamp destroys the row, and is not believed."""
    store = CassandraObjectStore(keyspace, CHAIN_ID)
    [chunk] = put(store, "outranked", ONE_CHUNK)
    record = record_id("outranked")
    write = "UPDATE chunks USING TIMESTAMP ? SET chunk = 0x00 WHERE record_id = ? AND bucket = 0 AND chunk_index = 0 AND "
    digest = store.read_manifest(record).chunk_hashes[0]
    edited(keyspace, f"{write} chunk_hash = ?", ABOVE, record, digest)
    with pytest.raises(DataLoss, match="BAD_CHUNK"):
        store.heal(record, 0, chunk)
    with pytest.raises(DataLoss, match="BAD_CHUNK"):
        store.read_chunk(record, 0)
    store.delete(record)


def test_a_request_is_let_go_of_once_it_is_answered(keyspace: Database) -> None:
    """With its chunk, and not when the collector comes by: memory stays flat whatever the size of the object."""
    gc.disable()
    try:
        pending = keyspace.begin(keyspace.prepare("SELECT * FROM clock"))
        gone = ref(pending._future)  # noqa: SLF001
        assert pending.rows()
        del pending
        patient_until = time.monotonic() + 30
        while gone() is not None and time.monotonic() < patient_until:
            time.sleep(0.01)  # the driver's own thread may be about to leave it
        assert gone() is None
    finally:
        gc.enable()


# --- what a put says ---


class Counted(Database):
    """The ring, and what is said to it."""

    def __init__(self, database: Database) -> None:
        """As `database`."""
        super().__init__(database._cluster, database.session, StorageSettings())  # noqa: SLF001
        self.said = list[str]()

    def begin(self, statement: Statement, *values: object) -> Pending:
        """Send it, and note it."""
        self.said.append(" ".join(statement.query_string.split()))
        return super().begin(statement, *values)

    def count(self, words: str) -> int:
        """How many began so."""
        return sum(each.startswith(words) for each in self.said)


def test_s2_a_chunk_goes_to_the_database_once_and_is_read_back_several_at_a_time(keyspace: Database) -> None:
    """And what a put says besides hardly grows with the object: its bytes cross once, their hashes come back."""
    database = Counted(keyspace)
    store, size_class = CassandraObjectStore(database, CHAIN_ID), size_class_of(10 * 1_048_576)
    database.said.clear()
    count = len(put(store, "counted", size_class))
    runs = -(-count // READ_BACK_CHUNKS)
    assert BUCKET_CHUNKS < count == database.count("INSERT INTO chunks") < 2 * BUCKET_CHUNKS
    # Look for object and draft, note one partition and two, write the manifest, forget the draft. Chunks an instance had
    # not got yet are asked for again, at most as often, and in the end from a quorum.
    read_back = database.count("SELECT chunk_index, chunk_hash, mask_hash")
    assert runs <= read_back <= READ_BACK_TRIES * runs
    assert len(database.said) - read_back - database.count("SELECT chunk FROM") == count + 6
    store.delete(record_id("counted"))


# --- writes of unknown outcome ---


class Unheard(Pending):
    """A write that nobody tells of."""

    def send(self) -> None:
        """It is given up at once."""
        self.is_answered = True

    def rows(self) -> list[Row]:
        """As when the time is over."""
        raise Unavailable("DATABASE_UNREACHABLE", "No quorum has answered; call again.", "S2")


class Apart(Database):
    """The ring, where the first write of each of some chunks reaches one instance only: the one that is asked alone."""

    def __init__(self, database: Database, *chunks: bytes) -> None:
        """As `database`, with these chunks to lose."""
        super().__init__(database._cluster, database.session, StorageSettings())  # noqa: SLF001
        self._to_lose, self._rows = list(chunks), dict[tuple[object, ...], bytes]()

    def begin(self, statement: Statement, *values: object) -> Pending:
        """Send it, or have it reach one instance."""
        chunk = values[4] if statement.query_string.startswith("INSERT INTO chunks") else None
        if chunk not in self._to_lose:
            return super().begin(statement, *values)
        assert isinstance(chunk, bytes)
        self._to_lose.remove(chunk)
        self._rows[values[:4]] = chunk
        pending = Unheard(self, statement.bind(values), 0)
        pending.send()
        return pending

    def each(self, statement: Statement, several: Iterable[tuple[object, ...]]) -> Iterator[list[Row]]:
        """What the ring has, or what that instance alone has."""
        asked = list(several)
        for values, rows in zip(asked, super().each(statement, asked), strict=True):
            is_one = statement.consistency_level == ConsistencyLevel.LOCAL_ONE
            yield [*rows, *(self._alone(values) if is_one else ())]

    def _alone(self, values: tuple[Any, ...]) -> Iterator[Row]:
        """What that instance alone has of the places asked for."""
        record_id, bucket, places = values
        for index, name in places:
            if chunk := self._rows.get((record_id, bucket, index, name)):
                yield SimpleNamespace(chunk_index=index, chunk_hash=name, digest=sha256(chunk))


def test_s2_a_chunk_that_no_quorum_acknowledged_is_not_taken_for_stored(keyspace: Database) -> None:
    """Whether its writer asks what has arrived, or goes on and completes the object."""
    chunks, record = make_chunks("apart", TWO_CHUNKS), record_id("apart")
    store = CassandraObjectStore(Apart(keyspace, chunks[0]), CHAIN_ID)
    store.put_chunk(record, 0, chunks[0])
    with pytest.raises(Unavailable):
        store.put_chunk(record, 1, chunks[1])
    store.put_chunk(record, 1, chunks[1])
    assert store.staged(record) == [leaf_hash(b""), leaf_hash(chunks[1])]
    manifest = make_manifest("apart", TWO_CHUNKS, chunks)
    with pytest.raises(FailedPrecondition, match="CHUNKS_MISSING"):
        store.complete(manifest)
    store.put_chunk(record, 0, chunks[0])
    store.complete(manifest)
    assert [store.read_chunk(record, index) for index in range(2)] == chunks
    store.delete(record)


class Behind(Counted):
    """The ring, where the instance that is asked alone has not got one chunk yet, so often."""

    def __init__(self, database: Database, times: int, index: int) -> None:
        """As `database`."""
        super().__init__(database)
        self._times, self._index = times, index

    def each(self, statement: Statement, several: Iterable[tuple[object, ...]]) -> Iterator[list[Row]]:
        """What the ring has, or that instance."""
        asked = list(several)
        for rows in super().each(statement, asked):
            is_one = statement.consistency_level == ConsistencyLevel.LOCAL_ONE
            is_behind = is_one and self._times > 0 and any(row.chunk_index == self._index for row in rows)
            self._times -= is_behind
            yield [row for row in rows if not is_behind or row.chunk_index != self._index]


@pytest.mark.parametrize("times", [1, READ_BACK_TRIES])
def test_s2_an_instance_that_is_behind_is_not_the_last_to_be_asked(keyspace: Database, times: int) -> None:
    """Another has the chunk; where nobody seems to, it is read from a quorum."""
    database, name = Behind(keyspace, times, 1), f"behind {times}"
    store = CassandraObjectStore(database, CHAIN_ID)
    chunks = put(store, name)
    assert database.count("SELECT chunk_index, chunk_hash, mask_hash") > 1
    assert times < READ_BACK_TRIES or database.count("SELECT chunk FROM") > 0
    assert [store.read_chunk(record_id(name), index) for index in range(2)] == chunks
    store.delete(record_id(name))


# --- timestamps, drafts ---


@pytest.mark.parametrize("buckets", [2**31 - 1, -1])
def test_s2_a_number_of_partitions_changed_by_hand_ends_no_sweep(keyspace: Database, buckets: int) -> None:
    """It would take years to look through so many, and no service would start."""
    store, record = CassandraObjectStore(keyspace, CHAIN_ID), record_id("many")
    store.put_chunk(record, 0, b"part")
    store.staged(record)
    write = "UPDATE drafts USING TIMESTAMP ? SET buckets = ? WHERE record_id = ?"
    edited(keyspace, write, store._timestamps.draw(), buckets, record)  # noqa: SLF001
    again = CassandraObjectStore(keyspace, CHAIN_ID)
    assert again.sweep([]) == 1
    assert again.staged(record) == []


def test_s2_timestamps_put_back_by_hand_lose_nothing_that_is_acknowledged(made: StorageSettings) -> None:
    """Below a deletion the ring remembers, what is put again would be hidden: it is refused. All else goes on."""
    with closing(Database.open(made)) as database:
        database.enter(made.cassandra_keyspace)
        store = CassandraObjectStore(database, CHAIN_ID)
        store._timestamps._next += 1_000_000_000  # noqa: SLF001  as after many starts: a quarter of an hour ahead
        put(store, "below")
        store.delete(record_id("below"))
        edited(database, "UPDATE clock SET reserved = 0 WHERE name = 'store' IF EXISTS")
        store = CassandraObjectStore(database, CHAIN_ID)
        with pytest.raises(FailedPrecondition, match="CHUNKS_MISSING"):
            put(store, "below")
        assert store.record_ids() == []
        chunks = put(store, "another")
        assert [store.read_chunk(record_id("another"), index) for index in range(2)] == chunks
        store.delete(record_id("another"))


def test_timestamps_rise_over_every_start_whatever_the_clock_says(keyspace: Database) -> None:
    """Design section 7: no write is hidden by an older deletion, and none is stamped with a client's clock."""
    drawn: list[int] = []
    for _ in range(3):
        store = CassandraObjectStore(keyspace, CHAIN_ID)
        timestamps = store._timestamps  # noqa: SLF001
        drawn += [timestamps.draw(), timestamps.lift(), timestamps.draw()]
        timestamps.close()
    assert drawn == sorted(set(drawn))


def test_an_object_deleted_may_be_put_again(keyspace: Database) -> None:
    for _ in range(3):
        store = CassandraObjectStore(keyspace, CHAIN_ID)
        chunks = put(store, "again")
        assert store.read_chunk(record_id("again"), 0) == chunks[0]
        store.delete(record_id("again"))


class Full(CassandraObjectStore):
    """A ring under its guardrail: no statement that changes anything is taken."""

    def delete(self, record_id: bytes) -> None:
        """As a full ring does."""
        raise ResourceExhausted("DISK_FULL", record_id.hex(), "S2")


def test_a_sweep_on_a_full_ring_leaves_the_draft_for_the_next(keyspace: Database) -> None:
    """Else one unfinished put would keep the service from starting, and everybody from reading."""
    CassandraObjectStore(keyspace, CHAIN_ID).put_chunk(record_id("left"), 0, b"part")
    assert Full(keyspace, CHAIN_ID).sweep([]) == 0
    assert CassandraObjectStore(keyspace, CHAIN_ID).sweep([]) == 1


def test_nothing_is_left_of_a_deleted_or_swept_object(keyspace: Database) -> None:
    """Space is reclaimed: no row remains, whichever way an object or a draft ends."""
    store = CassandraObjectStore(keyspace, CHAIN_ID)
    put(store, "gone")
    store.put_chunk(record_id("half"), 70, b"part")
    store.put_chunk(record_id("half"), 0, b"other part")
    store.delete(record_id("gone"))
    CassandraObjectStore(keyspace, CHAIN_ID).sweep([])
    for table in ("objects", "chunks", "drafts"):
        found = {row.record_id for row in keyspace.scan(keyspace.prepare(f"SELECT record_id FROM {table}"))}  # noqa: S608
        assert not found & {record_id("gone"), record_id("half")}
