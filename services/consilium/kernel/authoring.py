"""How an author makes a transaction: its payload, how long that stays good, and a signature over it (rules L1, L2, L6)."""

from consilium.kernel.encoding import encode
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Signer
from consilium.kernel.transactions import Payload, Transaction

EXPIRY_BLOCKS = 100
"""For how many blocks a transaction may wait to be ordered, where the alliance allows that (L6)."""


def expiry_from(height: int, parameters: Parameters) -> int:
    """Up to which height a transaction of now may be ordered, its author having seen `height` (L6).

    Half of what the alliance allows at the most: who is asked to take it in may be some blocks behind its author.
    """
    return height + min(EXPIRY_BLOCKS, parameters.expiry_blocks_max // 2)


def sign_payload(payload: Payload, signer: Signer, chain_id: bytes) -> bytes:
    """A payload under its author's own signature, as carried from here on; `signer` holds the payload's author key."""
    data = encode(payload, chain_id)
    return encode(Transaction(data, signer.sign(data)), chain_id)
