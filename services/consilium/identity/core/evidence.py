"""Documents behind a member's figures: named on the ledger by their hash, attested by whoever answers for them (rule C6).

The ledger carries the SHA-256 of one document, `evidence_digest` of a member or grade transaction; several papers travel as
one document. Members that are asked to sign a grade read the document here and judge for themselves whose attestation to
believe.
"""

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.attestations import MEDIA_TYPE_MAX, EvidenceStatement
from consilium.kernel.encoding import AtMost, Digest, MemberId, PublicKey, Signature, encode
from consilium.kernel.errors import InvalidArgument, PermissionDenied
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Verifier

DOCUMENT_BYTES_MAX = 1_048_576
"""The largest document in bytes."""
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,39}/[a-z0-9.+-]{1,40}")


@dataclass(frozen=True, slots=True)
class RankEvidence:
    """A document by its hash, and who vouches for it."""

    DOMAIN: ClassVar[str] = "consilium.rank-evidence"
    document_hash: Digest
    member_id: MemberId
    media_type: Annotated[str, AtMost(MEDIA_TYPE_MAX)]
    attester_key: PublicKey
    attestation: Signature


def add_rank_evidence(evidence: RankEvidence, document: bytes, home: str, chain_id: bytes, verifier: Verifier) -> None:
    """Raise unless the document may be kept here.

    Raises PermissionDenied (OTHER_MEMBER) for another member's figures, InvalidArgument (BAD_DOCUMENT) for a document that
    is empty, too large, or not the one of the hash, or for a media type that is none, BadSignature for an attestation that
    does not fit.
    """
    if evidence.member_id != home:
        raise PermissionDenied("OTHER_MEMBER", f"Evidence for {evidence.member_id!r} is kept at that member, not at {home}.")
    sized = 0 < len(document) <= DOCUMENT_BYTES_MAX
    if not sized or sha256(document) != evidence.document_hash or not _MEDIA_TYPE.fullmatch(evidence.media_type):
        raise InvalidArgument(
            "BAD_DOCUMENT", f"A document has a media type, its SHA-256, and 1 to {DOCUMENT_BYTES_MAX} bytes."
        )
    statement = EvidenceStatement(evidence.member_id, evidence.media_type, evidence.document_hash)
    verifier.verify(evidence.attester_key, encode(statement, chain_id), evidence.attestation)
