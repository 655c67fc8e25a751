"""Nobody floods a server: one member's calls are refused beyond its rate, and others' are served (C1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from consilium.api.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from consilium.kernel.errors import ResourceExhausted
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.rates import BURST_S, CALLERS_MIN, SECOND_NS, Rates, TooFast
from consilium.runtime.statuses import to_error
from consilium.runtime.tls import Tls
from tests.runtime.authority import ALLIANCE, Authority, Issued
from tests.runtime.loopback import UNHURRIED, Loopback, Scripted, call

if TYPE_CHECKING:
    from pathlib import Path

HOME, PER_S = "1A", 10
BURST = BURST_S * PER_S


def caller(member_id: str, role: Role = Role.STAFF, name: str = "s") -> PeerIdentity:
    return PeerIdentity(member_id, role, name, 1, 2**40)


def taken(rates: Rates, who: PeerIdentity, now_s: float, wanted: int = 3 * BURST) -> int:
    """How many calls a caller begins that wants so many at once."""
    for count in range(wanted):
        try:
            rates.take(who, int(now_s * SECOND_NS))
        except TooFast as error:
            assert (error.reason, 0 < error.retry_ns <= SECOND_NS // PER_S) == ("TOO_FAST", True)  # noqa: PT017  one of two ends
            return count
    return wanted


def test_a_burst_and_then_the_rate() -> None:
    rates, member = Rates(HOME, PER_S), caller("2B")
    assert taken(rates, member, 100.0) == BURST
    assert [taken(rates, member, each) for each in (100.05, 100.1, 100.15, 103.0)] == [0, 1, 0, 3 * PER_S - 1]
    assert taken(rates, member, 1_000.0) == BURST, "a pause fills no more than the bucket holds"
    with pytest.raises(TooFast) as refused:
        rates.take(member, 1_000 * SECOND_NS)
    rates.take(member, 1_000 * SECOND_NS + refused.value.retry_ns)


def test_a_members_people_are_one_caller_and_each_of_its_services_is_one() -> None:
    """C1: what its people do costs its replica nothing; names that a member makes up are no callers of their own."""
    rates = Rates(HOME, PER_S)
    assert taken(rates, caller("2B"), 1.0) == BURST
    for role, name in ((Role.STAFF, "t"), (Role.PATIENT, "p"), (Role.SERVICE, "application.a"), (Role.SERVICE, "more")):
        assert taken(rates, caller("2B", role, name), 1.0) == 0
    for service in ("consensus", "ledger"):
        assert taken(rates, caller("2B", Role.SERVICE, service), 1.0) == BURST
    assert taken(rates, caller("3C"), 1.0) == BURST


def test_who_works_for_this_member_is_not_counted_and_a_patient_is() -> None:
    rates = Rates(HOME, PER_S)
    for role, name in ((Role.STAFF, "s"), (Role.SERVICE, "consensus"), (Role.SERVICE, "application.a")):
        assert taken(rates, caller(HOME, role, name), 1.0) == 3 * BURST
    assert [taken(rates, caller(HOME, Role.PATIENT, each), 1.0) for each in "pqp"] == [BURST, BURST, 0]


def test_callers_that_paused_are_forgotten() -> None:
    rates = Rates(HOME, PER_S)
    for number in range(3 * CALLERS_MIN):
        rates.take(caller(HOME, Role.PATIENT, f"p{number}"), number * SECOND_NS)
    assert len(rates._full_at_ns) <= CALLERS_MIN + 1  # noqa: SLF001
    flooding = caller("2B")
    assert taken(rates, flooding, 1e6) == BURST
    for number in range(3 * CALLERS_MIN):
        rates.take(caller(HOME, Role.PATIENT, f"q{number}"), 10**6 * SECOND_NS)
    assert taken(rates, flooding, 1e6) == 0, "one whose bucket is not full is never forgotten"


def test_one_member_floods_and_another_is_served(tmp_path: Path) -> None:
    """Over real connections: refused with RESOURCE_EXHAUSTED and when to call again, counted in its name."""

    async def scene() -> None:
        loopback, third = Loopback(tmp_path), Authority("3C")
        everybody = loopback.home, loopback.away, third
        folder = loopback.home.service().write(tmp_path / "all", *everybody)

        def channel(issued: Issued, name: str) -> Channel:
            tls = Tls(issued.write(tmp_path / name, *everybody), ALLIANCE)
            return Channel(Peer(HOME, "ledger", f"127.0.0.1:{running.port}"), tls, UNHURRIED)

        async with (
            asyncio.timeout(60),
            loopback.serve(Scripted(), calls_per_s=1, tls_directory=folder) as running,
            channel(loopback.away.person(Role.STAFF, "s"), "flood") as flooding,
            channel(loopback.away.service("consensus"), "replica") as replica,
            channel(third.person(Role.STAFF, "s"), "third") as other,
            channel(loopback.home.person(Role.STAFF, "s"), "own") as own,
        ):
            ended = await asyncio.gather(*(call("unary", flooding) for _ in range(40)), return_exceptions=True)
            refused = [to_error(each) for each in ended if isinstance(each, grpc.aio.AioRpcError)]
            assert {(type(each), each.reason, each.rule) for each in refused} == {(ResourceExhausted, "TOO_FAST", "C1")}
            assert BURST_S <= len(ended) - len(refused) < len(ended)
            assert await retry_s(flooding) > 0
            assert (await call("unary", other)).executed_height == 7
            assert len(await call("bidi_stream", replica)) == 2, "the link that carries votes"
            assert len(await asyncio.gather(*(call("unary", own) for _ in range(40)))) == 40
            counted = {
                peer: running.metrics.registry.get_sample_value(
                    "consilium_rpc_too_fast_total", {"grpc_type": "unary", "peer": peer}
                )
                for peer in ("2B", "3C")
            }
            assert counted == {"2B": len(refused) + 1, "3C": 0}, "there from the first call on"

    asyncio.run(scene())


async def retry_s(channel: Channel) -> float:
    """What a refused caller is told of when to call again, read as any integrator reads it.

    Called until a call is refused: the caller may have paused for long enough to be served again.
    """
    while True:
        started = ledger_pb2_grpc.LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest())
        try:
            await started
        except grpc.aio.AioRpcError:
            break
    status = await rpc_status.aio.from_call(started)
    assert status is not None
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert (info.reason, info.metadata["class"]) == ("TOO_FAST", "ResourceExhausted")
    return float(retry.retry_delay.ToTimedelta().total_seconds())
