"""The links between replicas: greetings, replacement, and queues that are bounded and leave in groups (rules C1, C5)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from consilium.api.consensus.v1 import replica_pb2
from consilium.api.consensus.v1.replica_pb2_grpc import ReplicaServiceStub
from consilium.consensus.streams import Bounds, Waiting
from consilium.consensus.wire import Greeting, greeting_message
from consilium.kernel.errors import ConsiliumError
from tests.alliance import id_of, seed_of
from tests.consensus_service.serving import Alliances, Member, founded
from tests.ledger_service.serving import refusal
from tests.runtime.authority import Issued

HOME, OTHER = "anshan", "benxi"


@asynccontextmanager
async def dialled(path: Path, who: str = OTHER, service: str = "consensus") -> AsyncIterator[tuple[Alliances, Member, Any]]:
    """A member's services, and a stub of another's that can speak to its replica."""
    async with founded(path) as alliances, alliances.member(HOME) as member:
        issued: Issued = alliances.authorities[who].service(service)
        async with alliances.channel(HOME, "consensus", issued) as channel:
            yield alliances, member, ReplicaServiceStub(channel)


def greeting(alliances: Alliances, **changed: Any) -> replica_pb2.ExchangeRequest:
    """A good greeting of the other member, changed where named."""
    usual: dict[str, Any] = {
        "chain_id": alliances.alliance.chain_id,
        "member_id": OTHER,
        "incarnation": 3,
        "session": id_of("s"),
    }
    return replica_pb2.ExchangeRequest(greeting=greeting_message(Greeting(**(usual | changed))))


def group(*envelopes: bytes) -> replica_pb2.ExchangeRequest:
    """A frame of envelopes."""
    return replica_pb2.ExchangeRequest(group=replica_pb2.EnvelopeGroup(envelopes=envelopes))


async def refused(stub: Any, *frames: replica_pb2.ExchangeRequest) -> ConsiliumError:
    """What a stream of these frames ends with."""
    return await refusal(stub.Exchange(iter(frames), timeout=10))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"chain_id": seed_of("another")}, "FOREIGN_CHAIN"),
        ({"member_id": "dalian"}, "FOREIGN_NAME"),
        ({"session": b"short"}, "BAD_SESSION"),
        ({"incarnation": 0}, "BAD_SESSION"),
    ],
)
def test_a_greeting_says_what_the_certificate_says(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    """C5."""

    async def scene() -> None:
        async with dialled(tmp_path) as (alliances, _, stub):
            assert (await refused(stub, greeting(alliances, **changed))).reason == reason

    asyncio.run(scene())


def test_frames_come_in_their_order(tmp_path: Path) -> None:
    async def scene() -> None:
        async with dialled(tmp_path) as (alliances, _, stub):
            assert (await refused(stub, group(b"x"))).reason == "NO_GREETING"
            assert (await refused(stub, greeting(alliances), greeting(alliances))).reason == "NO_GROUP"

    asyncio.run(scene())


@pytest.mark.parametrize(("who", "service", "reason"), [(OTHER, "storage", "WRONG_ROLE"), (HOME, "consensus", "CLONED")])
def test_only_other_members_consensus_may_speak(tmp_path: Path, who: str, service: str, reason: str) -> None:
    """Design section 8; C5: nobody else speaks in the own name."""

    async def scene() -> None:
        async with dialled(tmp_path, who, service) as (alliances, _, stub):
            assert (await refused(stub, greeting(alliances, member_id=who))).reason == reason

    asyncio.run(scene())


def test_old_and_cloned_replicas_are_refused_and_a_later_stream_replaces_an_earlier(tmp_path: Path) -> None:
    """C5: a lower incarnation, a second session of one incarnation; what is no message is counted, and no harm."""

    async def scene() -> None:
        async with dialled(tmp_path) as (alliances, member, stub):
            first: Any = stub.Exchange()
            await first.write(greeting(alliances))
            answer = await first.read()
            assert answer.greeting.member_id == HOME
            assert answer.greeting.incarnation == 1
            await first.write(group(b"nonsense", b"more"))
            assert (await refused(stub, greeting(alliances, incarnation=2))).reason == "OLD_INCARNATION"
            assert (await refused(stub, greeting(alliances, session=id_of("t")))).reason == "CLONED"
            second: Any = stub.Exchange()
            await second.write(greeting(alliances))
            await second.read()
            await first.write(group(b"late"))
            assert (await refusal(first.read())).reason == "REPLACED"
            links, driver = member.consensus.links, member.consensus.seat.driver
            assert (links.counts["messages_received"], links.counts["envelopes_received"]) == (1, 2)
            assert driver.refused == Counter({(OTHER, "NOT_DETERMINISTIC"): 2})
            assert links.incarnation_of(OTHER) == 3
            second.cancel()

    asyncio.run(scene())


def test_a_key_that_is_running_is_not_welcome_a_second_time(tmp_path: Path) -> None:
    """C5: a higher incarnation beside an open stream is a second start; once that stream is gone it is a restart."""

    async def scene() -> None:
        async with dialled(tmp_path) as (alliances, member, stub):
            first: Any = stub.Exchange()
            await first.write(greeting(alliances))
            await first.read()
            second = greeting(alliances, incarnation=4, session=id_of("t"))
            told = await refused(stub, second)
            assert (told.reason, told.rule) == ("RUNNING_ELSEWHERE", "C5")
            assert "stop one of the two" in told.sentence
            links = member.consensus.links
            assert links.refused == Counter({(OTHER, "RUNNING_ELSEWHERE"): 1})
            assert links.incarnation_of(OTHER) == 3
            first.cancel()
            while (await refused(stub, second, greeting(alliances))).reason != "NO_GROUP":
                pass  # the end of the first stream is still on its way
            assert links.incarnation_of(OTHER) == 4

    asyncio.run(scene())


def test_what_waits_leaves_in_groups_and_a_full_queue_drops_the_newest() -> None:
    """Design section 8: every queue is bounded."""

    async def scene() -> None:
        waiting = Waiting(Bounds(envelopes_max=4, bytes_max=100, group_bytes_max=20))
        for each in (bytes(8), bytes(9), bytes(10), bytes(70)):
            waiting.put(each)
        waiting.put(bytes(9))
        assert waiting.dropped == 1
        assert [len(each) for each in await waiting.take()] == [8, 9]
        assert [len(each) for each in await waiting.take()] == [10]
        waiting.put(bytes(31))
        assert waiting.dropped == 2
        assert [len(each) for each in await waiting.take()] == [70]
        waiting.put(bytes(1))
        assert [len(each) for each in await waiting.take()] == [1]

    asyncio.run(scene())
