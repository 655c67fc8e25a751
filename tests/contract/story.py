"""What the chain tells: members suspended and expelled, and one record of the home, shared with another member.

Everything real: an object that can be put, a capsule that opens it, fragments that the grant commits to, a granted request,
and a second grant that was revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consilium.kernel.codes import Code
from consilium.kernel.manifest import Manifest
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import SealHeader
from consilium.kernel.transactions import MemberAct, MemberAction, RecordBody
from consilium.kernel.umbral import ReceivingKey, derive_signing_key, generate_kfrags, seal
from tests.alliance import id_of, seed_of
from tests.ledger.patient import Patient, grant, request, revoke
from tests.stores.objects import ONE_CHUNK, make_chunks

if TYPE_CHECKING:
    from tests.alliance import Scribe

HOME, AWAY, SUSPENDED, EXPELLED = "anshan", "benxi", "chaoyang", "huludao"
HOLDERS = (HOME, "dalian", "fushun")
SHRED_SECRET = seed_of("shred secret")


@dataclass(frozen=True)
class Story:
    """The record, its object, and what is known about its grants."""

    patient: Patient
    chunk: bytes
    manifest: Manifest
    fragment: bytes
    grant_id: bytes
    revoked_grant_id: bytes
    request_hash: bytes
    registration: bytes


def tell(scribe: Scribe) -> Story:
    """Write all of it onto the chain."""
    for action, name in ((MemberAction.SUSPEND, SUSPENDED), (MemberAction.EXPEL, EXPELLED)):
        _write(scribe, *scribe.motion(MemberAct(action, scribe.alliance.keys[name].profile)))
        scribe.cross_epoch()
    patient = Patient("patient", scribe.chain.chain_id)
    key, signing = patient.key(), derive_signing_key(seed_of("patient"), "all", 0)
    receiving = ReceivingKey.random()
    kfrags = generate_kfrags(key, receiving.public_key, signing, 2, len(HOLDERS))
    [chunk] = make_chunks("r", ONE_CHUNK)
    sealed = seal(key.public_key, seed_of("capsule secret") + seed_of("context"))
    header = SealHeader(b"s" * 24, b"k" * 32)
    manifest = Manifest(id_of("r record"), 0, 1, ONE_CHUNK, header, sealed, (leaf_hash(chunk),))
    body = RecordBody(
        manifest.record_id, HOME, patient.commitment(), manifest.ciphertext_root, sealed.digest, ONE_CHUNK
    )  # fmt: skip
    registration = scribe.alliance.registration(HOME, body, *scribe.fresh())
    _write(scribe, registration)
    terms: dict[str, Any] = {
        "holders": HOLDERS, "receiving_pk": receiving.public_key, "verifying_pk": signing.public_key,
        "kfrag_commitments": tuple(each.commitment for each in kfrags),
    }  # fmt: skip
    _write(scribe, grant(scribe, patient, "g", **terms), grant(scribe, patient, "old", **terms))
    asked = request(scribe, patient)
    _write(scribe, revoke(scribe, patient, "old"))
    assert scribe.write(asked).codes == (Code.GRANTED,)
    own = kfrags[HOLDERS.index(HOME)].to_secret_bytes()
    return Story(patient, chunk, manifest, own, id_of("g"), id_of("old"), leaf_hash(asked), registration)


def _write(scribe: Scribe, *transactions: bytes) -> None:
    assert scribe.write(*transactions).codes == (Code.APPLIED,) * len(transactions)
