"""A member that is hostile, over real links: refused, bounded in memory, named in the metric (rules C1, C2, C4, C6; R6)."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from consilium.api.consensus.v1.replica_pb2_grpc import ReplicaServiceStub
from consilium.consensus.core.messages import (
    BatchOffer,
    BatchReady,
    Envelope,
    Message,
    Prepare,
    PrePrepare,
    SignedViewChange,
    StoredCertificate,
)
from consilium.consensus.core.proposals import Parent, make_header
from consilium.consensus.inbox import BYTES_MAX, ENVELOPES_MAX
from consilium.consensus.own_ledger import first_outlook
from consilium.kernel.certificates import Committee, Phase, QuorumSignature, SignedVote, ViewChange, Vote, call_of
from consilium.kernel.encoding import encode
from consilium.kernel.founding import first_committee
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Ed25519Signer
from consilium.runtime.clock import wall_ms
from tests.alliance import Alliance, id_of, seed_of
from tests.consensus_service.serving import FOUR, Member, founded
from tests.consensus_service.test_links import greeting, group

PATIENT = Parameters(heartbeat_ms=60_000, view_timeout_ms=60_000, tip_age_max_ms=120_000)
"""Nothing happens by itself here."""
COMMITTEE: Committee = first_committee(Alliance.founded(FOUR, PATIENT).genesis)
OTHER, HOME = COMMITTEE.delegates[0].member_id, COMMITTEE.delegates[1].member_id
"""The hostile one is the primary of view 0."""
METRIC = "consilium_consensus_refused_total"
FLOOD = 3 * ENVELOPES_MAX
MIB = 1024 * 1024
WAIT_S = 60


@dataclass(frozen=True, slots=True)
class Hostile:
    """A member's keys in the wrong hands, and a stream to another's replica."""

    alliance: Alliance
    stream: Any
    home: Member

    def envelope(self, message: Message) -> bytes:
        """A message in its name."""
        return encode(Envelope(OTHER, 3, id_of("s"), message), self.alliance.chain_id)

    def vote(self, phase: Phase, height: int, digest: bytes) -> SignedVote:
        """A vote of view 0 under its key."""
        vote = Vote(phase, 0, 0, height, digest)
        return SignedVote(vote, KEY.sign(encode(vote, self.alliance.chain_id)))

    def refused(self) -> dict[str, int]:
        """What the home's metric says of it, by reason."""
        families = self.home.consensus.server.metrics.registry.collect()
        samples = [
            each for family in families for each in family.samples if each.name == "consilium_consensus_refused_total"
        ]
        assert {each.labels["peer"] for each in samples} <= {OTHER}
        return {each.labels["reason"]: int(each.value) for each in samples}


KEY = Ed25519Signer.from_seed(seed_of(f"{OTHER} consensus"))


def attack(path: Path, act: Callable[[Hostile], Any]) -> None:
    """Let a member speak to one that runs alone."""

    async def scene() -> None:
        async with (
            asyncio.timeout(WAIT_S),
            founded(path, PATIENT) as alliances,
            alliances.member(HOME) as home,
            alliances.channel(HOME, "consensus", alliances.authorities[OTHER].service("consensus")) as channel,
        ):
            stream: Any = ReplicaServiceStub(channel).Exchange()
            await stream.write(greeting(alliances, member_id=OTHER))
            await stream.read()
            await act(Hostile(alliances.alliance, stream, home))
            assert home.consensus.seat.height == 0
            stream.cancel()

    asyncio.run(scene())


def forged_certificate(_: Hostile) -> Message:
    """2f+1 "stored" answers, two of them made up."""
    own = KEY.sign(b"something else")
    return BatchReady(StoredCertificate(sha256(b"batch"), tuple(QuorumSignature(index, own) for index in range(3))))


def stale_view(hostile: Hostile) -> Message:
    """A call for the view that everybody works in."""
    change = ViewChange(0, 0, None, ())
    return SignedViewChange(change, 0, KEY.sign(call_of(change, hostile.alliance.chain_id)))


def oversized_batch(_: Hostile) -> Message:
    """More than any member may put into one batch."""
    return BatchOffer(bytes(PATIENT.batch_bytes_max + MIB))


def wrong_committee(hostile: Hostile) -> Message:
    """A proposal whose header names a committee in another order."""
    genesis, chain_id = hostile.alliance.genesis, hostile.alliance.chain_id
    outlook = first_outlook(genesis)
    other = replace(outlook, committee=replace(outlook.committee, delegates=outlook.committee.delegates[::-1]))
    header = encode(make_header(other, Parent(0, chain_id, genesis.time_ms), [], wall_ms(), 0, chain_id), chain_id)
    return PrePrepare(hostile.vote(Phase.PRE_PREPARE, 1, sha256(header)), header, (), ())


def late_vote(hostile: Hostile) -> Message:
    """A vote on what nobody votes on any more."""
    return Prepare(hostile.vote(Phase.PREPARE, 0, sha256(b"any")))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (forged_certificate, "BAD_SIGNATURE"),
        (stale_view, "STALE_VIEW"),
        (oversized_batch, "BATCH_TOO_LARGE"),
        (wrong_committee, "WRONG_COMMITTEE"),
        (late_vote, "LATE_VOTE"),
    ],
)
def test_it_is_refused_and_counted_in_the_senders_name(
    tmp_path: Path, make: Callable[[Hostile], Message], reason: str
) -> None:
    """C1, C2, C4, C6."""

    async def act(hostile: Hostile) -> None:
        await hostile.stream.write(group(hostile.envelope(make(hostile))))
        await until(lambda: bool(hostile.refused()))
        assert hostile.refused() == {reason: 1}

    attack(tmp_path, act)


def test_a_flood_of_future_messages_leaves_nothing_behind(tmp_path: Path) -> None:
    """R6, C1: every vote is refused or lost at the door, none is kept, and each is counted in the sender's name."""

    async def act(hostile: Hostile) -> None:
        vote = hostile.vote(Phase.COMMIT, 1, sha256(b"any"))
        future = [hostile.envelope(Prepare(replace(vote, vote=replace(vote.vote, height=100 + n)))) for n in range(FLOOD)]
        for first in range(0, FLOOD, 512):
            await hostile.stream.write(group(*future[first : first + 512]))
        await until(lambda: sum(hostile.refused().values()) == FLOOD)
        assert hostile.refused().keys() <= {"FUTURE_VOTE", "INBOX_FULL"}
        assert hostile.home.consensus.seat.replica.state.log.count == 0

    attack(tmp_path, act)


def test_a_flood_of_bytes_fits_into_the_senders_share(tmp_path: Path) -> None:
    """R6: what waits of one member has a bound in bytes; twenty times as much goes through, and memory does not grow."""

    async def act(hostile: Hostile) -> None:
        envelope = bytes(MIB)
        count = 20 * BYTES_MAX // MIB
        tracemalloc.start()
        for _ in range(count):
            await hostile.stream.write(group(envelope))
        await until(lambda: sum(hostile.refused().values()) == count)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert hostile.refused().keys() <= {"FOREIGN_DOMAIN", "INBOX_FULL"}
        assert peak < BYTES_MAX + 64 * MIB

    attack(tmp_path, act)


async def until(holds: Callable[[], bool]) -> None:
    """Let the replica work until something is so."""
    while not holds():  # noqa: ASYNC110  a metric has no event to wait for
        await asyncio.sleep(0.01)
