"""Starts a member's consensus service: `python -m consilium.consensus`."""

import asyncio
import contextlib
import logging
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from consilium.api.consensus.v1 import consensus_pb2, replica_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import add_ConsensusServiceServicer_to_server
from consilium.api.consensus.v1.replica_pb2_grpc import add_ReplicaServiceServicer_to_server
from consilium.consensus.access import Access
from consilium.consensus.core.recovery import waiting_since
from consilium.consensus.counters import ConsensusCounters
from consilium.consensus.driver import recovered
from consilium.consensus.keys import read_keys
from consilium.consensus.leaving import Leaving
from consilium.consensus.own_ledger import OwnLedger
from consilium.consensus.seat import Seat, identity_of
from consilium.consensus.servicer import ConsensusServicer, ReplicaServicer
from consilium.consensus.settings import MIB, ConsensusSettings
from consilium.consensus.store import FileVoteLog
from consilium.consensus.streams import Bounds, Links
from consilium.consensus.wire import SESSION_BYTES, Greeting
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.errors import Conflict, DataLoss, InvalidArgument
from consilium.kernel.executions import Execution, Standings
from consilium.kernel.signing import Ed25519Verifier, Verifier
from consilium.runtime.addresses import is_address, peers_of
from consilium.runtime.background import background, until_stopped
from consilium.runtime.channels import Channel, Limits, Peer
from consilium.runtime.disk import OsDisk
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.logs import Log
from consilium.runtime.methods import Service
from consilium.runtime.metrics import VolumeRoom
from consilium.runtime.process import run
from consilium.runtime.revocations import Revocations
from consilium.runtime.server import Running, serving
from consilium.runtime.tls import Tls

LEDGER_MESSAGE_BYTES_MAX = 64 * MIB
"""A block travels whole to the own ledger."""

_log = Log("consilium.consensus")


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service at work."""

    seat: Seat
    links: Links
    log: FileVoteLog
    server: Running


@dataclass(frozen=True, slots=True)
class _Ears:
    """Who hears what the own ledger tells: the replica, and the rule of access."""

    seat: Seat
    access: Access

    def executed(self, execution: Execution) -> None:
        """The next block was executed."""
        self.seat.executed(execution)

    def certified(self, certificate: ResultCertificate) -> None:
        """A height became final."""
        self.seat.certified(certificate)

    def told(self, standings: Standings) -> None:
        """How the members stand."""
        self.access.learn(standings)
        self.seat.told(standings)


async def serve(settings: ConsensusSettings) -> None:
    """Serve until told to stop; begins once the own ledger answers. Raises as `service`, and what ended the replica."""
    async with contextlib.AsyncExitStack() as stack:
        found, ended = await service(settings, stack)
        await until_stopped(ended, found.server.set_ready(ready=True))


async def service(settings: ConsensusSettings, stack: contextlib.AsyncExitStack) -> tuple[RunningService, asyncio.Event]:
    """Everything opened and answering, closed by the stack in the reverse order; the event is set when it has failed.

    Raises DataLoss for a vote log or keys that are lost or damaged (C5), InvalidArgument for settings and files,
    FailedPrecondition: LOCKED, PORT_TAKEN.
    """
    genesis, keys, verifier = read_genesis(settings.genesis), read_keys(settings.keys_directory), Ed25519Verifier()
    tls = Tls(settings.tls_directory, settings.alliance)
    ledger = OwnLedger(await stack.enter_async_context(_ledger_channel(settings, tls)), genesis)
    log = await open_log(settings, ledger)
    stack.callback(log.close)
    start = await ledger.start(waiting_since(recovered(log, genesis.chain_id)))
    identity = identity_of(genesis, settings.member_id, keys, log.incarnation, secrets.token_bytes(SESSION_BYTES))
    links = Links(
        Greeting(genesis.chain_id, settings.member_id, identity.incarnation, identity.session),
        peers_of(settings.peers, "consensus", settings.member_id),
        tls,
        Bounds(settings.link_envelopes_max, settings.link_bytes_max, settings.group_bytes_max),
        Limits(unary_s=None, stream_s=None, message_bytes_max=settings.message_bytes_max),
        lambda peer, envelope: seat.driver.receive(peer, envelope),  # noqa: PLW0108  the seat is made with the links
    )
    seat = Seat(identity, keys, start, log, (ledger, links, verifier))
    access = Access(settings.member_id, Revocations(settings.tls_directory))
    work = (seat.driver.run(), ledger.follow(_Ears(seat, access)), links.run())
    ended = await stack.enter_async_context(background(*work))
    running = await stack.enter_async_context(serving(settings, described(seat, links, verifier), access.authorise, tls))
    running.metrics.registry.register(ConsensusCounters(seat, links, log))
    running.metrics.registry.register(VolumeRoom(settings.votes))
    return RunningService(seat, links, log, running), ended


async def open_log(settings: ConsensusSettings, ledger: OwnLedger) -> FileVoteLog:
    """The member's vote log: its own, a first one, or one that stays silent in place of one that was lost (C5).

    Raises DataLoss: JOURNAL_DAMAGED; Conflict: JOURNAL_EXISTS for one that was there; FailedPrecondition: LOCKED.
    """
    disk, path = OsDisk(), settings.votes
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if path.exists():
            return FileVoteLog.open(disk, path)
        if settings.begin_again_above < 0:
            return await _create_log(disk, path, ledger)
    except (DataLoss, Conflict):
        if settings.begin_again_above < 0:
            raise
    # On a disk that is empty too: a first log would speak as incarnation 1, and could say other things than before.
    return FileVoteLog.begin_again(disk, path, settings.begin_again_above)


async def _create_log(disk: OsDisk, path: Path, ledger: OwnLedger) -> FileVoteLog:
    """A first log; beside a ledger that has blocks one that counts as lost, for the member may have voted on them."""
    height = await ledger.height()
    if height == 0:
        return FileVoteLog.create(disk, path)
    log = FileVoteLog.create_lost(disk, path)
    _log.write(logging.WARNING, "no_vote_log_beside_blocks", height=height, incarnation=log.incarnation)
    return log


@contextlib.asynccontextmanager
async def _ledger_channel(settings: ConsensusSettings, tls: Tls) -> AsyncIterator[Channel]:
    """The way to the own ledger. Raises InvalidArgument: BAD_SETTING."""
    if not is_address(settings.ledger_address):
        raise InvalidArgument("BAD_SETTING", f"ledger_address is {settings.ledger_address!r}; allowed: host:port.")
    limits = Limits(unary_s=settings.execute_s, stream_s=None, message_bytes_max=LEDGER_MESSAGE_BYTES_MAX)
    async with Channel(Peer(settings.member_id, "ledger", settings.ledger_address), tls, limits) as channel:
        yield channel


def described(seat: Seat, links: Links, verifier: Verifier) -> list[Service]:
    """The contracts with their servicers."""
    consensus = consensus_pb2.DESCRIPTOR.services_by_name["ConsensusService"]
    replica = replica_pb2.DESCRIPTOR.services_by_name["ReplicaService"]
    return [
        Service(
            consensus, add_ConsensusServiceServicer_to_server, ConsensusServicer(seat, links, Leaving(seat, links), verifier)
        ),
        Service(replica, add_ReplicaServiceServicer_to_server, ReplicaServicer(links), frozenset({"Exchange"})),
    ]


if __name__ == "__main__":
    sys.exit(run(ConsensusSettings, serve))
