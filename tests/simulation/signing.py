"""A keyed hash that fulfils the signing protocols, at a fiftieth of the price of Ed25519.

Who knows a public key could forge under it; nobody in the simulation does. What the replicas rely on stays true: a
signature fits one key and one message only, and the same message gives the same signature.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b, sha256

from consilium.kernel.errors import BadSignature

TAGS_KEPT = 4_096
"""How many tags are remembered: what one member signs, several check at about the same time."""
_SALT = b"consilium-sim"


@lru_cache(TAGS_KEPT)
def _tag(public_key: bytes, message: bytes) -> bytes:
    return blake2b(message, key=public_key, person=_SALT).digest()


class KeyedHashSigner:
    """Signs under a key named by any text."""

    __slots__ = ("_public_key",)

    def __init__(self, name: str) -> None:
        self._public_key = sha256(name.encode()).digest()

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`, 64 bytes."""
        return _tag(self._public_key, message)


class KeyedHashVerifier:
    """Judges keyed-hash signatures."""

    __slots__ = ()

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raise BadSignature unless `signature` is the key's over `message`."""
        if _tag(public_key, message) != signature:
            raise BadSignature("BAD_SIGNATURE", "The signature does not fit its bytes and key.", "L2")
