"""Evidence against delegates: signatures that only their own key can have made, so it needs no majority (rule C8)."""

from dataclasses import replace

from consilium.kernel.certificates import Phase, Vote, call_of
from consilium.kernel.chain import Header
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Malformed
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import Amnesia, BadFragment, Equivocation, EvidenceBody, InvalidProposal
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.lesser_offences import judge_fragment, judge_proposal
from consilium.ledger.core.state import LedgerState


def apply_evidence(state: LedgerState, _: OpenedTransaction, body: EvidenceBody, scope: BlockScope) -> Code:
    """Record an offender: score 0, tombstoned, until governance gives it another consensus key (C8); or a lesser offence."""
    proof = body.proof
    member = state.member(proof.member_id)
    if member is None:
        return Code.MEMBER_UNKNOWN
    if member.tombstoned:
        return Code.OFFENDER_KNOWN
    if isinstance(proof, BadFragment):
        return judge_fragment(state, member, proof, scope)
    if isinstance(proof, InvalidProposal):
        return judge_proposal(state, member, proof, scope)
    try:
        if isinstance(proof, Equivocation):
            _verify_equivocation(state, member, proof, scope)
        else:
            _verify_amnesia(state, member, proof, scope)
    except (BadSignature, Malformed):
        return Code.BAD_EVIDENCE
    state.put_member(replace(member, score=0, evidence_count=member.evidence_count + 1, tombstoned=True))
    return Code.APPLIED


def _verify_equivocation(state: LedgerState, member: MemberState, proof: Equivocation, scope: BlockScope) -> None:
    """Raise BadSignature unless the delegate signed two digests in one slot (C8)."""
    first, second = proof.first.vote, proof.second.vote
    if _slot(first) != _slot(second) or first.digest == second.digest:
        raise BadSignature("NOT_EVIDENCE", "These votes do not contradict each other.", "C8")
    for signed in (proof.first, proof.second):
        _verify_signed(state, member, signed.vote.epoch, encode(signed.vote, state.chain_id), signed.signature, scope)


def _verify_amnesia(state: LedgerState, member: MemberState, proof: Amnesia, scope: BlockScope) -> None:
    """Raise BadSignature unless the delegate committed, and then hid from a later view what it had prepared (C8)."""
    vote, change = proof.commit.vote, proof.view_change
    stable = 0 if change.stable is None else change.stable.result.height
    forgets = (
        vote.phase is Phase.COMMIT
        and vote.epoch == change.epoch
        and change.view > vote.view
        and stable < vote.height
        and not any(
            each.view >= vote.view and decode(Header, each.header, state.chain_id).height == vote.height
            for each in change.prepared
        )
    )
    if not forgets:
        raise BadSignature("NOT_EVIDENCE", "This view change hides nothing that the vote stands for.", "C8")
    _verify_signed(state, member, vote.epoch, encode(vote, state.chain_id), proof.commit.signature, scope)
    _verify_signed(state, member, change.epoch, call_of(change, state.chain_id), proof.signature, scope)


def _verify_signed(
    state: LedgerState, member: MemberState, epoch: int, message: bytes, signature: bytes, scope: BlockScope
) -> None:
    """Raise BadSignature unless the member, under its present key, was a delegate of the epoch and signed."""
    committee = state.committee_of(epoch)
    index = None if committee is None else committee.index_of(member.profile.member_id)
    if committee is None or index is None:
        raise BadSignature("NOT_EVIDENCE", "The member was no delegate of that epoch.", "C8")
    key = committee.delegates[index].consensus_key
    if key != member.profile.consensus_key:
        raise BadSignature("NOT_EVIDENCE", "The member has another consensus key by now.", "C8")
    scope.verifier.verify(key, message, signature)


def _slot(vote: Vote) -> tuple[int, ...]:
    return vote.phase, vote.epoch, vote.view, vote.height
