"""Documents behind a member's figures (C6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.identity.core.evidence import RankEvidence, add_rank_evidence
from consilium.kernel.attestations import EvidenceStatement
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, InvalidArgument, PermissionDenied
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from tests.alliance import Alliance, seed_of

ALLIANCE = Alliance.founded()
VERIFIER = Ed25519Verifier()


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
