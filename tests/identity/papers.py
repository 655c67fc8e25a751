"""What is handed to an identity service: evidence, proposals, and signatures over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consilium.api.chain.v1 import chain_pb2
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.kernel.attestations import EvidenceStatement
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import Grade, GradeBody
from tests.alliance import id_of, seed_of
from tests.identity.hospital import HOME

if TYPE_CHECKING:
    from tests.identity.hospital import Hospital


def signature(signer: Any, message: bytes) -> chain_pb2.Signature:
    """A signature as the contract carries it."""
    return chain_pb2.Signature(public_key=signer.public_key, signature=signer.sign(message))


def evidence_of(hospital: Hospital, document: bytes, attester: str = "health authority") -> pb.RankEvidence:
    """An attested document."""
    hashed = sha256(document)
    statement = encode(EvidenceStatement(hospital.member_id, "application/pdf", hashed), hospital.alliance.chain_id)
    return pb.RankEvidence(
        document_hash=hashed,
        member_id=hospital.member_id,
        media_type="application/pdf",
        document=document,
        attestation=signature(Ed25519Signer.from_seed(seed_of(attester)), statement),
    )


def grade_transaction(hospital: Hospital, *signers: str, name: str = "grade") -> bytes:
    """A grade for the home member, signed by these members."""
    keys = [hospital.alliance.keys[each].member for each in signers]
    body = GradeBody(HOME, Grade.SPECIAL3, seed_of("evidence"), 900)
    return hospital.alliance.sign(keys[0], body, id_of(name), hospital.scribe.chain.height + 100, keys[1:])


def endorsement(hospital: Hospital, proposal: pb.Proposal, member: str) -> pb.SignProposalRequest:
    """A member's signature over a proposal, made from what the proposal carries."""
    carried = decode_transaction(hospital, proposal.transaction.encoded)
    signed = signature(hospital.alliance.keys[member].member, carried)
    return pb.SignProposalRequest(proposal_hash=proposal.proposal_hash, signature=signed)


def decode_transaction(hospital: Hospital, encoded: bytes) -> bytes:
    """The payload's bytes inside a transaction."""
    return open_transaction(encoded, hospital.alliance.chain_id).payload_bytes
