"""A replica keeps its word over crashes, and says nothing when it cannot know what it said (rule C5)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from consilium.consensus.core.events import (
    BatchRecord,
    NewViewRecord,
    PreparedRecord,
    ProposalRecord,
    SetTimer,
    StableRecord,
    Timer,
    ViewRecord,
)
from consilium.consensus.core.identity import Recovered
from consilium.consensus.core.messages import (
    BatchOffer,
    Checkpoint,
    Commit,
    FetchBatches,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    SignedViewChange,
    StatusReply,
    StatusRequest,
)
from consilium.consensus.core.recovery import waiting_since
from consilium.kernel.certificates import Phase
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import open_batch
from consilium.kernel.transactions import EvidenceBody
from tests.consensus.by_hand import (
    GENESIS,
    certify,
    make_batch,
    make_call,
    make_checkpoint,
    make_header_bytes,
    make_new_view,
    make_pre_prepare,
    prepared,
    sign_vote,
)
from tests.consensus.cluster import CHAIN_ID, GENESIS_MS, PARAMETERS, Cluster, Seat, make_record
from tests.consensus.promises import check_fixed_first, check_said_once

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))
SMALL = replace(PARAMETERS, window_blocks=4)

Story = Callable[[Cluster], None]


def votes_after(cluster: Cluster, name: str, start: int) -> list[Message]:
    """The votes one member has said since a moment."""
    kinds = PrePrepare | Prepare | Commit | SignedViewChange | NewView | Checkpoint
    return [message for sender, message in cluster.spoken[start:] if sender == name and isinstance(message, kinds)]


def evidence_on(seat: Seat) -> list[EvidenceBody]:
    """What a ledger holds against anybody."""
    batches = [open_batch(data, CHAIN_ID) for block in seat.blocks for data in block.batches]
    bodies = [transaction.payload.body for batch in batches for transaction in batch.transactions]
    return [body for body in bodies if isinstance(body, EvidenceBody)]


# --- crash after every single effect ---


def blocks_go_on(cluster: Cluster) -> None:
    """Three blocks, pipelined: the proposals first, the votes later."""
    cluster.order(1, THIRD)
    cluster.arrives = lambda _sender, _to, message: isinstance(message, PrePrepare | BatchOffer)
    cluster.order(2, THIRD, first=2)
    cluster.arrives = lambda _sender, _to, _message: True
    for _ in range(2):
        cluster.ring_all(Timer.RESEND)


def primary_fails(cluster: Cluster) -> None:
    """Two blocks are prepared and not committed when the view is left; the next primary proposes them again."""
    cluster.order(1, THIRD)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(2, THIRD, first=2)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.PROGRESS)
    cluster.order(1, THIRD, first=4)


def views_change_twice(cluster: Cluster) -> None:
    """A view that is announced and then left again before anything is committed in it."""
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(1, THIRD)
    cluster.ring_all(Timer.PROGRESS)
    cluster.ring_all(Timer.PROGRESS)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.PROGRESS)


STORIES: list[tuple[Story, str]] = [
    (blocks_go_on, PRIMARY),
    (blocks_go_on, BACKUP),
    (primary_fails, BACKUP),
    (primary_fails, SECOND),
    (views_change_twice, BACKUP),
    (views_change_twice, SECOND),
]


def converge(cluster: Cluster) -> bool:
    """Let time pass until all stand at one height and nothing waits; False when that takes over twelve seconds."""
    for _ in range(12):
        cluster.heal(1_000)
        idle = all(seat.state.pool.eligible_since() is None for seat in cluster.seats.values())
        if idle and len(set(cluster.heights)) == 1:
            return True
    return False


def crash_points(story: Story, victim: str) -> list[int]:
    """After how many effects of a story the power fails: after each, but for alarms, which leave nothing behind."""
    cluster = Cluster(parameters=SMALL)
    before = len(cluster.seats[victim].effects)
    story(cluster)
    effects = cluster.seats[victim].effects[before:]
    return [0, *(point for point, effect in enumerate(effects, start=1) if not isinstance(effect, SetTimer))][:-1]


@pytest.mark.parametrize(("story", "victim"), STORIES)
def test_a_crash_after_any_effect_contradicts_nothing(story: Story, victim: str) -> None:
    """C5: power fails after every single effect in turn; rebuilt from its log the replica fills no slot twice differently.

    And all go on: nobody is blamed, nobody is stuck, everybody ends with the same chain.
    """
    points = crash_points(story, victim)
    assert len(points) > 10
    for point in points:
        cluster = Cluster(parameters=SMALL)
        cluster.seats[victim].fuse = point
        story(cluster)
        assert not cluster.seats[victim].up
        old = cluster.seats[victim].effects
        cluster.restart(victim)
        cluster.run()
        cluster.order(1, SECOND, first=50)
        assert converge(cluster), f"after effect {point}"
        check_said_once(cluster.spoken)
        check_fixed_first(old)
        check_fixed_first(cluster.seats[victim].effects)
        chains = [[sha256(block.header) for block in seat.blocks] for seat in cluster.seats.values()]
        assert all(chain == chains[0] for chain in chains), f"after effect {point}"
        assert evidence_on(cluster.seats[SECOND]) == []


@pytest.mark.parametrize("point", range(12))
def test_another_proposal_after_the_crash_is_not_prepared(point: int) -> None:
    """C5: an equivocating primary offers a restarted backup another block for a slot; it gets the old answer or none."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    backup = cluster.seats[BACKUP]
    backup.fuse = point
    first = make_pre_prepare(cluster.outlook, GENESIS, batches=[make_batch(THIRD, 1)])
    second = make_pre_prepare(cluster.outlook, GENESIS, batches=[make_batch(THIRD, 2)])
    for proposal in (first, second):
        vote = proposal.signed.vote
        cluster.deliver_message(PRIMARY, BACKUP, proposal)
        for name in (SECOND, THIRD):
            cluster.deliver_message(name, BACKUP, Prepare(sign_vote(name, Phase.PREPARE, 0, 1, vote.digest)))
        cluster.restart(BACKUP)
    check_said_once(cluster.spoken)
    said = {
        message.signed.vote.digest
        for name, message in cluster.spoken
        if name == BACKUP and isinstance(message, Prepare | Commit)
    }
    assert len(said) <= 1


def test_all_lose_power_at_once() -> None:
    """Promise 5: kill -9 of every process; what was executed stays, what was prepared is decided the same way."""
    cluster = Cluster()
    cluster.order(2)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(2, first=3)
    waiting = [cluster.seats[BACKUP].state.log.slots[height].digest for height in (3, 4)]
    cluster.stop(*cluster.names)
    cluster.queue.clear()
    cluster.arrives = lambda _sender, _to, _message: True
    for name in cluster.names:
        cluster.restart(name)
    cluster.heal(3_000)
    assert cluster.heights == [4, 4, 4, 4]
    assert [sha256(block.header) for block in cluster.seats[BACKUP].blocks[2:]] == waiting
    check_said_once(cluster.spoken)


# --- what a restart brings back ---


def test_the_same_view_change_after_a_restart() -> None:
    """C5: the prepared certificate lies in the log, so that a restarted replica cannot hide it."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(1)
    cluster.restart(SECOND)
    cluster.ring(SECOND, Timer.PROGRESS)
    calls = [each for each in cluster.seats[SECOND].said(SignedViewChange) if isinstance(each, SignedViewChange)]
    assert [len(each.view_change.prepared) for each in calls[:1]] == [1]


def test_the_own_call_counts_after_a_restart() -> None:
    """C2, C5: with exactly 2f+1 up, the next primary restarts between views and still counts its own call."""
    cluster = Cluster()
    cluster.order(1)
    cluster.stop(PRIMARY)
    cluster.arrives = lambda _sender, to, message: not (to == BACKUP and isinstance(message, SignedViewChange))
    cluster.ring_all(Timer.PROGRESS)
    assert [seat.state.entered for seat in cluster.seats.values()] == [True, False, False, False]
    cluster.restart(BACKUP)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.let_pass(1_000)
    assert [cluster.seats[name].state.entered for name in (BACKUP, SECOND, THIRD)] == [True, True, True]
    assert cluster.seats[BACKUP].state.view == 1


def test_a_block_to_propose_again_is_not_accepted_without_its_batches() -> None:
    """C4, C5: a new primary that lacks a batch of what it proposes again still lacks it after a restart, and fetches it."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    batch = make_batch(THIRD, 1)
    header = make_header_bytes(cluster.outlook, GENESIS, [batch])
    proof = prepared(cluster.outlook.committee, 0, 1, header)
    for index in (0, 2, 3):
        call = make_call(cluster.outlook.committee, index, 1, proofs=[proof])
        cluster.deliver_message(f"member-{index}", BACKUP, call)
    assert cluster.seats[BACKUP].state.is_primary
    again = cluster.restart(BACKUP)
    assert (again.state.is_primary, again.state.view) == (True, 1)
    slot = again.state.log.slots[1]
    assert (slot.accepted, slot.proposed_again) == (False, True)
    for name in (SECOND, THIRD):
        for phase, kind in ((Phase.PREPARE, Prepare), (Phase.COMMIT, Commit)):
            cluster.deliver_message(name, BACKUP, kind(sign_vote(name, phase, 1, 1, slot.digest)))
    assert again.said(Commit) == []
    cluster.ring(BACKUP, Timer.RESEND)
    assert FetchBatches((batch.digest,)) in again.said(FetchBatches)


def test_what_was_ordered_does_not_wait_again_after_a_restart() -> None:
    """C2, C4: the log still holds batches that blocks have ordered; a restarted replica neither proposes nor awaits them."""
    cluster = Cluster()
    cluster.order(3, THIRD)
    for name in (PRIMARY, BACKUP):
        assert cluster.restart(name).state.pool.eligible_since() is None
    cluster.order(1, THIRD, first=4)
    cluster.heal(3 * PARAMETERS.view_timeout_ms)
    assert [seat.state.view for seat in cluster.seats.values()] == [0, 0, 0, 0]
    batches = [data for block in cluster.seats[THIRD].blocks for data in block.batches]
    assert len(batches) == len(set(batches)) == 4


def test_what_was_ordered_while_a_replica_was_down_is_looked_for_from_its_last_checkpoint() -> None:
    """C4: a batch that waited at the stop is found among the blocks since, however many there were."""
    cluster = Cluster(parameters=SMALL)
    assert waiting_since(Recovered(tuple(cluster.seats[THIRD].log))) is None
    cluster.order(5, THIRD)
    cluster.arrives = lambda sender, _to, message: not (sender == THIRD and isinstance(message, BatchOffer))
    cluster.submit(THIRD, make_record(THIRD, 6))
    (stable,) = [each.certificate.result.height for each in cluster.seats[THIRD].log if isinstance(each, StableRecord)]
    assert waiting_since(Recovered(tuple(cluster.seats[THIRD].log))) == stable == 4
    ordered = [digest for header in cluster.seats[THIRD].ledger.headers[:stable] for digest in header.batch_digests]
    logged = [open_batch(each.batch, CHAIN_ID).digest for each in cluster.seats[THIRD].log if isinstance(each, BatchRecord)]
    assert not set(ordered) & set(logged)


def test_the_log_is_rewritten_and_still_holds_all_that_matters() -> None:
    """C5, paper 4.3: a stable checkpoint lets the log shrink; what lies above it stays."""
    cluster = Cluster(parameters=SMALL)
    cluster.order(20)
    backup = cluster.seats[BACKUP]
    assert len(backup.log) < 20
    assert any(isinstance(record, StableRecord) for record in backup.log)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(1, first=21)
    kinds = [type(record) for record in backup.log]
    assert kinds.count(PreparedRecord) >= 1
    assert kinds.count(ProposalRecord) >= 1
    again = cluster.restart(BACKUP)
    assert (again.state.stable_height, list(again.state.log.prepared)) == (20, [21])


def test_a_rewritten_log_keeps_what_is_prepared_above_the_checkpoint() -> None:
    """C5, paper 4.3: block 20 becomes stable, and the log shrinks, when 21 and 22 are already prepared."""
    cluster = Cluster(parameters=SMALL)
    cluster.order(19)

    def arrives(_sender: str, _to: str, message: Message) -> bool:
        late = isinstance(message, Checkpoint) and message.result.height == 20
        return not (late or (isinstance(message, Commit) and message.signed.vote.height > 20))

    cluster.arrives = arrives
    cluster.order(3, first=20)
    backup = cluster.seats[BACKUP]
    assert (backup.height, backup.state.stable_height, sorted(backup.state.log.prepared)) == (20, 19, [20, 21, 22])
    for name in (PRIMARY, SECOND):
        cluster.deliver_message(name, BACKUP, make_checkpoint(name, backup.ledger.results[19]))
    assert [record.certificate.result.height for record in backup.log if isinstance(record, StableRecord)] == [20]
    again = cluster.restart(BACKUP)
    assert sorted(again.state.log.prepared) == [21, 22]
    assert [height for height, slot in sorted(again.state.log.slots.items()) if slot.accepted] == [21, 22]
    assert sum(isinstance(record, BatchRecord) for record in again.log) == 2


def test_the_proof_of_the_view_stays_in_the_log() -> None:
    """C5: rewriting the log keeps the new view's proof, the view's own and what it rests on."""
    cluster = Cluster(parameters=SMALL)
    cluster.ring_all(Timer.PROGRESS)
    cluster.order(20)
    assert sum(isinstance(record, NewViewRecord) for record in cluster.seats[SECOND].log) == 1
    again = cluster.restart(SECOND)
    assert (again.state.view, again.state.entered) == (1, True)
    assert again.state.new_view is not None


def test_an_adopted_checkpoint_outlives_a_crash_before_anything_else() -> None:
    """C5, paper 4.4: view and checkpoint are one record, so no crash can part them."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, to, _message: to != THIRD
    cluster.order(2)
    committee, result = cluster.outlook.committee, cluster.seats[SECOND].ledger.results[1]
    calls = [make_call(committee, index, 1, certify(committee, result)) for index in (0, 1, 2)]
    third = cluster.seats[THIRD]
    before = len(third.log)
    cluster.deliver_message(BACKUP, THIRD, make_new_view(cluster.outlook, 1, calls))
    added = third.log[before:]
    again = cluster.restart(THIRD, records=added)
    assert (again.state.view, again.state.low) == (1, 2)


# --- a lost log ---


def test_a_replica_that_lost_its_log_is_silent_until_an_epoch_begins_above_all_it_could_have_signed() -> None:
    """C5: it asks 2f+1 for their highest block, says nothing more in that epoch, and votes again in the next one."""
    cluster = Cluster(parameters=replace(SMALL, term_blocks=10))
    cluster.order(3)
    start = len(cluster.spoken)
    backup = cluster.restart(BACKUP, lost=True)
    cluster.run()
    assert backup.said(StatusRequest) != []
    assert backup.state.silence is not None
    assert backup.state.silence.signed_below == 3 + SMALL.window_blocks
    for number in range(4, 11):
        cluster.order(1, first=number)
        cluster.catch_up(BACKUP, SECOND)
        assert votes_after(cluster, BACKUP, start) == [], f"after block {number}"
    cluster.heal(3_000)
    assert backup.state.outlook.epoch == 1
    assert not backup.silent
    cluster.order(1, first=20)
    voted = [message for message in votes_after(cluster, BACKUP, start) if isinstance(message, Prepare)]
    assert {message.signed.vote.epoch for message in voted} == {1}
    check_said_once(cluster.spoken)


def test_an_epoch_that_begins_within_a_window_of_the_loss_is_too_early() -> None:
    """C5: it may have voted in it already, or called for a view of it, before its log was lost."""
    cluster = Cluster(parameters=replace(SMALL, term_blocks=10))
    cluster.order(10)
    backup = cluster.restart(BACKUP, lost=True)
    cluster.run()
    cluster.catch_up(BACKUP, SECOND)
    cluster.heal(3_000)
    assert backup.state.outlook.epoch == 1
    assert backup.silent


def test_silence_outlives_a_restart() -> None:
    """C5: the loss is marked until the silence has ended, not until the next start."""
    cluster = Cluster(parameters=SMALL)
    cluster.order(3)
    cluster.restart(BACKUP, lost=True)
    cluster.run()
    start = len(cluster.spoken)
    again = cluster.restart(BACKUP)
    cluster.run()
    cluster.order(1, first=4)
    assert again.state.silence is not None
    assert votes_after(cluster, BACKUP, start) == []


def test_the_end_of_silence_is_in_the_log() -> None:
    """C5: the epoch that ended the silence is durable with its view; a later restart goes on speaking in it."""
    cluster = Cluster(parameters=replace(SMALL, term_blocks=10))
    cluster.order(3)
    cluster.restart(BACKUP, lost=True)
    cluster.run()
    for number in range(4, 11):
        cluster.order(1, first=number)
        cluster.catch_up(BACKUP, SECOND)
    cluster.heal(3_000)
    backup = cluster.restart(BACKUP)
    assert not backup.silent
    assert [(record.epoch, record.view) for record in backup.log if isinstance(record, ViewRecord)] == [(1, 0)]


def test_too_few_answers_end_no_silence() -> None:
    """C5: 2f answers are not enough: the highest block could be unknown to all of them."""
    cluster = Cluster(parameters=SMALL)
    cluster.order(2)
    cluster.arrives = lambda sender, _to, message: not (isinstance(message, StatusReply) and sender == THIRD)
    backup = cluster.restart(BACKUP, lost=True)
    cluster.run()
    assert backup.state.silence is not None
    assert backup.state.silence.signed_below is None
    cluster.ring(BACKUP, Timer.RESEND)
    assert backup.said(StatusRequest)[3:] != [], "so it asks again"


def test_a_claim_without_proof_counts_nothing() -> None:
    """C5: an answer carries the commit certificate of the block it names; a forged one is refused."""
    cluster = Cluster(parameters=SMALL)
    cluster.order(2)
    tip = cluster.seats[SECOND].state.last_commit
    assert tip is not None
    backup = cluster.restart(BACKUP, lost=True)
    cluster.queue.clear()
    cluster.deliver_message(SECOND, BACKUP, StatusReply(0, replace(tip, height=1_000)))
    assert cluster.refusals[-1].reason == "BAD_SIGNATURE"
    assert backup.state.silence is not None
    assert backup.state.silence.signed_below is None


def test_f_silent_replicas_do_not_stop_the_others() -> None:
    """C5: silence costs a vote, not the chain, as long as 2f+1 speak; a silent primary is replaced."""
    cluster = Cluster(parameters=SMALL)
    cluster.order(1)
    cluster.restart(PRIMARY, lost=True)
    cluster.run()
    cluster.submit(SECOND, make_record(SECOND, 9))
    cluster.heal(20_000)
    assert cluster.seats[SECOND].height >= 2
    assert cluster.seats[SECOND].state.view == 1


# --- incarnations ---


def prepare_as(name: str, number: int) -> tuple[Cluster, Seat]:
    """A backup one prepare short of prepared, and that prepare by a member that speaks with this incarnation."""
    cluster = Cluster()
    cluster.order(1)
    cluster.restart(SECOND)
    cluster.deliver_message(SECOND, BACKUP, StatusRequest(0))
    cluster.arrives = lambda _sender, _to, _message: False
    parent = replace(GENESIS, height=1, hash=cluster.seats[BACKUP].ledger.results[0].block_hash, time_ms=GENESIS_MS + 100)
    proposal = make_pre_prepare(cluster.outlook, parent, now_ms=GENESIS_MS + 200)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    prepare = Prepare(sign_vote(name, Phase.PREPARE, 0, 2, proposal.signed.vote.digest))
    cluster.deliver_message(name, BACKUP, prepare, incarnation=number)
    return cluster, cluster.seats[BACKUP]


@pytest.mark.parametrize(("number", "counts"), [(1, False), (2, True), (3, True)])
def test_a_lower_incarnation_is_refused(number: int, *, counts: bool) -> None:
    """R11, C5: after incarnation 2 has spoken, whoever speaks as 1 is an old copy."""
    _, backup = prepare_as(SECOND, number)
    committed = [message.signed.vote.height for message in backup.said(Commit) if isinstance(message, Commit)]
    assert (2 in committed) is counts


def test_a_second_session_of_one_incarnation_is_refused() -> None:
    """C5: two processes with one incarnation are a clone; the first that spoke is heard, the other not."""
    cluster, backup = prepare_as(THIRD, 0)
    state = cluster.seats[THIRD].state
    state.identity = replace(state.identity, session=bytes(16))
    vote = backup.state.log.slots[2]
    cluster.deliver_message(THIRD, BACKUP, Prepare(sign_vote(THIRD, Phase.PREPARE, 0, 2, vote.digest)))
    assert vote.prepared is None
    state.identity = replace(state.identity, incarnation=2)
    cluster.deliver_message(THIRD, BACKUP, Prepare(sign_vote(THIRD, Phase.PREPARE, 0, 2, vote.digest)))
    assert vote.prepared is not None, "a new incarnation is a new start"
