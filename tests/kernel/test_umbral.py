from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
import umbral_pre
from hypothesis import given, settings
from hypothesis import strategies as st

from consilium.kernel import umbral
from consilium.kernel.errors import BadSignature, ConsiliumError, InvalidArgument, Malformed
from consilium.kernel.umbral import (
    CAPSULE_BYTES,
    CFRAG_BYTES,
    KFRAG_BYTES,
    SECRET_BYTES_MAX,
    SHARES_MAX,
    DelegatingKey,
    FragmentSigningKey,
    ReceivingKey,
    Sealed,
    VerifiedCapsuleFrag,
    VerifiedKeyFrag,
    derive_delegating_key,
    derive_signing_key,
    generate_kfrags,
    open_original,
    open_reencrypted,
    prove_ownership,
    reencrypt,
    seal,
    verify_cfrag,
    verify_kfrag,
    verify_ownership,
)
from tests.house.source import ROOT
from tests.kernel.umbral_collusion import recover_delegating_key
from tests.vectors import make
from tests.vectors.make import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEED, SECRET = pattern(32), pattern(64)
OWNER, SIGNER = derive_delegating_key(SEED, "cardiology", 0), derive_signing_key(SEED, "cardiology", 0)
RECIPIENT = ReceivingKey.random()
SEALED = seal(OWNER.public_key, SECRET)
KEYS = (SIGNER.public_key, OWNER.public_key, RECIPIENT.public_key)
SPLITS = pytest.mark.parametrize(("threshold", "shares"), [(1, 1), (2, 3), (3, 5), (4, 7), (10, 16)])


@cache
def kfrags(threshold: int = 2, shares: int = 3) -> tuple[VerifiedKeyFrag, ...]:
    """Fragments for the recipient."""
    return generate_kfrags(OWNER, RECIPIENT.public_key, SIGNER, threshold, shares)


KFRAG = kfrags()[0].to_secret_bytes()
CFRAG = reencrypt(SEALED, kfrags()[0]).to_bytes()


def opened(
    cfrags: Sequence[VerifiedCapsuleFrag],
    sealed: Sealed = SEALED,
    delegating_pk: bytes = OWNER.public_key,
    receiving_key: ReceivingKey = RECIPIENT,
) -> bytes:
    """What the recipient reads."""
    return open_reencrypted(receiving_key, delegating_pk, sealed, cfrags)


def unreadable(
    cfrags: Sequence[VerifiedCapsuleFrag],
    sealed: Sealed = SEALED,
    delegating_pk: bytes = OWNER.public_key,
    receiving_key: ReceivingKey = RECIPIENT,
) -> None:
    with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
        opened(cfrags, sealed, delegating_pk, receiving_key)


# Sealing and opening


@given(st.binary(max_size=SECRET_BYTES_MAX))
@settings(max_examples=20)
def test_the_owner_opens_what_was_sealed(secret: bytes) -> None:
    """S1: anyone may seal, the owner opens."""
    assert open_original(OWNER, seal(OWNER.public_key, secret)) == secret


@SPLITS
def test_the_threshold_opens_and_one_fewer_does_not(threshold: int, shares: int) -> None:
    """S4: t capsule fragments open, any t of them; t - 1 do not."""
    cfrags = [reencrypt(SEALED, each) for each in kfrags(threshold, shares)]
    assert opened(cfrags[:threshold]) == SECRET
    assert opened(cfrags[-threshold:]) == SECRET
    assert opened(cfrags) == SECRET
    unreadable(cfrags[: threshold - 1])


def test_any_two_of_three_open() -> None:
    cfrags = [reencrypt(SEALED, each) for each in kfrags()]
    for chosen in combinations(cfrags, 2):
        assert opened(chosen) == SECRET
    for alone in cfrags:
        unreadable([alone])
        unreadable([alone, alone])


def test_fragments_of_two_grants_do_not_mix() -> None:
    """S4: each grant needs its own threshold."""
    other = generate_kfrags(OWNER, RECIPIENT.public_key, SIGNER, 2, 3)
    unreadable([reencrypt(SEALED, kfrags()[0]), reencrypt(SEALED, other[1])])


def test_fragments_serve_their_recipient_alone() -> None:
    """S1: re-encryption names one recipient."""
    cfrags = [reencrypt(SEALED, each) for each in kfrags()]
    unreadable(cfrags, receiving_key=ReceivingKey.random())
    unreadable(cfrags, delegating_pk=RECIPIENT.public_key)


def test_fragments_serve_their_capsule_alone() -> None:
    """S5: what was released for one record opens no other."""
    other = seal(OWNER.public_key, SECRET)
    unreadable([reencrypt(SEALED, each) for each in kfrags()], sealed=other)
    unreadable([reencrypt(SEALED, kfrags()[0]), reencrypt(other, kfrags()[1])])


@pytest.mark.parametrize(("scope", "epoch"), [("cardiology", 1), ("radiology", 0), ("cardiology ", 0)])
def test_kfrags_of_one_scope_and_epoch_open_nothing_of_another(scope: str, epoch: int) -> None:
    """S1, S6: one delegating key for each (patient, scope, epoch); a new epoch leaves old fragments behind."""
    other = derive_delegating_key(SEED, scope, epoch)
    sealed = seal(other.public_key, SECRET)
    cfrags = [reencrypt(sealed, each) for each in kfrags()]
    unreadable(cfrags, sealed)
    unreadable(cfrags, sealed, other.public_key)
    assert open_original(other, sealed) == SECRET


def test_the_wrong_owner_opens_nothing() -> None:
    for other in (derive_delegating_key(bytes(32), "cardiology", 0), derive_delegating_key(SEED, "cardiology", 1)):
        with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
            open_original(other, SEALED)


def test_only_short_secrets_are_sealed() -> None:
    """S2: keys go through Umbral, never data."""
    with pytest.raises(InvalidArgument, match="SECRET_TOO_LONG"):
        seal(OWNER.public_key, bytes(SECRET_BYTES_MAX + 1))


def test_no_capsule_is_made_twice() -> None:
    """S3: capsule digests are unique."""
    assert seal(OWNER.public_key, SECRET).digest != SEALED.digest
    assert replace(SEALED, capsule=bytes(CAPSULE_BYTES)).digest != SEALED.digest


def test_a_capsule_has_no_second_name() -> None:
    """S3: whatever ciphertext is put beside it, a capsule's digest is the same, and is already taken."""
    assert replace(SEALED, ciphertext=seal(OWNER.public_key, SECRET).ciphertext).digest == SEALED.digest


@pytest.mark.parametrize(("threshold", "shares"), [(0, 3), (4, 3), (-1, 3), (1, 0), (1, SHARES_MAX + 1)])
def test_a_threshold_that_makes_no_sense_is_refused(threshold: int, shares: int) -> None:
    """S4: the library itself would make fragments that open alone, or never."""
    with pytest.raises(InvalidArgument, match="BAD_THRESHOLD"):
        generate_kfrags(OWNER, RECIPIENT.public_key, SIGNER, threshold, shares)


# Promise 4: what a coalition gets


@SPLITS
def test_t_holders_and_the_recipient_recover_the_delegating_key(threshold: int, shares: int) -> None:
    """Promise 4: collusion is budgeted, not denied. t fragments and the recipient's key are the delegating key."""
    held = [each.to_secret_bytes() for each in kfrags(threshold, shares)]
    for chosen in (held[:threshold], held[-threshold:]):
        assert recover_delegating_key(chosen, RECIPIENT.to_secret_bytes()) == OWNER.to_secret_bytes()


@SPLITS
def test_one_holder_fewer_recovers_nothing(threshold: int, shares: int) -> None:
    """Promise 4: t - 1 holders and the recipient, or t holders without the recipient, have another key."""
    held = [each.to_secret_bytes() for each in kfrags(threshold, shares)]
    if threshold > 1:
        assert recover_delegating_key(held[: threshold - 1], RECIPIENT.to_secret_bytes()) != OWNER.to_secret_bytes()
    assert recover_delegating_key(held, ReceivingKey.random().to_secret_bytes()) != OWNER.to_secret_bytes()


def test_a_coalition_opens_exactly_one_patient_scope_and_epoch() -> None:
    """Promise 4, S1: the recovered key opens this scope and epoch of this patient, and nothing else of anybody."""
    stolen = recover_delegating_key([each.to_secret_bytes() for each in kfrags()[:2]], RECIPIENT.to_secret_bytes())
    thief = DelegatingKey.from_secret_bytes(stolen)
    never_granted = seal(OWNER.public_key, SECRET)
    assert open_original(thief, never_granted) == SECRET
    for seed, scope, epoch in [(SEED, "cardiology", 1), (SEED, "radiology", 0), (bytes(32), "cardiology", 0)]:
        elsewhere = seal(derive_delegating_key(seed, scope, epoch).public_key, SECRET)
        with pytest.raises(InvalidArgument, match="CANNOT_OPEN"):
            open_original(thief, elsewhere)


# Two trust levels


@pytest.mark.parametrize("wrong", range(3))
def test_a_kfrag_is_bound_to_its_three_keys(wrong: int) -> None:
    """S4: a holder accepts a fragment of this owner's, for this recipient, under this signing key only."""
    assert verify_kfrag(KFRAG, *KEYS).to_secret_bytes() == KFRAG
    keys = list(KEYS)
    keys[wrong] = ReceivingKey.random().public_key
    with pytest.raises(BadSignature, match="FOREIGN_KFRAG"):
        verify_kfrag(KFRAG, *keys)


@pytest.mark.parametrize("wrong", range(3))
def test_a_cfrag_is_bound_to_its_grant(wrong: int) -> None:
    """S5: the recipient can tell which proxy's work does not fit."""
    assert verify_cfrag(CFRAG, SEALED, *KEYS).to_bytes() == CFRAG
    keys = list(KEYS)
    keys[wrong] = ReceivingKey.random().public_key
    with pytest.raises(BadSignature, match="FOREIGN_CFRAG"):
        verify_cfrag(CFRAG, SEALED, *keys)


def test_a_cfrag_is_bound_to_its_capsule() -> None:
    """S5."""
    with pytest.raises(BadSignature, match="FOREIGN_CFRAG"):
        verify_cfrag(CFRAG, seal(OWNER.public_key, SECRET), *KEYS)


@pytest.mark.parametrize(("delegating", "receiving"), [(True, False), (False, True), (False, False)])
def test_a_kfrag_that_binds_not_both_keys_is_refused(delegating: bool, receiving: bool) -> None:  # noqa: FBT001
    """S4: the library verifies such a fragment under any keys at all."""
    key, signer = OWNER.library_key, umbral_pre.Signer(SIGNER.library_key)
    recipient = umbral_pre.PublicKey.from_compressed_bytes(RECIPIENT.public_key)
    loose = umbral_pre.generate_kfrags(key, recipient, signer, 2, 3, delegating, receiving)[0]
    with pytest.raises(Malformed, match="BAD_KFRAG"):
        verify_kfrag(bytes(loose), *KEYS)


@pytest.mark.parametrize("place", [*range(244, 308, 9), 307])
def test_a_kfrag_with_a_bad_signature_for_the_recipient_is_refused(place: int) -> None:
    """S5: the library looks at the other signature only, and the proxy would be blamed at the recipient."""
    altered = bytearray(KFRAG)
    altered[place] ^= 1
    library = umbral_pre.KeyFrag.from_bytes(bytes(altered))
    library.verify(*[umbral_pre.PublicKey.from_compressed_bytes(each) for each in KEYS])
    with pytest.raises(BadSignature, match="FOREIGN_KFRAG"):
        verify_kfrag(bytes(altered), *KEYS)


def test_a_kfrag_with_a_generator_of_its_own_is_refused() -> None:
    altered = KFRAG[:4] + OWNER.public_key + KFRAG[37:]
    umbral_pre.KeyFrag.from_bytes(altered)
    with pytest.raises(Malformed, match="BAD_KFRAG"):
        verify_kfrag(altered, *KEYS)


def test_each_thing_has_one_form() -> None:
    """S3: the library reads these too, and one capsule would bear two names on the ledger."""
    for place in (1, 36, 71):
        spelled = SEALED.capsule[:place] + b"\xd9" + SEALED.capsule[place + 1 :]
        assert bytes(umbral_pre.Capsule.from_bytes(spelled)) == SEALED.capsule
        for use in (lambda s: open_original(OWNER, s), lambda s: reencrypt(s, kfrags()[0]), opened_with):
            with pytest.raises(Malformed, match="BAD_CAPSULE"):
                use(replace(SEALED, capsule=spelled))
    with pytest.raises(Malformed, match="BAD_CFRAG"):
        verify_cfrag(CFRAG[:1] + b"\xd9" + CFRAG[2:], SEALED, *KEYS)
    with pytest.raises(Malformed, match="BAD_KFRAG"):
        verify_kfrag(KFRAG[:37] + b"\xd9" + KFRAG[38:], *KEYS)


def opened_with(sealed: Sealed) -> bytes:
    """What the recipient reads with fragments of the proper capsule."""
    return opened([reencrypt(SEALED, each) for each in kfrags()], sealed)


READERS: list[tuple[bytes, Callable[[bytes], Any]]] = [
    (KFRAG, lambda data: verify_kfrag(data, *KEYS)),
    (CFRAG, lambda data: verify_cfrag(data, SEALED, *KEYS)),
    (SEALED.capsule, lambda data: open_original(OWNER, replace(SEALED, capsule=data))),
    (SEALED.capsule, lambda data: opened_with(replace(SEALED, capsule=data))),
    (SEALED.ciphertext, lambda data: open_original(OWNER, replace(SEALED, ciphertext=data))),
    (SEALED.ciphertext, lambda data: opened_with(replace(SEALED, ciphertext=data))),
    (prove_ownership(OWNER, b"terms"), lambda data: verify_ownership(OWNER.public_key, b"terms", data)),
    (OWNER.public_key, lambda data: verify_kfrag(KFRAG, KEYS[0], data, KEYS[2])),
    (OWNER.public_key, lambda data: verify_ownership(data, b"terms", bytes(64))),
]


@pytest.mark.parametrize(("good", "read"), READERS, ids=map(str, range(len(READERS))))
@given(data=st.data())
@settings(max_examples=60)
def test_bad_bytes_are_refused(good: bytes, read: Callable[[bytes], object], data: st.DataObject) -> None:
    """Every decoder answers flipped, cut, stretched and foreign bytes with a typed error, never a panic."""
    flip = st.tuples(st.integers(0, len(good) - 1), st.integers(1, 255))
    kind = data.draw(st.sampled_from(["flipped", "cut", "stretched", "foreign"]))
    bad = bytearray(good)
    if kind == "flipped":
        for place, mask in data.draw(st.lists(flip, min_size=1, max_size=3, unique_by=lambda each: each[0])):
            bad[place] ^= mask
    elif kind == "cut":
        del bad[data.draw(st.integers(0, len(good) - 1)) :]
    elif kind == "stretched":
        bad += data.draw(st.binary(min_size=1, max_size=9))
    else:
        bad[:] = data.draw(st.binary(min_size=len(good), max_size=len(good)))
    with pytest.raises(ConsiliumError):
        read(bytes(bad))


@given(st.binary(max_size=40))
@settings(max_examples=30)
def test_bad_keys_are_malformed(data: bytes) -> None:
    for use in (lambda: seal(data, SECRET), lambda: generate_kfrags(OWNER, data, SIGNER, 2, 3)):
        with pytest.raises(Malformed, match="BAD_KEY"):
            use()


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(32), b"\xff" * 32, b"\1" * 33])
def test_a_secret_key_is_a_scalar(data: bytes) -> None:
    for kind in (DelegatingKey, FragmentSigningKey, ReceivingKey):
        with pytest.raises(Malformed, match="BAD_KEY"):
            kind.from_secret_bytes(data)


def test_more_fragments_than_a_grant_has_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="fragments are more than a grant has"):
        opened([reencrypt(SEALED, kfrags()[0])] * (SHARES_MAX + 1))


@pytest.mark.parametrize("length", [0, KFRAG_BYTES - 1, KFRAG_BYTES + 1, 10_000_000])
def test_nothing_of_another_length_is_read(length: int) -> None:
    """Bounds come before parsing, so that nobody pays for large nonsense."""
    with pytest.raises(Malformed, match=f"{length} bytes are not the {KFRAG_BYTES}"):
        verify_kfrag(bytes(length), *KEYS)


def test_verification_is_never_skipped() -> None:
    """R15: the library has a way round its checks; no file of ours takes it."""
    word = "skip_" + "verification"
    files = [path for top in ("services", "tests", "bench") for path in sorted((ROOT / top).rglob("*.py"))]
    assert files
    assert [str(path) for path in files if word in path.read_text()] == []
    assert not any(word in name for name in dir(umbral))


# Keys


def test_keys_are_derived_apart() -> None:
    """S1: one key for each (patient, scope, epoch); no two collide, and they come back from the seed."""
    places = [(seed, scope, epoch) for seed in (SEED, bytes(32)) for scope in ("a", "a\0", "b") for epoch in (0, 1, 256)]
    keys = [derive(*place).public_key for place in places for derive in (derive_delegating_key, derive_signing_key)]
    assert len(set(keys)) == len(keys)
    assert derive_delegating_key(SEED, "cardiology", 0).to_secret_bytes() == OWNER.to_secret_bytes()


@pytest.mark.parametrize(
    ("seed", "scope", "epoch", "reason"),
    [
        (bytes(31), "a", 0, "BAD_SEED"),
        (b"", "a", 0, "BAD_SEED"),
        (SEED, "", 0, "BAD_SCOPE"),
        (SEED, "x" * 65, 0, "BAD_SCOPE"),
        (SEED, "a", -1, "BAD_EPOCH"),
        (SEED, "a", 2**63, "BAD_EPOCH"),
    ],
)
def test_what_is_no_place_has_no_key(seed: bytes, scope: str, epoch: int, reason: str) -> None:
    for derive in (derive_delegating_key, derive_signing_key):
        with pytest.raises(InvalidArgument, match=reason):
            derive(seed, scope, epoch)


def test_secrets_do_not_leak() -> None:
    for secret in (OWNER, SIGNER, RECIPIENT, kfrags()[0]):
        shown = repr(secret) + str(secret) + repr([secret])
        assert secret.to_secret_bytes().hex()[-40:] not in shown
        assert "secret not shown" in shown
        with pytest.raises(TypeError):
            bytes(secret)  # type: ignore[call-overload]


def test_a_commitment_names_one_fragment() -> None:
    """S3: a holder can tell that its fragment is the one the grant names."""
    assert len({each.commitment for each in kfrags(10, 16)}) == 16
    assert verify_kfrag(KFRAG, *KEYS).commitment == kfrags()[0].commitment


# Ownership


def test_the_owner_proves_the_delegating_key() -> None:
    """S3: a grant made for a key by somebody else is refused."""
    signature = prove_ownership(OWNER, b"terms")
    verify_ownership(OWNER.public_key, b"terms", signature)
    verify_ownership(OWNER.public_key, b"terms", prove_ownership(OWNER, b"terms"))
    stranger = derive_delegating_key(bytes(32), "cardiology", 0)
    for public_key, message, proof in [
        (OWNER.public_key, b"other terms", signature),
        (stranger.public_key, b"terms", signature),
        (OWNER.public_key, b"terms", prove_ownership(stranger, b"terms")),
        (OWNER.public_key, b"terms", b""),
        (b"", b"terms", signature),
    ]:
        with pytest.raises(BadSignature, match="BAD_OWNERSHIP, rule S3"):
            verify_ownership(public_key, message, proof)


def test_an_ownership_proof_has_no_second_form() -> None:
    """ECDSA: (r, order - s) would satisfy the equation too."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    signature = prove_ownership(OWNER, b"terms")
    assert int.from_bytes(signature[32:]) <= order // 2
    mirrored = signature[:32] + (order - int.from_bytes(signature[32:])).to_bytes(32)
    with pytest.raises(BadSignature, match="BAD_OWNERSHIP"):
        verify_ownership(OWNER.public_key, b"terms", mirrored)


def test_frozen_vectors() -> None:
    """A capsule and fragments made before must verify and open for ever."""
    frozen: dict[str, Any] = make.read("umbral")
    raw = {name: bytes.fromhex(value) for name, value in frozen.items() if isinstance(value, str) and name != "scope"}
    owner = derive_delegating_key(raw["seed"], frozen["scope"], frozen["epoch"])
    signer = derive_signing_key(raw["seed"], frozen["scope"], frozen["epoch"])
    recipient = ReceivingKey.from_secret_bytes(raw["receiving_sk"])
    keys = raw["verifying_pk"], raw["delegating_pk"], raw["receiving_pk"]
    assert (signer.public_key, owner.public_key, recipient.public_key) == keys
    assert owner.to_secret_bytes() == raw["delegating_sk"]
    sealed = Sealed(raw["capsule"], raw["ciphertext"])
    assert sealed.digest == raw["digest"]
    assert open_original(owner, sealed) == raw["secret"]
    held = [verify_kfrag(bytes.fromhex(each), *keys) for each in frozen["kfrags"]]
    assert [each.commitment.hex() for each in held] == frozen["commitments"]
    old = [verify_cfrag(bytes.fromhex(each), sealed, *keys) for each in frozen["cfrags"]]
    assert opened(old[:2], sealed, owner.public_key, recipient) == raw["secret"]
    assert opened([old[2], reencrypt(sealed, held[0])], sealed, owner.public_key, recipient) == raw["secret"]
    verify_ownership(owner.public_key, b"these terms", raw["ownership"])


def test_lengths_are_as_stated() -> None:
    """The wire's bounds rest on these."""
    assert len(SEALED.capsule) == CAPSULE_BYTES
    assert {len(each.to_secret_bytes()) for each in kfrags(10, 16)} == {KFRAG_BYTES}
    assert len(CFRAG) == CFRAG_BYTES
    assert len(SEALED.ciphertext) == umbral.CIPHERTEXT_BYTES_MAX
    assert len(prove_ownership(OWNER, b"")) == umbral.SIGNATURE_BYTES
