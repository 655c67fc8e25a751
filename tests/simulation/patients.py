"""The people in a simulated alliance: patients with real Umbral keys, and recipients' clients.

Umbral's own ownership proofs are randomised, and a seed must give the same bytes every time; so proofs are made here with
the same ECDSA, its nonces after RFC 6979, and are checked by the production code like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

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
def _private_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())


def _seed(number: int) -> bytes:
    return sha256(f"patient {number}/seed".encode())


def _prove(key: DelegatingKey, message: bytes) -> bytes:
    """ECDSA over secp256k1 and SHA-256 with a nonce after RFC 6979 and the lower s, as Umbral wants it: r and s."""
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    r, s = utils.decode_dss_signature(_private_key(key.to_secret_bytes()).sign(message, algorithm))
    return r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")
