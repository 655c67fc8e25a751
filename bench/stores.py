"""What the durable stores cost beside what else they could be made of, in one run, as ratios.

Blocks: the journal against SQLite (WAL, synchronous = FULL), one sync a block and 64 blocks a sync. Objects: 64 MiB put and
read back, against SQLite blobs, a file a chunk, and the floor: one file, hashed, written and synced. Best of several rounds,
taken in turn, because the disk is shared. RocksDB is not a dependency; its figures stand in reference/performance.md.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from consilium.kernel.manifest import Manifest
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import CHUNK_BYTES, SealHeader, chunk_count, sealed_chunk_bytes, size_class_of
from consilium.kernel.umbral import CAPSULE_BYTES, Sealed
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import OsDisk
from consilium.storage.embedded import EmbeddedObjectStore

ROUNDS = 5
BLOCKS = 256
GROUP = 64
MIB = 1024 * 1024
OBJECT_BYTES = 64 * MIB - 64
"""64 MiB once padded: 258 chunks."""
CHAIN_ID = bytes(32)
RECORD_ID = bytes(16)

Work = Callable[[], None]
Case = Callable[[Path], Work]
"""Makes an empty store in a folder; what it returns is timed."""


class Cost(NamedTuple):
    """Seconds by the wall clock and of this process's CPU, each the least of all rounds."""

    wall: float
    cpu: float


def journal_blocks(block: bytes, group: int) -> Case:
    """Append blocks to the journal, one sync for `group` of them."""

    def begin(folder: Path) -> Work:
        store = JournalBlockStore.create(OsDisk(), folder / "blocks")

        def work() -> None:
            for height in range(1, BLOCKS + 1):
                store.append_block(height, block)
                if height % group == 0:
                    store.sync()

        return work

    return begin


def sqlite_blocks(block: bytes, group: int) -> Case:
    """Insert blocks as rows, one commit for `group` of them."""

    def begin(folder: Path) -> Work:
        connection = _sqlite(folder, "CREATE TABLE blocks (height INTEGER PRIMARY KEY, block BLOB)")

        def work() -> None:
            for first in range(1, BLOCKS + 1, group):
                connection.execute("BEGIN")
                rows = ((height, block) for height in range(first, first + group))
                connection.executemany("INSERT INTO blocks VALUES (?, ?)", rows)
                connection.execute("COMMIT")

        return work

    return begin


def put_embedded(manifest: Manifest, chunks: list[bytes]) -> Case:
    """The object store as it is: every chunk read back before the object is there."""

    def begin(folder: Path) -> Work:
        store = EmbeddedObjectStore.create(OsDisk(), folder, CHAIN_ID)

        def work() -> None:
            for index, chunk in enumerate(chunks):
                store.put_chunk(RECORD_ID, index, chunk)
            store.complete(manifest)

        return work

    return begin


def read_embedded(manifest: Manifest, chunks: list[bytes]) -> Case:
    """Read a whole object, every chunk verified, from the page cache."""

    def begin(folder: Path) -> Work:
        store = EmbeddedObjectStore.create(OsDisk(), folder, CHAIN_ID)
        for index, chunk in enumerate(chunks):
            store.put_chunk(RECORD_ID, index, chunk)
        store.complete(manifest)

        def work() -> None:
            for index in range(len(chunks)):
                store.read_chunk(RECORD_ID, index)

        return work

    return begin


def put_blobs(chunks: list[bytes]) -> Case:
    """Chunks as SQLite blobs by hash, in pages of 64 KiB, one commit an object."""

    def begin(folder: Path) -> Work:
        connection = _sqlite(folder, "CREATE TABLE chunks (id INTEGER PRIMARY KEY, hash BLOB UNIQUE, chunk BLOB)")

        def work() -> None:
            connection.execute("BEGIN")
            rows = ((leaf_hash(chunk), chunk) for chunk in chunks)
            connection.executemany("INSERT INTO chunks (hash, chunk) VALUES (?, ?)", rows)
            connection.execute("COMMIT")

        return work

    return begin


def put_files(chunks: list[bytes]) -> Case:
    """A file a chunk, named by its hash, each synced."""

    def begin(folder: Path) -> Work:
        def work() -> None:
            for chunk in chunks:
                file = OsDisk().open(folder / leaf_hash(chunk).hex(), create=True)
                file.write(0, chunk)
                file.sync()
                file.close()
            OsDisk().sync_directory(folder)

        return work

    return begin


def put_floor(chunks: list[bytes]) -> Case:
    """What no store can beat: hash, write, one sync; nothing read back."""

    def begin(folder: Path) -> Work:
        file = OsDisk().open(folder / "object", create=True)

        def work() -> None:
            for index, chunk in enumerate(chunks):
                leaf_hash(chunk)
                file.write(index * CHUNK_BYTES, chunk)
            file.sync()

        return work

    return begin


def made_object() -> tuple[Manifest, list[bytes]]:
    """An object nobody can open, and its manifest."""
    size_class = size_class_of(OBJECT_BYTES)
    chunks = [os.urandom(sealed_chunk_bytes(size_class, index)) for index in range(chunk_count(size_class))]
    hashes = tuple(leaf_hash(each) for each in chunks)
    sealed = Sealed(bytes(CAPSULE_BYTES), b"")
    return Manifest(RECORD_ID, 0, 0, size_class, SealHeader(bytes(24), bytes(32)), sealed, hashes), chunks


def least(cases: dict[str, Case]) -> dict[str, Cost]:
    """What each case costs at best, the cases taking turns over several rounds."""
    best = dict.fromkeys(cases, Cost(float("inf"), float("inf")))
    for name in [name for _ in range(ROUNDS) for name in cases]:
        with tempfile.TemporaryDirectory(prefix="consilium-bench-", dir=".") as folder:
            work = cases[name](Path(folder))
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = Cost(min(best[name].wall, wall), min(best[name].cpu, cpu))
    return best


def block_rows() -> Iterator[tuple[str, str, str, str]]:
    """Each store's cost a block, and how it compares with the journal."""
    for block_bytes in (1_000, 100_000):
        block = os.urandom(block_bytes)
        for group in (1, GROUP):
            costs = least({"journal": journal_blocks(block, group), "SQLite": sqlite_blocks(block, group)})
            for name, cost in costs.items():
                yield (
                    f"{name}, {block_bytes // 1_000} kB, {group} a sync",
                    f"{cost.wall / BLOCKS * 1e6:,.0f} us/block",
                    f"{cost.cpu / BLOCKS * 1e6:,.0f} us/block",
                    f"{cost.wall / costs['journal'].wall:.2f}",
                )


def object_rows() -> Iterator[tuple[str, str, str, str]]:
    """Each way's speed for one object, and how it compares with the embedded store."""
    manifest, chunks = made_object()
    mebibytes = sum(len(each) for each in chunks) / MIB
    cases = {
        "put, embedded store": put_embedded(manifest, chunks),
        "put, SQLite blobs": put_blobs(chunks),
        "put, a file a chunk": put_files(chunks),
        "put, floor: one file, not read back": put_floor(chunks),
        "read, embedded store, verified": read_embedded(manifest, chunks),
    }
    costs = least(cases)
    for name, cost in costs.items():
        ratio = cost.wall / costs["put, embedded store"].wall
        yield name, f"{mebibytes / cost.wall:,.0f} MiB/s", f"{cost.cpu * 1e3:,.0f} ms", f"{ratio:.2f}"


def _sqlite(folder: Path, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "bench.db", isolation_level=None)
    for statement in ("PRAGMA page_size = 65536", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", schema):
        connection.execute(statement)
    return connection


def main() -> None:
    """Print the table."""
    table = Table("store", "by the clock", "CPU", "time, ours = 1", title="Durable stores")
    for row in (*block_rows(), *object_rows()):
        table.add_row(*row)
    Console().print(table)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    Console().print(f"best of {ROUNDS} rounds, {BLOCKS} blocks each, an object of 64 MiB; load average {load}")


if __name__ == "__main__":
    main()
