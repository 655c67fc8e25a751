"""The PBFT paper, step by step (Castro and Liskov, OSDI 1999, sections 4.2 and 4.3; rules C1, C8, L3)."""

from dataclasses import replace

import pytest

from consilium.consensus.core.events import Timer
from consilium.consensus.core.messages import (
    Checkpoint,
    Commit,
    Prepare,
    PrePrepare,
)
from consilium.kernel.certificates import Phase
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import (
    ANY_SIGNATURE,
    GENESIS,
    child_of,
    make_checkpoint,
    make_header_bytes,
    make_pre_prepare,
    make_result,
    sign_vote,
)
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, Cluster, Seat, isolated, make_outlook, make_record, signer

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))


def prepare_by(name: str, proposal: PrePrepare, view: int = 0) -> Prepare:
    """A member's prepare for a proposal."""
    vote = proposal.signed.vote
    return Prepare(sign_vote(name, Phase.PREPARE, view, vote.height, vote.digest))


def commit_by(name: str, proposal: PrePrepare, view: int = 0) -> Commit:
    """A member's commit for a proposal."""
    vote = proposal.signed.vote
    return Commit(sign_vote(name, Phase.COMMIT, view, vote.height, vote.digest))


# --- 4.2 normal case: pre-prepare ---


def test_primary_assigns_the_next_height_and_tells_every_backup() -> None:
    """4.2: the primary multicasts a pre-prepare with view, sequence number and digest to all backups."""
    cluster = isolated()
    cluster.submit(PRIMARY, make_record(PRIMARY, 1))
    sent = [(to, message) for to, message in cluster.seats[PRIMARY].sent if isinstance(message, PrePrepare)]
    assert [to for to, _ in sent] == [BACKUP, SECOND, THIRD]
    for _, message in sent:
        assert (message.signed.vote.view, message.signed.vote.height) == (0, 1)
        assert message.signed.vote.digest == sha256(message.header)


def test_backup_accepts_a_sound_proposal_and_prepares_it() -> None:
    """4.2: in the view, signed, within the watermarks and first for (v, n): the backup multicasts a prepare."""
    cluster = isolated()
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    assert cluster.seats[BACKUP].slots(Prepare) == [(0, 1, proposal.signed.vote.digest)]
    assert {to for to, message in cluster.seats[BACKUP].sent if isinstance(message, Prepare)} == {PRIMARY, SECOND, THIRD}


def test_backup_refuses_another_view() -> None:
    """4.2: "it is in view v"."""
    cluster = isolated()
    cluster.deliver_message(BACKUP, SECOND, make_pre_prepare(cluster.outlook, GENESIS, view=1))
    second = cluster.seats[SECOND]
    assert (second.slots(Prepare), second.state.log.slots) == ([], {})
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    cluster.deliver_message(PRIMARY, SECOND, proposal)
    cluster.deliver_message(BACKUP, SECOND, make_pre_prepare(cluster.outlook, GENESIS, view=1))
    assert second.state.log.slots[1].digest == proposal.signed.vote.digest, "nor does it lose what it has accepted"


def test_backup_refuses_a_signature_that_is_not_the_primarys() -> None:
    """4.2: "the signatures in the request and the pre-prepare message are correct"."""
    cluster = isolated()
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    forged = replace(proposal, signed=replace(proposal.signed, signature=ANY_SIGNATURE))
    by_backup = sign_vote(SECOND, Phase.PRE_PREPARE, 0, 1, proposal.signed.vote.digest)
    cluster.deliver_message(PRIMARY, BACKUP, forged)
    cluster.deliver_message(SECOND, BACKUP, replace(proposal, signed=by_backup))
    assert cluster.seats[BACKUP].slots(Prepare) == []
    assert [error.reason for error in cluster.refusals] == ["BAD_SIGNATURE", "BAD_SIGNATURE"]


def test_backup_refuses_a_digest_that_is_not_the_requests() -> None:
    """4.2: "d is the digest for m"."""
    cluster = isolated()
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    other = make_header_bytes(cluster.outlook, GENESIS, now_ms=GENESIS.time_ms + 500)
    cluster.deliver_message(PRIMARY, BACKUP, replace(proposal, header=other))
    assert cluster.seats[BACKUP].slots(Prepare) == []
    assert [error.reason for error in cluster.refusals] == ["WRONG_DIGEST"]


def test_backup_accepts_no_second_digest_for_a_slot() -> None:
    """4.2: "it has not accepted a pre-prepare message for view v and sequence number n containing a different digest"."""
    cluster = isolated()
    first = make_pre_prepare(cluster.outlook, GENESIS)
    second = make_pre_prepare(cluster.outlook, GENESIS, now_ms=GENESIS.time_ms + 500)
    cluster.deliver_message(PRIMARY, BACKUP, first)
    cluster.deliver_message(PRIMARY, BACKUP, second)
    assert cluster.seats[BACKUP].slots(Prepare) == [(0, 1, first.signed.vote.digest)]


@pytest.mark.parametrize(("height", "kept"), [(1, True), (4, True), (5, False)])
def test_backup_keeps_proposals_up_to_the_high_watermark(height: int, *, kept: bool) -> None:
    """4.2, 4.3: "the sequence number is between a low water mark h and a high water mark H", H = h + the window."""
    cluster = isolated(replace(PARAMETERS, window_blocks=4))
    proposal = make_pre_prepare(cluster.outlook, replace(GENESIS, height=height - 1))
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    assert (height in cluster.seats[BACKUP].state.log.slots) is kept


def test_backup_refuses_what_lies_at_the_low_watermark() -> None:
    """4.3: a stable checkpoint is the low watermark; nothing at or below it is voted on again."""
    cluster = Cluster()
    cluster.order(3)
    backup = cluster.seats[BACKUP]
    assert backup.state.low == 3
    before = backup.slots(Prepare)
    for height in (1, 3):
        cluster.deliver_message(PRIMARY, BACKUP, make_pre_prepare(cluster.outlook, replace(GENESIS, height=height - 1)))
    assert backup.slots(Prepare) == before


# --- 4.2 normal case: prepare and commit ---


def with_proposal() -> tuple[Cluster, PrePrepare]:
    """A backup that has accepted block 1 and sent its prepare."""
    cluster = isolated()
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    return cluster, proposal


def test_prepared_needs_2f_prepares_from_different_backups() -> None:
    """4.2: prepared(m, v, n, i) = the pre-prepare and 2f prepares from different backups that match it (own included)."""
    cluster, proposal = with_proposal()
    backup = cluster.seats[BACKUP]
    assert backup.slots(Commit) == []
    cluster.deliver_message(SECOND, BACKUP, prepare_by(SECOND, proposal))
    assert backup.slots(Commit) == [(0, 1, proposal.signed.vote.digest)]


def test_prepares_are_counted_before_the_proposal_comes() -> None:
    """4.2: messages may arrive in any order; a prepare that is early is kept."""
    cluster = isolated()
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    cluster.deliver_message(SECOND, BACKUP, prepare_by(SECOND, proposal))
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    assert len(cluster.seats[BACKUP].slots(Commit)) == 1


def test_prepares_that_do_not_match_count_nothing() -> None:
    """4.2: "they have the same view, sequence number, and digest"; the primary's own and one backup's twice do not count."""
    cluster, proposal = with_proposal()
    vote = proposal.signed.vote
    for message in (
        Prepare(sign_vote(SECOND, Phase.PREPARE, 1, vote.height, vote.digest)),
        Prepare(sign_vote(SECOND, Phase.PREPARE, 0, vote.height + 1, vote.digest)),
        Prepare(sign_vote(THIRD, Phase.PREPARE, 0, vote.height, sha256(b"another"))),
    ):
        cluster.deliver_message(SECOND if message.signed.vote.digest == vote.digest else THIRD, BACKUP, message)
    cluster.deliver_message(PRIMARY, BACKUP, prepare_by(PRIMARY, proposal))
    assert cluster.seats[BACKUP].slots(Commit) == []


def test_one_backup_twice_is_one_prepare() -> None:
    """4.2: the 2f prepares are "from different backups": at n = 7 a backup said twice leaves two short of four."""
    cluster = Cluster(7)
    cluster.arrives = lambda _sender, _to, _message: False
    proposal = make_pre_prepare(cluster.outlook, GENESIS)
    cluster.deliver_message(PRIMARY, BACKUP, proposal)
    for name in (SECOND, SECOND, SECOND, THIRD):
        cluster.deliver_message(name, BACKUP, prepare_by(name, proposal))
    assert cluster.seats[BACKUP].slots(Commit) == []
    cluster.deliver_message("member-4", BACKUP, prepare_by("member-4", proposal))
    assert len(cluster.seats[BACKUP].slots(Commit)) == 1


def test_primary_is_prepared_by_2f_backups_and_sends_no_prepare() -> None:
    """4.2: the pre-prepare stands for the primary's prepare."""
    cluster = isolated()
    cluster.submit(PRIMARY, make_record(PRIMARY, 1))
    primary = cluster.seats[PRIMARY]
    proposal = next(message for message in primary.said(PrePrepare) if isinstance(message, PrePrepare))
    cluster.deliver_message(BACKUP, PRIMARY, prepare_by(BACKUP, proposal))
    assert primary.slots(Commit) == []
    cluster.deliver_message(SECOND, PRIMARY, prepare_by(SECOND, proposal))
    assert len(primary.slots(Commit)) == 1
    assert primary.slots(Prepare) == []


def test_committed_local_needs_2f_plus_1_commits() -> None:
    """4.2: committed-local = prepared, and 2f+1 commits (possibly its own) that match the pre-prepare."""
    cluster, proposal = with_proposal()
    backup = cluster.seats[BACKUP]
    cluster.deliver_message(SECOND, BACKUP, prepare_by(SECOND, proposal))
    cluster.deliver_message(SECOND, BACKUP, commit_by(SECOND, proposal))
    assert backup.height == 0
    cluster.deliver_message(THIRD, BACKUP, commit_by(THIRD, proposal))
    assert backup.height == 1
    assert [each.index for each in backup.blocks[0].commit.signatures] == [1, 2, 3]


def test_commits_that_do_not_match_count_nothing() -> None:
    """4.2: a commit of another view or for another digest is none for this block; one delegate's twice is one."""
    cluster, proposal = with_proposal()
    vote = proposal.signed.vote
    cluster.deliver_message(SECOND, BACKUP, prepare_by(SECOND, proposal))
    cluster.deliver_message(SECOND, BACKUP, commit_by(SECOND, proposal))
    cluster.deliver_message(SECOND, BACKUP, commit_by(SECOND, proposal))
    cluster.deliver_message(THIRD, BACKUP, commit_by(THIRD, proposal, view=4))
    cluster.deliver_message(PRIMARY, BACKUP, Commit(sign_vote(PRIMARY, Phase.COMMIT, 0, 1, sha256(vote.digest))))
    assert cluster.seats[BACKUP].height == 0


def test_committed_blocks_are_executed_in_order() -> None:
    """4.2: a replica executes a request only after all with lower sequence numbers."""
    cluster, first = with_proposal()
    backup = cluster.seats[BACKUP]
    second = make_pre_prepare(cluster.outlook, child_of(first), now_ms=GENESIS.time_ms + 3)
    cluster.deliver_message(PRIMARY, BACKUP, second)
    for proposal in (second, first):
        cluster.deliver_message(SECOND, BACKUP, prepare_by(SECOND, proposal))
    for proposal in (second, first):
        assert backup.height == 0
        for name in (SECOND, THIRD):
            cluster.deliver_message(name, BACKUP, commit_by(name, proposal))
    assert backup.height == 2


@pytest.mark.parametrize("count", [4, 7])
def test_messages_of_the_normal_case(count: int) -> None:
    """C8: ordering a block takes exactly 2n(n-1) messages, and n(n-1) result votes apart."""
    cluster = Cluster(count)
    for seat in cluster.seats.values():
        seat.sent.clear()
    cluster.order(1)
    sent = [message for seat in cluster.seats.values() for _, message in seat.sent]
    by_kind = {kind: sum(isinstance(each, kind) for each in sent) for kind in (PrePrepare, Prepare, Commit, Checkpoint)}
    assert by_kind == {
        PrePrepare: count - 1,
        Prepare: (count - 1) ** 2,
        Commit: count * (count - 1),
        Checkpoint: count * (count - 1),
    }
    assert by_kind[PrePrepare] + by_kind[Prepare] + by_kind[Commit] == 2 * count * (count - 1)


# --- 4.3 checkpoints and garbage collection ---


def executed_isolated() -> tuple[Cluster, Seat]:
    """A backup that has executed block 1, and heard no result of others yet."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Checkpoint)
    cluster.order(1)
    return cluster, cluster.seats[BACKUP]


def test_checkpoint_is_stable_with_2f_plus_1_equal_results() -> None:
    """4.3, L3: a checkpoint is stable with a proof of 2f+1 replicas that agree on sequence number and state."""
    cluster, backup = executed_isolated()
    result = backup.ledger.results[0]
    cluster.deliver_message(PRIMARY, BACKUP, make_checkpoint(PRIMARY, result))
    assert (backup.state.stable_height, backup.certificates) == (0, [])
    cluster.deliver_message(SECOND, BACKUP, make_checkpoint(SECOND, result))
    assert backup.state.stable_height == 1
    assert [each.result for each in backup.certificates] == [result]


def test_different_results_prove_nothing() -> None:
    """4.3, L3: only equal results count, whoever sends the others."""
    cluster, backup = executed_isolated()
    other = make_result(1, sha256(b"another block"))
    for name in (PRIMARY, SECOND, THIRD):
        cluster.deliver_message(name, BACKUP, make_checkpoint(name, other))
    assert backup.state.stable_height == 0


def test_one_result_a_delegate_counts() -> None:
    """4.3: 2f+1 *different* replicas; the first word of a delegate stands."""
    cluster, backup = executed_isolated()
    result = backup.ledger.results[0]
    for _ in range(3):
        cluster.deliver_message(PRIMARY, BACKUP, make_checkpoint(PRIMARY, result))
    assert backup.state.stable_height == 0


def test_a_stable_checkpoint_clears_the_log() -> None:
    """4.3: the replica discards all pre-prepares, prepares, commits and checkpoints at or below the stable height."""
    cluster, backup = executed_isolated()
    state = backup.state
    assert (list(state.log.slots), list(state.log.prepared)) == ([1], [1])
    for name in (PRIMARY, SECOND):
        cluster.deliver_message(name, BACKUP, make_checkpoint(name, backup.ledger.results[0]))
    assert (list(state.log.slots), list(state.log.prepared)) == ([], [])
    assert state.log.vote_of(0, 1, Phase.COMMIT) is None
    assert state.checkpoints.certificate(state.committee, backup.ledger.results[0]) is None


def test_primary_stops_at_the_high_watermark_and_goes_on_with_it() -> None:
    """4.3: H = h + the window; nobody orders beyond it until the checkpoint below has become stable."""
    cluster = Cluster(parameters=replace(PARAMETERS, window_blocks=4, pipeline_blocks=8))
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Checkpoint)
    cluster.order(6)
    assert cluster.heights == [4, 4, 4, 4]
    assert max(cluster.seats[PRIMARY].state.log.slots) == 4
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.RESEND)
    cluster.ring_all(Timer.RESEND)
    assert cluster.heights == [5, 5, 5, 5]
    assert cluster.seats[PRIMARY].state.pool.eligible_since() is None


def test_a_vote_says_all_that_its_slot_is() -> None:
    """4.2: votes name phase, view, sequence number and digest, so none can stand for another slot, epoch or chain."""
    outlook = make_outlook(4)
    vote = sign_vote(BACKUP, Phase.PREPARE, 0, 1, sha256(b"block"), outlook.epoch).vote
    others = [
        replace(vote, phase=Phase.COMMIT),
        replace(vote, epoch=1),
        replace(vote, view=1),
        replace(vote, height=2),
        replace(vote, digest=sha256(b"other")),
    ]
    said = [encode(each, CHAIN_ID) for each in (vote, *others)] + [encode(vote, sha256(b"other chain"))]
    assert len({signer(BACKUP).sign(each) for each in said}) == 7
