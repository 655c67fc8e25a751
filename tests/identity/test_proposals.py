"""Gathering the signatures of more than two thirds of the active members (L2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.identity.core.evidence import RankEvidence, add_rank_evidence
from consilium.identity.core.proposals import (
    Assembly,
    Proposal,
    ProposalState,
    carried,
    propose_grade,
    propose_member,
    settle,
    sign_proposal,
)
from consilium.kernel.attestations import EvidenceStatement
from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, FailedPrecondition, InvalidArgument, Malformed, PermissionDenied
from consilium.kernel.hashing import sha256
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import open_transaction, verify_endorsements
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from consilium.kernel.transactions import Endorsement, Grade, GradeBody, MemberAction, MemberBody
from tests.alliance import Alliance, Scribe, id_of, seed_of

ALLIANCE = Alliance.founded()
SCRIBE = Scribe(ALLIANCE)
FIVE = ("anshan", "benxi", "chaoyang", "dalian", "fushun")
ASSEMBLY = Assembly(ALLIANCE.chain_id, tuple(SCRIBE.chain.active_members()), 10, 300)
VERIFIER = Ed25519Verifier()
BODY = GradeBody("anshan", Grade.SPECIAL3, seed_of("evidence"), 900)


def transaction(*signers: str, expiry_height: int = 100) -> bytes:
    """A grade under these members' signatures."""
    first, *others = [ALLIANCE.keys[each].member for each in signers]
    return ALLIANCE.sign(first, BODY, id_of("grade"), expiry_height, others)


def signed(proposal: Proposal, member: str, assembly: Assembly = ASSEMBLY) -> Proposal:
    """The proposal with one more signature."""
    key = ALLIANCE.keys[member].member
    return sign_proposal(proposal, Endorsement(key.public_key, key.sign(proposal.payload)), assembly, VERIFIER)


def test_propose_grade_and_sign_proposal_until_it_is_whole() -> None:
    """Four of five; what is submitted is a transaction that the ledger takes."""
    proposal = propose_grade(transaction("anshan"), ASSEMBLY, VERIFIER)
    for count, member in enumerate(("benxi", "chaoyang", "dalian"), 2):
        assert (proposal.transaction, proposal.state_at(10)) == (None, ProposalState.OPEN)
        proposal = signed(proposal, member)
        assert ASSEMBLY.signed(proposal.endorsements) == count
    assert proposal.state_at(10) is ProposalState.SUBMITTED
    assert proposal.transaction is not None
    assert proposal.transaction_hash == leaf_hash(proposal.transaction)
    opened = open_transaction(proposal.transaction, ALLIANCE.chain_id)
    verify_endorsements(opened, VERIFIER)
    scribe = Scribe(ALLIANCE)
    assert scribe.write(proposal.transaction).codes == (Code.APPLIED,)


@pytest.mark.parametrize(("members", "needed"), [(4, 3), (5, 4), (6, 5), (7, 5), (3, 3), (1, 1)])
def test_more_than_two_thirds(members: int, needed: int) -> None:
    one = ASSEMBLY.active[0]
    assert replace(ASSEMBLY, active=(one,) * members).needed == needed


def test_a_closed_proposal_keeps_its_hash() -> None:
    """L6: the same bytes are submitted again and again; a fifth signature would make another transaction."""
    proposal = propose_grade(transaction(*FIVE[:4]), ASSEMBLY, VERIFIER)
    assert signed(proposal, "benxi") == proposal
    with pytest.raises(FailedPrecondition, match="PROPOSAL_CLOSED"):
        signed(proposal, "fushun")
    assert carried(proposal, ALLIANCE.chain_id) == proposal.transaction == transaction(*FIVE[:4])


def test_a_signature_of_a_member_that_left_no_longer_counts() -> None:
    proposal = propose_grade(transaction("anshan", "benxi", "chaoyang"), ASSEMBLY, VERIFIER)
    without = replace(ASSEMBLY, active=tuple(each for each in ASSEMBLY.active if each.profile.member_id != "benxi"))
    assert (without.needed, without.signed(proposal.endorsements)) == (3, 2)
    assert signed(proposal, "dalian", without).transaction is not None


def test_only_active_members_sign_and_only_what_stands_there() -> None:
    proposal = propose_grade(transaction("anshan"), ASSEMBLY, VERIFIER)
    stranger = Ed25519Signer.from_seed(seed_of("stranger"))
    with pytest.raises(PermissionDenied, match="NOT_A_MEMBER"):
        sign_proposal(proposal, Endorsement(stranger.public_key, stranger.sign(proposal.payload)), ASSEMBLY, VERIFIER)
    benxi = ALLIANCE.keys["benxi"].member
    with pytest.raises(BadSignature):
        sign_proposal(proposal, Endorsement(benxi.public_key, benxi.sign(b"something else")), ASSEMBLY, VERIFIER)
    other = ALLIANCE.sign(stranger, BODY, id_of("grade"), 100)
    with pytest.raises(PermissionDenied, match="NOT_A_MEMBER"):
        propose_grade(other, ASSEMBLY, VERIFIER)
    forged = transaction("anshan", "benxi")[:-1] + b"\0"
    with pytest.raises(BadSignature):
        propose_grade(forged, ASSEMBLY, VERIFIER)


def test_what_is_no_proposal() -> None:
    with pytest.raises(InvalidArgument, match="WRONG_KIND"):
        propose_member(transaction("anshan"), ASSEMBLY, VERIFIER)
    body = MemberBody(MemberAction.SUSPEND, ALLIANCE.keys["benxi"].profile, seed_of("why"))
    member = ALLIANCE.sign(ALLIANCE.keys["anshan"].member, body, id_of("member"), 100)
    assert propose_member(member, ASSEMBLY, VERIFIER).state_at(10) is ProposalState.OPEN
    with pytest.raises(InvalidArgument, match="WRONG_KIND"):
        propose_grade(member, ASSEMBLY, VERIFIER)
    with pytest.raises(Malformed):
        propose_grade(b"nothing", ASSEMBLY, VERIFIER)
    with pytest.raises(FailedPrecondition, match="EXPIRED"):
        propose_grade(transaction("anshan", expiry_height=10), ASSEMBLY, VERIFIER)
    with pytest.raises(InvalidArgument, match="EXPIRES_TOO_LATE"):
        propose_grade(transaction("anshan", expiry_height=311), ASSEMBLY, VERIFIER)


def test_how_a_proposal_ends() -> None:
    proposal = propose_grade(transaction(*FIVE[:4]), ASSEMBLY, VERIFIER)
    assert proposal.state_at(99) is ProposalState.SUBMITTED
    assert proposal.state_at(100) is ProposalState.EXPIRED
    assert settle(proposal, Code.APPLIED).state_at(100) is ProposalState.ACCEPTED
    assert settle(proposal, Code.MEMBER_UNKNOWN).state_at(10) is ProposalState.REJECTED
    assert settle(proposal, Code.EXPIRED).state_at(10) is ProposalState.EXPIRED


def evidence(document: bytes, member_id: str = "anshan", media_type: str = "application/pdf") -> RankEvidence:
    """A document that a health authority attests."""
    attester = Ed25519Signer.from_seed(seed_of("health authority"))
    statement = EvidenceStatement(member_id, media_type, sha256(document))
    signature = attester.sign(encode(statement, ALLIANCE.chain_id))
    return RankEvidence(sha256(document), member_id, media_type, attester.public_key, signature)


def test_add_rank_evidence() -> None:
    add_rank_evidence(evidence(b"beds"), b"beds", "anshan", ALLIANCE.chain_id, VERIFIER)
    with pytest.raises(PermissionDenied, match="OTHER_MEMBER"):
        add_rank_evidence(evidence(b"beds"), b"beds", "benxi", ALLIANCE.chain_id, VERIFIER)
    other = replace(evidence(b"beds"), media_type="text/plain")
    with pytest.raises(BadSignature):
        add_rank_evidence(other, b"beds", "anshan", ALLIANCE.chain_id, VERIFIER)
    for given, document in (
        (evidence(b"beds"), b"fewer beds"),
        (evidence(b""), b""),
        (evidence(bytes(1_048_577)), bytes(1_048_577)),
        (evidence(b"beds", media_type="pdf"), b"beds"),
    ):
        with pytest.raises(InvalidArgument, match="BAD_DOCUMENT"):
            add_rank_evidence(given, document, "anshan", ALLIANCE.chain_id, VERIFIER)
