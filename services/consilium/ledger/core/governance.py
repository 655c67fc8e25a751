"""Members, their grades, and evidence against delegates (rules L2, C6, C8).

Governance is what more than two thirds of the active members sign; nobody admits, grades or suspends alone. Evidence needs
no majority: it is signatures that only the offender's own key can have made.
"""

from dataclasses import replace

from consilium.kernel.certificates import MEMBERS_MAX, Phase, Vote, call_of
from consilium.kernel.chain import Header
from consilium.kernel.codes import Code
from consilium.kernel.election import COMMITTEE_MIN
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Malformed
from consilium.kernel.founding import founder
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.state_values import MemberState, MemberStatus
from consilium.kernel.transactions import (
    Amnesia,
    Equivocation,
    EvidenceBody,
    GradeBody,
    MemberAction,
    MemberBody,
    MemberProfile,
)
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.state import LedgerState


def apply_member(state: LedgerState, transaction: OpenedTransaction, body: MemberBody, _: BlockScope) -> Code:
    """Admit, suspend, reinstate or expel a member (L2)."""
    if not _is_endorsed(state, transaction):
        return Code.NOT_ENOUGH_ENDORSEMENTS
    member = state.member(body.profile.member_id)
    if body.action is MemberAction.ADMIT:
        return _admit(state, member, body.profile)
    if member is None:
        return Code.MEMBER_UNKNOWN
    if body.action is MemberAction.REINSTATE:
        return _reinstate(state, member, body.profile)
    return _dismiss(state, member, body)


def apply_grade(state: LedgerState, transaction: OpenedTransaction, body: GradeBody, scope: BlockScope) -> Code:
    """Set a member's grade until a height; it counts from the next epoch's candidates on (C6)."""
    if not _is_endorsed(state, transaction):
        return Code.NOT_ENOUGH_ENDORSEMENTS
    member = state.member(body.member_id)
    if member is None:
        return Code.MEMBER_UNKNOWN
    if member.status is MemberStatus.EXPELLED:
        return Code.MEMBER_STATUS
    if body.expires_height <= scope.height:
        return Code.BAD_HEIGHT
    profile = replace(member.profile, grade=body.grade)
    state.put_member(replace(member, profile=profile, grade_expires_height=body.expires_height))
    return Code.APPLIED


def apply_evidence(state: LedgerState, _: OpenedTransaction, body: EvidenceBody, scope: BlockScope) -> Code:
    """Record an offender: score 0, tombstoned, until governance gives it another consensus key (C8)."""
    proof = body.proof
    member = state.member(proof.member_id)
    if member is None:
        return Code.MEMBER_UNKNOWN
    if member.tombstoned:
        return Code.OFFENDER_KNOWN
    try:
        if isinstance(proof, Equivocation):
            _verify_equivocation(state, member, proof, scope)
        else:
            _verify_amnesia(state, member, proof, scope)
    except (BadSignature, Malformed):
        return Code.BAD_EVIDENCE
    state.put_member(replace(member, score=0, evidence_count=member.evidence_count + 1, tombstoned=True))
    return Code.APPLIED


def _is_endorsed(state: LedgerState, transaction: OpenedTransaction) -> bool:
    """Whether more than two thirds of the active members signed; other keys' signatures count for nothing."""
    signed = sum(state.member_of_key(each.public_key) is not None for each in transaction.endorsements)
    return 3 * signed > 2 * len(state.active_members())


def _admit(state: LedgerState, member: MemberState | None, profile: MemberProfile) -> Code:
    if member is not None:
        return Code.MEMBER_EXISTS
    if len(state.members()) >= MEMBERS_MAX:
        return Code.MEMBERS_FULL
    if not profile.member_id or not _keys_are_free(state, profile):
        return Code.MEMBER_KEYS
    state.put_member(founder(profile))
    return Code.APPLIED


def _reinstate(state: LedgerState, member: MemberState, profile: MemberProfile) -> Code:
    """Back to active, under the profile's keys; this is also how keys are changed. A tombstone stays with its key."""
    if member.status is not MemberStatus.SUSPENDED:
        return Code.MEMBER_STATUS
    if not _keys_are_free(state, profile):
        return Code.MEMBER_KEYS
    buried = member.tombstoned and profile.consensus_key == member.profile.consensus_key
    fresh = founder(profile)
    score = 0 if buried else (fresh.score if member.tombstoned else member.score)
    known = replace(fresh, score=score, evidence_count=member.evidence_count, tombstoned=buried)
    state.put_member(replace(known, conduct=member.conduct, vote=member.vote))
    return Code.APPLIED


def _dismiss(state: LedgerState, member: MemberState, body: MemberBody) -> Code:
    """Suspend or expel, never below the members a committee needs (C6).

    The profile must name the keys in force, so that an old paper does not hit a new key.
    """
    suspends = body.action is MemberAction.SUSPEND
    if member.status is MemberStatus.EXPELLED or (suspends and not member.is_active):
        return Code.MEMBER_STATUS
    named, known = body.profile, member.profile
    if (named.member_key, named.consensus_key) != (known.member_key, known.consensus_key):
        return Code.MEMBER_KEYS
    if member.is_active and len(state.active_members()) <= COMMITTEE_MIN:
        return Code.TOO_FEW_LEFT
    status = MemberStatus.SUSPENDED if suspends else MemberStatus.EXPELLED
    state.put_member(replace(member, status=status))
    return Code.APPLIED


def _keys_are_free(state: LedgerState, profile: MemberProfile) -> bool:
    """Whether the profile's two keys differ and belong to no other member, past ones included."""
    keys = (profile.member_key, profile.consensus_key)
    others = [each.profile for each in state.members() if each.profile.member_id != profile.member_id]
    taken = [key for each in others for key in (each.member_key, each.consensus_key)]
    return keys[0] != keys[1] and not any(key in taken for key in keys)


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
