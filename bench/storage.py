"""How fast objects go in and out of the stores, what memory they take, and whether many of them make one slow.

In one run, on one machine: the embedded store; the store in a real Cassandra of three (replication 3, LOCAL_QUORUM, mutual
TLS); and the same bytes sent to the same ring by cassandra-driver alone, in rows as large, with the same replication,
consistency and TLS, and nothing read back. Then the embedded store through the services, with and without a copy. Processor
time stands beside the clock's figure, since neighbours on the cores change that one; for Cassandra it is the three
instances' and the client's together, with what a quorum has acknowledged and the third instance has still to do.

Large objects are read as the service reads them: so many chunks ahead. The store and the driver alone, and a million objects
and ten thousand that lie side by side, are measured in turn, so that what the ring and the neighbours do falls on both.

    bench/storage.py [--quick] [--only store|cassandra|memory|ring-memory|many|service] [--mib 64 1024]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cassandra.concurrent import execute_concurrent_with_args
from rich.console import Console
from rich.table import Table

from bench.rig.running import cpu_us_of, load_average, own_cpu_us, resident_mib_of, running
from bench.rig.sharing import MIB, parties, write_noise
from consilium.kernel.encoding import encode
from consilium.kernel.manifest import Manifest
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import CHUNK_BYTES, SealHeader, chunk_count, sealed_chunk_bytes, size_class_of
from consilium.kernel.umbral import CAPSULE_BYTES, Sealed
from consilium.runtime.disk import OsDisk
from consilium.runtime.memory import keep_freed_memory
from consilium.runtime.threads import run_to_end, some_ahead
from consilium.storage.cassandra.session import Database
from consilium.storage.cassandra.store import CassandraObjectStore
from consilium.storage.core.manifest import manifest_check
from consilium.storage.embedded import EmbeddedObjectStore
from consilium.storage.reading import READ_AHEAD
from tests.ring.ring import MIGRATOR, Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from consilium.storage.store import ObjectStore

CHAIN_ID = bytes(32)
KIB = 1_024
PARTS = ("store", "cassandra", "memory", "ring-memory", "many", "service")
SIZES = (64 * KIB, MIB, 64 * MIB, 1_024 * MIB)
QUICK_SIZES = (64 * KIB, MIB, 64 * MIB)
POOL_CHUNKS = 64
"""So many different chunks are made; larger objects repeat them. Every store hashes each of them all the same."""
ROUNDS_BYTES = 256 * MIB
ROUNDS_MAX = 24
WARM_UP, WARM_UPS = 64 * MIB, 3
"""Objects of this size, and how many, come first, then the largest: a ring just started has not compiled what it does."""
IN_FLIGHT = 8
KEPT, TRIED = 1_000, 500
"""How many objects of a filling are remembered, also how many rows are written at once; and how many are put and read."""
IDLE_S, IDLE_SHARE, IDLE_S_MAX = 0.1, 0.15, 20.0
"""A ring is idle when, twice in a row, its instances use less than this share of a core over that time."""
RUNNER = asyncio.Runner()
"""One loop and its threads for all reads, as a service has."""
RAW_TABLE = """
    CREATE TABLE IF NOT EXISTS raw (record_id blob, bucket int, chunk_index int, chunk blob,
    PRIMARY KEY ((record_id, bucket), chunk_index)) WITH compression = {'enabled': 'false'}
"""


class Figure(NamedTuple):
    """MiB a second by the clock, and milliseconds of processor time a MiB."""

    mib_s: float
    cpu_ms: float


@dataclass
class Made:
    """An object to store: its manifest, and a way to get at its chunks without holding them all."""

    manifest: Manifest
    pool: list[bytes]
    last: bytes

    @classmethod
    def of(cls, size: int, pool: list[bytes]) -> Made:
        """An object that fills its size class to about this size."""
        size_class = size_class_of(size - 64)
        count = chunk_count(size_class)
        last = pool[-1][: sealed_chunk_bytes(size_class, count - 1)]
        hashes = [leaf_hash(each) for each in pool]
        digests = (*(hashes[index % len(pool)] for index in range(count - 1)), leaf_hash(last))
        sealed = Sealed(bytes(CAPSULE_BYTES), b"")
        header = SealHeader(bytes(24), bytes(32))
        return cls(Manifest(os.urandom(16), 0, 0, size_class, header, sealed, digests), pool, last)

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """All of them, in order."""
        count = len(self.manifest.chunk_hashes)
        for index in range(count - 1):
            yield index, self.pool[index % len(self.pool)]
        yield count - 1, self.last

    @property
    def mib(self) -> float:
        """How large it is."""
        return ((len(self.manifest.chunk_hashes) - 1) * CHUNK_BYTES + len(self.last)) / MIB


@dataclass
class Rows:
    """The table so far."""

    table: Table = field(default_factory=lambda: Table("what", "MiB/s", "CPU ms a MiB", "against raw", "load"))
    console: Console = field(default_factory=Console)

    def add(self, what: str, figure: Figure, against: str = "") -> None:
        """A row, shown at once too."""
        row = (what, f"{figure.mib_s:,.1f}", f"{figure.cpu_ms:.1f}", against, f"{load_average():.0f}")
        self.table.add_row(*row)
        self.console.print("  ".join(row))


def put(store: ObjectStore, made: Made) -> None:
    """A whole object, read back and durable on return."""
    for index, chunk in made.chunks():
        store.put_chunk(made.manifest.record_id, index, chunk)
    store.complete(made.manifest)


def get(store: ObjectStore, made: Made) -> None:
    """A whole object: its manifest, then every chunk, verified, some of them under way, as a stream of the service does."""

    async def stream() -> None:
        record_id, count = made.manifest.record_id, len(store.read_manifest(made.manifest.record_id).chunk_hashes)
        reading = (run_to_end(store.read_chunk, record_id, index) for index in range(count))
        async with aclosing(some_ahead(reading, READ_AHEAD)) as chunks:
            async for _ in chunks:
                pass

    RUNNER.run(stream())


class Raw:
    """cassandra-driver alone, as its manual says to insert many rows."""

    def __init__(self, database: Database) -> None:
        self._session = database.session
        self._insert = database.prepare("INSERT INTO raw (record_id, bucket, chunk_index, chunk) VALUES (?, ?, ?, ?)")
        self._select = database.prepare("SELECT chunk FROM raw WHERE record_id = ? AND bucket = ? AND chunk_index = ?")

    def put(self, made: Made) -> None:
        """Insert every chunk."""
        record_id = made.manifest.record_id
        rows = ((record_id, index // 32, index, chunk) for index, chunk in made.chunks())
        self._all(self._insert, rows)

    def get(self, made: Made) -> None:
        """Select every chunk."""
        record_id, count = made.manifest.record_id, len(made.manifest.chunk_hashes)
        self._all(self._select, ((record_id, index // 32, index) for index in range(count)))

    def _all(self, statement: object, rows: Iterator[tuple[object, ...]]) -> None:
        several = execute_concurrent_with_args(
            self._session, statement, rows, concurrency=IN_FLIGHT, raise_on_first_error=True, results_generator=True
        )
        for _ in several:
            pass


def timed(work: Callable[[Made], None], several: list[Made]) -> Figure:
    """The median of several objects, and of their processor time."""
    return median([measured(work, each, []) for each in several])


def measured(work: Callable[[Made], None], made: Made, pids: list[int]) -> Figure:
    """One object, with the processor time of other processes included, and of what they do for it afterwards."""
    started, used = time.perf_counter(), own_cpu_us() + sum(map(cpu_us_of, pids))
    work(made)
    took_s = time.perf_counter() - started
    until_idle(pids)
    used = own_cpu_us() + sum(map(cpu_us_of, pids)) - used
    return Figure(made.mib / took_s, used / 1_000 / made.mib)


def until_idle(pids: list[int]) -> None:
    """Wait until other processes have done what was acknowledged before its end: else whoever comes next pays for it."""
    over_s, was_idle, is_idle = time.monotonic() + IDLE_S_MAX, False, False
    while pids and not (was_idle and is_idle) and time.monotonic() < over_s:
        started, used = time.perf_counter(), sum(map(cpu_us_of, pids))
        time.sleep(IDLE_S)
        share = (sum(map(cpu_us_of, pids)) - used) / 1e6 / (time.perf_counter() - started)
        was_idle, is_idle = is_idle, share < IDLE_SHARE


def in_turn(ways: Sequence[Callable[[Made], None]], several: Sequence[list[Made]], pids: list[int]) -> list[Figure]:
    """Each way with objects of its own, one after the other: what the ring and neighbours are at meanwhile falls on all."""
    found = [
        [measured(way, made, pids) for way, made in zip(ways, each, strict=True)] for each in zip(*several, strict=True)
    ]
    return [median(list(each)) for each in zip(*found, strict=True)]


def median(figures: list[Figure]) -> Figure:
    """The middle of both columns."""
    return Figure(*(statistics.median(each) for each in zip(*figures, strict=True)))


def stores(sizes: tuple[int, ...], folder: Path, rows: Rows) -> None:
    """The embedded store at each size."""
    pool = [os.urandom(CHUNK_BYTES) for _ in range(POOL_CHUNKS)]
    (folder / "embedded").mkdir()
    with closing(EmbeddedObjectStore.create(OsDisk(), folder / "embedded", CHAIN_ID)) as embedded:
        for size in sizes:
            several = objects(size, pool)
            rows.add(f"put {shown(size)}, embedded store", timed(lambda each: put(embedded, each), several))
            rows.add(f"get {shown(size)}, embedded store", timed(lambda each: get(embedded, each), several))
            for each in several:
                embedded.delete(each.manifest.record_id)


def beside_the_driver(sizes: tuple[int, ...], folder: Path, rows: Rows) -> None:
    """The store in Cassandra and the driver alone, on a ring of their own."""
    pool = [os.urandom(CHUNK_BYTES) for _ in range(POOL_CHUNKS)]
    ring = Ring.start(folder, is_bench=True)
    try:
        cassandras(ring, sizes, pool, rows)
    finally:
        ring.kill()


def cassandras(ring: Ring, sizes: tuple[int, ...], pool: list[bytes], rows: Rows) -> None:
    """The store in Cassandra beside the driver alone, on one ring."""
    settings = ring.migrated("bench", CHAIN_ID)
    pids = [each.process.pid for each in ring.instances if each.process is not None]
    with closing(Database.open(ring.settings("bench", MIGRATOR))) as migrator, closing(Database.open(settings)) as database:
        migrator.enter("bench")
        migrator.say(RAW_TABLE)
        database.enter("bench")
        raw, store = Raw(database), CassandraObjectStore(database, CHAIN_ID)
        for what_for, size, most in (
            ("warm-up, ", WARM_UP, WARM_UPS),
            *(("", each, ROUNDS_MAX) for each in sorted(sizes, reverse=True)),
        ):
            several, others = (objects(size, pool)[:most] for _ in range(2))
            pairs = {"put": (raw.put, lambda each: put(store, each)), "get": (raw.get, lambda each: get(store, each))}
            for what, (theirs, ours) in pairs.items():
                bare, found = in_turn((theirs, ours), (others, several), pids)
                rows.add(f"{what_for}{what} {shown(size)}, driver alone", bare)
                ratio = f"{found.mib_s / bare.mib_s:.2f}; CPU {bare.cpu_ms / found.cpu_ms:.2f}"
                rows.add(f"{what_for}{what} {shown(size)}, Cassandra", found, ratio)


def objects(size: int, pool: list[bytes]) -> list[Made]:
    """As many of one size as make a good median."""
    return [Made.of(size, pool) for _ in range(max(1, min(ROUNDS_MAX, ROUNDS_BYTES // size)))]


def shown(size: int) -> str:
    """A size in words."""
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


# --- memory ---


def memory(kind: str, size: int, place: str) -> None:
    """In a process of its own: put and get one object, and print the most memory that took, and what it took before."""
    pool = [os.urandom(CHUNK_BYTES) for _ in range(POOL_CHUNKS)]
    made = Made.of(size, pool)
    if kind == "embedded":
        store: ObjectStore = EmbeddedObjectStore.create(OsDisk(), Path(place), CHAIN_ID)
    else:
        ring = Ring(Path(place), tuple((Path(place) / "addresses").read_text().split()))
        store = CassandraObjectStore.open(ring.settings("bench"), CHAIN_ID)
    before = resident_mib_of("self")
    put(store, made)
    get(store, made)
    sys.stdout.write(f"{resident_mib_of('self')} MiB resident at most, {before} before\n")


def memories(sizes: tuple[int, ...], folder: Path, console: Console) -> None:
    """The most memory at each size, in the embedded store."""
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            console.print(f"embedded store, {shown(size)} in and out: {in_a_process('embedded', size, place)}")


def ring_memories(sizes: tuple[int, ...], folder: Path, console: Console) -> None:
    """The most memory at each size, of the client of a ring."""
    ring = Ring.start(folder, is_bench=True)
    try:
        (folder / "addresses").write_text(" ".join(ring.addresses))
        ring.migrated("bench", CHAIN_ID)
        for size in sizes:
            console.print(f"Cassandra, {shown(size)} in and out: {in_a_process('cassandra', size, str(folder))}")
    finally:
        ring.kill()


def in_a_process(kind: str, size: int, place: str) -> str:
    """What `memory` printed."""
    command = [sys.executable, __file__, "--memory", kind, "--size", str(size), "--place", place]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


# --- many objects ---


def many(folder: Path, console: Console, *, quick: bool) -> None:
    """The latency of one small object among ten thousand, and among a million, measured in turn."""
    filled = []
    for count in (10_000, 100_000) if quick else (10_000, 1_000_000):
        place = folder / str(count)
        place.mkdir()
        store = EmbeddedObjectStore.create(OsDisk(), place, CHAIN_ID)
        filled.append((count, store, fill(store, place, count)))
    os.sync()
    found = latencies([(store, kept) for _, store, kept in filled])
    for (count, store, _), (puts, gets) in zip(filled, found, strict=True):
        console.print(f"among {count:,} objects of 4 KiB: put {puts:.2f} ms, get {gets:.3f} ms (medians)")
        store.close()
    (few_put, few_get), (many_put, many_get) = found
    ratios = f"{many_put / few_put:.2f} times for a put, {many_get / few_get:.2f} times for a get"
    console.print(f"that is {ratios}; the aim is 1.3; load {load_average():.0f}")


def fill(store: EmbeddedObjectStore, folder: Path, count: int) -> list[Made]:
    """Objects as `complete` leaves them, without a sync for each; some from all over are remembered."""
    first, kept, rows = Made.of(4 * KIB, [os.urandom(CHUNK_BYTES)]), [], []
    for number in range(count):
        made = replace(first, manifest=replace(first.manifest, record_id=os.urandom(16)))
        (folder / "chunks" / made.manifest.record_id.hex()).write_bytes(made.last)
        data = encode(made.manifest, CHAIN_ID)
        rows.append((made.manifest.record_id, data, manifest_check(made.manifest.record_id, data)))
        if number % (count // KEPT) == 0:
            kept.append(made)
        if len(rows) == KEPT or number == count - 1:
            with store._database.transaction() as connection:  # noqa: SLF001
                connection.executemany("INSERT INTO objects VALUES (?, ?, ?)", rows)
            rows = []
    return kept


def latencies(filled: list[tuple[EmbeddedObjectStore, list[Made]]]) -> list[tuple[float, float]]:
    """Milliseconds of a put and of a get in each store, medians of some hundreds; what was put is deleted again."""
    pool, found = [os.urandom(CHUNK_BYTES)], [(list[float](), list[float]()) for _ in filled]
    for number in range(TRIED):
        for (store, kept), (puts, gets) in zip(filled, found, strict=True):
            made, wanted = Made.of(4 * KIB, pool), kept[number].manifest.record_id
            started = time.perf_counter()
            put(store, made)
            puts.append(time.perf_counter() - started)
            started = time.perf_counter()
            store.read_chunk(wanted, 0)
            gets.append(time.perf_counter() - started)
            store.delete(made.manifest.record_id)
    return [(statistics.median(puts) * 1e3, statistics.median(gets) * 1e3) for puts, gets in found]


# --- through the services ---


async def services(sizes: tuple[int, ...], folder: Path, rows: Rows) -> None:
    """Seal, store, read back, register, final; then open and verify at another member."""
    for copies, what in ((0, "home copy only"), (1, "with a copy")):
        async with running(4, {"storage": {"copies": copies}}) as alliance, parties(alliance) as people:
            for size in sizes:
                source = await write_noise(folder / "noise", size)
                into, out = await people.transfer(source, size, 3 if size < 128 * MIB else 1)
                rows.add(
                    f"put {shown(size)} through the service, {what}", Figure(into.mib_s, into.client_ms + into.storage_ms)
                )
                rows.add(f"get {shown(size)} through the service", Figure(out.mib_s, out.client_ms + out.storage_ms))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller objects, fewer of them")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--mib", type=float, nargs="+", help="these sizes in MiB, and not those of the aims")
    parser.add_argument("--memory", choices=("embedded", "cassandra"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    keep_freed_memory()  # as services and the command line do
    if asked.memory:
        memory(asked.memory, asked.size, asked.place)
        return
    rows, chosen = Rows(), tuple(round(each * MIB) for each in asked.mib or ())
    sizes = chosen or (QUICK_SIZES if asked.quick else SIZES)
    memory_sizes = chosen or (64 * MIB, (1 if asked.quick else 10) * 1_024 * MIB)
    ring_sizes = chosen or ((64 * MIB, 256 * MIB) if asked.quick else (64 * MIB, 256 * MIB, 1_024 * MIB, 2_048 * MIB))
    parts: dict[str, Callable[[Path], object]] = {
        "store": lambda folder: stores(sizes, folder, rows),
        "cassandra": lambda folder: beside_the_driver(sizes, folder, rows),
        "memory": lambda folder: memories(memory_sizes, folder, rows.console),
        "ring-memory": lambda folder: ring_memories(ring_sizes, folder, rows.console),
        "many": lambda folder: many(folder, rows.console, quick=asked.quick),
        "service": lambda folder: asyncio.run(services(sizes, folder, rows)),
    }
    for name, part in parts.items():
        if asked.only in (None, name):
            folder = Path(tempfile.mkdtemp(prefix="consilium-bench-", dir="build")).resolve()
            try:
                part(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    rows.console.print(rows.table)


if __name__ == "__main__":
    main()
