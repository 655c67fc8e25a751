"""A shred secret under a key of its home's alone, kept beside the copies for the day the home loses its own (rule S9). Pure.

Each record has a key of its own, derived from the home's, that seals this one secret and nothing else; so a fixed nonce
does, and the same secret is always sealed the same way. Only the home opens it: to whoever keeps it, it is opaque bytes.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consilium.kernel.errors import DataLoss
from consilium.kernel.hashing import domain_hash
from consilium.kernel.sealing import KEY_BYTES

ESCROW_BYTES = KEY_BYTES + 16
"""The length of a sealed secret: with AES-GCM's tag."""
_NONCE = bytes(12)


def escrow_key(member_seed: bytes) -> bytes:
    """The home's key for all its records, from its member key's seed."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"consilium.escrow").derive(member_seed)


def seal_escrow(key: bytes, record_id: bytes, shred_secret: bytes) -> bytes:
    """The shred secret as other members keep it."""
    return _cipher(key, record_id).encrypt(_NONCE, shred_secret, record_id)


def open_escrow(key: bytes, record_id: bytes, sealed: bytes) -> bytes:
    """The shred secret. Raises DataLoss: BAD_ESCROW, also when the member key has changed since."""
    try:
        return _cipher(key, record_id).decrypt(_NONCE, sealed, record_id)
    except InvalidTag as error:
        raise DataLoss(
            "BAD_ESCROW", f"The sealed shred secret of record {record_id.hex()} is not this member's.", "S9"
        ) from error


def _cipher(key: bytes, record_id: bytes) -> AESGCM:
    info = domain_hash("consilium.escrow-record", record_id)
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(key))
