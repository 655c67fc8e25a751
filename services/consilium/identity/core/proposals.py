"""Governance from a member's own side: what its operator asks to be signed with the member key (rule G1).

A proposal or a ballot is a transaction of the member, so only its own key signs it, and only what an administrator has put
together byte for byte. The ledger judges it; here is refused what it could only refuse, or what is no governance at all.
"""

from dataclasses import dataclass

from consilium.kernel.authoring import sign_payload
from consilium.kernel.encoding import decode
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.invitations import Invitation, judge_invitation
from consilium.kernel.signing import Signer
from consilium.kernel.transactions import PAYLOAD_BYTES_MAX, BallotBody, Payload, ProposalBody


@dataclass(frozen=True, slots=True)
class Desk:
    """Whose keys sign, on which chain, at which height; `expiry_blocks_max` is the alliance's (L6)."""

    chain_id: bytes
    signers: tuple[Signer, ...]
    height: int
    expiry_blocks_max: int


def propose_change(payload: bytes, desk: Desk) -> bytes:
    """The member's proposal as a transaction; raises as `_signed`."""
    return _signed(payload, ProposalBody, desk)


def cast_ballot(payload: bytes, desk: Desk) -> bytes:
    """The member's ballot as a transaction; raises as `_signed`."""
    return _signed(payload, BallotBody, desk)


def sign_invitation(data: bytes, desk: Desk, now_ms: int) -> bytes:
    """The member's signature over an invitation that names its key; it opens nothing, so the member's word is enough (G2).

    Raises Malformed; InvalidArgument: OTHER_AUTHOR or BAD_INVITATION.
    """
    invitation = decode(Invitation, data, desk.chain_id, PAYLOAD_BYTES_MAX)
    judge_invitation(invitation, now_ms)
    return _signer(invitation.inviter_key, desk).sign(data)


def _signer(key: bytes, desk: Desk) -> Signer:
    """Raises InvalidArgument: OTHER_AUTHOR."""
    signer = next((each for each in desk.signers if each.public_key == key), None)
    if signer is None:
        raise InvalidArgument("OTHER_AUTHOR", "The payload's author is not this member's key.", "G1")
    return signer


def _signed(data: bytes, body: type[ProposalBody | BallotBody], desk: Desk) -> bytes:
    """The payload under the member's signature; the same payload gives the same transaction.

    Raises Malformed for bytes that are no payload of this chain, InvalidArgument (WRONG_KIND, OTHER_AUTHOR,
    EXPIRES_TOO_LATE) and FailedPrecondition (EXPIRED).
    """
    payload = decode(Payload, data, desk.chain_id, PAYLOAD_BYTES_MAX)
    if type(payload.body) is not body:
        raise InvalidArgument("WRONG_KIND", f"The payload is no {body.__name__}.", "G1")
    signer = _signer(payload.author, desk)
    if payload.expiry_height <= desk.height:
        raise FailedPrecondition("EXPIRED", f"The payload expired at height {payload.expiry_height}.", "L6")
    if payload.expiry_height > desk.height + desk.expiry_blocks_max:
        limit = desk.expiry_blocks_max
        raise InvalidArgument("EXPIRES_TOO_LATE", f"The expiry height lies more than {limit} blocks ahead.", "L6")
    return sign_payload(payload, signer, desk.chain_id)
