"""Forming what this member signs by itself: batches, and the transactions a replica writes in its member's name."""

from collections.abc import Sequence

from consilium.kernel.authoring import sign_payload
from consilium.kernel.chain import Batch, batch_statement
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.signing import Signer
from consilium.kernel.transactions import AttendanceBody, EvidenceBody, HandoverBody, LeftViewBody, Payload

OwnBody = EvidenceBody | HandoverBody | AttendanceBody | LeftViewBody
"""What a replica writes by itself."""


def form_batch(member_id: str, signer: Signer, transactions: Sequence[bytes], chain_id: bytes) -> bytes:
    """One member's transactions under one signature of its member key, encoded (L2)."""
    leaves = [leaf_hash(transaction) for transaction in transactions]
    signature = signer.sign(batch_statement(member_id, leaves, chain_id))
    return encode(Batch(member_id, tuple(transactions), signature), chain_id)


def own_transaction(body: OwnBody, signer: Signer, expiry_height: int, chain_id: bytes) -> bytes:
    """A transaction in the member's own name; its request id follows from its content, so it takes effect once (L6)."""
    draft = Payload(signer.public_key, bytes(16), 0, body)
    request_id = sha256(encode(draft, chain_id))[:16]
    return sign_payload(Payload(signer.public_key, request_id, expiry_height, body), signer, chain_id)
