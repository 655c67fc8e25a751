"""What is handed to an identity service: evidence, and what its member key is to sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consilium.api.chain.v1 import chain_pb2
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.kernel.attestations import EvidenceStatement
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import BallotBody, Payload, ProposalBody
from tests.alliance import id_of, seed_of
from tests.identity.hospital import HOME

if TYPE_CHECKING:
    from consilium.kernel.transactions import Act, Body
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


def proposal(hospital: Hospital, act: Act, *, name: str = "proposal", by: str = HOME) -> pb.ProposeChangeRequest:
    """What a member's operator has signed to propose something."""
    body = ProposalBody(act, seed_of("evidence"), hospital.scribe.chain.height + 90)
    return pb.ProposeChangeRequest(payload=payload(hospital, body, name, by))


def ballot(hospital: Hospital, proposal_id: bytes, *, yes: bool = True, name: str = "ballot") -> pb.CastBallotRequest:
    """What the home member's operator has signed to say something."""
    return pb.CastBallotRequest(payload=payload(hospital, BallotBody(proposal_id, yes), name, HOME))


def payload(hospital: Hospital, body: Body, name: str, by: str, within: int = 100) -> bytes:
    """A payload of a member's, unsigned."""
    author, height = hospital.alliance.keys[by].member.public_key, hospital.scribe.chain.height
    return encode(Payload(author, id_of(name), height + within, body), hospital.alliance.chain_id)


def ballots(hospital: Hospital, proposal_id: bytes, *members: str, yes: bool = True) -> list[bytes]:
    """What other members say, as transactions."""
    body = BallotBody(proposal_id, yes)
    return [hospital.scribe.signed(hospital.alliance.keys[each].member, body) for each in members]
