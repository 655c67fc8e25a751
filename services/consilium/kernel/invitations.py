"""An invitation, and the request that answers it: what passes between a member and one that is to join it (rules G2, L5).

The inviter's member key signs a short statement: for whom, until when, and the hash of all that goes with it. So the whole
invitation is one file that anybody may carry, and the request can show the statement alone. Neither opens anything: the
members vote, and what they vote on is the keys in the request. People compare two fingerprints besides, of the invitation
and of the request, so that nobody between them can put another in the place of either.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.encoding import AtMost, Digest, MemberId, PublicKey, Signature, encode
from consilium.kernel.errors import BadSignature, FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.signed_genesis import (
    MemberCard,
    SignedCard,
    SignedGenesis,
    fingerprint,
    verify_card,
    verify_signed_genesis,
)
from consilium.kernel.signing import Verifier

LIFE_MS_MAX = 30 * 86_400_000
"""The longest an invitation counts, in milliseconds."""
AUTHORITIES_MAX, ADDRESSES_MAX = 1_024, 2_560
"""The most authorities and addresses that go with one: two and five of each of 512 members."""


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a service of a member answers, `host:port`."""

    DOMAIN: ClassVar[str] = "consilium.service-address"
    member_id: MemberId
    service: Annotated[str, AtMost(40)]
    address: Annotated[str, AtMost(300)]


@dataclass(frozen=True, slots=True)
class InvitationContent:
    """What a coming member needs: the genesis, a certified height that its chain must pass, whom to trust and to call.

    `known_version` is the version of the protocol in force: what its build must be able to execute (G5).
    """

    DOMAIN: ClassVar[str] = "consilium.invitation-content"
    genesis: SignedGenesis
    checkpoint: ResultCertificate
    known_version: int
    authorities: Annotated[tuple[BoundAuthority, ...], AtMost(AUTHORITIES_MAX)]
    addresses: Annotated[tuple[ServiceAddress, ...], AtMost(ADDRESSES_MAX)]


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the inviter signs: whom it proposes as a member, how long, with what. Times in milliseconds since 1970."""

    DOMAIN: ClassVar[str] = "consilium.invitation"
    inviter: MemberId
    inviter_key: PublicKey
    member_id: MemberId
    owner_group: MemberId
    created_ms: int
    expires_ms: int
    content_digest: Digest


@dataclass(frozen=True, slots=True)
class SignedInvitation:
    """An invitation under the inviter's member key."""

    DOMAIN: ClassVar[str] = "consilium.signed-invitation"
    invitation: Invitation
    signature: Signature


@dataclass(frozen=True, slots=True)
class InvitationFile:
    """The one file."""

    DOMAIN: ClassVar[str] = "consilium.invitation-file"
    signed: SignedInvitation
    content: InvitationContent

    @property
    def chain_id(self) -> bytes:
        """The chain that it invites to."""
        return self.content.genesis.genesis.chain_id

    @property
    def fingerprint(self) -> str:
        """What the inviter and the invited compare."""
        return fingerprint(sha256(encode(self.signed, self.chain_id)))


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """The answer: the invitation's statement, the coming member's card on this chain, its authority, its addresses."""

    DOMAIN: ClassVar[str] = "consilium.join-request"
    invitation: SignedInvitation
    card: SignedCard
    authority: BoundAuthority
    addresses: Annotated[tuple[ServiceAddress, ...], AtMost(8)]

    def fingerprint(self, chain_id: bytes) -> str:
        """What the invited and the inviter compare."""
        return fingerprint(sha256(encode(self, chain_id)))


def judge_invitation(invitation: Invitation, now_ms: int) -> None:
    """Raise InvalidArgument: BAD_INVITATION for one without a name, or that counts longer than any may."""
    if not invitation.member_id or not invitation.owner_group:
        raise InvalidArgument("BAD_INVITATION", "An invitation names the coming member and its owner.", "G2")
    if not invitation.created_ms < invitation.expires_ms <= min(invitation.created_ms, now_ms) + LIFE_MS_MAX:
        raise InvalidArgument("BAD_INVITATION", "An invitation counts for 30 days at the most.", "G2")


def verify_signed_invitation(
    signed: SignedInvitation, chain_id: bytes, now_ms: int, skew_ms: int, verifier: Verifier
) -> None:
    """Raise unless the key that it names has signed it and it counts now; whose key that is is for the ledger to say.

    Raises BadSignature: FOREIGN_INVITATION; FailedPrecondition: INVITATION_OVER or CLOCK_BEHIND; InvalidArgument:
    BAD_INVITATION.
    """
    invitation = signed.invitation
    try:
        verifier.verify(invitation.inviter_key, encode(invitation, chain_id), signed.signature)
    except BadSignature as error:
        raise BadSignature(
            "FOREIGN_INVITATION",
            f"{invitation.inviter} has not signed this invitation on this chain; ask for another.",
            "G2",
        ) from error
    judge_invitation(invitation, invitation.created_ms)
    if now_ms > invitation.expires_ms:
        raise FailedPrecondition(
            "INVITATION_OVER", f"The invitation has expired; ask {invitation.inviter} for another.", "G2"
        )
    if now_ms + skew_ms < invitation.created_ms:
        late_ms = invitation.created_ms - now_ms
        raise FailedPrecondition(
            "CLOCK_BEHIND", f"The invitation was made {late_ms} ms after this clock's now; set the clock right (NTP).", "L7"
        )


def verify_invitation_file(file: InvitationFile, now_ms: int, verifier: Verifier) -> None:
    """Raise unless the file is whole, signed and counts now.

    Raises BadSignature: NOT_FOUNDED or OTHER_CONTENT; and as `verify_signed_invitation`.
    """
    content = file.content
    verify_signed_genesis(content.genesis, verifier)
    if sha256(encode(content, file.chain_id)) != file.signed.invitation.content_digest:
        raise BadSignature("OTHER_CONTENT", "What lies in this invitation is not what the inviter has signed.", "G2")
    skew_ms = content.genesis.genesis.parameters.clock_skew_max_ms
    verify_signed_invitation(file.signed, file.chain_id, now_ms, skew_ms, verifier)


def verify_request(request: JoinRequest, chain_id: bytes, verifier: Verifier) -> MemberCard:
    """The card, once its keys have signed it and it answers the invitation that it shows.

    Raises BadSignature: BAD_CARD; InvalidArgument: OTHER_INVITATION. The invitation and the authority are judged apart.
    """
    verify_card(request.card, verifier, chain_id)
    card, invitation = request.card.card, request.invitation.invitation
    asked = (card.profile.member_id, card.profile.owner_group, request.authority.binding.member_id)
    if asked != (invitation.member_id, invitation.owner_group, invitation.member_id):
        raise InvalidArgument("OTHER_INVITATION", "The request is for another member than the invitation it shows.", "G2")
    return card


def checkpoint_of(certificate: ResultCertificate, chain_id: bytes) -> str:
    """A certified height as a ledger's setting has it: the height, and the hash of the result, in hexadecimal."""
    return f"{certificate.result.height}:{sha256(encode(certificate.result, chain_id)).hex()}"


ON_NO_CHAIN = ZERO_DIGEST
"""An invitation's file is read before there is a chain; its parts are signed on the one that it brings."""
