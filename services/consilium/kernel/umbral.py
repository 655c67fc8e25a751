"""Umbral threshold proxy re-encryption behind five verbs, in the field's words (rules S1 to S6).

    seal       encrypt a short secret under a delegating key                          `seal`
    generate   split the power to re-encrypt for one recipient into key fragments     `generate_kfrags`
    verify     turn bytes off the wire into something usable                          `verify_kfrag`,
    `verify_cfrag` reencrypt  turn a capsule for one key fragment's recipient
    `reencrypt` open       as the owner, or as a recipient with enough fragments
    `open_original`, `open_reencrypted`

Two types for two trust levels: a fragment off the wire is bytes, and only `verify_*` makes a
`VerifiedKeyFrag` or a `VerifiedCapsuleFrag` of it; nothing else is accepted further in, and no way round
stands in this module. The library (umbral-pre, the Rust core by Umbral's authors) reads its forms leniently:
trailing bytes and other spellings of one capsule pass it. Here each thing has exactly one form of one length,
or one capsule could bear two names on the ledger.

What it cannot do: t key fragments plus the recipient's key yield the delegating secret key (promise 4). Hence
one delegating key for each patient, scope and epoch, and nothing but keys of at most 64 bytes goes through
here. The library draws its own randomness: the one exception to the kernel's purity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self, SupportsBytes, TypeVar

import umbral_pre

from consilium.kernel.encoding import INTEGER_MAX, AtMost, Exactly
from consilium.kernel.errors import BadSignature, InvalidArgument, Malformed
from consilium.kernel.hashing import domain_hash

SECRET_KEY_BYTES = 32
"""The length of a secret key: a scalar of secp256k1."""
PUBLIC_KEY_BYTES = 33
"""The length of a public key: a compressed point of secp256k1."""
SIGNATURE_BYTES = 64
"""The length of an ownership proof: r and s of an ECDSA signature."""
CAPSULE_BYTES = 105
"""The length of a capsule."""
KFRAG_BYTES = 310
"""The length of a key fragment."""
CFRAG_BYTES = 381
"""The length of a capsule fragment."""
SECRET_BYTES_MAX = 64
"""The longest secret that may be sealed: a key and a digest (S2)."""
CIPHERTEXT_BYTES_MAX = SECRET_BYTES_MAX + 40
"""The longest ciphertext: the secret, a nonce of 24 bytes and a tag of 16."""
SHARES_MAX = 16
"""The most key fragments of one grant."""
SCOPE_BYTES_MAX = 64
"""The longest name of a scope."""

# The order of secp256k1. (r, order - s) satisfies ECDSA's equation as (r, s) does: only the lower s is a proof's one form.
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
# How every key fragment begins and ends: with Umbral's second generator, and with the word that its signature binds
# both keys. The library takes another generator, and a signature that binds neither key, from whoever made it.
_KFRAG_HEAD = bytes.fromhex("9591c42103079390d0fbe220fc34aab8ecbf49098098036820fadb98c03143e55db8ec73cd")
_KFRAG_TAIL = b"\xc3\xc3"
# Where the two signatures of a key fragment stand: the one proxies check, and the one recipients will check.
_PROXY_SIGNATURE = slice(178, 242)
_RECIPIENT_SIGNATURE = slice(244, 308)

_Decoded = TypeVar("_Decoded")
# The library's stub leaves the one out, and has the other return None where it raises.
_VerificationError: type[Exception] = umbral_pre.VerificationError  # type: ignore[attr-defined]
_decrypt: Callable[..., bytes] = umbral_pre.decrypt_reencrypted  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed secret: the capsule that proxies transform, and the ciphertext that they never see."""

    capsule: Annotated[bytes, Exactly(CAPSULE_BYTES)]
    ciphertext: Annotated[bytes, AtMost(CIPHERTEXT_BYTES_MAX)]

    @property
    def digest(self) -> bytes:
        """What a record names its capsule by; unique in the ledger's state (S3).

        Over the capsule alone. Were the ciphertext in it, another ciphertext would give the same capsule a second name:
        a recipient could register that as a record of its own, ask for it, and open the first record with what it gets.
        """
        return domain_hash("consilium.capsule", self.capsule)


class _SecretKey:
    """A secret key that is never printed, has no `__bytes__` and leaves only by `to_secret_bytes`."""

    __slots__ = ("library_key", "public_key")
    NAME: ClassVar[str]

    def __init__(self, key: umbral_pre.SecretKey) -> None:
        self.library_key = key
        self.public_key = key.public_key().to_compressed_bytes()

    @classmethod
    def from_secret_bytes(cls, data: bytes) -> Self:
        """The key kept as these 32 bytes.

        Raises Malformed: BAD_KEY.
        """
        return cls(_decode("BAD_KEY", umbral_pre.SecretKey.from_be_bytes, data, SECRET_KEY_BYTES))

    def to_secret_bytes(self) -> bytes:
        """The key as 32 bytes: for a key file alone."""
        return self.library_key.to_be_bytes()

    def __repr__(self) -> str:
        return f"{self.NAME}({self.public_key.hex()[:16]}, secret not shown)"


class DelegatingKey(_SecretKey):
    """The key one patient's records of one scope and epoch are sealed under (S1); `public_key` has 33 bytes."""

    __slots__ = ()
    NAME = "DelegatingKey"


class FragmentSigningKey(_SecretKey):
    """The key an owner signs key fragments with, so that holders and recipients can check them."""

    __slots__ = ()
    NAME = "FragmentSigningKey"


class ReceivingKey(_SecretKey):
    """The key of a recipient's client (S1)."""

    __slots__ = ()
    NAME = "ReceivingKey"

    @classmethod
    def random(cls) -> "ReceivingKey":
        """A fresh key, drawn by the library."""
        return cls(umbral_pre.SecretKey.random())


def derive_delegating_key(seed: bytes, scope: str, epoch: int) -> DelegatingKey:
    """The delegating key of one (patient, scope, epoch), from the patient's seed of 32 random bytes (S1).

    Raises InvalidArgument: BAD_SEED, BAD_SCOPE or BAD_EPOCH.
    """
    return DelegatingKey(_derive(b"consilium.delegating", seed, scope, epoch))


def derive_signing_key(seed: bytes, scope: str, epoch: int) -> FragmentSigningKey:
    """The key that signs this (patient, scope, epoch)'s key fragments; its own, so that scopes stay unlinked.

    Raises InvalidArgument: BAD_SEED, BAD_SCOPE or BAD_EPOCH.
    """
    return FragmentSigningKey(_derive(b"consilium.fragment-signing", seed, scope, epoch))


def _derive(use: bytes, seed: bytes, scope: str, epoch: int) -> umbral_pre.SecretKey:
    if len(seed) != umbral_pre.SecretKeyFactory.seed_size():
        raise InvalidArgument("BAD_SEED", f"A patient's seed has 32 bytes, not {len(seed)}.", "S1")
    if not 1 <= len(scope.encode()) <= SCOPE_BYTES_MAX:
        raise InvalidArgument("BAD_SCOPE", f"A scope's name has 1 to {SCOPE_BYTES_MAX} bytes.", "S1")
    if not 0 <= epoch <= INTEGER_MAX:
        raise InvalidArgument("BAD_EPOCH", f"{epoch} is not an epoch.", "S1")
    factory = umbral_pre.SecretKeyFactory.from_secure_randomness(seed)
    return factory.make_factory(use).make_factory(scope.encode()).make_key(epoch.to_bytes(8, "big"))


def prove_ownership(delegating_key: DelegatingKey, message: bytes) -> bytes:
    """The owner's proof inside a grant: a signature of 64 bytes under the delegating key itself (S3).

    `message` must be the encoding of a value, which carries its domain and chain. Two proofs of one message
    differ.
    """
    return umbral_pre.Signer(delegating_key.library_key).sign(message).to_be_bytes()


def verify_ownership(delegating_pk: bytes, message: bytes, signature: bytes) -> None:
    """Raise BadSignature unless the delegating key's owner signed `message` (S3)."""
    try:
        key = _public_key(delegating_pk)
        proof = _decode("BAD_SIGNATURE", umbral_pre.Signature.from_be_bytes, signature, SIGNATURE_BYTES)
    except Malformed as error:
        raise BadSignature("BAD_OWNERSHIP", f"The ownership proof cannot be read: {error.sentence}", "S3") from error
    high = int.from_bytes(signature[SECRET_KEY_BYTES:], "big") > _CURVE_ORDER // 2
    if high or not proof.verify(key, message):
        raise BadSignature("BAD_OWNERSHIP", "The author does not own the delegating key.", "S3")


def seal(delegating_pk: bytes, secret: bytes) -> Sealed:
    """Seal a secret of at most 64 bytes under a delegating key; no two calls give the same capsule.

    Raises InvalidArgument (SECRET_TOO_LONG) and Malformed (BAD_KEY).
    """
    if len(secret) > SECRET_BYTES_MAX:
        raise InvalidArgument("SECRET_TOO_LONG", f"Only keys of at most {SECRET_BYTES_MAX} bytes fit.", "S2")
    capsule, ciphertext = umbral_pre.encrypt(_public_key(delegating_pk), secret)
    return Sealed(bytes(capsule), ciphertext)


@dataclass(frozen=True, slots=True, repr=False)
class VerifiedKeyFrag:
    """A key fragment known to be its owner's, for this recipient. Only `verify_kfrag` and the owner make one.

    It is a secret of its holder: t of them and the recipient's key recover the delegating key (promise 4).
    """

    library_kfrag: umbral_pre.VerifiedKeyFrag

    @property
    def commitment(self) -> bytes:
        """What a grant names the fragment by, without giving it away: it holds a random scalar (S3)."""
        return domain_hash("consilium.kfrag", self.to_secret_bytes())

    def to_secret_bytes(self) -> bytes:
        """The fragment as 310 bytes: for its holder alone."""
        return bytes(self.library_kfrag)

    def __repr__(self) -> str:
        return f"VerifiedKeyFrag({self.commitment.hex()[:16]}, secret not shown)"


@dataclass(frozen=True, slots=True, repr=False)
class VerifiedCapsuleFrag:
    """A capsule fragment known to be the work of a grant's key fragment on one capsule."""

    library_cfrag: umbral_pre.VerifiedCapsuleFrag

    def to_bytes(self) -> bytes:
        """The fragment as 381 bytes; of use only to the recipient."""
        return bytes(self.library_cfrag)

    def __repr__(self) -> str:
        return f"VerifiedCapsuleFrag({domain_hash('consilium.cfrag', self.to_bytes()).hex()[:16]})"


def generate_kfrags(
    delegating_key: DelegatingKey,
    receiving_pk: bytes,
    signing_key: FragmentSigningKey,
    threshold: int,
    shares: int,
) -> tuple[VerifiedKeyFrag, ...]:
    """Split the power to re-encrypt for one recipient into `shares` fragments, any `threshold` of which do (S4).

    Raises InvalidArgument (BAD_THRESHOLD) and Malformed (BAD_KEY).
    """
    # The library itself would make fragments for a threshold of 0, or above the shares.
    if not 1 <= threshold <= shares <= SHARES_MAX:
        raise InvalidArgument("BAD_THRESHOLD", f"{threshold} of {shares} is not within 1 to {SHARES_MAX}.", "S4")
    made = umbral_pre.generate_kfrags(
        delegating_key.library_key,
        _public_key(receiving_pk),
        umbral_pre.Signer(signing_key.library_key),
        threshold,
        shares,
        sign_delegating_key=True,
        sign_receiving_key=True,
    )
    return tuple(VerifiedKeyFrag(each) for each in made)


def verify_kfrag(data: bytes, verifying_pk: bytes, delegating_pk: bytes, receiving_pk: bytes) -> VerifiedKeyFrag:
    """The key fragment in `data`, once its signatures bind it to these three keys.

    The recipient's signature is checked too, which the library leaves out: otherwise an owner could hand out fragments
    that verify here and whose work fails at the recipient, who would then suspect the proxy.

    Raises Malformed (BAD_KFRAG, BAD_KEY) and BadSignature (FOREIGN_KFRAG).
    """
    keys = _public_key(verifying_pk), _public_key(delegating_pk), _public_key(receiving_pk)
    kfrag = _read_kfrag(data)
    swapped = bytearray(data)
    swapped[_PROXY_SIGNATURE] = data[_RECIPIENT_SIGNATURE]
    try:
        _read_kfrag(bytes(swapped)).verify(*keys)
        return VerifiedKeyFrag(kfrag.verify(*keys))
    except _VerificationError as error:
        raise BadSignature("FOREIGN_KFRAG", f"The key fragment is not of these keys: {error}.", "S4") from error


def reencrypt(sealed: Sealed, kfrag: VerifiedKeyFrag) -> VerifiedCapsuleFrag:
    """Transform a capsule with one key fragment; nothing of the secret is seen on the way (S5).

    Raises Malformed: BAD_CAPSULE.
    """
    return VerifiedCapsuleFrag(umbral_pre.reencrypt(_capsule(sealed), kfrag.library_kfrag))


def verify_cfrag(
    data: bytes, sealed: Sealed, verifying_pk: bytes, delegating_pk: bytes, receiving_pk: bytes
) -> VerifiedCapsuleFrag:
    """The capsule fragment in `data`, once proven to be this grant's fragment applied to this capsule (S5).

    Raises Malformed (BAD_CFRAG, BAD_CAPSULE, BAD_KEY) and BadSignature (FOREIGN_CFRAG).
    """
    keys = _public_key(verifying_pk), _public_key(delegating_pk), _public_key(receiving_pk)
    capsule = _capsule(sealed)
    cfrag = _decode("BAD_CFRAG", umbral_pre.CapsuleFrag.from_bytes, data, CFRAG_BYTES)
    _check_form("BAD_CFRAG", cfrag, data)
    try:
        return VerifiedCapsuleFrag(cfrag.verify(capsule, *keys))
    except _VerificationError as error:
        raise BadSignature("FOREIGN_CFRAG", f"The capsule fragment does not fit: {error}.", "S5") from error


def fits(data: bytes, sealed: Sealed, verifying_pk: bytes, delegating_pk: bytes, receiving_pk: bytes) -> bool:
    """Whether `data` is this grant's fragment applied to this capsule; public values alone decide (S5)."""
    try:
        verify_cfrag(data, sealed, verifying_pk, delegating_pk, receiving_pk)
    except (BadSignature, Malformed):
        return False
    return True


def open_original(secret_key: DelegatingKey | ReceivingKey, sealed: Sealed) -> bytes:
    """The secret, for who holds the very key it was sealed under: the owner, or the one it was addressed to (S1, S2).

    Raises Malformed (BAD_CAPSULE) and InvalidArgument (CANNOT_OPEN).
    """
    try:
        return umbral_pre.decrypt_original(secret_key.library_key, _capsule(sealed), sealed.ciphertext)
    except ValueError as error:
        raise InvalidArgument("CANNOT_OPEN", "It was sealed under another key, or altered.", "S1") from error


def open_reencrypted(
    receiving_key: ReceivingKey, delegating_pk: bytes, sealed: Sealed, cfrags: Sequence[VerifiedCapsuleFrag]
) -> bytes:
    """The secret, for a recipient with at least the threshold of capsule fragments (S4).

    Raises Malformed (BAD_CAPSULE, BAD_KEY) and InvalidArgument (CANNOT_OPEN): too few fragments, or of
    another capsule, grant or recipient; which of these it was cannot be told.
    """
    key, capsule = _public_key(delegating_pk), _capsule(sealed)
    if len(cfrags) > SHARES_MAX:
        raise InvalidArgument("CANNOT_OPEN", f"{len(cfrags)} fragments are more than a grant has.", "S4")
    fragments = [each.library_cfrag for each in cfrags]
    try:
        return _decrypt(receiving_key.library_key, key, capsule, fragments, sealed.ciphertext)
    except ValueError as error:
        raise InvalidArgument("CANNOT_OPEN", "The fragments are too few, or do not fit.", "S4") from error


def _public_key(data: bytes) -> umbral_pre.PublicKey:
    return _decode("BAD_KEY", umbral_pre.PublicKey.from_compressed_bytes, data, PUBLIC_KEY_BYTES)


def _capsule(sealed: Sealed) -> umbral_pre.Capsule:
    capsule = _decode("BAD_CAPSULE", umbral_pre.Capsule.from_bytes, sealed.capsule, CAPSULE_BYTES)
    _check_form("BAD_CAPSULE", capsule, sealed.capsule)
    return capsule


def _read_kfrag(data: bytes) -> umbral_pre.KeyFrag:
    kfrag = _decode("BAD_KFRAG", umbral_pre.KeyFrag.from_bytes, data, KFRAG_BYTES)
    _check_form("BAD_KFRAG", kfrag, data)
    if not (data.startswith(_KFRAG_HEAD) and data.endswith(_KFRAG_TAIL)):
        raise Malformed("BAD_KFRAG", "It has another generator, or its signature binds not both keys.", "S4")
    return kfrag


def _check_form(reason: str, thing: SupportsBytes, data: bytes) -> None:
    if bytes(thing) != data:
        raise Malformed(reason, "It is not in its one form.", "L1")


def _decode(reason: str, read: Callable[[bytes], _Decoded], data: bytes, length: int) -> _Decoded:
    """What the library reads from exactly `length` bytes; anything it says against them is Malformed."""
    if len(data) != length:
        raise Malformed(reason, f"{len(data)} bytes are not the {length} such a thing has.")
    try:
        return read(data)
    except ValueError as error:
        raise Malformed(reason, f"Not on the curve, or not in form: {error}.") from error
