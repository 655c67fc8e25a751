"""A patient, a recipient and the terms between them, for the tests of consent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from consilium.kernel.consent import owner_commitment
from consilium.kernel.encoding import encode
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import (
    GrantBody,
    GrantTerms,
    OwnershipStatement,
    Purpose,
    ReceiptBody,
    ReceiptKind,
    RequestBody,
    RevokeBody,
)
from consilium.kernel.umbral import DelegatingKey, derive_delegating_key, prove_ownership
from tests.alliance import Scribe, id_of, seed_of

HOLDERS = ("anshan", "chaoyang", "dalian")
RECIPIENT = "benxi"
FROM_MS, UNTIL_MS = 1_700_000_000_000, 1_800_000_000_000
SALT = seed_of("salt")


@dataclass
class Patient:
    """Owns delegating keys, one an epoch, and signs with a key of its own; its recipient belongs to benxi."""

    name: str
    chain_id: bytes

    def __post_init__(self) -> None:
        """Make the signing keys of the patient and its recipient."""
        self.signer = Ed25519Signer.from_seed(seed_of(f"{self.name} signs"))
        self.recipient = Ed25519Signer.from_seed(seed_of(f"{self.name} is read by"))

    def key(self, epoch: int = 0) -> DelegatingKey:
        """The delegating key of one scope in one epoch (S1)."""
        return derive_delegating_key(seed_of(self.name), "all", epoch)

    def commitment(self, epoch: int = 0) -> bytes:
        """What this patient's records say about their owner."""
        return owner_commitment(SALT, self.key(epoch).public_key)

    def terms(self, name: str, epoch: int = 0, **changes: object) -> GrantTerms:
        """Good terms for the five-member alliance, under the key of an epoch; changed where named."""
        pk = self.key(epoch).public_key
        terms = GrantTerms(
            grant_id=id_of(name),
            delegating_pk=pk,
            verifying_pk=pk,
            recipient_member=RECIPIENT,
            recipient_key=self.recipient.public_key,
            receiving_pk=pk,
            purpose=Purpose.TREATMENT,
            actor=seed_of("a doctor"),
            not_before_ms=FROM_MS,
            not_after_ms=UNTIL_MS,
            holders=HOLDERS,
            threshold=2,
            kfrag_commitments=tuple(seed_of(holder) for holder in HOLDERS),
            weaker_budget=False,
        )
        changed: GrantTerms = replace(terms, **changes)  # type: ignore[arg-type]
        if "holders" in changes and "kfrag_commitments" not in changes:
            changed = replace(changed, kfrag_commitments=tuple(seed_of(holder) for holder in changed.holders))
        return changed

    def grant(self, terms: GrantTerms, epoch: int = 0) -> GrantBody:
        """A grant of these terms, proven with the key of an epoch."""
        statement = encode(OwnershipStatement(self.signer.public_key, terms), self.chain_id)
        return GrantBody(terms, prove_ownership(self.key(epoch), statement))


def grant(scribe: Scribe, patient: Patient, name: str = "g", epoch: int = 0, **changes: object) -> bytes:
    """A grant transaction with good terms, changed where named."""
    return scribe.signed(patient.signer, patient.grant(patient.terms(name, epoch, **changes), epoch))


def request(scribe: Scribe, patient: Patient, record: str = "r", name: str = "g", **changes: object) -> bytes:
    """A request by the patient's recipient, changed where named."""
    body = RequestBody(id_of(name), id_of(f"{record} record"), SALT, Purpose.TREATMENT, seed_of("referral"))
    return scribe.signed(patient.recipient, replace(body, **changes))  # type: ignore[arg-type]


def revoke(scribe: Scribe, patient: Patient, name: str = "g", *regrants: GrantBody, epoch: int | None = None) -> bytes:
    """A revocation; with `epoch`, the key of that epoch succeeds the closed one."""
    successor = None if epoch is None else patient.key(epoch).public_key
    return scribe.signed(patient.signer, RevokeBody(id_of(name), successor, regrants))


def receipt(
    scribe: Scribe,
    holder: str,
    kind: ReceiptKind = ReceiptKind.DELETION,
    name: str = "g",
    request_hash: bytes = bytes(32),
    height: int = 0,
    signed_by: str = "",
) -> bytes:
    """A receipt under the holder's own member key, or another's if named."""
    body = ReceiptBody(kind, holder, id_of(name), request_hash, height)
    return scribe.signed(scribe.alliance.keys[signed_by or holder].member, body)
