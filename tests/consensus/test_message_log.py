"""The slots between the watermarks (paper, section 4.2; rules C1, C8)."""

import pytest

from consilium.consensus.core.message_log import MessageLog, Slot
from consilium.kernel.certificates import Phase, verify_commit_certificate, verify_prepared_certificate
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import GENESIS, make_header_bytes, sign_vote
from tests.consensus.cluster import CHAIN_ID, VERIFIER, make_outlook

OUTLOOK = make_outlook(4)
COMMITTEE = OUTLOOK.committee
HEADER_BYTES = make_header_bytes(OUTLOOK, GENESIS)
DIGEST = sha256(HEADER_BYTES)
OTHER = sha256(b"other")


def make_slot(view: int = 0) -> Slot:
    """Block 1 as the primary of a view proposed it."""
    signed = sign_vote(COMMITTEE.primary(view), Phase.PRE_PREPARE, view, 1, DIGEST)
    header = decode(Header, HEADER_BYTES, CHAIN_ID)
    return Slot(view, header, HEADER_BYTES, DIGEST, signed.signature, proposed_again=False)


def vote(log: MessageLog, index: int, phase: Phase, view: int = 0, digest: bytes = DIGEST, height: int = 1) -> bool:
    """Record a delegate's vote; whether it contradicts its earlier one."""
    name = COMMITTEE.delegates[index].member_id
    return log.record(index, sign_vote(name, phase, view, height, digest)) is not None


def test_prepared_certificate_verifies_everywhere() -> None:
    """Paper 4.2: 2f matching prepares of backups and the pre-prepare; any other replica can check it."""
    log, slot = MessageLog(COMMITTEE), make_slot()
    vote(log, 1, Phase.PREPARE)
    assert log.prepared_certificate(slot) is None
    vote(log, 3, Phase.PREPARE)
    certificate = log.prepared_certificate(slot)
    assert certificate is not None
    assert [each.index for each in certificate.signatures] == [1, 3]
    verify_prepared_certificate(COMMITTEE, 0, 1, certificate, CHAIN_ID, VERIFIER)


def test_the_primarys_prepare_is_never_counted() -> None:
    """Paper 4.2: the primary's pre-prepare is its vote; counted twice, 2f - 1 backups would do."""
    log = MessageLog(COMMITTEE)
    for index in (0, 1):
        vote(log, index, Phase.PREPARE)
    assert log.prepared_certificate(make_slot()) is None
    for index in (0, 1):
        vote(log, index, Phase.PREPARE, view=1)
    assert log.prepared_certificate(make_slot(view=1)) is None
    vote(log, 2, Phase.PREPARE, view=1)
    assert log.prepared_certificate(make_slot(view=1)) is not None


def test_commit_certificate_verifies_everywhere() -> None:
    """Paper 4.2, L3: 2f+1 matching commits, the primary's among them, in the order of the committee."""
    log, slot = MessageLog(COMMITTEE), make_slot()
    for index in (3, 0):
        vote(log, index, Phase.COMMIT)
    assert log.commit_certificate(slot) is None
    vote(log, 2, Phase.COMMIT)
    certificate = log.commit_certificate(slot)
    assert certificate is not None
    assert [each.index for each in certificate.signatures] == [0, 2, 3]
    verify_commit_certificate(COMMITTEE, certificate, CHAIN_ID, VERIFIER)


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.COMMIT])
def test_votes_for_another_digest_or_view_do_not_match(phase: Phase) -> None:
    """Paper 4.2: matching means the same view, sequence number and digest."""
    log, slot = MessageLog(COMMITTEE), make_slot()
    vote(log, 1, phase)
    vote(log, 2, phase, digest=OTHER)
    vote(log, 3, phase, view=4)
    assert [each.index for each in log.signatures(slot, phase)] == [1]


def test_phases_are_counted_apart() -> None:
    """Paper 4.2: commits are no prepares."""
    log, slot = MessageLog(COMMITTEE), make_slot()
    for index in (1, 2, 3):
        vote(log, index, Phase.COMMIT)
    assert log.prepared_certificate(slot) is None


def test_the_vote_of_the_highest_view_is_kept() -> None:
    """C8: one vote for each delegate, height and phase, so a flood is bounded; a late one of a lower view is dropped."""
    log = MessageLog(COMMITTEE)
    for view in (2, 5, 3):
        assert not vote(log, 1, Phase.PREPARE, view=view, digest=sha256(bytes([view])))
    kept = log.vote_of(1, 1, Phase.PREPARE)
    assert kept is not None
    assert kept.vote.view == 5


def test_a_contradiction_is_handed_back_and_the_first_word_stays() -> None:
    """C8: two digests in one slot; the first one is what counts."""
    log = MessageLog(COMMITTEE)
    assert not vote(log, 1, Phase.PREPARE)
    assert vote(log, 1, Phase.PREPARE, digest=OTHER)
    kept = log.vote_of(1, 1, Phase.PREPARE)
    assert kept is not None
    assert kept.vote.digest == DIGEST


def test_slots_belong_to_their_view() -> None:
    """Paper 4.4: what a lower view proposed is not a proposal of this one."""
    log = MessageLog(COMMITTEE)
    log.slots[1] = make_slot(view=2)
    assert (log.slot(1, 2), log.slot(1, 3), log.slot(2, 2)) == (log.slots[1], None, None)
    assert (log.top(2), log.top(3)) == (1, 0)


def test_truncate_forgets_up_to_the_checkpoint_and_not_above() -> None:
    """Paper 4.3: everything at or below the stable height goes, everything above stays."""
    log, certificate = MessageLog(COMMITTEE), None
    for index in (1, 2):
        vote(log, index, Phase.PREPARE)
        vote(log, index, Phase.PREPARE, height=2)
    certificate = log.prepared_certificate(make_slot())
    assert certificate is not None
    log.slots[1] = log.slots[2] = make_slot()
    log.prepared[1] = log.prepared[2] = certificate
    log.truncate(1)
    assert (list(log.slots), list(log.prepared)) == ([2], [2])
    assert log.vote_of(1, 1, Phase.PREPARE) is None
    assert log.vote_of(1, 2, Phase.PREPARE) is not None
