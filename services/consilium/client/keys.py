"""Every key a client holds, each derived from one seed of 32 random bytes (rules S1, S2; ADR 0005).

A patient's keys are apart by use, scope and epoch, so that losing one loses one: the delegating key that opens, the key
that signs key fragments, the key that signs grants. Umbral's own derivation makes the first two (`kernel.umbral`), HKDF
(RFC 5869) the rest. Nothing is kept but the seed.
"""

from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consilium.client.private_files import read_private
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import domain_hash
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.umbral import (
    DelegatingKey,
    FragmentSigningKey,
    ReceivingKey,
    derive_delegating_key,
    derive_signing_key,
)

SEED_BYTES = 32


def read_member_key(path: Path) -> Ed25519Signer:
    """The member's key. Raises InvalidArgument: BAD_MEMBER_KEY, FailedPrecondition: OPEN_TO_OTHERS; may raise OSError."""
    seed = read_private(path, SEED_BYTES)
    if len(seed) != SEED_BYTES:
        raise InvalidArgument("BAD_MEMBER_KEY", f"{path} holds no member key: that is {SEED_BYTES} random bytes.")
    return Ed25519Signer.from_seed(seed)


class PatientKeys:
    """One patient's keys. Whoever holds the seed is the patient: a device, or a custodian (S1)."""

    __slots__ = ("_seed",)

    def __init__(self, seed: bytes) -> None:
        self._seed = _checked(seed)

    def delegating(self, scope: str, epoch: int) -> DelegatingKey:
        """The key this scope's records are sealed under in this epoch (S1)."""
        return derive_delegating_key(self._seed, scope, epoch)

    def fragment_signing(self, scope: str, epoch: int) -> FragmentSigningKey:
        """The key that signs this scope's key fragments in this epoch (S4)."""
        return derive_signing_key(self._seed, scope, epoch)

    def author(self, scope: str, epoch: int) -> Ed25519Signer:
        """The key that signs this scope's grants in this epoch, and their revocations (L2)."""
        info = domain_hash("consilium.author-key", scope.encode(), epoch.to_bytes(8, "big"))
        return Ed25519Signer.from_seed(_derive(self._seed, info))

    def salt(self, record_id: bytes) -> bytes:
        """What hides under which key a record was sealed, until a request opens it (S3)."""
        return _derive(self._seed, domain_hash("consilium.record-salt", record_id))

    def __repr__(self) -> str:
        """Nothing of the seed."""
        return "PatientKeys(secret not shown)"


class RecipientKeys:
    """The requesting institution's keys: one signs requests, one opens what is re-encrypted for it (S1)."""

    __slots__ = ("author", "receiving")

    def __init__(self, seed: bytes) -> None:
        _checked(seed)
        self.author = Ed25519Signer.from_seed(_derive(seed, domain_hash("consilium.recipient-author-key")))
        self.receiving = ReceivingKey.from_secret_bytes(_derive(seed, domain_hash("consilium.receiving-key")))

    def __repr__(self) -> str:
        """Nothing of the seed."""
        return f"RecipientKeys({self.author.public_key.hex()[:16]}, secrets not shown)"


def notebook_key(seed: bytes, chain_id: bytes) -> bytes:
    """The key a client's notes about this seed's acts are sealed under (`client.notebook`)."""
    return _derive(_checked(seed), domain_hash("consilium.notebook-key", chain_id))


def notebook_name(seed: bytes, chain_id: bytes) -> str:
    """What files beside the keystore are told apart by; it says nothing of the seed or of whose it is."""
    return _derive(_checked(seed), domain_hash("consilium.notebook-name", chain_id))[:8].hex()


def _checked(seed: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise InvalidArgument("BAD_SEED", f"A seed has {SEED_BYTES} bytes, not {len(seed)}.", "S1")
    return seed


def _derive(seed: bytes, info: bytes) -> bytes:
    """32 bytes for one use; HKDF keeps uses apart by their info (RFC 5869 section 3.2)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(seed)
