"""Offences that cost score and not the key: an invalid proposal, a capsule fragment that does not fit (rules C6, S5).

An honest member makes neither: a primary derives its headers from what it has executed, and a holder verifies its fragment
before it signs for it. So what proves them frames nobody. Each counts once.
"""

from dataclasses import replace

from consilium.kernel.certificates import Phase, Vote
from consilium.kernel.chain import Header
from consilium.kernel.codes import Code
from consilium.kernel.consent import fragment_digest
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Malformed
from consilium.kernel.hashing import ZERO_DIGEST, domain_hash, sha256
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import BadFragment, InvalidProposal
from consilium.kernel.umbral import Sealed, fits
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.state import LedgerState

FRAGMENT_COST = 100
"""What a fragment that does not fit takes off its holder's score (election.md section 5, point 9)."""
PROPOSAL_JAIL_TERMS = 10
"""For how many draws the author of an invalid proposal is passed over; its score is halved (point 9)."""


def judge_fragment(state: LedgerState, holder: MemberState, proof: BadFragment, scope: BlockScope) -> Code:
    """A fragment that its holder signed for, and that is not this grant's fragment applied to this capsule."""
    statement, name = proof.release.statement, holder.profile.member_id
    grant = state.grant(statement.grant_id)
    sealed = Sealed(proof.capsule, b"")
    about = (statement.holder, statement.capsule_digest, statement.fragment_digest)
    is_about = about == (name, sealed.digest, fragment_digest(proof.release.cfrag))
    if grant is None or not is_about or name not in grant.terms.holders:
        return Code.BAD_EVIDENCE
    try:
        scope.verifier.verify(holder.profile.member_key, encode(statement, state.chain_id), proof.release.signature)
    except BadSignature:
        return Code.BAD_EVIDENCE
    terms = grant.terms
    if fits(proof.release.cfrag, sealed, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk):
        return Code.BAD_EVIDENCE
    if not state.note_offence(domain_hash("consilium.bad-fragment", name.encode(), statement.request_hash)):
        return Code.OFFENDER_KNOWN
    score = max(0, holder.score - FRAGMENT_COST)
    state.put_member(replace(holder, score=score, evidence_count=holder.evidence_count + 1))
    return Code.APPLIED


def judge_proposal(state: LedgerState, primary: MemberState, proof: InvalidProposal, scope: BlockScope) -> Code:
    """A header that its author proposed as the primary of a view, and that contradicts the chain on its face."""
    vote, name = proof.proposal.vote, primary.profile.member_id
    committee = state.committee_of(vote.epoch)
    if committee is None or vote.phase is not Phase.PRE_PREPARE or committee.primary(vote.view) != name:
        return Code.BAD_EVIDENCE
    key = committee.delegates[vote.view % len(committee.delegates)].consensus_key
    if key != primary.profile.consensus_key or vote.digest != sha256(proof.header):
        return Code.BAD_EVIDENCE
    try:
        scope.verifier.verify(key, encode(vote, state.chain_id), proof.proposal.signature)
    except BadSignature:
        return Code.BAD_EVIDENCE
    if _is_plausible(state, vote, proof.header):
        return Code.BAD_EVIDENCE
    if not state.note_offence(domain_hash("consilium.bad-proposal", name.encode(), vote.epoch.to_bytes(8, "big"))):
        return Code.OFFENDER_KNOWN
    epoch = state.terms.epoch
    conduct = replace(primary.conduct, jailed_since=epoch, jailed_until=epoch + 2 + PROPOSAL_JAIL_TERMS)
    count = primary.evidence_count + 1
    state.put_member(replace(primary, score=primary.score // 2, conduct=conduct, evidence_count=count))
    return Code.APPLIED


def _is_plausible(state: LedgerState, vote: Vote, data: bytes) -> bool:
    """Whether nothing in the header contradicts what the chain says of its epoch and place."""
    try:
        header = decode(Header, data, state.chain_id)
    except Malformed:
        return False
    committee = state.committee_of(vote.epoch)
    assert committee is not None, "the caller has found it"
    return (
        (header.epoch, header.height) == (vote.epoch, vote.height)
        and header.committee_hash == committee.hash(state.chain_id)
        and header.parent_commits >> len(committee.delegates) == 0
        and len(set(header.batch_digests)) == len(header.batch_digests)
        and _names_the_draw(state, header)
    )


def _names_the_draw(state: LedgerState, header: Header) -> bool:
    """Whether it carries the mix and the next committee; asked of the sitting epoch alone, the others' are not kept."""
    terms = state.terms
    if header.epoch != terms.epoch:
        return True
    if header.height <= state.outlook.election_height:
        return (header.next_committee_hash, header.election_mix) == (ZERO_DIGEST, terms.drawn_mix)
    following = terms.next_committee
    return following is None or (header.next_committee_hash, header.election_mix) == (
        following.hash(state.chain_id),
        terms.mix,
    )
