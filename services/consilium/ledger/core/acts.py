"""What adopted proposals do to members, keys, numbers and version, and what they must not (rules G2 to G5, C6).

`judge_act` looks and changes nothing; `perform_act` looks once more and does it. Keys and numbers do not change in the
middle of a term: committee and electors are fixed until its end (`begin_epoch`).
"""

from dataclasses import replace

from consilium.kernel.certificates import MEMBERS_MAX
from consilium.kernel.codes import Code
from consilium.kernel.election import COMMITTEE_MIN, SCORE_START
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.founding import founder, verify_parameters
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.state_values import REVISIONS_MAX, MemberState, MemberStatus, Registry, Revision
from consilium.kernel.transactions import (
    Grade,
    GradeAct,
    KeysAct,
    MemberAct,
    MemberAction,
    MemberProfile,
    NewKeys,
    ParametersAct,
    ProposalBody,
    UpgradeAct,
)
from consilium.ledger.core.state import LedgerState

_STATUS_AFTER = {
    MemberAction.SUSPEND: MemberStatus.SUSPENDED,
    MemberAction.REINSTATE: MemberStatus.ACTIVE,
    MemberAction.EXPEL: MemberStatus.EXPELLED,
}


def judge_act(state: LedgerState, body: ProposalBody, height: int) -> Code:
    """Whether the proposal can be done at this height, as far as the state tells today; APPLIED or why not."""
    match body.act:
        case MemberAct():
            return _judge_member(state, body.act)
        case GradeAct():
            return _judge_grade(state, body.act, body.evidence_digest, height)
        case KeysAct():
            return _judge_keys(state, body.act)
        case ParametersAct():
            return _judge_parameters(state, body.act)
        case UpgradeAct():
            return _judge_upgrade(state, body.act, height)


def perform_act(state: LedgerState, body: ProposalBody, height: int) -> Code:
    """Do what was adopted at this height, if it can still be done; APPLIED or why not."""
    code = judge_act(state, body, height)
    if code is not Code.APPLIED:
        return code
    match body.act:
        case MemberAct():
            _change_member(state, body.act, height)
        case GradeAct():
            _set_grade(state, body.act)
        case KeysAct():
            _adopt_keys(state, body.act, height)
        case ParametersAct():
            state.put_alliance(replace(state.alliance, next_parameters=body.act.after))
        case UpgradeAct():
            state.put_alliance(replace(state.alliance, upgrade=body.act))
    return code


def begin_epoch(state: LedgerState, height: int) -> None:
    """With an epoch's last block, at `height`: what was adopted for the next is in force from here on (G3, G4)."""
    alliance = state.alliance
    if alliance.next_parameters is not None:
        state.put_alliance(replace(alliance, parameters=alliance.next_parameters, next_parameters=None))
    for member in state.members():
        if member.next_keys is not None and not _sits_drawn(state, member.profile, member.next_keys):
            _change_keys(state, member, member.next_keys, height)


def reach_upgrade(state: LedgerState, height: int) -> None:
    """From the block at the height of an upgrade on, its version is in force (G5)."""
    upgrade = state.alliance.upgrade
    if upgrade is not None and height >= upgrade.height:
        state.put_alliance(replace(state.alliance, protocol_version=upgrade.version, upgrade=None))


# --- members ---


def _judge_member(state: LedgerState, act: MemberAct) -> Code:
    member = state.member(act.profile.member_id)
    if act.action is MemberAction.ADMIT:
        return _judge_admission(state, member, act.profile)
    if member is None:
        return Code.MEMBER_UNKNOWN
    fitting = {
        MemberAction.SUSPEND: member.is_active,
        MemberAction.REINSTATE: member.status is MemberStatus.SUSPENDED,
        MemberAction.EXPEL: member.status is not MemberStatus.EXPELLED,
    }
    if not fitting[act.action]:
        return Code.MEMBER_STATUS
    if not _names_keys(member, act.profile):
        return Code.MEMBER_KEYS
    if act.action is not MemberAction.REINSTATE and member.is_active and not _leaves_quorums(state, act.profile.member_id):
        return Code.TOO_FEW_LEFT
    return Code.APPLIED


def _judge_admission(state: LedgerState, member: MemberState | None, profile: MemberProfile) -> Code:
    if member is not None:
        return Code.MEMBER_EXISTS
    if len(state.members()) >= MEMBERS_MAX:
        return Code.MEMBERS_FULL
    if profile.grade is not Grade.UNGRADED:  # a grade rests on evidence, and ends: it takes a GradeAct
        return Code.BAD_EVIDENCE
    named = profile.member_id and _keys_are_free(state, profile.member_id, profile.member_key, profile.consensus_key)
    return Code.APPLIED if named else Code.MEMBER_KEYS


def _leaves_quorums(state: LedgerState, leaver: str) -> bool:
    """Whether enough stay active without this member: for a committee, and to decide and to hand over in this term (G2).

    A dismissed delegate is refused by the others and so counts among the f until the epoch ends; a dismissed elector's
    signature on the term's end does not reach them either.
    """
    terms = state.terms
    active = {each.profile.member_id: None for each in state.active_members() if each.profile.member_id != leaver}
    seats = [(terms.committee.quorum, [each.member_id for each in terms.committee.delegates])]
    if terms.next_committee is not None:
        seats += [(terms.next_committee.quorum, [each.member_id for each in terms.next_committee.delegates])]
    seats += [(terms.electorate.quorum, [each.member_id for each in terms.electorate.electors])]
    enough = [sum(name in active for name in names) >= needed for needed, names in seats]
    return len(active) >= COMMITTEE_MIN and all(enough)


def _change_member(state: LedgerState, act: MemberAct, height: int) -> None:
    name = act.profile.member_id
    member = state.member(name)
    if act.action is MemberAction.ADMIT or member is None:
        state.put_member(founder(act.profile))
    else:
        state.put_member(replace(member, status=_STATUS_AFTER[act.action]))
    _note_revision(state, name, height)


def _note_revision(state: LedgerState, member_id: str, height: int) -> None:
    """Have every service read this member anew."""
    revisions = (*state.registry.revisions, Revision(height, member_id))[-REVISIONS_MAX:]
    state.put_registry(Registry(tuple([each.profile.member_id for each in state.members()]), revisions))


# --- grades ---


def _judge_grade(state: LedgerState, act: GradeAct, evidence_digest: bytes, height: int) -> Code:
    member = state.member(act.member_id)
    if member is None:
        return Code.MEMBER_UNKNOWN
    if member.status is MemberStatus.EXPELLED:
        return Code.MEMBER_STATUS
    if evidence_digest == ZERO_DIGEST:
        return Code.BAD_EVIDENCE
    return Code.APPLIED if act.expires_height > height else Code.BAD_HEIGHT


def _set_grade(state: LedgerState, act: GradeAct) -> None:
    """It counts from the next epoch's candidates on (C6)."""
    member = state.member(act.member_id)
    assert member is not None, "the act was judged"
    profile = replace(member.profile, grade=act.grade)
    state.put_member(replace(member, profile=profile, grade_expires_height=act.expires_height))


# --- keys ---


def _judge_keys(state: LedgerState, act: KeysAct) -> Code:
    member, keys = state.member(act.profile.member_id), act.keys
    if member is None:
        return Code.MEMBER_UNKNOWN
    if member.status is MemberStatus.EXPELLED:
        return Code.MEMBER_STATUS
    free = _keys_are_free(state, act.profile.member_id, keys.member_key, keys.consensus_key)
    return Code.APPLIED if free and _names_keys(member, act.profile) else Code.MEMBER_KEYS


def _adopt_keys(state: LedgerState, act: KeysAct, height: int) -> None:
    """A suspended member's keys change at once; another's with an epoch, so that no vote or batch under way is lost."""
    member = state.member(act.profile.member_id)
    assert member is not None, "the act was judged"
    if member.is_active:
        state.put_member(replace(member, next_keys=act.keys))
    else:
        _change_keys(state, member, act.keys, height)


def _change_keys(state: LedgerState, member: MemberState, keys: NewKeys, height: int) -> None:
    """A tombstone stays with its key, and the score that came of it (C8)."""
    profile = replace(
        member.profile,
        member_key=keys.member_key,
        consensus_key=keys.consensus_key,
        reveal_anchor=keys.reveal_anchor,
    )
    freed = member.tombstoned and keys.consensus_key != member.profile.consensus_key
    fresh = replace(
        member,
        profile=profile,
        reveal_anchor=keys.reveal_anchor,
        score=SCORE_START if freed else member.score,
        tombstoned=member.tombstoned and not freed,
        next_keys=None,
    )
    state.put_member(fresh)
    _note_revision(state, profile.member_id, height)


def _sits_drawn(state: LedgerState, profile: MemberProfile, keys: NewKeys) -> bool:
    """Whether the committee that takes over now was drawn when the old consensus key was known; the keys wait for it."""
    committee = state.terms.next_committee
    index = None if committee is None else committee.index_of(profile.member_id)
    return committee is not None and index is not None and committee.delegates[index].consensus_key != keys.consensus_key


def _names_keys(member: MemberState, named: MemberProfile) -> bool:
    known = member.profile
    return (named.member_key, named.consensus_key) == (known.member_key, known.consensus_key)


def _keys_are_free(state: LedgerState, member_id: str, member_key: bytes, consensus_key: bytes) -> bool:
    """Whether the two keys differ and belong to no other member, past ones and adopted keys included."""
    taken: list[bytes] = []
    for each in state.members():
        if each.profile.member_id != member_id:
            taken += [each.profile.member_key, each.profile.consensus_key]
            taken += [] if each.next_keys is None else [each.next_keys.member_key, each.next_keys.consensus_key]
    return member_key != consensus_key and member_key not in taken and consensus_key not in taken


# --- numbers and version ---


def _judge_parameters(state: LedgerState, act: ParametersAct) -> Code:
    """The window stays: a replica that lost its log counts what it may have signed in windows (C5)."""
    newest = state.alliance.newest_parameters
    if act.before != newest or act.after == newest or act.after.window_blocks != newest.window_blocks:
        return Code.BAD_PARAMETERS
    try:
        verify_parameters(act.after)
    except InvalidArgument:
        return Code.BAD_PARAMETERS
    return Code.APPLIED


def _judge_upgrade(state: LedgerState, act: UpgradeAct, height: int) -> Code:
    """Behind all that may be under way when it is adopted, so that nobody votes at its height before knowing of it."""
    is_later = act.version > state.alliance.protocol_version
    return Code.APPLIED if is_later and act.height > height + state.parameters.window_blocks else Code.BAD_UPGRADE
