"""Ed25519 signatures (RFC 8032), behind two protocols (rules L1, L2).

`Signer` and `Verifier` have a second pair of real implementations: the simulator's keyed hash, which keeps
its contract at a fiftieth of the price. PyNaCl is used here because libsodium refuses what RFC 8032 leaves
open: points of small order and encodings that are not canonical. So no signature has a second form, and no
key fits every message, and all members judge every signature alike.
"""

from typing import Protocol

from nacl.bindings import (
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    crypto_sign_PUBLICKEYBYTES,
    crypto_sign_seed_keypair,
    crypto_sign_SEEDBYTES,
)
from nacl.exceptions import BadSignatureError

from consilium.kernel.errors import BadSignature, Malformed

SEED_BYTES = crypto_sign_SEEDBYTES
"""The length of an Ed25519 secret seed: 32."""
PUBLIC_KEY_BYTES = crypto_sign_PUBLICKEYBYTES
"""The length of an Ed25519 public key: 32."""
SIGNATURE_BYTES = crypto_sign_BYTES
"""The length of an Ed25519 signature: 64."""


class Signer(Protocol):
    """Holds a secret key and signs with it."""

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`, 64 bytes."""


class Verifier(Protocol):
    """Judges signatures."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raise BadSignature unless `signature` is the key's over `message`."""


class Ed25519Signer:
    """Signs with one Ed25519 key. The secret is never printed and has no `__bytes__`."""

    __slots__ = ("_public_key", "_secret")

    def __init__(self, seed: bytes) -> None:
        self._public_key, self._secret = crypto_sign_seed_keypair(seed)

    @classmethod
    def from_seed(cls, seed: bytes) -> "Ed25519Signer":
        """The key whose secret is `seed`, 32 random bytes (RFC 8032, 5.1.5).

        Raises Malformed: BAD_KEY.
        """
        if len(seed) != SEED_BYTES:
            raise Malformed("BAD_KEY", f"An Ed25519 secret has {SEED_BYTES} bytes, not {len(seed)}.")
        return cls(seed)

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`, 64 bytes; the same for the same message."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def to_secret_bytes(self) -> bytes:
        """The seed, 32 bytes: for the key file alone."""
        return self._secret[:SEED_BYTES]

    def __repr__(self) -> str:
        return f"Ed25519Signer({self._public_key.hex()[:16]}, secret not shown)"


class Ed25519Verifier:
    """Judges Ed25519 signatures, strictly: one form for each signature, no keys of small order."""

    __slots__ = ()

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raise BadSignature unless `signature` is the key's over `message` (RFC 8032, 5.1.7)."""
        if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
            raise BadSignature("BAD_SIGNATURE", "The key or the signature does not have its length.", "L2")
        try:
            crypto_sign_open(signature + message, public_key)
        except BadSignatureError as error:
            raise BadSignature("BAD_SIGNATURE", "The signature does not fit its bytes and key.", "L2") from error
