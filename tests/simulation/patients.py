"""The people in a simulated alliance: patients with real Umbral keys, and recipients' clients.

Umbral's own ownership proofs are randomised, and a seed must give the same bytes every time; so proofs are made here with
the same ECDSA and one nonce for each key, and are checked by the production code like any other. A nonce used twice gives
its key away, which harms nobody here and spares a point multiplication for every proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import GrantBody, GrantTerms, OwnershipStatement
from consilium.kernel.umbral import DelegatingKey, derive_delegating_key, derive_signing_key
from tests.simulation.signing import KeyedHashSigner

PATIENTS = 3
"""How many patients an alliance treats."""
KEY_EPOCHS = 12
"""How many epochs of one scope's keys a patient has, one after each revocation (S6)."""

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(slots=True)
class Patient:
    """One patient in one run: who it is, and which epoch its scope has reached."""

    number: int
    signer: KeyedHashSigner
    key_epoch: int = 0

    @property
    def delegating_key(self) -> DelegatingKey:
        """The key the patient's records are sealed under now."""
        return _delegating_key(self.number, self.key_epoch)

    @property
    def verifying_pk(self) -> bytes:
        """The key that signs this epoch's key fragments."""
        return _verifying_pk(self.number, self.key_epoch)

    def next_pk(self) -> bytes:
        """The delegating public key of the epoch to come."""
        return _delegating_key(self.number, self.key_epoch + 1).public_key

    def sign_grant(self, terms: GrantTerms, chain_id: bytes) -> GrantBody:
        """A grant with the proof that its author owns the delegating key."""
        message = encode(OwnershipStatement(self.signer.public_key, terms), chain_id)
        return GrantBody(terms, _prove(self.delegating_key, message))


def patients() -> tuple[Patient, ...]:
    """The patients of a new run, each at its first key epoch."""
    return tuple(Patient(number, KeyedHashSigner(f"patient {number}")) for number in range(PATIENTS))


@cache
def recipient_signer(member_id: str) -> KeyedHashSigner:
    """The key a member's client signs requests with."""
    return KeyedHashSigner(f"{member_id}/recipient")


@cache
def receiving_pk(member_id: str) -> bytes:
    """The Umbral key a member's client receives with."""
    return derive_delegating_key(sha256(member_id.encode()), "receiving", 0).public_key


@cache
def _delegating_key(number: int, epoch: int) -> DelegatingKey:
    return derive_delegating_key(_seed(number), "scope", epoch)


@cache
def _verifying_pk(number: int, epoch: int) -> bytes:
    return derive_signing_key(_seed(number), "scope", epoch).public_key


@cache
def _nonce(secret: bytes) -> tuple[int, int]:
    """The inverse of the key's nonce, and r: the x coordinate of the nonce's point."""
    nonce = int.from_bytes(sha256(b"nonce" + secret), "big") % _ORDER
    point = ec.derive_private_key(nonce, ec.SECP256K1()).public_key().public_numbers()
    return pow(nonce, -1, _ORDER), point.x % _ORDER


def _seed(number: int) -> bytes:
    return sha256(f"patient {number}/seed".encode())


def _prove(key: DelegatingKey, message: bytes) -> bytes:
    """ECDSA over secp256k1 and SHA-256 with the lower s, as Umbral wants it: r and s (SEC 1, 4.1.3)."""
    secret = key.to_secret_bytes()
    inverse, r = _nonce(secret)
    s = inverse * (int.from_bytes(sha256(message), "big") + r * int.from_bytes(secret, "big")) % _ORDER
    return r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")
