"""How an author makes a transaction: the payload's bytes, and a signature over exactly those (rules L1, L2)."""

from consilium.kernel.encoding import encode
from consilium.kernel.signing import Signer
from consilium.kernel.transactions import Payload, Transaction


def sign_payload(payload: Payload, signer: Signer, chain_id: bytes) -> bytes:
    """A payload under its author's own signature, as carried from here on; `signer` holds the payload's author key."""
    data = encode(payload, chain_id)
    return encode(Transaction(data, signer.sign(data)), chain_id)
