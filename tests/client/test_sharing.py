"""Granting, asking and combining on the real library (S1, S3 to S6; promise 4)."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from typing import Any

import pytest

from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.placement import HolderChoice
from consilium.client.sharing import (
    Combined,
    Recipient,
    RecordReference,
    combine_releases,
    request_record,
)
from consilium.kernel.consent import Release, owner_commitment
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import OwnershipStatement, RevokeBody
from consilium.kernel.umbral import (
    DelegatingKey,
    Sealed,
    VerifiedCapsuleFrag,
    VerifiedKeyFrag,
    open_original,
    open_reencrypted,
    reencrypt,
    seal,
    verify_kfrag,
    verify_ownership,
)
from tests.client.cases import (
    CHAIN,
    CHOICE,
    HOLDERS,
    HOSPITAL,
    MEMBER_KEYS,
    PATIENT,
    PERMISSION,
    RECIPIENT,
    REQUEST_HASH,
    SIGNERS,
    granted,
    owner,
    released,
)
from tests.kernel.umbral_collusion import recover_delegating_key

SECRET = bytes(range(64))
GRANT = granted()
SEALED = seal(owner().delegating_pk, SECRET)


def combine(releases: list[Release], sealed: Sealed = SEALED, keys: RecipientKeys = HOSPITAL) -> Combined:
    return combine_releases(keys, GRANT.terms, REQUEST_HASH, sealed, releases, MEMBER_KEYS, CHAIN, Ed25519Verifier())


def signed_again(release: Release, **changes: Any) -> Release:
    """The release as its own holder would sign it with something else said."""
    statement = dataclasses.replace(release.statement, **changes)
    return dataclasses.replace(
        release, statement=statement, signature=SIGNERS[statement.holder].sign(encode(statement, CHAIN))
    )


# --- who can open ---


@pytest.mark.parametrize("holders", list(combinations(HOLDERS, 2)))
def test_any_two_of_three_open(holders: tuple[str, str]) -> None:
    """S4: 2 of 3, whichever two."""
    combined = combine(released(GRANT, SEALED, *holders))
    assert (combined.opened, combined.faults) == (SECRET, ())


@pytest.mark.parametrize("holder", HOLDERS)
def test_one_of_three_opens_nothing(holder: str) -> None:
    """S4: t - 1 fragments are refused by name before the library is asked."""
    with pytest.raises(FailedPrecondition, match="TOO_FEW_FRAGMENTS, rule S4"):
        combine(released(GRANT, SEALED, holder))


def test_one_holder_twice_is_still_one() -> None:
    """S4: fragments are counted by holder."""
    with pytest.raises(FailedPrecondition, match="1 holders released a good fragment, 2 are needed"):
        combine(released(GRANT, SEALED, "cedar", "cedar"))


def test_another_recipients_key_opens_nothing() -> None:
    """Promise 3: fragments made for one recipient are of no use to another."""
    with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
        combine(released(GRANT, SEALED, *HOLDERS), keys=RecipientKeys(sha256(b"someone else")))


def test_wrong_fragment_is_left_out_and_its_holder_named() -> None:
    """S5: one liar among three does not stop the two others; its signature stands as proof."""
    good = released(GRANT, SEALED, *HOLDERS)
    other = released(GRANT, seal(owner().delegating_pk, SECRET), "cedar")[0]
    lie = dataclasses.replace(other, statement=signed_again(other, capsule_digest=SEALED.digest).statement)
    lie = signed_again(lie)
    combined = combine([good[0], lie, good[2]])
    assert combined.opened == SECRET
    assert [(holder, getattr(error, "reason", "")) for holder, error in combined.faults] == [("cedar", "FOREIGN_CFRAG")]


def test_faults_are_named_when_too_few_are_left() -> None:
    first, second = released(GRANT, SEALED, "alder", "cedar")
    forged = dataclasses.replace(second, signature=bytes(64))
    with pytest.raises(FailedPrecondition, match=r"cedar: .*BAD_SIGNATURE"):
        combine([first, forged])


def test_answer_to_another_request_is_left_out() -> None:
    """S5: a release belongs to one request; reusing it would be a disclosure without its own audit entry."""
    first, second = released(GRANT, SEALED, "alder", "cedar")
    with pytest.raises(FailedPrecondition, match=r"cedar: .*OTHER_REQUEST"):
        combine([first, signed_again(second, request_hash=sha256(b"another request"))])
    with pytest.raises(FailedPrecondition, match=r"cedar: .*OTHER_REQUEST"):
        combine([first, signed_again(second, grant_id=b"x" * 16)])


def test_release_of_another_records_capsule_is_left_out() -> None:
    """S3, S5: a swapped capsule is noticed by its digest."""
    other = seal(owner().delegating_pk, SECRET)
    with pytest.raises(FailedPrecondition, match="WRONG_CAPSULE"):
        combine(released(GRANT, other, "alder", "cedar"))


def test_member_that_is_no_holder_is_left_out() -> None:
    """S4: only the grant's own holders count."""
    first, second = released(GRANT, SEALED, "alder", "cedar")
    foreign = dataclasses.replace(second, statement=dataclasses.replace(second.statement, holder="birch"))
    with pytest.raises(FailedPrecondition, match=r"birch: .*NOT_A_HOLDER"):
        combine([first, foreign])


def test_holder_without_a_known_key_is_left_out() -> None:
    known = {"alder": MEMBER_KEYS["alder"]}
    releases = released(GRANT, SEALED, "alder", "cedar")
    with pytest.raises(FailedPrecondition, match=r"cedar: .*UNKNOWN_MEMBER"):
        combine_releases(HOSPITAL, GRANT.terms, REQUEST_HASH, SEALED, releases, known, CHAIN, Ed25519Verifier())


# --- what colluders get (promise 4): on the real library, past every check of ours ---


def _work_of(kfrags: tuple[bytes, ...], sealed: Sealed) -> list[VerifiedCapsuleFrag]:
    """What holders that obey no rule make of a capsule."""
    terms = GRANT.terms
    keys = terms.verifying_pk, terms.delegating_pk, terms.receiving_pk
    held: list[VerifiedKeyFrag] = [verify_kfrag(each, *keys) for each in kfrags]
    return [reencrypt(sealed, each) for each in held]


def test_fewer_than_the_threshold_open_nothing_even_without_any_rule() -> None:
    """S4: t - 1 fragments and the recipient's key fail in the library itself."""
    fragments = _work_of(GRANT.kfrags[:1], SEALED)
    with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
        open_reencrypted(HOSPITAL.receiving, GRANT.terms.delegating_pk, SEALED, fragments)


def test_fewer_than_the_threshold_recover_another_key() -> None:
    """Promise 4: t - 1 colluders compute something, but not the delegating key."""
    wrong = recover_delegating_key(GRANT.kfrags[:1], HOSPITAL.receiving.to_secret_bytes())
    assert wrong != PATIENT.delegating("oncology", 0).to_secret_bytes()


def test_threshold_recovers_the_key_of_exactly_one_scope_and_epoch() -> None:
    """S1, promise 4: t colluders and the recipient get this key, and no other record of the patient."""
    stolen = DelegatingKey.from_secret_bytes(recover_delegating_key(GRANT.kfrags[:2], HOSPITAL.receiving.to_secret_bytes()))
    assert stolen.to_secret_bytes() == PATIENT.delegating("oncology", 0).to_secret_bytes()
    assert open_original(stolen, SEALED) == SECRET
    stranger = PatientKeys(sha256(b"another patient's seed"))
    safe = [
        owner("oncology", 1).delegating_pk,
        owner("cardiology", 0).delegating_pk,
        stranger.delegating("oncology", 0).public_key,
    ]
    for delegating_pk in safe:
        with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
            open_original(stolen, seal(delegating_pk, SECRET))


def test_threshold_of_holders_opens_a_record_nobody_asked_for() -> None:
    """Promise 4, said aloud: fragments are bound to keys, not to records; only the release rule stands in between."""
    never_asked = seal(owner().delegating_pk, SECRET)
    fragments = _work_of(GRANT.kfrags[:2], never_asked)
    assert open_reencrypted(HOSPITAL.receiving, GRANT.terms.delegating_pk, never_asked, fragments) == SECRET


def test_fragments_of_one_epoch_open_nothing_of_the_next() -> None:
    """S1, S6: a new epoch at a revocation protects what is written later without anyone deleting anything."""
    later = seal(owner(epoch=1).delegating_pk, SECRET)
    fragments = _work_of(GRANT.kfrags, later)
    for delegating_pk in (GRANT.terms.delegating_pk, owner(epoch=1).delegating_pk):
        with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
            open_reencrypted(HOSPITAL.receiving, delegating_pk, later, fragments)


# --- keys ---


def test_keys_differ_by_use_scope_epoch_and_patient() -> None:
    """S1: one key, one use."""
    stranger = PatientKeys(sha256(b"another patient's seed"))
    places = [("oncology", 0), ("oncology", 1), ("cardiology", 0), ("oncology0", 0)]
    for name in ("delegating", "fragment_signing", "author"):
        keys = [getattr(who, name)(*place).public_key for who in (PATIENT, stranger) for place in places]
        assert len(set(keys)) == len(keys)
    salts = [who.salt(record) for who in (PATIENT, stranger) for record in (b"1" * 16, b"2" * 16)]
    assert len(set(salts)) == len(salts)


def test_one_seed_gives_the_same_keys_again() -> None:
    """S1: nothing is kept but the seed."""
    again = PatientKeys(sha256(b"the patient's seed"))
    assert again.delegating("oncology", 3).public_key == PATIENT.delegating("oncology", 3).public_key
    assert again.author("oncology", 3).public_key == PATIENT.author("oncology", 3).public_key
    assert RecipientKeys(sha256(b"the recipient's seed")).receiving.public_key == HOSPITAL.receiving.public_key


@pytest.mark.parametrize("keys", [PatientKeys, RecipientKeys])
def test_seed_has_its_length_and_is_never_printed(keys: type[PatientKeys | RecipientKeys]) -> None:
    with pytest.raises(InvalidArgument, match="BAD_SEED"):
        keys(bytes(31))
    seed = sha256(b"a seed")
    assert seed.hex()[:8] not in repr(keys(seed))
    assert "not shown" in repr(keys(seed))


def test_prepared_grant_prints_no_fragment() -> None:
    """Promise 4: a fragment in a log line is a fragment lost."""
    assert "kfrags" not in repr(GRANT)


# --- what goes to the ledger ---


def test_grant_carries_the_owners_proof_bound_to_author_and_chain() -> None:
    """S3: nobody grants another's records, here or on another chain."""
    author = PATIENT.author("oncology", 0).public_key
    verify_ownership(GRANT.terms.delegating_pk, encode(OwnershipStatement(author, GRANT.terms), CHAIN), GRANT.body.ownership)
    for message in (
        encode(OwnershipStatement(bytes(32), GRANT.terms), CHAIN),
        encode(OwnershipStatement(author, GRANT.terms), bytes(32)),
        encode(OwnershipStatement(author, dataclasses.replace(GRANT.terms, threshold=1)), CHAIN),
    ):
        with pytest.raises(BadSignature):
            verify_ownership(GRANT.terms.delegating_pk, message, GRANT.body.ownership)


def test_grant_names_holders_threshold_and_a_weaker_budget() -> None:
    """S4: what the owner signs is what was chosen."""
    weaker = granted(choice=HolderChoice(HOLDERS[:2], 2, weaker_budget=True))
    terms = weaker.terms
    assert (terms.holders, terms.threshold, terms.weaker_budget) == (HOLDERS[:2], 2, True)
    assert len(terms.kfrag_commitments) == len(weaker.kfrags) == 2
    assert not GRANT.terms.weaker_budget


def test_request_opens_the_records_salt() -> None:
    """S3: the salt ties record to grant."""
    reference = RecordReference(b"R" * 16, "alder", PATIENT.salt(b"R" * 16))
    body = request_record(GRANT.terms, reference, b"e" * 32)
    assert (body.grant_id, body.record_id, body.purpose) == (GRANT.terms.grant_id, b"R" * 16, PERMISSION.purpose)
    assert owner_commitment(body.salt, GRANT.terms.delegating_pk) != owner_commitment(
        body.salt, owner(epoch=1).delegating_pk
    )


def test_closing_names_the_successor_and_regrants_under_it() -> None:
    """S6: the scope's other recipients go on under the new epoch's key, by the author of the grant that ends."""
    clinic = Recipient("elm", b"c" * 32, RecipientKeys(sha256(b"clinic")).receiving.public_key)
    regrant = owner().regrant(b"n" * 16, clinic, PERMISSION, CHOICE, author_epoch=0)
    body = owner().close(GRANT.terms.grant_id, [regrant])
    assert body.successor_pk == owner(epoch=1).delegating_pk == regrant.terms.delegating_pk
    assert body.regrants == (regrant.body,)
    author = PATIENT.author("oncology", 0).public_key
    statement = encode(OwnershipStatement(author, regrant.terms), CHAIN)
    verify_ownership(regrant.terms.delegating_pk, statement, regrant.body.ownership)
    assert (regrant.scope, regrant.author_epoch) == ("oncology", 0)


def test_revoking_alone_leaves_the_epoch_open() -> None:
    """S6: without a successor only the one grant ends."""
    assert owner().revoke(GRANT.terms.grant_id) == RevokeBody(GRANT.terms.grant_id, None, ())


def test_recipient_is_who_the_grant_says() -> None:
    terms = GRANT.terms
    assert Recipient(terms.recipient_member, terms.recipient_key, terms.receiving_pk) == RECIPIENT
