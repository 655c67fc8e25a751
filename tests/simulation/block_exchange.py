"""Block sync between endpoints: the production machine, with tips told, blocks asked for and sent, and requests that fail.

As in production a delegate goes by what others have executed, everybody else by what is final there until it stands still;
and who has asked for blocks just now hears at once of every new one, as on a stream of tips.

Liars answer with blocks that are wrong, missing or out of place, and claim heights they do not have; whoever is banned for
it must be one of them (R7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.consensus.core.events import Received
from consilium.consensus.core.messages import ResultProof
from consilium.ledger.core.sync import (
    Append,
    Appended,
    Ban,
    Blocks,
    PeerTip,
    RequestBlocks,
    RequestFailed,
)
from tests.simulation.observed import Violation
from tests.simulation.parcels import BlocksAsked, BlocksSent, TipSaid
from tests.simulation.twin import member_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consilium.kernel.certificates import ResultCertificate
    from consilium.ledger.core.acceptance import VerifiedBlock
    from consilium.ledger.core.sync import Effect, Input
    from tests.simulation.member import Member
    from tests.simulation.parcels import Parcel

SYNC_TIMEOUT_MS = 600
"""How long a request for blocks may take."""
PATIENCE_MS = 1_000
"""How long the own tip stands still until what others have executed counts for a follower too."""
FOLLOWED_MS = 1_000
"""How long one that has asked for blocks is told of every new one."""


class BlockExchange:
    """One endpoint's part in block sync, in one life."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._alarm: int | None = None
        # An answer to the question of an earlier life ends with its stream in the real world.
        self._ticket = member.life << 20
        self._moved_at = member.world.clock.now_ms
        self._followed: dict[str, int] = {}
        """Who has asked for blocks, and until when it is told of new ones."""

    def tell_tip(self, peers: Iterable[str]) -> None:
        """Say how far the own ledger is."""
        tip = TipSaid(self._member.claimed_height(), self._member.ledger.chain.certified_height)
        for member_id in peers:
            self._member.send(member_id, tip)

    def take(self, source: str, parcel: Parcel) -> None:
        """A word of another ledger."""
        match parcel:
            case TipSaid(height, certified):
                self._step(PeerTip(member_of(source), height if self._is_delegate or self._stands_still else certified))
            case BlocksAsked(ticket, from_height, count):
                self._followed[member_of(source)] = self._member.world.clock.now_ms + FOLLOWED_MS
                blocks = self._member.false_blocks(self._member.ledger.blocks_from(from_height, count))
                self._member.send(member_of(source), BlocksSent(ticket, blocks))
            case BlocksSent(ticket, blocks) if self._alarm is not None and ticket == self._ticket:
                self._member.world.clock.cancel(self._alarm)
                self._alarm = None
                self._step(Blocks(member_of(source), blocks))

    def appended(self) -> None:
        """The own ledger stands one block higher."""
        now_ms = self._moved_at = self._member.world.clock.now_ms
        self._followed = {name: until_ms for name, until_ms in self._followed.items() if until_ms > now_ms}
        if self._followed:
            self.tell_tip(self._followed)
        self._step(Appended(self._member.ledger.chain.tip))

    @property
    def _is_delegate(self) -> bool:
        member = self._member
        return member.ledger.chain.tip.outlook.committee.index_of(member.founder.member_id) is not None

    @property
    def _stands_still(self) -> bool:
        return self._member.world.clock.now_ms - self._moved_at >= PATIENCE_MS

    def _step(self, event: Input) -> None:
        for effect in self._member.ledger.sync.step(event):
            self._obey(effect)

    def _obey(self, effect: Effect) -> None:
        member = self._member
        match effect:
            case RequestBlocks(peer, from_height, count):
                self._ticket += 1
                member.send(peer, BlocksAsked(self._ticket, from_height, count))
                self._alarm = member.after(SYNC_TIMEOUT_MS, self._give_up, peer)
            case Append(block, certificate):
                member.after(0, self._append, block, certificate)
            case Ban(peer, reason):
                if peer not in member.world.faulty:
                    raise Violation("sync", f"{member.endpoint} bans {peer}: {reason}")
                member.world.hits["liar banned"] += 1

    def _give_up(self, peer: str) -> None:
        """The answer did not come in time."""
        self._alarm = None
        self._step(RequestFailed(peer))

    def _append(self, verified: VerifiedBlock, certificate: ResultCertificate | None) -> None:
        """Append what sync brought, unless consensus was quicker."""
        member = self._member
        if verified.opened.header.parent_hash == member.ledger.chain.tip.block_hash:
            member.world.hits["block synced"] += 1
            member.append(verified, synced=True)
        if certificate is not None and certificate.result.height <= member.ledger.chain.height:
            member.certify(certificate)
            me = member.identity
            member.step(Received(member.wall_ms(), me.member_id, me.incarnation, me.session, ResultProof(certificate)))
