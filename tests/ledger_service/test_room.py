"""Open calls are bounded, so that the own consensus always finds the ledger open (C1, habit 8)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.ledger.room import CALLER_MAX, MEMBER_SHARE, OWN_SHARE, SHARE, Room
from consilium.runtime.names import PeerIdentity, Role
from tests.ledger_service.serving import HOME, OTHER, Ledgers, refusal, until_waiting

CALLS_MAX = 1_024


def person(member: str, name: str) -> PeerIdentity:
    """A patient of a member."""
    return PeerIdentity(member, Role.PATIENT, name, 1, 2**40)


def places(room: Room, stack: ExitStack, *callers: PeerIdentity) -> list[bool]:
    """Whether each of these callers found a place, which it keeps."""
    return [stack.enter_context(room.place(each)) for each in callers]


def test_nobody_takes_the_places_of_others() -> None:
    """One caller a few, another member's people a part, all others a share; the own services have theirs."""
    room = Room(HOME, CALLS_MAX)
    with ExitStack() as stack:
        one = places(room, stack, *[person(OTHER, "p")] * (CALLER_MAX + 1))
        assert one == [True] * CALLER_MAX + [False]
        foreign = places(room, stack, *[person(OTHER, str(i)) for i in range(CALLS_MAX)])
        assert sum(one + foreign) == CALLS_MAX // SHARE // MEMBER_SHARE
        home = places(room, stack, *[person(HOME, str(i)) for i in range(CALLS_MAX)])
        assert sum(one + foreign + home) == CALLS_MAX // SHARE
        own = PeerIdentity(HOME, Role.SERVICE, "storage", 1, 2**40)
        assert sum(places(room, stack, *[own] * CALLS_MAX)) == CALLS_MAX // OWN_SHARE
    with ExitStack() as stack:
        assert places(room, stack, person(OTHER, "p"), own) == [True, True]
        application = PeerIdentity(HOME, Role.SERVICE, "application.7", 1, 2**40)
        assert sum(places(room, stack, *[application] * CALLS_MAX)) == CALLS_MAX // SHARE // 2


def test_who_finds_no_place_is_answered_at_once(tmp_path: Path) -> None:
    """As without waiting; a stream is refused. The own consensus hands its block over meanwhile."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        ledgers.scribe.write()
        async with (
            ledgers.serve(rpcs_max=SHARE) as running,
            ledgers.stub(running, ledgers.authorities[OTHER].person(Role.PATIENT, "p")) as phone,
            ledgers.stub(running, ledgers.clinician(), "clinician") as clinician,
            ledgers.stub(running, ledgers.consensus(), "consensus") as consensus,
            asyncio.timeout(30),
        ):
            wanted = pb.GetTransactionProofRequest(transaction_hash=bytes(32), wait_ms=60_000)
            open_calls = [phone.GetTransactionProof(wanted, timeout=60)]
            await until_waiting(running, 1)
            assert (await refusal(phone.GetTransactionProof(wanted, timeout=60))).reason == "NO_SUCH_TRANSACTION"
            open_streams = [clinician.StreamTips(pb.StreamTipsRequest())]
            await anext(aiter(open_streams[0]))
            assert (await refusal(clinician.StreamTips(pb.StreamTipsRequest()))).reason == "TOO_MANY_STREAMS"
            answer = await consensus.ExecuteBlock(ledgers.block_request(ledgers.scribe.blocks[0]), timeout=20)
            assert answer.execution
            for each in (*open_calls, *open_streams):
                each.cancel()

    asyncio.run(scene())
