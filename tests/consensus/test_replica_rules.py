"""What our replica adds to the paper: pipelining, ageing requests, heartbeats, laggards (rules C1, C2, C3, L3, L7)."""

from dataclasses import replace
from itertools import product

import pytest

from consilium.consensus.core.events import Broadcast, Deliver, PreparedRecord, ProposalRecord, SetTimer, Timer
from consilium.consensus.core.events import Persist as PersistEffect
from consilium.consensus.core.messages import (
    BatchOffer,
    Checkpoint,
    Commit,
    FetchNewView,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    SignedViewChange,
)
from consilium.kernel.certificates import Phase
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import (
    GENESIS,
    certify,
    child_of,
    make_batch,
    make_call,
    make_header_bytes,
    make_new_view,
    make_pre_prepare,
    prepared,
    sign_vote,
)
from tests.consensus.cluster import CHAIN_ID, GENESIS_MS, PARAMETERS, Cluster, Seat, make_record
from tests.consensus.promises import check_fixed_first, check_said_once

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))
BACKLOG = 40
"""Batches of one member: more than one time-out of beats passes on."""


def digests(seat: Seat) -> list[bytes]:
    """The hashes of its blocks."""
    return [sha256(block.header) for block in seat.blocks]


# --- C1: effects in order ---


@pytest.mark.parametrize("count", [4, 7])
def test_what_fixes_a_vote_is_durable_before_the_vote_leaves(count: int) -> None:
    """C1, C5: in every list of effects the Persist that fixes a vote stands before the vote, view changes included."""
    cluster = Cluster(count)
    cluster.order(5)
    cluster.stop(PRIMARY)
    cluster.submit(SECOND, make_record(SECOND, 100))
    cluster.let_pass(20_000)
    cluster.restart(PRIMARY)
    cluster.heal(20_000)
    looked_at = [check_fixed_first(seat.effects) for seat in cluster.seats.values()]
    assert min(looked_at) > 15
    check_said_once(cluster.spoken)


def test_proposal_is_fixed_then_prepared_then_fixed_then_committed_then_delivered() -> None:
    """C1: one block at one backup: Persist proposal, prepare, Persist certificate, commit, Deliver, in this order."""
    cluster = Cluster()
    backup = cluster.seats[BACKUP]
    backup.effects.clear()
    cluster.order(1)
    steps: list[str] = []
    for effect in backup.effects:
        match effect:
            case PersistEffect(records=(ProposalRecord(),)):
                steps.append("proposal fixed")
            case PersistEffect(records=(PreparedRecord(),)):
                steps.append("certificate fixed")
            case Broadcast(message=Prepare() | Commit() | Checkpoint() as message):
                steps.append(type(message).__name__)
            case Deliver(item=CertifiedBlock()):
                steps.append("delivered")
            case _:
                pass
    assert steps == ["proposal fixed", "Prepare", "certificate fixed", "Commit", "delivered", "Checkpoint"]


# --- C3: pipelining ---


def test_prepare_for_a_child_waits_until_its_parent_is_prepared() -> None:
    """C3: prepare(h+1) leaves only after prepared(h), however complete h+1 is; so no prepared child loses its parent."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    backup = cluster.seats[BACKUP]
    first = make_pre_prepare(cluster.outlook, GENESIS)
    second = make_pre_prepare(cluster.outlook, child_of(first), now_ms=GENESIS_MS + 3)
    for proposal in (first, second):
        cluster.deliver_message(PRIMARY, BACKUP, proposal)
    for name in (SECOND, THIRD):
        vote = second.signed.vote
        cluster.deliver_message(name, BACKUP, Prepare(sign_vote(name, Phase.PREPARE, 0, 2, vote.digest)))
    assert [height for _, height, _ in backup.slots(Prepare)] == [1]
    assert [height for _, height, _ in backup.slots(Commit)] == []
    cluster.deliver_message(SECOND, BACKUP, Prepare(sign_vote(SECOND, Phase.PREPARE, 0, 1, first.signed.vote.digest)))
    assert [height for _, height, _ in backup.slots(Prepare)] == [1, 2]
    assert [height for _, height, _ in backup.slots(Commit)] == [1, 2]


def test_primary_keeps_a_whole_pipeline_under_way_and_no_more() -> None:
    """C3: `pipeline_blocks` blocks are under way at once; the next leaves when the lowest is executed."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: isinstance(message, PrePrepare)
    cluster.order(6)
    primary = cluster.seats[PRIMARY].state
    assert sorted(primary.log.slots) == [1, 2, 3, 4]
    assert sorted(cluster.seats[BACKUP].state.log.slots) == [1, 2, 3, 4]
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.RESEND)
    assert cluster.heights == [5, 5, 5, 5]
    assert primary.pool.eligible_since() is None, "what waited behind the pipeline went into one block"


def test_pipelined_blocks_name_their_parents() -> None:
    """C3, L3: a block proposed while its parent is under way names it, and counts no commits for it yet."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: isinstance(message, PrePrepare)
    cluster.order(3)
    slots = cluster.seats[BACKUP].state.log.slots
    assert [slots[height].header.parent_hash for height in (1, 2, 3)] == [CHAIN_ID, slots[1].digest, slots[2].digest]
    assert [slots[height].header.parent_commits for height in (1, 2, 3)] == [0, 0, 0]


def test_headers_tell_who_committed_the_parent() -> None:
    """L3: with the parent executed, bit i of the bitmap says that delegate i's commit for it was at hand."""
    cluster = Cluster()
    cluster.order(1)
    cluster.stop(THIRD)
    cluster.order(2, first=2)
    bitmaps = [decode(Header, block.header, CHAIN_ID).parent_commits for block in cluster.seats[BACKUP].blocks]
    assert bitmaps[0] == 0
    assert bitmaps[1].bit_count() >= 3
    assert bitmaps[2] == 0b0111


# --- C2: slow, silent and censoring primaries ---


def test_a_silent_primary_is_replaced() -> None:
    """C2: no heartbeat within heartbeat and time-out, and the next primary takes over."""
    cluster = Cluster()
    cluster.order(1)
    cluster.stop(PRIMARY)
    cluster.let_pass(PARAMETERS.heartbeat_ms + PARAMETERS.view_timeout_ms)
    assert [cluster.seats[name].state.view for name in (BACKUP, SECOND, THIRD)] == [1, 1, 1]
    cluster.let_pass(PARAMETERS.heartbeat_ms)
    assert cluster.heights[1:] == [2, 2, 2]


def test_two_dead_primaries_in_a_row_are_passed_over() -> None:
    """C2, paper 4.5: after b faulty primaries the view is at most b + 1 on; n = 7 tolerates two."""
    cluster = Cluster(7)
    cluster.stop(PRIMARY, BACKUP)
    cluster.submit(THIRD, make_record(THIRD, 1))
    cluster.let_pass(PARAMETERS.view_timeout_ms + 2 * PARAMETERS.view_timeout_ms)
    assert cluster.heights[2:] == [1] * 5
    assert cluster.seats[THIRD].blocks[0].commit.view == 2


def test_a_primary_that_censors_one_batch_is_replaced() -> None:
    """R9, C2: request ageing: blocks go on, but one batch has waited for a time-out since one as old was ordered."""
    cluster = Cluster()
    censored = make_record(THIRD, 77)

    def arrives(_sender: str, to: str, message: Message) -> bool:
        return not (to == PRIMARY and isinstance(message, BatchOffer) and censored in message.batch)

    cluster.arrives = arrives
    cluster.submit(THIRD, censored)
    for number in range(1, 7):
        cluster.submit(SECOND, make_record(SECOND, number))
        assert cluster.seats[BACKUP].state.view == 0
        cluster.let_pass(PARAMETERS.view_timeout_ms // 5 + 1)
    assert cluster.seats[BACKUP].state.view == 1
    assert cluster.seats[THIRD].state.pool.eligible_since() is None, "the next primary ordered it"


def test_a_primary_that_orders_too_slowly_is_replaced() -> None:
    """C2: a primary that lets a batch wait over the time-out is left, though it sends heartbeats as blocks."""
    cluster = Cluster()

    def arrives(_sender: str, _to: str, message: Message) -> bool:
        return not (isinstance(message, PrePrepare) and message.signed.vote.view == 0)

    cluster.arrives = arrives
    cluster.submit(THIRD, make_record(THIRD, 1))
    cluster.let_pass(PARAMETERS.view_timeout_ms - 1)
    assert cluster.seats[BACKUP].state.view == 0
    cluster.let_pass(1)
    assert cluster.seats[BACKUP].state.view == 1
    assert cluster.heights == [1, 1, 1, 1]


def test_an_honest_primary_is_told_again_before_it_is_blamed() -> None:
    """C2, paper 4.1: backups relay a batch the primary never heard of, also while other blocks are made."""
    cluster = Cluster()
    missed = make_record(THIRD, 77)
    cluster.arrives = lambda _sender, to, message: not (to == PRIMARY and isinstance(message, BatchOffer))
    cluster.submit(THIRD, missed)
    cluster.arrives = lambda _sender, _to, _message: True
    for number in range(1, 31):
        cluster.submit(SECOND, make_record(SECOND, number))
        cluster.let_pass(PARAMETERS.view_timeout_ms // 20)
    assert [cluster.seats[name].state.view for name in cluster.names] == [0, 0, 0, 0]
    assert cluster.seats[THIRD].state.pool.eligible_since() is None


def test_a_new_primary_is_not_blamed_for_a_backlog_it_has_still_to_hear_of() -> None:
    """C2: a batch from before the view ages from when its primary was told of it; four a beat are, beside other blocks."""
    cluster = Cluster()
    cluster.stop(PRIMARY)
    cluster.arrives = lambda _sender, to, message: not (to == BACKUP and isinstance(message, BatchOffer))
    for number in range(1, BACKLOG + 1):
        cluster.submit(THIRD, make_record(THIRD, number))
        cluster.let_pass(PARAMETERS.batch_wait_ms)
    while cluster.seats[BACKUP].state.view == 0:
        cluster.let_pass(1)
    cluster.arrives = lambda _sender, _to, _message: True
    for number in range(1, 81):
        cluster.submit(SECOND, make_record(SECOND, number))
        cluster.let_pass(PARAMETERS.view_timeout_ms // 20)
    assert [cluster.seats[name].state.view for name in (BACKUP, SECOND, THIRD)] == [1, 1, 1]
    assert cluster.seats[THIRD].state.pool.eligible_since() is None


def test_a_batch_waits_its_turn_behind_older_ones_but_not_for_ever() -> None:
    """C2: while blocks order what has waited for longest, their primary works off a backlog; four time-outs are the end."""
    cluster, timeout_ms = Cluster(), PARAMETERS.view_timeout_ms
    cluster.arrives = lambda _sender, to, message: not (to == PRIMARY and isinstance(message, BatchOffer))
    backlog = [BatchOffer(make_batch(SECOND, number).data) for number in range(1, 20)]
    for offer, name in product(backlog, (BACKUP, SECOND, THIRD)):
        cluster.deliver_message(PRIMARY, name, offer)
    came_at, left_after_ms = cluster.now_ms, 0
    for offer in backlog:
        cluster.deliver_message(SECOND, PRIMARY, offer)
        cluster.let_pass(timeout_ms // 2)
        if cluster.seats[BACKUP].state.view:
            left_after_ms = cluster.now_ms - came_at
            break
    assert left_after_ms == 4 * timeout_ms


# --- L7: time and heartbeats ---


def test_an_idle_chain_beats_once_an_interval() -> None:
    """R9, L7: an idle primary makes an empty block every `heartbeat_ms`; no heartbeat chases another."""
    cluster = Cluster()
    cluster.let_pass(12 * PARAMETERS.heartbeat_ms)
    assert cluster.heights == [12, 12, 12, 12]
    assert all(block.batches == () for block in cluster.seats[BACKUP].blocks)
    assert [cluster.seats[name].state.view for name in cluster.names] == [0, 0, 0, 0]


def test_a_heartbeat_may_take_a_whole_time_out_though_the_last_block_is_older() -> None:
    """C2, L7: heartbeats are further apart than a time-out; nobody leaves the view for what has only just been proposed."""
    assert PARAMETERS.heartbeat_ms > PARAMETERS.view_timeout_ms
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.let_pass(PARAMETERS.heartbeat_ms)
    came_at = cluster.now_ms
    assert [seat.state.log.top(0) for seat in cluster.seats.values()] == [1, 1, 1, 1]
    cluster.let_pass(PARAMETERS.view_timeout_ms - 1)
    assert [seat.state.view for seat in cluster.seats.values()] == [0, 0, 0, 0]
    assert {seat.state.deadline for seat in cluster.seats.values()} == {came_at + PARAMETERS.view_timeout_ms}


def test_a_proposal_puts_off_nothing_that_is_overdue() -> None:
    """C2: a primary that is late with its heartbeat gains no time by a proposal that comes to nothing."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.stop(PRIMARY)
    cluster.let_pass(PARAMETERS.heartbeat_ms + PARAMETERS.view_timeout_ms - 100)
    due = cluster.seats[BACKUP].state.deadline
    cluster.seats[PRIMARY].up = True
    cluster.ring(PRIMARY, Timer.HEARTBEAT)
    assert cluster.seats[BACKUP].state.log.top(0) == 1
    assert cluster.seats[BACKUP].state.deadline == due


def test_a_busy_chain_makes_no_empty_blocks() -> None:
    """L7: the heartbeat is put off by every block."""
    cluster = Cluster()
    for number in range(1, 11):
        cluster.order(1, first=number)
        cluster.let_pass(PARAMETERS.heartbeat_ms - 100)
    assert cluster.heights == [10, 10, 10, 10]
    assert all(block.batches for block in cluster.seats[BACKUP].blocks)


def test_block_time_is_above_the_parents_even_when_the_clock_is_not() -> None:
    """L7: header time rises with every block, whatever the primary's clock does."""
    cluster = Cluster()
    cluster.order(2)
    cluster.now_ms -= 3_000
    cluster.order(2, first=3)
    times = [header.time_ms for header in cluster.seats[BACKUP].ledger.headers]
    assert times == sorted(set(times))
    assert len(times) == 4


def test_clocks_are_compared_on_first_proposals() -> None:
    """L7: a backup refuses a first proposal whose time is too far from its clock, either way."""
    cluster = Cluster()
    skew = PARAMETERS.clock_skew_max_ms
    for now_ms in (cluster.now_ms + skew + 1, cluster.now_ms + skew):
        cluster.deliver_message(PRIMARY, BACKUP, make_pre_prepare(cluster.outlook, GENESIS, now_ms=now_ms))
    cluster.now_ms += 2 * skew + 1
    cluster.deliver_message(PRIMARY, SECOND, make_pre_prepare(cluster.outlook, GENESIS, now_ms=cluster.now_ms - skew - 1))
    assert [error.reason for error in cluster.refusals] == ["CLOCK_SKEW", "CLOCK_SKEW"]
    assert list(cluster.seats[BACKUP].state.log.slots) == [1]


def test_clocks_are_not_compared_on_proposals_made_again() -> None:
    """L7: what a view change proposes again keeps its old time; no clock may stop it."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(1)
    cluster.stop(PRIMARY)
    cluster.now_ms += 100 * PARAMETERS.clock_skew_max_ms
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.PROGRESS)
    assert cluster.heights[1:] == [1, 1, 1]


# --- L3, C2: what a view change keeps ---


@pytest.mark.parametrize("lost_to", [(), (BACKUP,), (SECOND,), (BACKUP, SECOND, THIRD)])
def test_a_committed_block_survives_every_view_change(lost_to: tuple[str, ...]) -> None:
    """R1, C2, L3: the block one replica has executed is the one all others commit later, its hash and header unchanged."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, to, message: not (isinstance(message, Commit) and to in lost_to)
    cluster.order(1)
    cluster.arrives = lambda _sender, _to, _message: True
    header = cluster.seats[PRIMARY].blocks[0].header
    cluster.stop(PRIMARY)
    cluster.submit(THIRD, make_record(THIRD, 9))
    cluster.heal(30_000)
    for name in (BACKUP, SECOND, THIRD):
        assert cluster.seats[name].blocks[0].header == header
        assert cluster.seats[name].height >= 2


def test_a_prepared_pipeline_is_proposed_again_as_a_whole() -> None:
    """C3, L3: three prepared blocks, none committed: all three keep their hashes in the next view, in order."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(3)
    before = [cluster.seats[BACKUP].state.log.slots[height].digest for height in (1, 2, 3)]
    cluster.stop(PRIMARY)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.PROGRESS)
    for name in (BACKUP, SECOND, THIRD):
        assert digests(cluster.seats[name])[:3] == before


# --- laggards ---


def test_a_replica_that_missed_the_new_view_asks_for_it() -> None:
    """C2: a proposal of a view above its own makes a replica ask for the proof, and it votes there from then on."""
    cluster = Cluster()
    cluster.order(1)
    cluster.arrives = lambda _sender, to, message: to != THIRD or not isinstance(message, NewView | SignedViewChange)
    cluster.ring_all(Timer.PROGRESS, [PRIMARY, BACKUP, SECOND])
    assert [cluster.seats[name].state.view for name in cluster.names] == [1, 1, 1, 0]
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.submit(BACKUP, make_record(BACKUP, 2))
    third = cluster.seats[THIRD]
    assert third.said(FetchNewView) != []
    assert (third.state.view, third.state.entered) == (1, True)
    cluster.stop(PRIMARY)
    cluster.heal(1_000)
    cluster.submit(BACKUP, make_record(BACKUP, 3))
    assert third.height == 3, "its vote is needed now that another is gone"


def test_a_replica_that_restarted_still_proves_its_view() -> None:
    """C2, C5: the proof of a view survives a restart, so that a laggard is helped by anybody who works there."""
    cluster = Cluster()
    cluster.order(1)
    cluster.stop(THIRD)
    cluster.ring_all(Timer.PROGRESS, [PRIMARY, BACKUP, SECOND])
    for name in (PRIMARY, BACKUP, SECOND):
        cluster.restart(name)
    cluster.run()
    cluster.restart(THIRD)
    cluster.run()
    assert [cluster.seats[name].state.view for name in cluster.names] == [1, 1, 1, 0]
    cluster.submit(BACKUP, make_record(BACKUP, 2))
    assert (cluster.seats[THIRD].state.view, cluster.seats[THIRD].state.entered) == (1, True)


def test_a_late_caller_is_handed_the_new_view() -> None:
    """C2, paper 4.5.2: who calls for a view that others have entered is shown its proof."""
    cluster = Cluster()
    cluster.order(1)
    cluster.arrives = lambda _sender, to, _message: to != THIRD
    cluster.ring_all(Timer.PROGRESS, [PRIMARY, BACKUP, SECOND])
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring(THIRD, Timer.PROGRESS)
    assert (cluster.seats[THIRD].state.view, cluster.seats[THIRD].state.entered) == (1, True)


def lagging(name: str) -> tuple[Cluster, NewView]:
    """A member that stands at genesis while the others' stable checkpoint is 3, and the new view 1 they enter."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, to, _message: to != name
    cluster.order(3)
    committee = cluster.outlook.committee
    result = cluster.seats[SECOND].ledger.results[2]
    calls = [make_call(committee, 0, 1, certify(committee, result)), make_call(committee, 1, 1), make_call(committee, 2, 1)]
    return cluster, make_new_view(cluster.outlook, 1, calls)


def test_a_lagging_backup_votes_on_nothing_below_a_new_views_checkpoint() -> None:
    """Paper 4.4: entering a view a replica takes over its checkpoint; what lies below is decided, whoever proposes it."""
    cluster, message = lagging(THIRD)
    third = cluster.seats[THIRD]
    cluster.deliver_message(BACKUP, THIRD, message)
    assert (third.state.view, third.state.low) == (1, 3)
    cluster.deliver_message(BACKUP, THIRD, make_pre_prepare(cluster.outlook, GENESIS, view=1))
    assert third.said(Prepare) == []
    cluster.restart(THIRD)
    assert cluster.seats[THIRD].state.low == 3, "a crash does not take it back"
    cluster.catch_up(THIRD, SECOND)
    assert cluster.seats[THIRD].height == 3


def test_a_lagging_primary_proposes_nothing_below_its_new_views_checkpoint() -> None:
    """Paper 4.4: a new primary that has yet to catch up must not fill heights that others have decided."""
    cluster, _ = lagging(BACKUP)
    committee, result = cluster.outlook.committee, cluster.seats[SECOND].ledger.results[2]
    for index in (0, 2, 3):
        call = make_call(committee, index, 1, certify(committee, result))
        cluster.deliver_message(f"member-{index}", BACKUP, call)
    backup = cluster.seats[BACKUP]
    assert (backup.state.is_primary, backup.state.view) == (True, 1)
    cluster.submit(BACKUP, make_record(BACKUP, 50))
    assert backup.said(PrePrepare) == []
    cluster.catch_up(BACKUP, SECOND)
    proposed = [message.signed.vote.height for message in backup.said(PrePrepare) if isinstance(message, PrePrepare)]
    assert sorted(set(proposed)) == [4]


def test_a_laggard_takes_nobody_out_of_a_view() -> None:
    """C2: who lacks blocks that others have made catches up first; a faulty delegate's standing call waits for its own."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, to, message: to != THIRD or isinstance(message, Checkpoint)
    cluster.order(3)
    cluster.arrives = lambda _sender, _to, _message: True
    for name in (PRIMARY, SECOND, THIRD):
        cluster.deliver_message(BACKUP, name, make_call(cluster.outlook.committee, 1, 900))
    for _ in range(3):
        cluster.ring(THIRD, Timer.PROGRESS)
    assert [seat.state.view for seat in cluster.seats.values()] == [0, 0, 0, 0]
    cluster.stop(PRIMARY)
    cluster.catch_up(THIRD, SECOND)
    cluster.ring(THIRD, Timer.PROGRESS)
    assert [cluster.seats[name].state.view for name in (SECOND, THIRD)] == [1, 1], "level, it calls as anybody does"


def test_a_censor_is_left_by_those_it_keeps_behind_as_well() -> None:
    """C2: one that is behind waits for its ledger, but for four time-outs at most while a batch lies that it knows of."""
    cluster = Cluster()
    cluster.arrives = lambda sender, to, message: sender != THIRD and (to != THIRD or isinstance(message, Checkpoint))
    cluster.order(3)
    cluster.submit(THIRD, make_record(THIRD, 50))
    third, told_at = cluster.seats[THIRD].state, cluster.now_ms
    while third.view == 0 and cluster.now_ms < told_at + 60_000:
        cluster.let_pass(PARAMETERS.view_timeout_ms)
        left_after = (cluster.now_ms - told_at) // PARAMETERS.view_timeout_ms
    assert third.is_behind
    assert left_after == 5


def test_a_block_of_an_earlier_view_makes_nobody_impatient() -> None:
    """C2: the time-out that doubled with a failed view is short again once the next view makes a block, and not before."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, to, message: to != THIRD or isinstance(message, SignedViewChange | NewView)
    cluster.order(1)
    cluster.ring_all(Timer.PROGRESS, [PRIMARY, BACKUP, SECOND])
    third = cluster.seats[THIRD].state
    assert (third.view, third.entered, third.timeout_ms()) == (1, True, 2 * PARAMETERS.view_timeout_ms)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.catch_up(THIRD, SECOND)
    assert third.timeout_ms() == 2 * PARAMETERS.view_timeout_ms
    cluster.order(1, name=BACKUP, first=2)
    assert (third.tip.height, third.timeout_ms()) == (2, PARAMETERS.view_timeout_ms)


def test_a_new_view_that_contradicts_an_executed_block_is_refused() -> None:
    """C2: with at most f faulty none can exist; a replica that is shown one believes its ledger."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Checkpoint)
    cluster.order(1)
    committee = cluster.outlook.committee
    other = make_header_bytes(cluster.outlook, GENESIS, now_ms=GENESIS_MS + 999)
    calls = [make_call(committee, 0, 1, proofs=[prepared(committee, 0, 1, other)])]
    calls += [make_call(committee, index, 1) for index in (1, 3)]
    cluster.deliver_message(BACKUP, SECOND, make_new_view(cluster.outlook, 1, calls))
    assert cluster.seats[SECOND].state.view == 0
    assert cluster.refusals[-1].reason == "BAD_NEW_VIEW"


def test_lost_messages_are_said_again_and_nothing_else_is() -> None:
    """C2: links lose; while nothing moves each replica repeats its unfinished votes, while all goes well none."""
    cluster = Cluster()
    cluster.order(1)
    before = len(cluster.spoken)
    cluster.let_pass(PARAMETERS.heartbeat_ms - 1)
    assert len(cluster.spoken) == before, "an idle, finished chain is silent"
    turn = iter(range(1_000_000))
    cluster.arrives = lambda _sender, _to, _message: next(turn) % 3 == 0
    cluster.order(3, first=2)
    for _ in range(12):
        cluster.ring_all(Timer.RESEND)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(3_000)
    assert cluster.heights == [max(cluster.heights)] * 4
    assert all(seat.state.pool.eligible_since() is None for seat in cluster.seats.values())
    check_said_once(cluster.spoken)


def test_half_the_messages_lost_all_the_time_only_slows_it_down() -> None:
    """C2, paper 4.5: safety never, liveness only while it lasts; here every second message is lost for two minutes."""
    cluster = Cluster(parameters=replace(PARAMETERS, view_timeout_ms=2_000))
    turn = iter(range(10_000_000))
    cluster.arrives = lambda _sender, _to, _message: (next(turn) * 7919) % 13 < 7
    cluster.submit(SECOND, make_record(SECOND, 1), make_record(SECOND, 2))
    cluster.heal(60_000)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(30_000)
    assert len(set(cluster.heights)) == 1
    assert len({tuple(digests(seat)) for seat in cluster.seats.values()}) == 1
    check_said_once(cluster.spoken)


def test_alarms_are_set_before_anything_happens() -> None:
    """C1: a replica that has just started will be woken even if nobody ever writes to it."""
    cluster = Cluster()
    assert {effect.timer for effect in cluster.seats[BACKUP].effects if isinstance(effect, SetTimer)} == {
        Timer.RESEND,
        Timer.PROGRESS,
    }
    assert Timer.HEARTBEAT in cluster.seats[PRIMARY].alarms
