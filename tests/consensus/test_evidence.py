"""Who breaks its word is found out, and the ledger told (rule C8)."""

from dataclasses import replace

import pytest

from consilium.consensus.core.events import Timer
from consilium.consensus.core.evidence import find_amnesia, find_equivocation
from consilium.consensus.core.message_log import MessageLog, Slot
from consilium.consensus.core.messages import Commit, Prepare, PrePrepare
from consilium.kernel.certificates import Phase
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import open_batch
from consilium.kernel.transactions import Amnesia, BadFragment, Equivocation, EvidenceBody, InvalidProposal
from tests.consensus.by_hand import (
    GENESIS,
    certify,
    make_call,
    make_header_bytes,
    make_pre_prepare,
    make_result,
    prepared,
    sign_vote,
)
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, VERIFIER, Cluster, Seat, make_outlook, make_record, signer

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))
OUTLOOK = make_outlook(4)
BLOCK, OTHER = sha256(b"block"), sha256(b"other")


def evidence_on(seat: Seat) -> list[Equivocation | Amnesia | BadFragment | InvalidProposal]:
    """The proofs in a member's blocks, in order."""
    batches = [open_batch(data, CHAIN_ID) for block in seat.blocks for data in block.batches]
    bodies = [transaction.payload.body for batch in batches for transaction in batch.transactions]
    return [body.proof for body in bodies if isinstance(body, EvidenceBody)]


@pytest.mark.parametrize(("phase", "kind"), [(Phase.PREPARE, Prepare), (Phase.COMMIT, Commit)])
def test_two_votes_in_one_slot_become_evidence(phase: Phase, kind: type[Prepare | Commit]) -> None:
    """C8: a delegate that says two things in one slot is named on the ledger, with both votes under its own key."""
    cluster = Cluster()
    votes = [sign_vote(THIRD, phase, 0, 1, digest) for digest in (BLOCK, OTHER)]
    for vote in votes:
        cluster.deliver_message(THIRD, BACKUP, kind(vote))
    cluster.ring(BACKUP, Timer.BATCH)
    cluster.heal(1_000)
    (proof,) = evidence_on(cluster.seats[SECOND])
    assert proof == Equivocation(THIRD, votes[0], votes[1])
    for signed in votes:
        VERIFIER.verify(signer(THIRD).public_key, encode(signed.vote, CHAIN_ID), signed.signature)


def test_two_proposals_for_one_slot_become_evidence() -> None:
    """C8: an equivocating primary; its second proposal is not accepted, and kept as proof."""
    cluster = Cluster()
    first = make_pre_prepare(cluster.outlook, GENESIS)
    second = make_pre_prepare(cluster.outlook, GENESIS, now_ms=GENESIS.time_ms + 77)
    for proposal in (first, second):
        cluster.deliver_message(PRIMARY, BACKUP, proposal)
    cluster.ring(BACKUP, Timer.BATCH)
    cluster.heal(20_000)
    proofs = evidence_on(cluster.seats[SECOND])
    assert Equivocation(PRIMARY, first.signed, second.signed) in proofs


def test_a_delegate_is_accused_once_an_epoch() -> None:
    """C8: a flood of contradictions makes one transaction at each replica that sees them."""
    cluster = Cluster()
    for number in range(5):
        vote = sign_vote(THIRD, Phase.PREPARE, 0, 1, sha256(bytes([number])))
        cluster.deliver_message(THIRD, BACKUP, Prepare(vote))
    assert len(cluster.seats[BACKUP].state.pending) == 1


def test_repeating_oneself_is_no_crime() -> None:
    """C8: the same vote again, the same slot in another view, another height: nobody is blamed."""
    cluster = Cluster()
    for view, height, digest in ((0, 1, BLOCK), (0, 1, BLOCK), (1, 1, OTHER), (4, 1, BLOCK), (0, 2, OTHER)):
        cluster.deliver_message(THIRD, BACKUP, Prepare(sign_vote(THIRD, Phase.PREPARE, view, height, digest)))
        cluster.deliver_message(THIRD, BACKUP, Commit(sign_vote(THIRD, Phase.COMMIT, view, height, sha256(digest))))
    assert cluster.seats[BACKUP].state.pending == []


def test_hiding_a_commit_in_a_view_change_becomes_evidence() -> None:
    """C8, cross-view: a commit in view 0, then a call for view 1 without the prepared certificate of that height."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    vote = sign_vote(THIRD, Phase.COMMIT, 0, 1, proposal.signed.vote.digest)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    cluster.deliver_message(THIRD, BACKUP, Commit(vote))
    call = make_call(cluster.outlook.committee, 3, 1)
    cluster.deliver_message(THIRD, BACKUP, call)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring(BACKUP, Timer.BATCH)
    cluster.heal(2_000)
    assert Amnesia(THIRD, vote, call.view_change, call.signature) in evidence_on(cluster.seats[SECOND])


def test_proof_too_large_for_a_transaction_holds_up_neither_the_view_nor_a_smaller_one() -> None:
    """C8, C2: the call counts all the same, and the next proof of the offence is brought."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    cluster.deliver_message(THIRD, BACKUP, Commit(sign_vote(THIRD, Phase.COMMIT, 0, 1, proposal.signed.vote.digest)))
    call, seat = make_call(cluster.outlook.committee, 3, 1), cluster.seats[BACKUP]
    header = decode(Header, make_header_bytes(cluster.outlook, GENESIS), CHAIN_ID)
    names = tuple(sha256(bytes([number])) for number in range(16))
    headers = [encode(replace(header, height=height, batch_digests=names), CHAIN_ID) for height in range(2, 120)]
    shown = [prepared(cluster.outlook.committee, 0, height, each) for height, each in enumerate(headers, 2)]
    large = make_call(cluster.outlook.committee, 3, 1, proofs=shown)
    cluster.deliver_message(THIRD, BACKUP, large)
    assert (seat.state.pending, seat.state.calls.count) == ([], 1)
    cluster.deliver_message(THIRD, BACKUP, call)
    assert len(seat.state.pending) == 1


def test_evidence_leaves_even_when_the_queue_is_full() -> None:
    """C8, C4: clients are refused when too much waits; a replica's own proof is not lost with them."""
    cluster = Cluster(parameters=replace(PARAMETERS, ingress_batches_max=1, batch_bytes_max=300))
    cluster.arrives = lambda _sender, _to, _message: False
    for number in range(12):
        cluster.submit(BACKUP, make_record(BACKUP, number))
    for digest in (BLOCK, OTHER):
        cluster.deliver_message(THIRD, BACKUP, Prepare(sign_vote(THIRD, Phase.PREPARE, 0, 1, digest)))
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(30_000)
    assert [proof.member_id for proof in evidence_on(cluster.seats[SECOND])] == [THIRD]


# --- the judgement alone ---


def log_with_slot(height: int) -> tuple[MessageLog, bytes]:
    """A log that knows a proposal at a height, and its header."""
    log = MessageLog(OUTLOOK.committee)
    header_bytes = make_header_bytes(OUTLOOK, replace(GENESIS, height=height - 1))
    header = decode(Header, header_bytes, CHAIN_ID)
    log.slots[height] = Slot(0, header, header_bytes, sha256(header_bytes), bytes(64), proposed_again=False)
    return log, header_bytes


def test_equivocation_needs_one_slot_and_two_digests() -> None:
    """C8: the pair that convicts: same phase, epoch, view, height and signer, different digests."""
    log = MessageLog(OUTLOOK.committee)
    vote = sign_vote(THIRD, Phase.PREPARE, 0, 1, BLOCK)
    assert find_equivocation(log, OUTLOOK.committee, 3, vote) is None
    assert find_equivocation(log, OUTLOOK.committee, 3, vote) is None
    assert find_equivocation(log, OUTLOOK.committee, 2, sign_vote(SECOND, Phase.PREPARE, 0, 1, OTHER)) is None
    other = sign_vote(THIRD, Phase.PREPARE, 0, 1, OTHER)
    assert find_equivocation(log, OUTLOOK.committee, 3, other) == Equivocation(THIRD, vote, other)


def test_a_view_change_that_shows_the_commit_is_honest() -> None:
    """C8: showing the certificate of that view or a later one, or a stable checkpoint above, is no amnesia."""
    log, header = log_with_slot(1)
    committee = OUTLOOK.committee
    log.record(3, sign_vote(THIRD, Phase.COMMIT, 0, 1, sha256(header)))
    shown = prepared(committee, 0, 1, header)
    stable = certify(committee, make_result(1, sha256(header)))
    for call in (
        make_call(committee, 3, 1, proofs=[shown]),
        make_call(committee, 3, 2, proofs=[prepared(committee, 1, 1, header)]),
        make_call(committee, 3, 1, stable=stable),
        make_call(committee, 2, 1),
    ):
        assert find_amnesia(log, committee, call, CHAIN_ID) is None
    assert find_amnesia(log, committee, make_call(committee, 3, 1), CHAIN_ID) is not None


def test_a_commit_after_the_call_is_no_amnesia() -> None:
    """C8: a call for view 1 that arrives after its caller has committed in view 1 hides nothing."""
    log, header = log_with_slot(1)
    log.record(3, sign_vote(THIRD, Phase.COMMIT, 1, 1, sha256(header)))
    assert find_amnesia(log, OUTLOOK.committee, make_call(OUTLOOK.committee, 3, 1), CHAIN_ID) is None


def test_showing_an_older_certificate_than_the_commit_is_amnesia() -> None:
    """C8: who committed in view 1 and shows what it had in view 0 would let the newer block be dropped."""
    log, header = log_with_slot(1)
    log.record(3, sign_vote(THIRD, Phase.COMMIT, 1, 1, sha256(header)))
    call = make_call(OUTLOOK.committee, 3, 2, proofs=[prepared(OUTLOOK.committee, 0, 1, header)])
    assert find_amnesia(log, OUTLOOK.committee, call, CHAIN_ID) is not None


def test_votes_outside_the_watermarks_are_not_kept() -> None:
    """R6, C8, paper 4.3: a flood of votes for far heights costs nothing; only the window is remembered."""
    cluster = Cluster()
    state = cluster.seats[BACKUP].state
    for height in (0, state.high, state.high + 1, 10**9):
        cluster.deliver_message(THIRD, BACKUP, Prepare(sign_vote(THIRD, Phase.PREPARE, 0, height, BLOCK)))
    kept = [height for height in (0, state.high, state.high + 1, 10**9) if state.log.vote_of(3, height, Phase.PREPARE)]
    assert kept == [state.high]


def test_pre_prepares_are_the_primarys_whoever_hands_them_on() -> None:
    """C8: a proposal passed on by another delegate counts as its primary's word, not the carrier's."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, _message: False
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    cluster.deliver_message(THIRD, BACKUP, proposal)
    log = cluster.seats[BACKUP].state.log
    assert log.vote_of(0, 1, Phase.PRE_PREPARE) == proposal.signed
    assert log.vote_of(3, 1, Phase.PRE_PREPARE) is None
    assert isinstance(proposal, PrePrepare)


def test_a_proposal_that_contradicts_the_chain_becomes_evidence() -> None:
    """C6: a header with another committee is dropped, and lands on the ledger with its primary's signature."""
    cluster = Cluster()
    good = decode(Header, make_header_bytes(OUTLOOK, GENESIS, now_ms=cluster.now_ms), CHAIN_ID)
    data = encode(replace(good, committee_hash=bytes(32)), CHAIN_ID)
    signed = sign_vote(PRIMARY, Phase.PRE_PREPARE, 0, 1, sha256(data))
    cluster.deliver_message(PRIMARY, BACKUP, PrePrepare(signed, data, (), ()))
    cluster.heal(3_000)
    assert InvalidProposal(PRIMARY, signed, data) in evidence_on(cluster.seats[BACKUP])
