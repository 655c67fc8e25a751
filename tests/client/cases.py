"""One patient, one recipient, three holders, with real keys: what the tests of sharing start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.placement import HolderChoice
from consilium.client.sharing import Owner, Permission, PreparedGrant, Recipient
from consilium.kernel.codes import Code
from consilium.kernel.hashing import sha256
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import Payload, Purpose, RequestBody
from consilium.reencryption.core.proxy import grant_access, reencrypt_capsule
from consilium.reencryption.core.release import LedgerView, judge_release

if TYPE_CHECKING:
    from consilium.kernel.consent import Release
    from consilium.kernel.umbral import Sealed

CHAIN = sha256(b"a chain")
HOLDERS = ("alder", "cedar", "damson")
SIGNERS = {name: Ed25519Signer.from_seed(sha256(name.encode())) for name in HOLDERS}
MEMBER_KEYS = {name: signer.public_key for name, signer in SIGNERS.items()}
PATIENT = PatientKeys(sha256(b"the patient's seed"))
HOSPITAL = RecipientKeys(sha256(b"the recipient's seed"))
RECIPIENT = Recipient("birch", HOSPITAL.author.public_key, HOSPITAL.receiving.public_key)
PERMISSION = Permission(Purpose.TREATMENT, b"a" * 32, 0, 10**12)
CHOICE = HolderChoice(HOLDERS, 2, weaker_budget=False)
REQUEST_HASH = sha256(b"a request")
ASKED = 100


def owner(scope: str = "oncology", epoch: int = 0) -> Owner:
    """The patient in a scope and epoch."""
    return Owner(PATIENT, scope, epoch, CHAIN)


def granted(by: Owner | None = None, recipient: Recipient = RECIPIENT, choice: HolderChoice = CHOICE) -> PreparedGrant:
    """A grant to the hospital."""
    return (by or owner()).grant(b"g" * 16, recipient, PERMISSION, choice)


def state_of(grant: PreparedGrant, revoked_height: int | None = None) -> GrantState:
    """The grant as the ledger keeps it."""
    return GrantState(grant.terms, b"o" * 32, 10, revoked_height, (), None)


def released(grant: PreparedGrant, sealed: Sealed, *holders: str) -> list[Release]:
    """What honest holders release for a granted request of this capsule."""
    return [_release(grant, sealed, holder) for holder in holders]


def _release(grant: PreparedGrant, sealed: Sealed, holder: str) -> Release:
    body = RequestBody(grant.terms.grant_id, b"R" * 16, b"s" * 32, Purpose.TREATMENT, b"e" * 32)
    payload = Payload(RECIPIENT.author_key, b"i" * 16, 500, body)
    request = VerifiedTransaction(ASKED, REQUEST_HASH, payload.author, payload, Code.GRANTED)
    view = LedgerView(ASKED + 2, ASKED + 2, 10, state_of(grant), sealed.digest, None)
    permit = judge_release(holder, request, sealed.digest, view, Parameters())
    kfrag = grant_access(holder, grant.kfrags[HOLDERS.index(holder)], state_of(grant))
    return reencrypt_capsule(permit, kfrag, sealed.capsule, SIGNERS[holder], CHAIN)
