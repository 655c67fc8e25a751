"""Batches on their way to being ordered (rule C4), and what no batch can do to a replica."""

from dataclasses import replace

import pytest

from consilium.consensus.core.batching import BUSY_WAITS, QUEUED_BATCHES_MAX
from consilium.consensus.core.events import BatchRecord, Persist, Received, Submitted, Timer
from consilium.consensus.core.messages import (
    BatchOffer,
    BatchReady,
    Checkpoint,
    Commit,
    FetchBatches,
    Message,
    Prepare,
    PrePrepare,
    Stored,
)
from consilium.kernel.certificates import Phase
from consilium.kernel.chain import BATCH_TRANSACTIONS_MAX
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import OpenedBatch, open_batch
from tests.consensus.by_hand import (
    GENESIS,
    make_batch,
    make_header_bytes,
    make_pre_prepare,
    make_stored,
    sign_vote,
)
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, Cluster, Seat, make_record
from tests.consensus.promises import check_fixed_first

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))
TINY = replace(PARAMETERS, inline_bytes_max=600)
"""Two records already make a batch too large to travel inline."""


def large(member: str, number: int) -> tuple[bytes, ...]:
    """Transactions that make one large batch under TINY."""
    return tuple(make_record(member, 10 * number + offset) for offset in range(4))


def ordered(seat: Seat) -> list[bytes]:
    """All transactions in a member's blocks, in order."""
    opened = [open_batch(data, CHAIN_ID) for block in seat.blocks for data in block.batches]
    return [transaction for batch in opened for transaction in batch.batch.transactions]


def proposals_of(cluster: Cluster, name: str) -> list[PrePrepare]:
    """A primary's proposals, once each."""
    return list(dict.fromkeys(each for each in cluster.seats[name].said(PrePrepare) if isinstance(each, PrePrepare)))


# --- the two ways ---


def test_a_small_batch_travels_inline() -> None:
    """C4: a small batch is offered to every delegate, asks for no answers, and stands whole in the proposal."""
    cluster = Cluster()
    cluster.order(1, SECOND)
    offers = [to for to, message in cluster.seats[SECOND].sent if isinstance(message, BatchOffer)]
    assert offers == [PRIMARY, BACKUP, THIRD]
    (proposal,) = proposals_of(cluster, PRIMARY)
    assert (len(proposal.inline), proposal.stored) == (1, ())
    assert not any(isinstance(message, Stored | BatchReady) for _, message in cluster.spoken)


def test_a_large_batch_is_ordered_with_2f_plus_1_answers() -> None:
    """C4: streamed once by its ingress, answered "stored" by each peer, named with the 2f+1 answers and not carried."""
    cluster = Cluster(parameters=TINY)
    cluster.submit(SECOND, *large(SECOND, 1))
    (proposal,) = proposals_of(cluster, PRIMARY)
    assert (proposal.inline, len(proposal.stored)) == ((), 1)
    assert len(proposal.stored[0].signatures) >= 3
    stored = [(name, message) for name, message in cluster.spoken if isinstance(message, Stored)]
    assert [name for name, _ in stored] == [PRIMARY, BACKUP, THIRD]
    assert ordered(cluster.seats[THIRD]) == list(large(SECOND, 1))
    for seat in cluster.seats.values():
        check_fixed_first(seat.effects)


def test_a_large_batch_waits_for_its_answers() -> None:
    """C4: with 2f answers it is not proposed, with 2f+1 it is."""
    cluster = Cluster(parameters=TINY)
    cluster.arrives = lambda sender, _to, message: not (isinstance(message, Stored) and sender in (PRIMARY, THIRD))
    cluster.submit(SECOND, *large(SECOND, 1))
    assert proposals_of(cluster, PRIMARY) == []
    assert cluster.seats[SECOND].state.pool.eligible_since() is None
    cluster.arrives = lambda _sender, _to, _message: True
    for _ in range(2):
        cluster.ring(SECOND, Timer.RESEND)
    assert cluster.heights == [1, 1, 1, 1]


@pytest.mark.parametrize("inline", [True, False])
def test_a_proposal_of_a_large_batch_without_answers_is_refused(*, inline: bool) -> None:
    """C4: no large batch is named without proof that 2f+1 hold it, nor carried inside the proposal instead."""
    cluster = Cluster(parameters=TINY)
    cluster.arrives = lambda _sender, _to, _message: False
    batch = make_batch(THIRD, 1, 2, 3)
    cluster.deliver_message(PRIMARY, BACKUP, make_pre_prepare(cluster.outlook, GENESIS, batches=[batch], inline=inline))
    assert cluster.refusals[-1].reason == "NOT_STORED"
    assert cluster.seats[BACKUP].said(Prepare) == []


def test_too_few_or_foreign_answers_prove_nothing() -> None:
    """C4: 2f answers, or answers of one delegate twice, or for another batch, are refused with their proposal."""
    cluster = Cluster(parameters=TINY)
    batch, committee = make_batch(THIRD, 1, 2, 3), cluster.outlook.committee
    whole = make_stored(committee, batch.digest)
    for wrong in (
        make_stored(committee, batch.digest, [0, 1]),
        replace(whole, signatures=(whole.signatures[0], *whole.signatures[:2])),
        replace(whole, digest=sha256(b"another batch")),
    ):
        proposal = make_pre_prepare(cluster.outlook, GENESIS, batches=[batch], stored=[wrong], inline=False)
        cluster.deliver_message(PRIMARY, BACKUP, proposal)
    assert len(cluster.refusals) == 3
    assert cluster.seats[BACKUP].state.log.slots == {}


def test_a_restarted_primary_sends_large_batches_by_name_only() -> None:
    """C4: answers are not in the log; until they are collected anew, a large batch does not travel inside a proposal."""
    cluster = Cluster(parameters=TINY)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, PrePrepare)
    cluster.submit(SECOND, *large(SECOND, 1))
    primary = cluster.restart(PRIMARY)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(2_000)
    assert all(message.inline == () for message in primary.said(PrePrepare) if isinstance(message, PrePrepare))
    assert cluster.heights == [1, 1, 1, 1]
    assert cluster.seats[BACKUP].blocks[0].commit.view == 0


# --- a batch that is not here ---


def test_a_missing_batch_is_fetched_before_the_block_is_prepared() -> None:
    """C4: a replica prepares only what it holds whole; it asks for the rest and goes on when it comes."""
    cluster = Cluster(parameters=TINY)
    cluster.arrives = lambda _sender, to, message: not (to == BACKUP and isinstance(message, BatchOffer))
    cluster.submit(SECOND, *large(SECOND, 1))
    backup = cluster.seats[BACKUP]
    assert (list(backup.state.log.slots), backup.said(Prepare)) == ([1], [])
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring(BACKUP, Timer.RESEND)
    assert backup.said(FetchBatches) != []
    assert backup.height == 1
    assert ordered(backup) == list(large(SECOND, 1))


def test_a_batch_named_as_ready_is_fetched_from_each_that_passes_it_on() -> None:
    """C4, C2: one that answered "stored" may be faulty; a primary that asked it alone would be left for its silence."""
    cluster = Cluster(parameters=TINY)
    cluster.arrives = lambda _sender, _to, _message: False
    batch = make_batch(THIRD, 1, 2, 3)
    ready = BatchReady(make_stored(cluster.outlook.committee, batch.digest, [0, 2, 3]))
    for holder in (PRIMARY, SECOND, THIRD):
        cluster.deliver_message(holder, BACKUP, ready)
    asked = [(to, message) for to, message in cluster.seats[BACKUP].sent if isinstance(message, FetchBatches)]
    assert asked == [(holder, FetchBatches((batch.digest,))) for holder in (PRIMARY, SECOND, THIRD)]


def test_a_full_quota_keeps_no_batch_out_that_a_proposal_names() -> None:
    """C4: one member can fill its own quota at one delegate with junk; what the others ordered must still come in."""
    cluster = Cluster(parameters=replace(TINY, ingress_batches_max=2))
    cluster.arrives = lambda _sender, _to, _message: False
    for number in (1, 2):
        cluster.deliver_message(THIRD, BACKUP, BatchOffer(make_batch(THIRD, number, 70, 71).data))
    named = make_batch(THIRD, 3, 70, 71)
    cluster.deliver_message(THIRD, BACKUP, BatchOffer(named.data))
    assert cluster.refusals[-1].reason == "INGRESS_QUOTA"
    stored = make_stored(cluster.outlook.committee, named.digest)
    proposal = make_pre_prepare(cluster.outlook, GENESIS, batches=[named], stored=[stored], inline=False)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    assert cluster.seats[BACKUP].said(Prepare) == []
    cluster.deliver_message(SECOND, BACKUP, BatchOffer(named.data))
    assert cluster.seats[BACKUP].said(Prepare) != []


# --- bounds ---


def test_who_is_no_elector_makes_no_batches_until_it_is_one() -> None:
    """L2: nobody takes them in, and a delegate dismissed since the draw would propose as primary what all others refuse."""
    cluster = Cluster()
    state = cluster.seats[PRIMARY].state
    electorate = state.outlook.electorate
    others = tuple(each for each in electorate.electors if each.member_id != PRIMARY)
    state.outlook = replace(state.outlook, electorate=replace(electorate, electors=others))
    own = make_record(PRIMARY, 1)
    cluster.submit(PRIMARY, own)
    cluster.let_pass(PARAMETERS.batch_wait_ms)
    assert (state.pool.is_loaded(PRIMARY), ordered(cluster.seats[BACKUP])) == (False, [])
    state.outlook = replace(state.outlook, electorate=electorate)
    cluster.let_pass(PARAMETERS.view_timeout_ms // 4)
    assert ordered(cluster.seats[BACKUP]) == [own]


def test_each_member_has_a_quota() -> None:
    """C4: a member may have so many batches waiting at a delegate; the others are not affected."""
    cluster = Cluster(parameters=replace(PARAMETERS, ingress_batches_max=3))
    cluster.arrives = lambda _sender, _to, _message: False
    for number in range(5):
        cluster.deliver_message(THIRD, BACKUP, BatchOffer(make_batch(THIRD, number).data))
    assert [error.reason for error in cluster.refusals] == ["INGRESS_QUOTA", "INGRESS_QUOTA"]
    cluster.deliver_message(SECOND, BACKUP, BatchOffer(make_batch(SECOND, 1).data))
    assert len(list(cluster.seats[BACKUP].state.pool.waiting())) == 4


def test_only_batches_that_a_current_proposal_names_come_in_with_it() -> None:
    """C4: a proposal can be handed on by anybody with anything beside it; only what it names is kept, and only once."""
    cluster = Cluster(parameters=replace(PARAMETERS, ingress_batches_max=1))
    cluster.arrives = lambda _sender, _to, _message: False
    named, beside = make_batch(THIRD, 1), [make_batch(THIRD, number).data for number in range(2, 9)]
    proposal = make_pre_prepare(cluster.outlook, GENESIS, batches=[named])
    stuffed = replace(proposal, inline=(*proposal.inline, *beside))
    for _ in range(2):
        cluster.deliver_message(SECOND, BACKUP, stuffed)
    backup = cluster.seats[BACKUP]
    assert [entry.opened.digest for entry in backup.state.pool.waiting()] == [named.digest]
    assert sum(isinstance(record, BatchRecord) for record in backup.log) == 1


def test_an_old_proposal_brings_no_batches_in() -> None:
    """C4: nor does one that is not of this view, or outside the watermarks."""
    cluster = Cluster()
    cluster.order(1)
    for parent, view in ((GENESIS, 0), (replace(GENESIS, height=500), 0), (GENESIS, 5)):
        proposal = make_pre_prepare(cluster.outlook, parent, view, [make_batch(THIRD, 50)])
        cluster.deliver_message(SECOND, BACKUP, proposal)
    assert list(cluster.seats[BACKUP].state.pool.waiting()) == []


def test_what_is_over_the_quota_is_queued_and_leaves_in_batches_of_the_right_size() -> None:
    """C4: a member that is handed more than its quota holds back the rest, and no batch of it becomes too large."""
    cluster = Cluster(parameters=replace(PARAMETERS, ingress_batches_max=1, batch_bytes_max=1_000))
    records = [make_record(SECOND, number) for number in range(30)]
    cluster.arrives = lambda _sender, _to, _message: False
    seat = cluster.seats[SECOND]
    for record in records:
        cluster.obey(seat, seat.replica.step(Submitted(cluster.now_ms, (record,))))
        assert seat.refusal in ("", "QUEUE_FULL")
    accepted = len(seat.state.pending) + sum(len(e.opened.batch.transactions) for e in seat.state.pool.waiting())
    assert 10 < accepted < 30
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(30_000)
    assert ordered(seat) == records[:accepted]
    sizes = [len(data) for block in seat.blocks for data in block.batches]
    assert max(sizes) < 1_000 + 300


def test_small_batches_wait_for_the_block_under_way_and_leave_together() -> None:
    """C3, C4: a block costs its messages whatever it holds, so what is small does not get one each."""
    roomy = replace(PARAMETERS, batch_bytes_max=1_000_000)
    cluster = Cluster(parameters=roomy)
    cluster.arrives = lambda _sender, _to, message: isinstance(message, PrePrepare | BatchOffer)
    for number, name in enumerate((SECOND, THIRD, BACKUP)):
        cluster.submit(name, make_record(name, number))
    assert sorted(cluster.seats[PRIMARY].state.log.slots) == [1]
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.RESEND)
    assert [len(block.batches) for block in cluster.seats[PRIMARY].blocks] == [1, 2]


def test_transactions_gather_while_an_own_batch_is_being_ordered() -> None:
    """C4: the wait is longer then, and over as soon as the batch is ordered."""
    cluster = Cluster(parameters=replace(PARAMETERS, batch_bytes_max=1_000_000))
    cluster.arrives = lambda _sender, _to, _message: False
    cluster.submit(SECOND, make_record(SECOND, 1))
    seat, wait_ms = cluster.seats[SECOND], cluster.parameters.batch_wait_ms
    for number in (2, 3):
        cluster.obey(seat, seat.replica.step(Submitted(cluster.now_ms, (make_record(SECOND, number),))))
    assert seat.alarms[Timer.BATCH] == cluster.now_ms + BUSY_WAITS * wait_ms
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.RESEND)
    assert [len(open_batch(data, CHAIN_ID).transactions) for block in seat.blocks for data in block.batches] == [1, 2]
    assert seat.state.pending == []
    cluster.obey(seat, seat.replica.step(Submitted(cluster.now_ms, (make_record(SECOND, 4),))))
    assert seat.alarms[Timer.BATCH] == cluster.now_ms + wait_ms


def test_a_batch_leaves_at_once_where_waiting_brings_nothing() -> None:
    """C4: with nothing under way a lone submission does not wait; where the last batch gathered several, the next waits."""
    cluster = Cluster(parameters=replace(PARAMETERS, batch_bytes_max=1_000_000))
    seat, wait_ms = cluster.seats[SECOND], cluster.parameters.batch_wait_ms
    for number in (1, 2):
        cluster.obey(seat, seat.replica.step(Submitted(cluster.now_ms, (make_record(SECOND, number),))))
        assert (seat.state.pending, Timer.BATCH in seat.alarms) == ([], False)
        cluster.run()
    assert [len(open_batch(data, CHAIN_ID).transactions) for block in seat.blocks for data in block.batches] == [1, 1]
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    for number in (3, 4, 5):
        cluster.obey(seat, seat.replica.step(Submitted(cluster.now_ms, (make_record(SECOND, number),))))
        cluster.run()
    cluster.arrives = lambda _sender, _to, _message: True
    for _ in range(2):
        cluster.ring_all(Timer.RESEND)
    assert [len(open_batch(data, CHAIN_ID).transactions) for block in seat.blocks for data in block.batches] == [1, 1, 1, 2]
    cluster.obey(seat, seat.replica.step(Submitted(cluster.now_ms, (make_record(SECOND, 6),))))
    assert (len(seat.state.pending), seat.alarms[Timer.BATCH]) == (1, cluster.now_ms + wait_ms)


def test_a_small_batch_waits_for_the_sync_of_a_proposal_and_a_large_one_does_not() -> None:
    """C4, C5: nothing rests on a small batch before a proposal names it; "stored" is said of a large one at once."""
    small, large_one = Cluster(), Cluster(parameters=TINY)
    small.submit(SECOND, make_record(SECOND, 1))
    large_one.submit(SECOND, *large(SECOND, 1))
    for cluster, at_leisure in ((small, True), (large_one, False)):
        for name in (SECOND, BACKUP):
            seat = cluster.seats[name]
            kept = [each for each in seat.effects if isinstance(each, Persist) and isinstance(each.records[0], BatchRecord)]
            assert [each.at_leisure for each in kept] == [at_leisure]
            check_fixed_first(seat.effects)


def test_a_batch_never_holds_more_transactions_than_it_may() -> None:
    """L2: one signature vouches for 4,096 transactions at most, however many were handed in while the quota was full."""
    cluster = Cluster(parameters=replace(PARAMETERS, ingress_batches_max=1, batch_bytes_max=4_000_000))
    seat = cluster.seats[PRIMARY]
    record = make_record(PRIMARY, 1)
    cluster.arrives = lambda _sender, _to, _message: False
    cluster.submit(PRIMARY, record)
    many = (record,) * (BATCH_TRANSACTIONS_MAX + 10)
    cluster.submit(PRIMARY, *many)
    assert len(seat.state.pending) == BATCH_TRANSACTIONS_MAX + 10
    cluster.seats[PRIMARY].state.pool.mark_ordered([e.opened.digest for e in list(seat.state.pool.waiting())], 1)
    cluster.ring(PRIMARY, Timer.BATCH)
    (entry,) = seat.state.pool.waiting()
    assert len(entry.opened.batch.transactions) == BATCH_TRANSACTIONS_MAX
    assert len(seat.state.pending) == 10


def test_a_full_queue_refuses_clients_and_says_so() -> None:
    """C4: what cannot be queued is refused with a reason; the bound is a few batches."""
    cluster = Cluster(parameters=replace(PARAMETERS, ingress_batches_max=1, batch_bytes_max=500))
    cluster.arrives = lambda _sender, _to, _message: False
    seat = cluster.seats[SECOND]
    for number in range(40):
        cluster.submit(SECOND, make_record(SECOND, number))
    assert seat.refusal == "", "the alarm after the last submission found nothing wrong"
    cluster.obey(seat, seat.replica.step(Submitted(cluster.now_ms, (make_record(SECOND, 99),))))
    assert seat.refusal == "QUEUE_FULL"
    assert seat.state.pending_bytes <= (QUEUED_BATCHES_MAX + 1) * 500


def opened_of_size(number: int, size: int) -> OpenedBatch:
    """A batch that claims this many bytes; what stands inside does not matter to the pool."""
    opened = make_batch(THIRD, number)
    return replace(opened, data=opened.data + bytes(size - len(opened.data)))


def test_a_block_that_is_too_large_to_be_handed_over_is_refused() -> None:
    """C4, L8: what a block orders must fit into what block sync can carry, whoever proposes more."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    committee, backup = cluster.outlook.committee, cluster.seats[BACKUP]
    batches = [opened_of_size(number, 4_000_000) for number in range(9)]
    stored = tuple(make_stored(committee, each.digest) for each in batches)
    for each in batches:
        backup.replica.step(Received(cluster.now_ms, SECOND, 1, bytes(16), BatchOffer(each.data), (each,)))
    for chosen, accepted in ((batches, False), (batches[:8], True)):
        header = make_header_bytes(cluster.outlook, GENESIS, chosen)
        signed = sign_vote(PRIMARY, Phase.PRE_PREPARE, 0, 1, sha256(header))
        cluster.deliver_message(PRIMARY, BACKUP, PrePrepare(signed, header, (), stored))
        assert (backup.said(Prepare) != []) is accepted


# --- members without a vote ---


def test_a_member_without_a_vote_sends_to_f_plus_1_delegates() -> None:
    """C4: of f+1 delegates one is honest, and hands the batch on to all."""
    cluster = Cluster(9, voters=7)
    cluster.submit("member-8", make_record("member-8", 1))
    receivers = [to for to, message in cluster.seats["member-8"].sent if isinstance(message, BatchOffer)]
    assert len(receivers) == len(set(receivers)) == 3
    assert cluster.seats["member-3"].height == 1


@pytest.mark.parametrize("parameters", [PARAMETERS, TINY])
def test_one_honest_delegate_is_enough_for_a_member_without_a_vote(parameters: object) -> None:
    """C4: also when the other f of them drop the batch; small and large alike."""
    chosen = TINY if parameters is TINY else PARAMETERS
    cluster = Cluster(5, parameters=chosen, voters=4)
    data = large("member-4", 1)
    receivers: list[str] = []

    def arrives(sender: str, to: str, message: Message) -> bool:
        if sender != "member-4" or not isinstance(message, BatchOffer):
            return True
        receivers.append(to)
        return to != receivers[0]

    cluster.arrives = arrives
    cluster.submit("member-4", *data)
    assert cluster.heights[:4] == [1, 1, 1, 1]
    assert ordered(cluster.seats[BACKUP]) == list(data)


@pytest.mark.parametrize("busy", [False, True])
def test_an_offer_that_was_lost_is_made_again(*, busy: bool) -> None:
    """C4: also while the chain goes on without it: nobody but its member knows of the batch."""
    cluster = Cluster(5, voters=4)
    cluster.arrives = lambda sender, _to, message: not (sender == "member-4" and isinstance(message, BatchOffer))
    cluster.submit("member-4", make_record("member-4", 1))
    cluster.arrives = lambda _sender, _to, _message: True
    for number in range(15):
        if busy:
            cluster.submit(BACKUP, make_record(BACKUP, number))
        cluster.heal(1_000)
    assert make_record("member-4", 1) in ordered(cluster.seats[BACKUP])
    assert cluster.seats[BACKUP].state.view == 0


# --- said again ---


def receivers_of(seat: Seat, kind: type[Message]) -> list[str]:
    """To whom a member has sent messages of a kind, in order; what was said until now is then forgotten."""
    receivers = [to for to, message in seat.sent if isinstance(message, kind)]
    seat.sent.clear()
    return receivers


def test_a_waiting_batch_is_relayed_to_the_primary_and_once_to_all() -> None:
    """C4, and the paper's section 4.1: a backup that holds another's batch does not shout it about at every beat."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    cluster.deliver_message(THIRD, BACKUP, BatchOffer(make_batch(THIRD, 1).data))
    backup, heard = cluster.seats[BACKUP], []
    for _ in range(4):
        cluster.ring(BACKUP, Timer.RESEND)
        heard.append(receivers_of(backup, BatchOffer))
    assert heard == [[PRIMARY], [PRIMARY, SECOND, THIRD], [PRIMARY], [PRIMARY]]


def test_after_a_view_change_the_new_primary_is_relayed_to() -> None:
    """C2, C4: what the primary left lying is brought to its successor, and again once to all."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, PrePrepare | BatchOffer)
    cluster.submit(THIRD, make_record(THIRD, 1))
    cluster.deliver_message(THIRD, SECOND, BatchOffer(next(iter(cluster.seats[THIRD].state.pool.waiting())).opened.data))
    cluster.ring_all(Timer.PROGRESS, [SECOND, THIRD])
    assert {seat.state.view for seat in cluster.seats.values()} == {1}
    second, heard = cluster.seats[SECOND], []
    receivers_of(second, BatchOffer)
    for _ in range(4):
        cluster.ring(SECOND, Timer.RESEND)
        heard.append(receivers_of(second, BatchOffer))
    assert heard == [[BACKUP], [BACKUP], [PRIMARY, BACKUP, THIRD], [BACKUP]]


def test_who_has_left_a_view_for_a_batch_tells_all_of_it() -> None:
    """C2, C4: it alone knew of the batch, and took it for kept back; the others must come to wait for it as well."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, BatchOffer)
    batch = make_batch(THIRD, 1)
    cluster.deliver_message(THIRD, SECOND, BatchOffer(batch.data))
    cluster.ring(SECOND, Timer.PROGRESS)
    assert not cluster.seats[SECOND].state.entered
    cluster.arrives = lambda _sender, to, message: not (to == PRIMARY and isinstance(message, BatchOffer))
    cluster.ring(SECOND, Timer.RESEND)
    assert cluster.seats[BACKUP].state.pool.get(batch.digest) is not None
    cluster.heal(2 * PARAMETERS.view_timeout_ms)
    assert make_record(THIRD, 1) in ordered(cluster.seats[BACKUP])


def test_the_ingress_goes_on_telling_all_by_turns() -> None:
    """C4: as long as a batch waits its ingress brings it to the others; a primary need not be told of its own."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    for name in (PRIMARY, SECOND):
        cluster.submit(name, make_record(name, 1))
        receivers_of(cluster.seats[name], BatchOffer)
    heard = []
    for _ in range(4):
        cluster.ring_all(Timer.RESEND, [PRIMARY, SECOND])
        heard.append(receivers_of(cluster.seats[SECOND], BatchOffer))
    assert heard == 2 * [[PRIMARY], [PRIMARY, BACKUP, THIRD]]
    assert receivers_of(cluster.seats[PRIMARY], BatchOffer) == []


def test_a_large_batch_that_is_ready_is_relayed_by_its_answers() -> None:
    """C4: who holds the 2f+1 answers passes them on to a primary that may have missed them, and not the batch."""
    cluster = Cluster(parameters=TINY)
    cluster.arrives = lambda _sender, to, message: to != PRIMARY or not isinstance(message, BatchReady)
    cluster.submit(THIRD, *large(THIRD, 1))
    backup = cluster.seats[BACKUP]
    backup.sent.clear()
    cluster.ring(BACKUP, Timer.RESEND)
    assert [to for to, message in backup.sent if isinstance(message, BatchReady)] == [PRIMARY]
    assert not backup.said(BatchOffer)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring(BACKUP, Timer.RESEND)
    assert cluster.heights == [1, 1, 1, 1]


# --- once, and long enough ---


def test_a_batch_is_ordered_once() -> None:
    """L6: a proposal that names a batch of an executed block, or of one under way, is dropped."""
    cluster = Cluster()
    cluster.order(1, SECOND)
    batch = open_batch(cluster.seats[BACKUP].blocks[0].batches[0], CHAIN_ID)
    result = cluster.seats[BACKUP].ledger.results[0]
    parent = replace(GENESIS, height=1, hash=result.block_hash, time_ms=cluster.seats[BACKUP].ledger.headers[0].time_ms)
    cluster.arrives = lambda _sender, _to, _message: False
    again = make_pre_prepare(cluster.outlook, parent, batches=[batch], now_ms=parent.time_ms + 5)
    cluster.deliver_message(PRIMARY, BACKUP, again)
    backup = cluster.seats[BACKUP]
    assert 2 not in backup.state.log.slots
    fresh = make_batch(THIRD, 5)
    second = make_pre_prepare(cluster.outlook, parent, batches=[fresh], now_ms=parent.time_ms + 5)
    cluster.deliver_message(PRIMARY, BACKUP, second)
    grandparent = replace(parent, height=2, hash=second.signed.vote.digest, time_ms=parent.time_ms + 5)
    third = make_pre_prepare(cluster.outlook, grandparent, batches=[fresh], now_ms=parent.time_ms + 9)
    cluster.deliver_message(PRIMARY, BACKUP, third)
    assert sorted(backup.state.log.slots) == [2]


def test_a_proposal_whose_root_is_not_over_its_batches_is_dropped() -> None:
    """L3: the transaction root is what the members signed, in the header's order."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    one, other = make_batch(THIRD, 1), make_batch(THIRD, 2)
    lying = replace(one, root=other.root)
    proposal = make_pre_prepare(cluster.outlook, GENESIS, batches=[lying])
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    assert cluster.seats[BACKUP].state.log.slots == {}
    assert cluster.seats[BACKUP].said(Prepare) == []


def test_ordered_batches_are_kept_for_a_margin_and_then_let_go() -> None:
    """C4: a batch can be asked for until two windows of stable blocks lie above it."""
    cluster = Cluster(parameters=replace(PARAMETERS, window_blocks=4))
    cluster.order(1, SECOND)
    digest = open_batch(cluster.seats[BACKUP].blocks[0].batches[0], CHAIN_ID).digest
    pool = cluster.seats[BACKUP].state.pool
    cluster.order(7, SECOND, first=2)
    assert pool.get(digest) is not None
    cluster.deliver_message(THIRD, BACKUP, FetchBatches((digest,)))
    assert cluster.seats[BACKUP].said(BatchOffer) != []
    cluster.order(1, SECOND, first=9)
    assert (pool.get(digest), pool.ordered_at(digest)) == (None, None)


def test_batches_do_not_wait_for_blocks() -> None:
    """C4: dissemination goes on while nothing is decided; then one block takes all that waits."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, PrePrepare | Prepare | Commit | Checkpoint)
    cluster.order(10, SECOND)
    assert len(list(cluster.seats[THIRD].state.pool.waiting())) == 10
    cluster.arrives = lambda _sender, _to, _message: True
    for _ in range(4):
        cluster.ring_all(Timer.RESEND)
    assert ordered(cluster.seats[THIRD]) == [make_record(SECOND, number) for number in range(1, 11)]


def test_an_offer_must_be_its_members_own() -> None:
    """R4, L2: a batch under another key than its member's, or with a foreign registration, is refused before the pool."""
    cluster = Cluster()
    good = make_batch(THIRD, 1)
    forged = encode(replace(good.batch, signature=bytes(64)), CHAIN_ID)
    renamed = encode(replace(good.batch, member_id=SECOND), CHAIN_ID)
    for data in (forged, renamed):
        cluster.deliver_message(THIRD, BACKUP, BatchOffer(data))
    assert [error.reason for error in cluster.refusals] == ["BAD_SIGNATURE", "FOREIGN_VOUCHER"]
    assert list(cluster.seats[BACKUP].state.pool.waiting()) == []
