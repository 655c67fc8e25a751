"""What an epoch brings besides a committee: numbers, the keys it knows a member by, and where a build stops (G3 to G5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from consilium.consensus.core.checkpointing import enter_epoch
from consilium.consensus.core.events import Timer
from consilium.consensus.core.messages import Commit, Prepare, PrePrepare
from consilium.consensus.core.normal_case import on_decided
from consilium.kernel.certificates import CommitCertificate, Committee, Elector, Electorate
from consilium.kernel.parameters import PROTOCOL_VERSION
from consilium.kernel.transactions import UpgradeAct
from tests.consensus.cluster import PARAMETERS, Cluster, Seat, make_record, signer

if TYPE_CHECKING:
    from consilium.kernel.chain import Outlook

NAME = "member-1"
FRESH = signer("member-1 anew")


def following(seat: Seat, **numbers: int) -> Outlook:
    """The next epoch: the same delegates, but this member is known by another key, and the numbers are others."""
    before = seat.replica.state.outlook
    delegates = [
        replace(each, consensus_key=FRESH.public_key) if each.member_id == NAME else each
        for each in before.committee.delegates
    ]
    electors = [Elector(NAME, FRESH.public_key) if each.member_id == NAME else each for each in before.electorate.electors]
    return replace(
        before,
        epoch=1,
        committee=Committee(1, tuple(delegates)),
        electorate=Electorate(1, tuple(electors)),
        parameters=replace(PARAMETERS, **numbers),  # type: ignore[arg-type]
    )


def test_a_replica_goes_by_its_epochs_numbers() -> None:
    """G4: all that it does from the first block on, batches that wait included."""
    seat = Cluster().seats["member-0"]
    state = seat.replica.state
    assert (state.parameters, state.pool.has_room("member-2")) == (PARAMETERS, True)
    enter_epoch(state, following(seat, view_timeout_ms=7_000, view_timeout_max_ms=9_000, ingress_batches_max=1))
    assert (state.timeout_ms(), state.parameters.ingress_batches_max) == (7_000, 1)
    state.attempts = 1
    assert state.timeout_ms() == 9_000


def test_a_delegate_signs_with_the_key_its_committee_holds() -> None:
    """G3: the old one until the epoch ends, and then the new one, if it has been put in place."""
    seat = Cluster().seats[NAME]
    state = seat.replica.state
    state.identity = replace(state.identity, others=(FRESH,))
    state.take_seat()
    assert (state.consensus_signer.public_key, state.index) == (signer(NAME).public_key, 1)
    enter_epoch(state, following(seat))
    assert (state.consensus_signer, state.member_signer, state.index) == (FRESH, FRESH, 1)
    before = state.previous_committee
    assert before is not None
    old = state.signer_in(before)
    assert old is not None
    assert old.public_key == signer(NAME).public_key


def test_a_delegate_without_the_key_its_committee_holds_has_no_vote() -> None:
    """G3: what it signed with another would be taken for a forgery."""
    seat = Cluster().seats[NAME]
    state = seat.replica.state
    enter_epoch(state, following(seat))
    assert (state.index, state.votes, state.is_primary) == (None, False, False)


def test_nothing_is_ordered_at_a_height_whose_rules_this_build_does_not_know() -> None:
    """G5: the blocks below are; an upgrade to a version it knows is no bar."""
    for version, last in ((PROTOCOL_VERSION + 1, 4), (PROTOCOL_VERSION, 12)):
        cluster = Cluster()
        for seat in cluster.seats.values():
            state = seat.replica.state
            state.outlook = replace(state.outlook, upgrade=UpgradeAct(version, 5))
            seat.ledger.outlook = state.outlook
        for number in range(12):
            cluster.submit("member-0", make_record("member-0", number))
            cluster.run()
            cluster.let_pass(PARAMETERS.heartbeat_ms)
        heights = [seat.ledger.height for seat in cluster.seats.values()]
        assert max(heights) == last if version > PROTOCOL_VERSION else min(heights) >= last


def test_an_older_build_says_nothing_to_what_a_newer_one_left_in_its_vote_log() -> None:
    """G5: a member may go back to the older build below the height; what the newer one accepted above it is let lie."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Prepare)
    cluster.submit("member-0", make_record("member-0", 1))
    for name in cluster.names:
        ledger = cluster.seats[name].ledger
        ledger.outlook = replace(ledger.outlook, upgrade=UpgradeAct(PROTOCOL_VERSION + 1, 1))
        seat = cluster.restart(name)
        slot = seat.state.log.slots[1]
        assert slot.accepted
        cluster.ring(name, Timer.RESEND)
        on_decided(seat.state, CommitCertificate(0, 0, 1, slot.digest, ()))
        assert (seat.said(PrePrepare, Prepare, Commit), seat.state.delivered) == ([], 0)
