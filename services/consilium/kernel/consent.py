"""What consent rests on, shared by client, ledger and holders (rules S3, S4, S5).

- the owner's commitment inside a record, which a request opens (S3);
- the budget: how many holders a grant has, and how many of them open (S4);
- what a holder signs when it releases a fragment, and how anyone checks it (S5). It names the request it answers, the height
  it was judged at and the hash of the very fragment handed out, so a wrong fragment is proof against its signer.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.encoding import Digest, Exactly, Identifier, MemberId, Signature, encode
from consilium.kernel.errors import Conflict
from consilium.kernel.hashing import domain_hash
from consilium.kernel.signing import Verifier
from consilium.kernel.umbral import CFRAG_BYTES

SMALL_ALLIANCE_MAX = 6
"""The most active members with which two holders of three will do."""


def owner_commitment(salt: bytes, delegating_pk: bytes) -> bytes:
    """What a record says about the key it is sealed under; opened by the salt (32 bytes) in a request (S3)."""
    return domain_hash("consilium.owner", salt, delegating_pk)


def holder_budget(active_members: int) -> tuple[int, int]:
    """How many holders a grant has, h = 2 f_h + 1, and how many of them open, t = f_h + 1 (S4)."""
    return (3, 2) if active_members <= SMALL_ALLIANCE_MAX else (5, 3)


@dataclass(frozen=True, slots=True)
class ReleaseStatement:
    """A holder's word: for this request, judged GRANTED at h_a, I released this fragment when my own height was H (S5)."""

    DOMAIN: ClassVar[str] = "consilium.release-statement"
    holder: MemberId
    grant_id: Identifier
    request_hash: Digest
    capsule_digest: Digest
    fragment_digest: Digest
    request_height: int
    released_height: int


@dataclass(frozen=True, slots=True)
class Release:
    """A fragment, the statement about it, and the holder's signature under its member key."""

    DOMAIN: ClassVar[str] = "consilium.release"
    cfrag: Annotated[bytes, Exactly(CFRAG_BYTES)]
    statement: ReleaseStatement
    signature: Signature


def fragment_digest(cfrag: bytes) -> bytes:
    """What a release statement names a capsule fragment by."""
    return domain_hash("consilium.cfrag", cfrag)


def verify_release(release: Release, member_key: bytes, chain_id: bytes, verifier: Verifier) -> None:
    """Raise unless the holder with this member key signed the statement (BadSignature) about this fragment (Conflict)."""
    verifier.verify(member_key, encode(release.statement, chain_id), release.signature)
    if release.statement.fragment_digest != fragment_digest(release.cfrag):
        raise Conflict("OTHER_FRAGMENT", "The holder signed for another fragment than this one.", "S5")
