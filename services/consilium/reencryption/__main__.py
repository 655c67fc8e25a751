"""Starts a member's re-encryption service: `python -m consilium.reencryption`."""

import asyncio
import contextlib
import logging
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from consilium.api.reencryption.v1 import reencryption_pb2
from consilium.api.reencryption.v1.reencryption_pb2_grpc import add_ReencryptionServiceServicer_to_server
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.signing import SEED_BYTES, Ed25519Verifier
from consilium.reencryption.core.admission import admitted
from consilium.reencryption.counters import ReencryptionCounters
from consilium.reencryption.driver import Driver, Holder
from consilium.reencryption.receipts import Receipts
from consilium.reencryption.servicer import ReencryptionServicer
from consilium.reencryption.settings import ReencryptionSettings
from consilium.reencryption.store import KeyFragmentStore
from consilium.reencryption.workers import Workers
from consilium.runtime.background import background, until_stopped
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.logs import Log
from consilium.runtime.member_key import OwnSigner, read_seeds
from consilium.runtime.methods import Service
from consilium.runtime.metrics import VolumeRoom
from consilium.runtime.own_consensus import OwnConsensus
from consilium.runtime.process import run
from consilium.runtime.proven_ledger import ProvenLedger
from consilium.runtime.server import Running, serving
from consilium.runtime.shreddable import DatabaseRows
from consilium.runtime.standing import Standing
from consilium.runtime.tls import Tls

_log = Log("consilium.reencryption")


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service at work."""

    standing: Standing
    workers: Workers
    server: Running


async def serve(settings: ReencryptionSettings) -> None:
    """Serve until told to stop; ready once the ledger has been read and a worker answers. Raises as `service`."""
    async with contextlib.AsyncExitStack() as stack:
        found, ended = await service(settings, stack)
        ready = found.server.ready_after(found.workers.start(), found.standing.loaded.wait())
        either = background(ready, ended.wait())
        await until_stopped(await stack.enter_async_context(either))


async def service(settings: ReencryptionSettings, stack: contextlib.AsyncExitStack) -> tuple[RunningService, asyncio.Event]:
    """Everything opened and answering, closed by the stack in the reverse order; the event is set when it has failed.

    Raises as `open_stores`; InvalidArgument for settings and files; FailedPrecondition: PORT_TAKEN.
    """
    genesis, seeds = read_genesis(settings.genesis), read_seeds(settings.member_key)
    tls = Tls(settings.tls_directory, settings.alliance)
    fragments, receipts = open_stores(settings, stack)
    workers = Workers(settings.workers, settings.waiting_max, seeds)
    stack.callback(workers.close)
    verifier, own = Ed25519Verifier(), settings.member_id
    to_ledger = await stack.enter_async_context(Channel(Peer(own, "ledger", settings.ledger_address), tls))
    to_consensus = await stack.enter_async_context(Channel(Peer(own, "consensus", settings.consensus_address), tls))
    ledger, consensus = ProvenLedger(to_ledger, genesis, verifier), OwnConsensus(to_consensus)
    founders = [each.member_id for each in genesis.members]
    standing = Standing(own, genesis.chain_id, founders, ledger, settings.tls_directory, admitted)
    signer = OwnSigner(seeds, partial(standing.member, own))
    holder = Holder(own, signer, genesis)
    driver = Driver(holder, fragments, receipts, ledger, consensus.submit, workers, settings.wait_s)
    work = (standing.follow(), driver.follow(), driver.settle(settings.interval_s))
    ended = await stack.enter_async_context(background(*work))
    offered = [described(driver, genesis.chain_id)]
    running = await stack.enter_async_context(serving(settings, offered, standing.authorise, tls))
    running.metrics.registry.register(ReencryptionCounters(driver, workers))
    running.metrics.registry.register(VolumeRoom(settings.state_directory))
    return RunningService(standing, workers, running), ended


def described(driver: Driver, chain_id: bytes) -> Service:
    """The contract with its servicer."""
    contract = reencryption_pb2.DESCRIPTOR.services_by_name["ReencryptionService"]
    return Service(contract, add_ReencryptionServiceServicer_to_server, ReencryptionServicer(driver, chain_id))


def open_stores(settings: ReencryptionSettings, stack: contextlib.AsyncExitStack) -> tuple[KeyFragmentStore, Receipts]:
    """The stores, closed with the stack; those of a member that never had any are made.

    Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED; InvalidArgument: BAD_SECRET.
    """
    folder, key = settings.state_directory, read_secret(settings.sealing_key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not any(folder.iterdir())
    if is_new:
        _log.write(logging.WARNING, "stores_made")
    rows = (DatabaseRows.create if is_new else DatabaseRows.open)(folder / "fragments.db")
    stack.callback(rows.close)
    receipts = (Receipts.create if is_new else Receipts.open)(folder / "receipts.db")
    stack.callback(receipts.close)
    return KeyFragmentStore(rows, key, settings.member_id), receipts


def read_secret(path: Path) -> bytes:
    """A secret of 32 bytes from its file. Raises InvalidArgument: BAD_SECRET."""
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise InvalidArgument("BAD_SECRET", f"{path} cannot be read: {error}") from error
    if len(secret) != SEED_BYTES:
        raise InvalidArgument("BAD_SECRET", f"{path} holds no secret of {SEED_BYTES} bytes.")
    return secret


if __name__ == "__main__":
    sys.exit(run(ReencryptionSettings, serve))
