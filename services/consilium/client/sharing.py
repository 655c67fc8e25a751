"""Sharing from the owner's and the recipient's side: grant, revoke, request, combine (rules S3 to S6). Pure but for Umbral.

The owner makes key fragments and puts their commitments on the ledger; the recipient asks by opening a record's salt, and
combines what the holders release. Left out: sending anything (`alliance`), and the object itself (`records`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.placement import HolderChoice
from consilium.kernel.consent import Release, verify_release
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, ConsiliumError, DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from consilium.kernel.retention import ErasureOrder, SignedErasureOrder
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import (
    BadFragment,
    GrantBody,
    GrantTerms,
    OwnershipStatement,
    Purpose,
    RequestBody,
    RevokeBody,
)
from consilium.kernel.umbral import (
    Sealed,
    VerifiedCapsuleFrag,
    fits,
    generate_kfrags,
    open_reencrypted,
    prove_ownership,
    verify_cfrag,
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """To whom: the institution, the key its client signs requests with (32 bytes), and its Umbral receiving key (33)."""

    member_id: str
    author_key: bytes
    receiving_pk: bytes


@dataclass(frozen=True, slots=True)
class Permission:
    """For what: purpose, a digest that names the actor only to those who know it, and the period in ms since 1970 (UTC)."""

    purpose: Purpose
    actor: bytes
    not_before_ms: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class PreparedGrant:
    """A grant ready to be signed, and the key fragment for each holder; a fragment goes to its holder and nowhere else.

    `scope` and `author_epoch` name the author key that signs the grant and alone can revoke it.
    """

    body: GrantBody
    scope: str
    author_epoch: int
    kfrags: tuple[bytes, ...] = field(repr=False)

    @property
    def terms(self) -> GrantTerms:
        """What the ledger will say."""
        return self.body.terms


@dataclass(frozen=True, slots=True)
class RecordReference:
    """What the owner hands to a recipient about a record, off the ledger: its id, its holder and its salt (S3)."""

    record_id: bytes
    holder: str
    salt: bytes


@dataclass(frozen=True, slots=True)
class Combined:
    """The opened capsule, and the holders that gave no good fragment, with what was wrong."""

    opened: bytes = field(repr=False)
    faults: tuple[tuple[str, ConsiliumError | OSError], ...]


class Owner:
    """A patient's acts in one scope and epoch, on one chain."""

    def __init__(self, keys: PatientKeys, scope: str, epoch: int, chain_id: bytes) -> None:
        self._keys = keys
        self._chain_id = chain_id
        self.scope = scope
        self.epoch = epoch

    @property
    def delegating_pk(self) -> bytes:
        """The public key this epoch's records are sealed under, 33 bytes (S1)."""
        return self._keys.delegating(self.scope, self.epoch).public_key

    def grant(self, grant_id: bytes, recipient: Recipient, permission: Permission, choice: HolderChoice) -> PreparedGrant:
        """A grant of this epoch's records (S3, S4)."""
        return self._grant(grant_id, recipient, permission, choice, self.epoch)

    def erase(self, record_id: bytes) -> SignedErasureOrder:
        """The order to erase a record of this epoch; it opens the salt, so it is for the record's home alone (S8)."""
        delegating = self._keys.delegating(self.scope, self.epoch)
        order = ErasureOrder(record_id, delegating.public_key, self._keys.salt(record_id))
        return SignedErasureOrder(order, prove_ownership(delegating, encode(order, self._chain_id)))

    def revoke(self, grant_id: bytes) -> RevokeBody:
        """End one grant and leave the epoch open: for one that was made by mistake (S6)."""
        return RevokeBody(grant_id, None, ())

    def close(self, grant_id: bytes, regrants: Sequence[PreparedGrant]) -> RevokeBody:
        """End a grant and this epoch with it; the successor's key and the regrants go on (S6).

        Make the regrants by `regrant`: the ledger takes them from the author of the grant that ends.
        """
        return RevokeBody(grant_id, self.successor().delegating_pk, tuple(each.body for each in regrants))

    def successor(self) -> "Owner":
        """The same scope in the next epoch: where new records go once this one is closed (S1, S6)."""
        return Owner(self._keys, self.scope, self.epoch + 1, self._chain_id)

    def regrant(
        self, grant_id: bytes, recipient: Recipient, permission: Permission, choice: HolderChoice, author_epoch: int
    ) -> PreparedGrant:
        """A grant of the *next* epoch's records, to stand inside `close`; `author_epoch` is the ending grant's (S6)."""
        return self.successor()._grant(grant_id, recipient, permission, choice, author_epoch)  # noqa: SLF001  own class

    def _grant(
        self,
        grant_id: bytes,
        recipient: Recipient,
        permission: Permission,
        choice: HolderChoice,
        author_epoch: int,
    ) -> PreparedGrant:
        delegating = self._keys.delegating(self.scope, self.epoch)
        signing = self._keys.fragment_signing(self.scope, self.epoch)
        kfrags = generate_kfrags(delegating, recipient.receiving_pk, signing, choice.threshold, len(choice.holders))
        terms = GrantTerms(
            grant_id=grant_id,
            delegating_pk=delegating.public_key,
            verifying_pk=signing.public_key,
            recipient_member=recipient.member_id,
            recipient_key=recipient.author_key,
            receiving_pk=recipient.receiving_pk,
            purpose=permission.purpose,
            actor=permission.actor,
            not_before_ms=permission.not_before_ms,
            not_after_ms=permission.not_after_ms,
            holders=choice.holders,
            threshold=choice.threshold,
            kfrag_commitments=tuple(each.commitment for each in kfrags),
            weaker_budget=choice.weaker_budget,
        )
        author = self._keys.author(self.scope, author_epoch).public_key
        proof = prove_ownership(delegating, encode(OwnershipStatement(author, terms), self._chain_id))
        secret = tuple(each.to_secret_bytes() for each in kfrags)
        return PreparedGrant(GrantBody(terms, proof), self.scope, author_epoch, secret)


def request_record(terms: GrantTerms, reference: RecordReference, purpose_evidence: bytes) -> RequestBody:
    """Ask for a record under a grant; opening the salt ties the two on the ledger, for everyone to see (S3)."""
    return RequestBody(terms.grant_id, reference.record_id, reference.salt, terms.purpose, purpose_evidence)


def combine_releases(  # noqa: PLR0913  what one opening is made of
    keys: RecipientKeys,
    terms: GrantTerms,
    request_hash: bytes,
    sealed: Sealed,
    releases: Sequence[Release],
    member_keys: Mapping[str, bytes],
    chain_id: bytes,
    verifier: Verifier,
    *,
    silent: Sequence[tuple[str, ConsiliumError | OSError]] = (),
) -> Combined:
    """What the capsule holds, from the fragments of at least the threshold's worth of holders (S4, S5).

    `member_keys` are the holders' Ed25519 keys, from verified state; `silent` are the holders that released nothing, and
    why. A fragment that is wrong in any way is left out and its holder named. Raises TOO_FEW_FRAGMENTS, as Unavailable when
    the holders that are missing were all out of reach and else as FailedPrecondition; and as `open_reencrypted`.
    """
    good: dict[str, VerifiedCapsuleFrag] = {}
    faults = list(silent)
    for release in releases:
        holder = release.statement.holder
        try:
            _check_statement(release, terms, request_hash, sealed)
            verify_release(release, _key_of(holder, member_keys), chain_id, verifier)
            good[holder] = verify_cfrag(release.cfrag, sealed, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
        except ConsiliumError as error:
            faults.append((holder, error))
    if len(good) < terms.threshold:
        kind = Unavailable if are_all_out_of_reach(faults) else FailedPrecondition
        raise kind(
            "TOO_FEW_FRAGMENTS",
            f"{len(good)} holders released a good fragment, {terms.threshold} are needed ({told_of(faults)}).",
            "S4",
        )
    fragments = list(good.values())[: terms.threshold]
    return Combined(open_reencrypted(keys.receiving, terms.delegating_pk, sealed, fragments), tuple(faults))


def bad_fragments(
    terms: GrantTerms,
    sealed: Sealed,
    releases: Sequence[Release],
    member_keys: Mapping[str, bytes],
    chain_id: bytes,
    verifier: Verifier,
) -> list[BadFragment]:
    """The fragments that their holders have signed for and that do not fit: each is proof against its holder (S5)."""
    return [
        BadFragment(each.statement.holder, each, sealed.capsule)
        for each in releases
        if (each.statement.grant_id, each.statement.capsule_digest) == (terms.grant_id, sealed.digest)
        and _is_its_word(each, member_keys, chain_id, verifier)
        and not fits(each.cfrag, sealed, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
    ]


def _is_its_word(release: Release, member_keys: Mapping[str, bytes], chain_id: bytes, verifier: Verifier) -> bool:
    try:
        verify_release(release, _key_of(release.statement.holder, member_keys), chain_id, verifier)
    except ConsiliumError:
        return False
    return True


def told_of(faults: Sequence[tuple[str, ConsiliumError | OSError]]) -> str:
    """Who failed, and how, for a sentence."""
    return ", ".join(f"{name}: {error}" for name, error in faults) or "nobody failed"


def are_all_out_of_reach(faults: Sequence[tuple[str, ConsiliumError | OSError]]) -> bool:
    """Whether there are faults and every one says no more than that no answer came: later one may."""
    return bool(faults) and all(isinstance(error, Unavailable | DeadlineExceeded | OSError) for _, error in faults)


def _key_of(holder: str, member_keys: Mapping[str, bytes]) -> bytes:
    if holder not in member_keys:
        raise NotFound("UNKNOWN_MEMBER", f"No key of {holder} was given.")
    return member_keys[holder]


def _check_statement(release: Release, terms: GrantTerms, request_hash: bytes, sealed: Sealed) -> None:
    """The holder speaks about this grant, this request and this capsule."""
    said = release.statement
    if said.holder not in terms.holders:
        raise Conflict("NOT_A_HOLDER", f"{said.holder} holds no key fragment of this grant.", "S4")
    if (said.grant_id, said.request_hash) != (terms.grant_id, request_hash):
        raise Conflict("OTHER_REQUEST", f"{said.holder} answered another request.", "S5")
    if said.capsule_digest != sealed.digest:
        raise Conflict("WRONG_CAPSULE", f"{said.holder} transformed another capsule.", "S5")
