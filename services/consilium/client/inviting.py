"""Inviting a coming member, and reading its answer, from a member's own side (rule G2; ADR 22).

Everything in an invitation is proven before it goes in, and everything in a request is judged before it is proposed: whose
invitation it answers, that it counts, that its keys are its own and free, and the fingerprint that people have compared.
"""

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.client.remote import Alliance
from consilium.client.session import Session
from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Conflict, ConsiliumError, Malformed, NotFound
from consilium.kernel.hashing import sha256
from consilium.kernel.invitations import (
    Invitation,
    InvitationContent,
    InvitationFile,
    JoinRequest,
    ServiceAddress,
    SignedInvitation,
    verify_request,
    verify_signed_invitation,
)
from consilium.kernel.signed_genesis import same_fingerprint
from consilium.kernel.state_values import MemberState, MemberStatus
from consilium.runtime.authorities import verify_bound
from consilium.runtime.channels import typed
from consilium.runtime.clock import wall_ms
from consilium.runtime.genesis_file import read_signed_genesis
from consilium.runtime.names import authority_uri


async def invite(alliance: Alliance, member_id: str, owner_group: str, life_ms: int) -> InvitationFile:
    """An invitation for a coming member, signed by the own member's identity service.

    Raises Conflict: MEMBER_EXISTS; InvalidArgument: BAD_NAME or BAD_INVITATION; what the home member refuses with.
    """
    authority_uri(alliance.settings.alliance, member_id)
    session, now_ms = alliance.session, wall_ms()
    await refuse_known(session, member_id)
    own = (await session.member(session.home_id)).profile
    content = await _content(alliance)
    digest = sha256(encode(content, session.chain_id))
    invitation = Invitation(own.member_id, own.member_key, member_id, owner_group, now_ms, now_ms + life_ms, digest)
    with typed():
        asked = pb.SignInvitationRequest(invitation=encode(invitation, session.chain_id))
        signature = (await alliance.identity.SignInvitation(asked)).signature
    return InvitationFile(SignedInvitation(invitation, signature), content)


async def _content(alliance: Alliance) -> InvitationContent:
    session, settings = alliance.session, alliance.settings
    authorities: list[BoundAuthority] = []
    for each in await session.all_members():
        if each.status is not MemberStatus.EXPELLED:
            authorities += await _authorities(alliance, each.profile.member_id)
    addresses = [
        ServiceAddress(each.member_id, each.service, each.address)
        for services in alliance.peers.values()
        for each in services.values()
    ]
    checkpoint, lives = await session.checkpoint(), await session.alliance()
    genesis = read_signed_genesis(settings.genesis)
    return InvitationContent(genesis, checkpoint, lives.protocol_version, tuple(authorities), tuple(addresses))


async def _authorities(alliance: Alliance, member_id: str) -> list[BoundAuthority]:
    """What the home member knows of a member; none where it knows none."""
    try:
        with typed():
            response = await alliance.identity.GetAuthority(pb.GetAuthorityRequest(member_id=member_id))
    except NotFound:
        return []
    return [decode(BoundAuthority, each, alliance.session.chain_id) for each in response.authorities]


async def read_request(session: Session, alliance: str, data: bytes, compared: str) -> JoinRequest:
    """A coming member's request, judged by what the ledger proves; `alliance` is its name in certificates.

    Raises Malformed: FOREIGN_REQUEST; BadSignature: OTHER_FINGERPRINT, BAD_CARD or FOREIGN_INVITATION; Conflict:
    MEMBER_EXISTS or KEY_IN_USE; and as `verify_request`, `verify_signed_invitation` and `verify_bound`.
    """
    try:
        request = decode(JoinRequest, data, session.chain_id)
    except ConsiliumError as error:
        raise Malformed("FOREIGN_REQUEST", f"This is no request to join this alliance: {error}", "L1") from error
    card = verify_request(request, session.chain_id, session.verifier)
    skew_ms = (await session.alliance()).parameters.clock_skew_max_ms
    await _check_inviter(session, request.invitation.invitation)
    verify_signed_invitation(request.invitation, session.chain_id, wall_ms(), skew_ms, session.verifier)
    await refuse_known(session, card.profile.member_id)
    await _refuse_used(session, {card.profile.member_key, card.profile.consensus_key})
    key, now_ms = card.profile.member_key, wall_ms()
    verify_bound(request.authority, key, alliance, session.chain_id, now_ms, session.verifier)
    shown = request.fingerprint(session.chain_id)
    if not same_fingerprint(compared, shown):
        raise BadSignature(
            "OTHER_FINGERPRINT", f"The request's fingerprint is {shown}, not {compared}: this is not what they sent.", "G2"
        )
    return request


async def announce(alliance: Alliance, request: JoinRequest) -> None:
    """Have the own member hand on the coming member's authority from its admission on (ADR 22)."""
    encoded = encode(request.authority, alliance.session.chain_id)
    with typed():
        await alliance.identity.AddAuthority(pb.AddAuthorityRequest(authority=encoded))


async def refuse_known(session: Session, member_id: str) -> None:
    """Raise Conflict: MEMBER_EXISTS for a name that is or was a member's."""
    if member_id in await session.member_ids():
        raise Conflict("MEMBER_EXISTS", f"{member_id} is or was a member of this alliance; choose another name.", "G2")


async def _check_inviter(session: Session, invitation: Invitation) -> None:
    try:
        inviter = await session.member(invitation.inviter)
    except NotFound:
        inviter = None
    if inviter is None or not inviter.is_active or invitation.inviter_key != inviter.profile.member_key:
        raise BadSignature(
            "FOREIGN_INVITATION", f"{invitation.inviter} has not signed this invitation as an active member.", "G2"
        )


async def _refuse_used(session: Session, keys: set[bytes]) -> None:
    for each in await session.all_members():
        if keys & _keys(each):
            sentence = f"{each.profile.member_id} has one of these keys already; a key runs in one place: draw fresh ones."
            raise Conflict("KEY_IN_USE", sentence, "C5")


def _keys(member: MemberState) -> set[bytes]:
    following = member.next_keys
    found = {member.profile.member_key, member.profile.consensus_key}
    return found if following is None else found | {following.member_key, following.consensus_key}
