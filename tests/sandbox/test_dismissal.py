"""A dismissed member is refused by every service of every member within one block, on open streams too (G2)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from consilium.api.consensus.v1 import consensus_pb2, replica_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.consensus.v1.replica_pb2_grpc import ReplicaServiceStub
from consilium.api.identity.v1 import identity_pb2
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.api.reencryption.v1 import reencryption_pb2
from consilium.api.reencryption.v1.reencryption_pb2_grpc import ReencryptionServiceStub
from consilium.api.storage.v1 import storage_pb2
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.client.commands.desk import Desk, Options
from consilium.client.commands.status import look
from consilium.client.governance import Change, Draft, cast, draw_up, propose
from consilium.client.remote import open_alliance
from consilium.client.settings import client_settings
from consilium.kernel.errors import ConsiliumError, PermissionDenied, Unauthenticated
from consilium.kernel.state_values import ProposalStatus
from consilium.runtime.channels import Channel, Limits, Peer, typed
from consilium.runtime.tls import Tls
from consilium.sandbox.founders import ALLIANCE
from consilium.sandbox.local import SANDBOX_PARAMETERS, SandboxAlliance, sandbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.slow
GOES, STAYS = "1A", ("2A", "2B", "3A", "3B")
OUT = {"NOT_A_MEMBER", "UNKNOWN_MEMBER"}
"""Why an expelled member's people are refused: by the ledger's word, or as its authority is trusted no longer."""
CALL_S, STREAM_S = 20.0, 600.0
"""How long a call may take, and how long a stream is left open."""
PARAMETERS = replace(SANDBOX_PARAMETERS, heartbeat_ms=3_000, view_timeout_ms=4_500)
"""Three seconds between blocks: a busy machine may take one to carry a decision to every service."""
REVOKE = reencryption_pb2.RevokeAccessRequest(grant_id=bytes(16))


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    with sandbox(tmp_path_factory.mktemp("alliance"), parameters=PARAMETERS) as running:
        yield running


class Visitor:
    """The people and services of the member that goes, with a way to every service of another member."""

    def __init__(self, alliance: SandboxAlliance, host: str, stack: AsyncExitStack) -> None:
        self._alliance, self._host, self._stack = alliance, host, stack

    async def channel(self, service: str, *, under: str = "") -> Channel:
        """A connection that stays open, under an administrator's credential or one of its services'."""
        folder = self._alliance.member(GOES).folder / "tls" / under if under else self._alliance.member(GOES).administrator
        own = Tls(folder, ALLIANCE)
        own.learn(
            {self._host: Tls(self._alliance.member(self._host).administrator, ALLIANCE).material.authorities[self._host]}
        )
        peer = Peer(self._host, service, self._alliance.service(self._host, service).address)
        return await self._stack.enter_async_context(Channel(peer, own, Limits(stream_s=None)))

    async def calls(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """One call of each service that is for other members' people while their member is active."""
        identity, consensus = IdentityServiceStub(await self.channel("identity")), await self.channel("consensus")
        ledger, storage = await self.channel("ledger"), StorageServiceStub(await self.channel("storage"))
        proxy = ReencryptionServiceStub(await self.channel("reencryption"))
        return {
            "identity": lambda: identity.ListRankEvidence(identity_pb2.ListRankEvidenceRequest(), timeout=CALL_S),
            "consensus": lambda: ConsensusServiceStub(consensus).GetReplicaState(
                consensus_pb2.GetReplicaStateRequest(), timeout=CALL_S
            ),
            "ledger": lambda: LedgerServiceStub(ledger).GetTip(ledger_pb2.GetTipRequest(), timeout=CALL_S),
            "storage": lambda: storage.GetManifest(storage_pb2.GetManifestRequest(record_id=bytes(16)), timeout=CALL_S),
            "reencryption": lambda: proxy.RevokeAccess(REVOKE, timeout=CALL_S),
        }

    async def streams(self) -> dict[str, Any]:
        """Streams that are open, two of which wait for the next message, one for the next block."""
        replica = ReplicaServiceStub(await self.channel("consensus", under="consensus"))
        storage = StorageServiceStub(await self.channel("storage", under="storage"))
        ledger = LedgerServiceStub(await self.channel("ledger", under="ledger"))
        blocks: Any = ledger.StreamBlocks(ledger_pb2.StreamBlocksRequest(first_height=1))
        await blocks.read()
        exchange: Any = replica.Exchange()
        put: Any = storage.ReplicateObject(timeout=STREAM_S)
        await asyncio.gather(exchange.wait_for_connection(), put.wait_for_connection())
        return {"blocks": blocks, "exchange": exchange, "put": put}


async def reason_of(call: Awaitable[Any]) -> str:
    """Why a call is refused for who calls, "" when it is not."""
    try:
        with typed():
            await call
    except (PermissionDenied, Unauthenticated) as error:
        return error.reason
    except ConsiliumError:
        return ""
    return ""


async def read_to_the_end(stream: Any) -> None:
    """Take what comes until the other side ends the stream."""
    with typed():
        while await stream.read() is not grpc.aio.EOF:
            pass


async def say(stream: Any, message: Any) -> None:
    """Send one more message on an open stream, and hear how it ends."""
    with typed():
        await stream.write(message)
        await stream.done_writing()
        await (stream.read() if hasattr(stream, "read") else stream)


async def decide(alliance: SandboxAlliance, change: Change, yes: tuple[str, ...]) -> int:
    """Propose it at the first of these members and say yes at the others; the height at which it is done."""
    first, *others = yes
    async with AsyncExitStack() as stack:
        at = {}
        for each in yes:
            settings = client_settings(alliance.member(each).client_settings)
            at[each] = await stack.enter_async_context(open_alliance(settings))
        motion = await propose(at[first], await draw_up(at[first].session, Draft(change, GOES)))
        for each in others:
            if motion.state.status is ProposalStatus.OPEN:
                motion = await cast(at[each], motion.proposal_id, yes=True)
    assert motion.state.status is ProposalStatus.ADOPTED
    assert motion.state.closed_height is not None
    return motion.state.closed_height


def test_suspended_it_follows_the_chain_and_no_more_until_it_is_reinstated(alliance: SandboxAlliance) -> None:
    """G2: what works for others refuses; what proves is for all; reinstated it is let in again within one block."""
    asyncio.run(suspended(alliance))


async def told_first(alliance: SandboxAlliance, stack: AsyncExitStack, height: int) -> None:
    """`consilium status` there says so before anything else, and blames no other member."""
    settings = client_settings(alliance.member(GOES).client_settings)
    told = await look(Desk(Options(None, as_json=False), settings, await stack.enter_async_context(open_alliance(settings))))
    assert (told.code, told.facts["standing"], told.facts["since_height"]) == (1, "SUSPENDED", height)
    assert str(told.shown[0]).startswith(f"{GOES} is suspended since height {height}")
    assert (told.facts["missing"], told.facts["advice"]) == ([], [])


async def suspended(alliance: SandboxAlliance) -> None:
    async with AsyncExitStack() as stack:
        calls = {each: await Visitor(alliance, each, stack).calls() for each in STAYS}
        height = await decide(alliance, Change.SUSPEND, STAYS)
        for host, each in calls.items():
            await alliance.until_final(height + 1, host)
            after = {name: await reason_of(call()) for name, call in each.items()}
            assert after == dict.fromkeys(after, "SUSPENDED") | {"ledger": ""}, host
        await alliance.until_final(height + 1, GOES)
        await told_first(alliance, stack, height)
        height = await decide(alliance, Change.REINSTATE, STAYS)
        for host, each in calls.items():
            await alliance.until_final(height + 1, host)
            assert {await reason_of(call()) for call in each.values()} == {""}, host


def test_expelled_and_refused_everywhere_within_one_block(alliance: SandboxAlliance) -> None:
    """G2: accepted up to the block that decides, refused from the next on, by every service of four members. Comes last."""
    asyncio.run(expelled(alliance))


async def expelled(alliance: SandboxAlliance) -> None:
    async with AsyncExitStack() as stack:
        visitors = {each: Visitor(alliance, each, stack) for each in STAYS}
        calls = {each: await visitor.calls() for each, visitor in visitors.items()}
        streams = {each: await visitor.streams() for each, visitor in visitors.items()}
        before = {(host, name): await reason_of(call()) for host, each in calls.items() for name, call in each.items()}
        assert set(before.values()) == {""}
        height = await decide(alliance, Change.EXPEL, STAYS)
        for host, each in calls.items():
            await alliance.until_final(height + 1, host)
            after = {name: await reason_of(call()) for name, call in each.items()}
            assert set(after.values()) <= OUT, (host, after)
            exchange = say(streams[host]["exchange"], replica_pb2.ExchangeRequest())
            assert await reason_of(exchange) in OUT, host
            assert await reason_of(say(streams[host]["put"], storage_pb2.ReplicateObjectRequest())) in OUT, host
            assert await reason_of(read_to_the_end(streams[host]["blocks"])) in OUT, host
