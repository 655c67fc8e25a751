"""Starts a member's ledger service: `python -m consilium.ledger`."""

import asyncio
import contextlib
import sys
from dataclasses import dataclass

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import add_LedgerServiceServicer_to_server
from consilium.kernel.errors import Conflict, ConsiliumError, DataLoss
from consilium.kernel.signing import Ed25519Verifier
from consilium.ledger.access import Access
from consilium.ledger.authorities import Authorities
from consilium.ledger.counters import LedgerCounters
from consilium.ledger.election_figures import ElectionFigures
from consilium.ledger.keeper import Keeper
from consilium.ledger.peers import OtherLedgers
from consilium.ledger.servicer import LedgerServicer
from consilium.ledger.settings import LedgerSettings, checkpoint_of
from consilium.ledger.starting import Starting
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.addresses import peers_of
from consilium.runtime.background import background, until_stopped
from consilium.runtime.channels import Limits
from consilium.runtime.disk import OsDisk
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.methods import Service
from consilium.runtime.metrics import VolumeRoom
from consilium.runtime.process import run
from consilium.runtime.revocations import Revocations
from consilium.runtime.server import Running, doors, serving
from consilium.runtime.threads import run_to_end
from consilium.runtime.tls import Tls

LONG_LIVED = frozenset({"StreamTips", "StreamBlocks", "StreamEvents", "StreamExecutions"})


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service at work."""

    keeper: Keeper
    others: OtherLedgers
    store: JournalBlockStore
    server: Running


async def serve(settings: LedgerSettings) -> None:
    """Serve until told to stop. Raises as `service`, and what ended the keeper."""
    async with contextlib.AsyncExitStack() as stack:
        found, ended = await service(settings, stack)
        await until_stopped(ended, found.server.set_ready(ready=True))


async def service(settings: LedgerSettings, stack: contextlib.AsyncExitStack) -> tuple[RunningService, asyncio.Event]:
    """Everything opened and answering, closed by the stack in the reverse order; the event is set when it has failed.

    Raises DataLoss for a damaged journal, InvalidArgument for settings and files, FailedPrecondition: LOCKED, PORT_TAKEN.
    """
    genesis, verifier = read_genesis(settings.genesis), Ed25519Verifier()
    peers = peers_of(settings.peers, "ledger", settings.member_id)
    tls = Tls(settings.tls_directory, settings.alliance)
    store = open_store(settings)
    stack.callback(_close, store)
    opened, starting = await stack.enter_async_context(doors(settings, tls)), Starting()
    for each in (starting, VolumeRoom(settings.blocks)):
        opened.metrics.registry.register(each)
    keeper = await run_to_end(Keeper, genesis, store, verifier, checkpoint_of(settings.checkpoint), starting.note)
    limits = Limits(unary_s=settings.fetch_s, stream_s=None, message_bytes_max=settings.message_bytes_max)
    others = OtherLedgers(settings.member_id, keeper, peers, tls, limits, verifier, settings.patience_ms / 1_000)
    authorities = Authorities(keeper.chain, settings.alliance, verifier)
    ended = await stack.enter_async_context(background(keeper.broken(), others.run(), others.exchange(authorities)))
    access = Access(settings.member_id, keeper, Revocations(settings.tls_directory))
    servicer = LedgerServicer(keeper, authorities, verifier, settings)
    running = await stack.enter_async_context(serving(settings, [described(servicer)], access.authorise, opened))
    running.metrics.registry.register(LedgerCounters(keeper, others, store))
    running.metrics.registry.register(ElectionFigures(keeper))
    return RunningService(keeper, others, store, running), ended


def open_store(settings: LedgerSettings) -> JournalBlockStore:
    """The member's blocks: its journal, a first one, or on demand an empty one in place of one that was lost.

    Raises DataLoss: JOURNAL_DAMAGED; Conflict: JOURNAL_EXISTS for one that was there; FailedPrecondition: LOCKED.
    """
    disk, path = OsDisk(), settings.blocks
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return (JournalBlockStore.open if path.exists() else JournalBlockStore.create)(disk, path)
    except (DataLoss, Conflict):
        if not settings.begin_again:
            raise
        return JournalBlockStore.begin_again(disk, path)


def described(servicer: LedgerServicer) -> Service:
    """The contract with its servicer."""
    contract = ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"]
    return Service(contract, add_LedgerServiceServicer_to_server, servicer, LONG_LIVED)


def _close(store: JournalBlockStore) -> None:
    """Let go of the store, the last certificate made durable unless the store has failed."""
    with contextlib.suppress(ConsiliumError):
        store.sync()
    store.close()


if __name__ == "__main__":
    sys.exit(run(LedgerSettings, serve))
