"""Starts a member's storage service: `python -m consilium.storage`.

`python -m consilium.storage migrate` makes or changes the tables in the member's Cassandra, and does nothing else.
"""

import asyncio
import contextlib
import logging
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.api.storage.v1 import storage_pb2
from consilium.api.storage.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from consilium.kernel.signing import Ed25519Verifier
from consilium.runtime.background import background, until_stopped
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.disk import OsDisk
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.logs import Log
from consilium.runtime.member_key import OwnSigner, read_seeds
from consilium.runtime.methods import Service
from consilium.runtime.metrics import VolumeRoom
from consilium.runtime.process import run
from consilium.runtime.proven_ledger import ProvenLedger
from consilium.runtime.server import Running, serving
from consilium.runtime.shreddable import DatabaseRows
from consilium.runtime.standing import Standing
from consilium.runtime.tls import CERTIFICATE, Tls
from consilium.storage.core.admission import admitted
from consilium.storage.core.escrow import escrow_key
from consilium.storage.counters import StorageCounters
from consilium.storage.driver import Driver, Limits, MemberKeys, Stores
from consilium.storage.embedded import EmbeddedObjectStore
from consilium.storage.holdings import Holdings
from consilium.storage.parts import Parts
from consilium.storage.peers import GrpcStorages
from consilium.storage.servicer import StorageServicer
from consilium.storage.settings import StorageSettings, addresses
from consilium.storage.shredding import ShredSecretStore

if TYPE_CHECKING:
    from consilium.storage.cassandra.store import CassandraObjectStore

_log = Log("consilium.storage")


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service at work."""

    driver: Driver
    standing: Standing
    server: Running


async def serve(settings: StorageSettings) -> None:
    """Serve until told to stop; ready once the ledger has been read. Raises as `service`, and what ended its tasks."""
    async with contextlib.AsyncExitStack() as stack:
        found, ended = await service(settings, stack)
        ready = found.server.ready_after(found.standing.loaded.wait())
        either = background(ready, ended.wait())
        await until_stopped(await stack.enter_async_context(either))


async def service(settings: StorageSettings, stack: contextlib.AsyncExitStack) -> tuple[RunningService, asyncio.Event]:
    """Everything opened and answering, closed by the stack in the reverse order; the event is set when it has failed.

    Raises as `open_stores`; InvalidArgument for settings and files; FailedPrecondition: PORT_TAKEN.
    """
    genesis, seeds = read_genesis(settings.genesis), read_seeds(settings.member_key)
    tls = Tls(settings.tls_directory, settings.alliance)
    stores = open_stores(settings, genesis.chain_id, stack)
    channel = await stack.enter_async_context(Channel(Peer(settings.member_id, "ledger", settings.ledger_address), tls))
    ledger = ProvenLedger(channel, genesis, Ed25519Verifier())
    others = GrpcStorages(addresses(settings.peers), tls, genesis.chain_id)
    stack.push_async_callback(others.close)
    founders = [each.member_id for each in genesis.members]
    standing = Standing(settings.member_id, genesis.chain_id, founders, ledger, settings.tls_directory, admitted)
    signer = OwnSigner(seeds, partial(standing.member, settings.member_id))
    keys = MemberKeys(signer, escrow_key(seeds[0]))
    driver = Driver(settings.member_id, keys, genesis.chain_id, stores, ledger, others, standing.member, limits_of(settings))
    parts = Parts.of(driver, settings.scrub_chunks_per_s)
    work = (standing.follow(), parts.erasing.follow(), parts.scrub.run(settings.scrub_interval_s))
    ended = await stack.enter_async_context(background(*work))
    offered = [described(parts)]
    running = await stack.enter_async_context(serving(settings, offered, standing.authorise, tls))
    running.metrics.registry.register(StorageCounters(parts, database_certificate(settings)))
    running.metrics.registry.register(VolumeRoom(settings.state_directory))
    return RunningService(driver, standing, running), ended


def database_certificate(settings: StorageSettings) -> Path | None:
    """What is shown to the database, None for the embedded store."""
    return settings.cassandra_tls_directory / CERTIFICATE if settings.objects == "cassandra" else None


def described(parts: Parts) -> Service:
    """The contract with its servicer."""
    contract = storage_pb2.DESCRIPTOR.services_by_name["StorageService"]
    return Service(contract, add_StorageServiceServicer_to_server, StorageServicer(parts))


def open_stores(settings: StorageSettings, chain_id: bytes, stack: contextlib.AsyncExitStack) -> Stores:
    """The stores, closed with the stack; those of a member that never had any are made.

    Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED or STORE_OLDER; and as
    `CassandraObjectStore.open`.
    """
    folder = settings.state_directory
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not any(folder.iterdir())
    if is_new:
        _log.write(logging.WARNING, "stores_made")
    # The rows first: their lock sees to it that one process works on the objects, wherever those lie.
    rows = (DatabaseRows.create if is_new else DatabaseRows.open)(folder / "shred-secrets.db")
    stack.callback(rows.close)
    escrows = (DatabaseRows.create if is_new else DatabaseRows.open)(folder / "escrows.db")
    stack.callback(escrows.close)
    holdings = (Holdings.create if is_new else Holdings.open)(folder / "holdings.db")
    stack.callback(holdings.close)
    objects = open_objects(settings, chain_id, is_new=is_new)
    stack.callback(objects.close)
    objects.sweep([each.record_id for each in holdings.drafts(2**62)])
    return Stores(objects, ShredSecretStore(rows), escrows, holdings)


def open_objects(
    settings: StorageSettings, chain_id: bytes, *, is_new: bool
) -> "EmbeddedObjectStore | CassandraObjectStore":
    """The objects, where the settings say that they lie. Raises as `open_stores`."""
    if settings.objects == "cassandra":
        from consilium.storage.cassandra.store import CassandraObjectStore

        return CassandraObjectStore.open(settings, chain_id)
    folder = settings.state_directory
    return (EmbeddedObjectStore.create if is_new else EmbeddedObjectStore.open)(OsDisk(), folder, chain_id)


async def migrate(settings: StorageSettings) -> None:
    """Make the member's keyspace, or bring it to this release. Raises as `Database.open` and `schema.migrate`."""
    from consilium.storage.cassandra import schema
    from consilium.storage.cassandra.session import Database

    database = Database.open(settings)
    try:
        steps = schema.migrate(database, settings, read_genesis(settings.genesis).chain_id)
    finally:
        database.close()
    _log.write(logging.INFO, "schema_migrated", count=steps)


def limits_of(settings: StorageSettings) -> Limits:
    """What the settings allow."""
    return Limits(
        settings.copies,
        settings.object_bytes_max,
        settings.foreign_bytes_max,
        settings.writer_bytes_max,
        settings.streams_max,
        settings.disk_jobs_max,
        settings.draft_s,
        settings.wait_s,
        settings.residency,
    )


def main() -> int:
    """Do what the first argument says, or else serve; the exit code."""
    return run(StorageSettings, migrate if sys.argv[1:2] == ["migrate"] else serve)


if __name__ == "__main__":
    sys.exit(main())
