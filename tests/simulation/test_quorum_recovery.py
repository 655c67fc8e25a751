"""A quorum is lost and recovered under the simulator, every checker watching (rule C10; reference: election.md 5.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.consensus.core.messages import Checkpoint, Commit, Envelope
from consilium.kernel.certificates import MemberSignature
from consilium.kernel.encoding import decode, encode
from consilium.kernel.hashing import sha256
from consilium.kernel.recovery import RecoveryCertificate
from tests.simulation.run import Simulation
from tests.simulation.schedule import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.member import Member
    from tests.simulation.parcels import Parcel

SEVEN = Options(seed=0, members=7, committee_target=4, term_blocks=1_000, blocks_least=60, delay_max=3)


class Loss(Simulation):
    """Two of four delegates are lost for good; the others' members recover, once nothing moves any more."""

    def delegates(self) -> list[str]:
        member = next(iter(self.members.values()))
        return [each.member_id for each in member.ledger.chain.tip.outlook.committee.delegates]

    def until(self, holds: Callable[[], bool]) -> None:
        """Step until something holds."""
        while not holds():
            self._step()

    def pass_ms(self, span_ms: int) -> None:
        """Let time pass."""
        end = self.world.clock.now_ms + span_ms
        self.until(lambda: self.world.clock.now_ms >= end)

    def begin(self, height: int) -> tuple[list[Member], list[Member]]:
        """Start all, and go on to a height; who will be lost, and who is left."""
        for member in self.members.values():
            member.start()
        self._work()
        self.until(lambda: self.world.top >= height)
        lost = sorted(self.delegates())[:2]
        return [self.members[each] for each in lost], [each for name, each in self.members.items() if name not in lost]

    def recover(self, lost: list[Member], left: list[Member]) -> RecoveryCertificate:
        """Stop, report, draft at one ledger, sign, apply."""
        outlook = max((each.ledger.chain.tip.outlook for each in left), key=lambda each: each.epoch)
        reports = [each.stop_epoch(outlook.epoch) for each in left]
        drafts = [each.ledger.chain.draft_recovery([one.endpoint for one in lost], reports) for each in left]
        assert all(each == drafts[0] for each in drafts), "members at different heights draft the same"
        message = encode(drafts[0].statement, self.world.chain_id)
        signed = [MemberSignature(each.endpoint, each.founder.member_signer.sign(message)) for each in left]
        certificate = replace(drafts[0], signatures=tuple(sorted(signed, key=lambda each: each.member_id)))
        again = decode(RecoveryCertificate, encode(certificate, self.world.chain_id), self.world.chain_id)
        for each in left:
            each.take_recovery(again)
        return certificate


@pytest.mark.parametrize("seed", range(3))
def test_recovery_with_a_prepared_value_hidden_at_one_survivor(seed: int) -> None:
    """C10: a block that only lost delegates have committed, and one survivor has prepared, is not undone."""
    loss = Loss(replace(SEVEN, seed=seed, submit_gap=30 + 10 * seed))
    lost, left = loss.begin(10 + seed)
    holder, blind = [each for each in left if each.endpoint in loss.delegates()]
    for each in left:
        _shut_off(loss, each, [*lost, holder] if each is blind else lost, hears_votes=each is holder)
    goal = loss.world.top + 1
    loss.until(lambda: max(each.ledger.chain.height for each in lost) > goal)
    knows = max(lost, key=lambda each: each.ledger.chain.height)
    blocks = [knows.ledger.chain.block(each).header for each in range(1, knows.ledger.chain.height + 1)]
    assert all(each.ledger.chain.height < len(blocks) for each in left), "no survivor has executed it"
    for each in lost:
        each.crash()
    for each in left:
        loss.world.network.receivers[each.endpoint] = each.receive
    loss.pass_ms(8_000)
    recovery = loss.recover(lost, left)
    assert sha256(blocks[-1]) in recovery.statement.prepared
    _goes_on(loss, lost, left, recovery)
    for each in [*left, *lost]:
        assert [each.ledger.chain.block(height).header for height in range(1, len(blocks) + 1)] == blocks


def _shut_off(loss: Loss, member: Member, sources: list[Member], *, hears_votes: bool) -> None:
    """Let nothing of these sources reach a member any more, or all but their commits and their blocks."""
    names = [each.endpoint for each in sources]

    def receive(source: str, parcel: Parcel) -> None:
        is_shut = source in names
        if is_shut and hears_votes and isinstance(parcel, bytes):
            is_shut = isinstance(decode(Envelope, parcel, loss.world.chain_id).message, Commit | Checkpoint)
        if not is_shut:
            member.receive(source, parcel)

    loss.world.network.receivers[member.endpoint] = receive


@pytest.mark.parametrize("seed", range(2))
def test_recovery_while_links_lose_and_repeat(seed: int) -> None:
    """C10: the next epoch begins over bad links as well, and the lost come back as followers."""
    loss = Loss(replace(SEVEN, seed=seed, loss=60, duplicate=60, delay_max=30, skew_max=200))
    lost, left = loss.begin(12)
    for each in lost:
        each.crash()
    loss.pass_ms(6_000)
    _goes_on(loss, lost, left, loss.recover(lost, left))


def _goes_on(loss: Loss, lost: list[Member], left: list[Member], recovery: RecoveryCertificate) -> None:
    """Blocks go on and become final; whoever was lost comes back, follows, and has no vote."""
    goal = recovery.statement.last_height + 10
    loss.until(lambda: all(each.ledger.chain.certified_height >= goal for each in left))
    for each in lost:
        each.start()
    loss.until(lambda: all(each.ledger.chain.certified_height >= goal + 5 for each in lost))
    for each in lost:
        assert each.replica.state.outlook.epoch == recovery.statement.epoch + 1
        assert each.replica.state.index is None
