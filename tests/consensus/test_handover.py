"""Draws, barriers, the ends of terms, and the next committee's beginning (rules C3, C4, C6, C7, C8, L3)."""

from dataclasses import replace

import pytest

from consilium.consensus.core.events import Submitted, Timer
from consilium.consensus.core.messages import (
    AllianceVote,
    BatchOffer,
    Checkpoint,
    Commit,
    Message,
    PrePrepare,
    ResultProof,
    StatusReply,
)
from consilium.consensus.core.normal_case import on_decided
from consilium.kernel.certificates import AllianceStatement, MemberSignature, Result
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.opening import open_batch
from consilium.kernel.transactions import AttendanceBody, HandoverBody
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, Cluster, Seat, make_record, signer
from tests.consensus.promises import check_fixed_first, check_said_once

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))
FOUR = [PRIMARY, BACKUP, SECOND, THIRD]
OTHER_FOUR = [f"member-{index}" for index in (4, 5, 6, 7)]
SHORT = replace(PARAMETERS, term_blocks=10)
"""The draw is made after block 9, the term ends with block 10."""


def handovers(seat: Seat) -> list[tuple[int, Result]]:
    """The handovers in a member's blocks: height, and the result the alliance signed."""
    return [
        (height, transaction.payload.body.certificate.result)
        for height, block in enumerate(seat.blocks, start=1)
        for data in block.batches
        for transaction in open_batch(data, CHAIN_ID).transactions
        if isinstance(transaction.payload.body, HandoverBody)
    ]


def at_the_end(cluster: Cluster) -> None:
    """Have the term's ten blocks ordered."""
    cluster.order(10)
    assert max(cluster.heights) >= 10


# --- barriers ---


def proposals_pass_only(cluster: Cluster) -> None:
    """Proposals and batches arrive; nothing is decided."""
    cluster.arrives = lambda _sender, _to, message: isinstance(message, PrePrepare | BatchOffer)


@pytest.mark.parametrize(("blocks", "slots"), [(7, [8, 9]), (8, [9]), (9, [10, 11, 12])])
def test_nothing_is_proposed_above_the_election_height_until_it_is_executed(blocks: int, slots: list[int]) -> None:
    """C3, C6: headers above carry the next committee, which is known only from the state of that height."""
    cluster = Cluster(parameters=SHORT)
    cluster.order(blocks)
    proposals_pass_only(cluster)
    cluster.order(3, first=50)
    assert sorted(cluster.seats[PRIMARY].state.log.slots) == slots
    assert [height for height, slot in sorted(cluster.seats[BACKUP].state.log.slots.items()) if slot.accepted] == slots


def test_the_headers_tell_of_the_draw() -> None:
    """C6: zero and the old mix up to the election height; from there on the next committee and the new mix."""
    cluster = Cluster(8, voters=4, parameters=SHORT, successors=[OTHER_FOUR])
    cluster.order(9)
    proposals_pass_only(cluster)
    cluster.order(1, first=50)
    header = cluster.seats[PRIMARY].state.log.slots[10].header
    following = cluster.seats[PRIMARY].ledger.outlook.next_committee
    assert following is not None
    assert header.next_committee_hash == following.hash(CHAIN_ID)
    assert [each.next_committee_hash for each in cluster.seats[BACKUP].ledger.headers] == [ZERO_DIGEST] * 9


def test_nothing_is_proposed_above_a_handover_until_it_is_executed() -> None:
    """C3, C7: the block that holds the handover may be the epoch's last; what follows belongs to the next committee."""
    cluster = Cluster(parameters=SHORT)
    cluster.order(9)
    cluster.arrives = lambda _sender, _to, message: (
        isinstance(message, PrePrepare | BatchOffer | AllianceVote) or (cluster.seats[PRIMARY].height < 10)
    )
    cluster.order(1, first=10)
    cluster.ring(PRIMARY, Timer.BATCH)
    cluster.order(3, BACKUP, first=50)
    slots = cluster.seats[PRIMARY].state.log.slots
    with_handover = [height for height, slot in slots.items() if slot.has_handover]
    assert len(with_handover) == 1
    assert max(slots) == with_handover[0]
    backup = cluster.seats[BACKUP].state.log.slots
    assert [height for height, slot in backup.items() if slot.has_handover] == with_handover


# --- the end of a term ---


def test_the_alliance_signs_the_terms_end_and_the_next_committee_takes_over() -> None:
    """C7, C8: electors sign, the primary submits the handover, its block is the epoch's last; views restart."""
    cluster = Cluster(8, voters=4, parameters=SHORT, successors=[OTHER_FOUR])
    at_the_end(cluster)
    cluster.heal(4_000)
    ((last, _),) = handovers(cluster.seats[BACKUP])
    for seat in cluster.seats.values():
        ((height, result),) = handovers(seat)
        assert (height, result) == (last, seat.ledger.results[9])
        assert (seat.state.outlook.epoch, seat.state.outlook.epoch_start, seat.state.view) == (1, last + 1, 0)
    cluster.submit(BACKUP, make_record(BACKUP, 99))
    cluster.heal(3_000)
    assert min(cluster.heights) > last
    commit = cluster.seats[BACKUP].blocks[last].commit
    assert (commit.epoch, commit.view, commit.height) == (1, 0, last + 1)
    check_said_once(cluster.spoken)
    for seat in cluster.seats.values():
        check_fixed_first(seat.effects)


def test_a_first_primary_that_comes_late_is_not_blamed_for_what_was_lost_on_its_way() -> None:
    """C2: it fetched the last block late, without a vote before; nothing counts from before the first block of its epoch."""
    cluster, late = Cluster(8, voters=4, parameters=SHORT, successors=[OTHER_FOUR]), OTHER_FOUR[0]
    cluster.arrives = lambda _sender, to, _message: to != late
    at_the_end(cluster)
    for name in 2 * [BACKUP, SECOND, THIRD, *OTHER_FOUR[1:]]:  # their votes end the term: there is more to bring then
        cluster.catch_up(name, PRIMARY)
    cluster.submit(OTHER_FOUR[1], make_record(OTHER_FOUR[1], 98))
    cluster.let_pass(PARAMETERS.view_timeout_ms * 9 // 10)
    cluster.arrives = lambda _sender, to, message: to != late or not isinstance(message, BatchOffer)
    cluster.catch_up(late, PRIMARY)
    cluster.submit(late, make_record(late, 99))
    cluster.let_pass(PARAMETERS.view_timeout_ms // 5)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.let_pass(PARAMETERS.view_timeout_ms // 2)
    assert [cluster.seats[name].state.view for name in OTHER_FOUR] == [0] * 4
    assert cluster.seats[OTHER_FOUR[1]].state.pool.eligible_since() is None, "by now it is ordered"


def test_members_without_a_vote_sign_the_terms_end_too() -> None:
    """C7: it is the whole alliance that signs, not its delegates alone."""
    cluster = Cluster(6, voters=4, parameters=SHORT)
    at_the_end(cluster)
    cluster.heal(3_000)
    voters = {name for name, message in cluster.spoken if isinstance(message, AllianceVote)}
    assert voters == set(cluster.names)


def test_two_thirds_are_not_enough_and_the_sitting_committee_serves_on() -> None:
    """C7: of six members more than four must sign; until the fifth does, blocks go on in the old epoch."""
    cluster = Cluster(6, voters=4, parameters=SHORT)
    cluster.stop("member-4", "member-5")
    at_the_end(cluster)
    cluster.heal(3_000)
    cluster.order(3, first=30)
    assert [seat.state.outlook.epoch for seat in cluster.seats.values() if seat.up] == [0] * 4
    assert cluster.seats[PRIMARY].height >= 13
    cluster.restart("member-4")
    cluster.heal(5_000)
    assert [seat.state.outlook.epoch for seat in cluster.seats.values() if seat.up] == [1] * 5


def test_signatures_on_another_result_do_not_count() -> None:
    """C7: a member that got something else, or signs another height, adds nothing."""
    cluster = Cluster(parameters=SHORT)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, AllianceVote)
    at_the_end(cluster)
    own = cluster.seats[PRIMARY].ledger.results[9]
    for name, result in ((BACKUP, own), (SECOND, replace(own, state_root=bytes(32))), (THIRD, replace(own, height=9))):
        signature = signer(name).sign(encode(AllianceStatement(result), CHAIN_ID))
        cluster.deliver_message(name, PRIMARY, AllianceVote(result, MemberSignature(name, signature)))
    assert cluster.seats[PRIMARY].state.turnover.certificate() is None
    assert cluster.refusals == []


def test_lost_signatures_are_said_again() -> None:
    """C7: until the handover is executed every elector repeats its signature."""
    cluster = Cluster(parameters=SHORT)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, AllianceVote)
    at_the_end(cluster)
    cluster.heal(2_000)
    assert cluster.seats[PRIMARY].state.outlook.epoch == 0
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(4_000)
    assert [seat.state.outlook.epoch for seat in cluster.seats.values()] == [1] * 4


def test_a_dead_primary_does_not_keep_its_committee_in_office() -> None:
    """C2, C7: each delegate that holds the certificate has the handover ordered; it does not hang on the primary."""
    cluster = Cluster(parameters=SHORT)
    cluster.order(9)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, AllianceVote)
    cluster.order(1, first=10)
    cluster.stop(PRIMARY)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(20_000)
    assert [seat.state.outlook.epoch for seat in cluster.seats.values() if seat.up] == [1] * 3
    assert handovers(cluster.seats[BACKUP])[0][1] == cluster.seats[BACKUP].ledger.results[9]


def test_a_restart_at_the_terms_end_forgets_nothing() -> None:
    """C5, C7: the term's last result comes back from the ledger; it is signed the same again."""
    cluster = Cluster(parameters=SHORT)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, AllianceVote)
    at_the_end(cluster)
    for name in cluster.names:
        cluster.restart(name)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(4_000)
    assert [seat.state.outlook.epoch for seat in cluster.seats.values()] == [1] * 4
    check_said_once(cluster.spoken)


def test_a_full_queue_holds_no_handover_back() -> None:
    """C4, C7: a primary that has to refuse its clients still writes its own transactions, and does not fall over."""
    parameters = replace(SHORT, ingress_batches_max=2, batch_bytes_max=400)
    cluster = Cluster(parameters=parameters)
    cluster.order(9)
    primary = cluster.seats[PRIMARY]
    cluster.arrives = lambda _sender, to, _message: to == "nobody"
    for number in range(20, 40):
        cluster.obey(primary, primary.replica.step(Submitted(cluster.now_ms, (make_record(PRIMARY, number),))))
    assert primary.refusal == "QUEUE_FULL"
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(30_000)
    assert [seat.state.outlook.epoch >= 1 for seat in cluster.seats.values()] == [True] * 4


# --- the beginning of the next ---


def between_committees() -> Cluster:
    """Two committees without a common member; the last block of the old one is executed by all, certified by the old."""
    cluster = Cluster(8, voters=4, parameters=SHORT, successors=[OTHER_FOUR])

    def arrives(_sender: str, to: str, message: Message) -> bool:
        return not (to in OTHER_FOUR and isinstance(message, Checkpoint | ResultProof))

    cluster.arrives = arrives
    at_the_end(cluster)
    for _ in range(4):
        cluster.heal(1_000)
    assert cluster.heights == [cluster.heights[0]] * 8
    assert [cluster.seats[name].state.stable_height for name in FOUR] == cluster.heights[:4]
    return cluster


def test_the_next_committee_begins_only_with_a_certified_end() -> None:
    """C7: without the result certificate of the epoch's last block nobody of the new committee proposes."""
    cluster = between_committees()
    heights = cluster.heights
    cluster.submit("member-4", make_record("member-4", 1))
    assert cluster.heights == heights
    assert all(cluster.seats[name].said(PrePrepare) == [] for name in OTHER_FOUR)


def test_the_old_committee_repeats_the_proof_until_the_new_one_has_begun() -> None:
    """C7: those who have the certificate need nothing any more; yet the new committee must get it from them, or all ends."""
    cluster = between_committees()
    cluster.submit("member-4", make_record("member-4", 1))
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(30_000)
    (last, _), *_ = handovers(cluster.seats["member-4"])
    assert min(cluster.heights) > last
    assert cluster.seats["member-4"].blocks[last].commit.epoch == 1


def test_a_forged_proof_of_the_end_begins_nothing() -> None:
    """C7, L3: a certificate short of its quorum is refused; one of another result than the own is not believed."""
    cluster = between_committees()
    certificate = cluster.seats[PRIMARY].certificates[-1]
    short = replace(certificate, signatures=certificate.signatures[:2])
    cluster.deliver_message(PRIMARY, "member-4", ResultProof(short))
    assert cluster.refusals[-1].reason == "SHORT_QUORUM"
    last = cluster.heights[0]
    assert cluster.seats["member-4"].state.stable_height < last
    cluster.arrives = lambda _sender, _to, _message: False
    cluster.deliver_message(PRIMARY, "member-4", ResultProof(certificate))
    assert cluster.seats["member-4"].state.stable_height == last


def test_the_last_result_is_told_to_both_committees() -> None:
    """L3, C7: the old one makes it final for itself, the new one needs it to begin."""
    cluster = Cluster(8, voters=4, parameters=SHORT, successors=[OTHER_FOUR])
    at_the_end(cluster)
    cluster.heal(2_000)
    said = [(to, message) for to, message in cluster.seats[BACKUP].sent if isinstance(message, Checkpoint)]
    ((last, _),) = handovers(cluster.seats[BACKUP])
    told = {to for to, message in said if message.result.height == last}
    assert told == set(cluster.names) - {BACKUP}


def test_a_large_batch_survives_the_change_of_committees() -> None:
    """C4: the old committee's answers count no more; the new one collects its own, also for a member without a vote."""
    parameters = replace(SHORT, inline_bytes_max=600)
    cluster = Cluster(9, voters=4, parameters=parameters)
    data = tuple(make_record("member-8", number) for number in range(5))
    at_the_end(cluster)
    proposal_free = [name for name in cluster.names if name != "member-8"]
    cluster.arrives = lambda sender, _to, message: sender == "member-8" or not isinstance(message, BatchOffer)
    cluster.submit("member-8", *data)
    cluster.arrives = lambda _sender, _to, _message: True
    holders = [name for name in proposal_free if list(cluster.seats[name].state.pool.waiting())]
    assert holders != []
    cluster.heal(30_000)
    assert cluster.seats[BACKUP].state.outlook.epoch >= 1
    batches = [open_batch(each, CHAIN_ID) for block in cluster.seats[BACKUP].blocks for each in block.batches]
    assert data in [batch.batch.transactions for batch in batches]


@pytest.mark.parametrize("restarts", [False, True])
def test_batches_of_a_member_that_left_stop_nobody(*, restarts: bool) -> None:
    """L2, C7: a batch that still waits when its member's time as an elector ends would make every proposal unacceptable."""
    cluster = Cluster(5, voters=4, parameters=SHORT, successors=[[BACKUP, SECOND, THIRD, PRIMARY]])
    for seat in cluster.seats.values():
        seat.ledger.leaving = ("member-4",)
    cluster.order(9)
    cluster.arrives = lambda _sender, to, message: not (to == PRIMARY and isinstance(message, BatchOffer))
    cluster.submit("member-4", make_record("member-4", 1))
    waiting = [entry.opened.batch.member_id for entry in cluster.seats[BACKUP].state.pool.waiting()]
    assert waiting == ["member-4"]
    logs = {name: list(cluster.seats[name].log) for name in FOUR}
    cluster.order(1, first=10)
    cluster.ring(PRIMARY, Timer.BATCH)
    assert [cluster.seats[name].state.outlook.epoch for name in FOUR] == [1] * 4
    cluster.arrives = lambda _sender, _to, _message: True
    if restarts:  # as after a crash between the ledger's last write and the vote log's next
        for name in FOUR:
            cluster.restart(name, records=logs[name])
    last = cluster.seats[BACKUP].height
    cluster.order(2, BACKUP, first=70)
    assert [cluster.seats[name].height for name in FOUR] == [last + 2] * 4
    assert [cluster.seats[name].state.view for name in FOUR] == [0] * 4


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("leaves", [True, False])
def test_one_that_the_epochs_last_block_did_not_reach_is_shown_the_end(*, leaves: bool, restarts: bool) -> None:
    """C7: with one delegate silent the last block's result needs all the others, and no view of that epoch is followed.

    Found by the nemesis: two had executed the handover, the third had committed and left the view; all stood still for good.
    One that has heard of the results above stays in the view and asks (C2). A restart in between forgets nothing of what it
    has accepted (C5).
    """
    cluster = Cluster(parameters=SHORT)
    cluster.stop(THIRD)

    def arrives(_sender: str, to: str, message: Message) -> bool:
        is_last = isinstance(message, Commit) and message.signed.vote.height > SHORT.term_blocks
        tells = isinstance(message, Checkpoint) and leaves and message.result.height > SHORT.term_blocks
        return to != SECOND or not (is_last or tells or isinstance(message, StatusReply))

    cluster.arrives = arrives
    at_the_end(cluster)
    cluster.let_pass(1_000)
    ahead, behind = [cluster.seats[PRIMARY], cluster.seats[BACKUP]], cluster.seats[SECOND]
    assert [each.state.outlook.epoch for each in ahead] == [1, 1]
    cluster.let_pass(10_000)
    assert (behind.state.outlook.epoch, behind.state.entered) == (0, not leaves)
    behind = cluster.restart(SECOND) if restarts else behind
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.let_pass(10_000)
    assert behind.state.outlook.epoch == 1
    last = behind.state.outlook.epoch_start - 1
    assert min(each.state.stable_height for each in (*ahead, behind)) >= last
    cluster.order(2, first=90)
    assert min(each.height for each in (*ahead, behind)) > last
    check_said_once(cluster.spoken)


def test_a_proof_of_another_block_delivers_nothing() -> None:
    """C7: only what this replica has accepted itself, next in order, in the epoch that it is in."""
    cluster = Cluster(parameters=SHORT)
    cluster.order(3)
    proposals_pass_only(cluster)
    cluster.order(1, first=50)
    seat, decided = cluster.seats[BACKUP], cluster.seats[BACKUP].blocks[-1].commit
    for tip in (None, decided, replace(decided, height=4), replace(decided, epoch=1, height=4)):
        on_decided(seat.state, tip) if tip is not None else cluster.deliver_message(PRIMARY, BACKUP, StatusReply(0, tip))
    assert (seat.height, seat.state.delivered) == (3, 3)


# --- signs of life ---


def signs_of_life(cluster: Cluster, name: str) -> int:
    """How many attendances this member has had ordered."""
    key = cluster.seats[name].state.member_signer.public_key
    return sum(
        isinstance(transaction.payload.body, AttendanceBody) and transaction.payload.author == key
        for block in cluster.seats[PRIMARY].blocks
        for data in block.batches
        for transaction in open_batch(data, CHAIN_ID).transactions
    )


def test_who_was_away_half_way_shows_life_when_it_is_back() -> None:
    """C6: a member that catches up over the middle of the term would count as silent though it is there; it says so once."""
    cluster = Cluster(5, voters=4, parameters=replace(PARAMETERS, term_blocks=40))
    cluster.order(18)
    cluster.stop("member-4")
    cluster.order(4, first=30)
    cluster.let_pass(2 * PARAMETERS.tip_age_max_ms)
    assert 21 < cluster.seats[PRIMARY].height < 34
    assert signs_of_life(cluster, "member-4") == 0
    cluster.restart("member-4")
    cluster.catch_up("member-4", PRIMARY)
    cluster.order(3, first=50)
    assert signs_of_life(cluster, "member-4") == 1
