"""Nobody takes the places of everybody: one hostile member, whatever it holds open, leaves room for the others (C1)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from consilium.kernel.errors import ConsiliumError, ResourceExhausted
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.shares import Shares
from consilium.runtime.statuses import to_error
from consilium.runtime.tls import Tls
from tests.runtime.authority import ALLIANCE, Authority
from tests.runtime.loopback import LEDGER, Loopback, Scripted, call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HOME, PLACES, SHARE_OF = "1A", 64, 16
FREE, OTHERS, SHARE = PLACES // 2, PLACES * 3 // 4, PLACES // SHARE_OF
EXCHANGE = "/consilium.api.consensus.v1.ReplicaService/Exchange"


def service(member_id: str, name: str = "consensus") -> PeerIdentity:
    return PeerIdentity(member_id, Role.SERVICE, name, 1, 2**40)


def taken(shares: Shares, stack: ExitStack, caller: PeerIdentity, wanted: int = PLACES) -> int:
    """How many places a caller gets that wants so many, and keeps them."""
    for count in range(wanted):
        try:
            stack.enter_context(shares.place(caller))
        except ResourceExhausted as error:
            assert error.reason == "TOO_MANY_CALLS"  # noqa: PT017  one of two ends
            return count
    return wanted


def test_half_is_anybodys_and_above_that_each_has_its_share() -> None:
    shares = Shares(HOME, PLACES, SHARE_OF)
    with ExitStack() as stack:
        assert taken(shares, stack, service("2B")) == FREE
        assert taken(shares, stack, service("3C")) == SHARE
        assert [taken(shares, stack, service(f"M{number}")) for number in range(4)] == [SHARE, SHARE, SHARE, 0]
        assert taken(shares, stack, service(HOME)) == PLACES - OTHERS
    with ExitStack() as stack:
        assert taken(shares, stack, service("2B")) == FREE, "what has ended gives its place back"


def test_a_patient_of_this_member_is_one_caller_and_its_services_are_not() -> None:
    shares = Shares(HOME, PLACES, SHARE_OF)
    with ExitStack() as stack:
        assert taken(shares, stack, PeerIdentity(HOME, Role.PATIENT, "p", 1, 2**40)) == FREE
        assert taken(shares, stack, PeerIdentity(HOME, Role.PATIENT, "q", 1, 2**40)) == SHARE
        assert taken(shares, stack, PeerIdentity(HOME, Role.STAFF, "s", 1, 2**40)) == PLACES - FREE - SHARE


async def nothing() -> AsyncIterator[bytes]:
    """Requests that never come."""
    await asyncio.Event().wait()
    yield b""


def silent_unary(channel: Channel) -> Any:
    """A call with one question, begun and never asked."""
    return channel.stream_unary(f"{LEDGER}/GetTip")(nothing(), timeout=60)


def silent_read(channel: Channel) -> Any:
    """The same of one with many answers."""
    return channel.stream_stream(f"{LEDGER}/StreamBlocks")(nothing(), timeout=60)


def silent_stream(channel: Channel) -> Any:
    """What passes between replicas, without its greeting."""
    return channel.stream_stream(EXCHANGE)(nothing())


@pytest.mark.parametrize("begin", [silent_unary, silent_read, silent_stream])
def test_a_member_that_begins_calls_and_says_nothing_leaves_room(tmp_path: Path, begin: Callable[[Channel], Any]) -> None:
    """Before a request has come its caller is known already; the own services and a third member are served."""

    async def scene() -> None:
        loopback, third = Loopback(tmp_path), Authority("3C")
        everybody = loopback.home, loopback.away, third
        folder = loopback.home.service().write(tmp_path / "all", *everybody)

        def channel(authority: Authority) -> Channel:
            place = authority.service("consensus").write(tmp_path / authority.member_id, *everybody)
            return Channel(Peer("1A", "ledger", f"127.0.0.1:{running.port}"), Tls(place, ALLIANCE))

        async with (
            asyncio.timeout(60),
            loopback.serve(Scripted(), rpcs_max=16, tls_directory=folder) as running,
            channel(loopback.away) as hostile,
            channel(third) as other,
            channel(loopback.home) as own,
        ):
            held = [begin(hostile) for _ in range(8)]
            refused = await until_refused(hostile, begin, held)
            assert (type(refused), refused.reason) == (ResourceExhausted, "TOO_MANY_CALLS")
            for each in (other, own):
                assert (await call("unary", each, timeout=20)).executed_height == 7
            for each in held:
                each.cancel()

    asyncio.run(scene())


async def until_refused(channel: Channel, begin: Callable[[Channel], Any], held: list[Any]) -> ConsiliumError:
    """How a member's call ends once all that it holds has reached the server.

    One of those may itself find the last place taken, by the call that asks: it is begun again.
    """
    while True:
        try:
            await call("unary", channel, timeout=20)
        except grpc.aio.AioRpcError as error:
            return to_error(error)
        held[:] = [begin(channel) if each.done() else each for each in held]


def test_a_call_without_a_request_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as running, loopback.channel(running) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.stream_unary(f"{LEDGER}/GetTip")(iter(()), timeout=20)
            assert to_error(caught.value).reason == "NO_REQUEST"

    asyncio.run(scene())
