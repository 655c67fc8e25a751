"""The genesis file: what all founders have signed, with nobody above them (rules L1, L5).

A founder hands out one card: its profile and the certificate of its first authority, signed by its member key and by its
consensus key, so that nobody founds with a key it does not hold. The genesis follows from the cards and the parameters
alone, whoever puts them together, and every founder then signs for the chain that it names. What lacks one of these
signatures is no genesis: every service and every client reads them again at every start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.attestations import CERTIFICATE_BYTES_MAX, BoundAuthority
from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import AtMost, MemberId, Signature, encode
from consilium.kernel.errors import BadSignature, Conflict, FailedPrecondition, InvalidArgument
from consilium.kernel.founding import first_committee, verify_genesis
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Signer, Verifier
from consilium.kernel.transactions import MemberProfile

FOUNDERS_MAX = 512
"""The most founders a genesis may name."""
FINGERPRINT_BYTES, GROUP = 10, 4
"""A fingerprint has 80 bits, in groups of four digits: short enough to be read out."""


@dataclass(frozen=True, slots=True)
class MemberCard:
    """What a coming member says of itself; `certificate` is its first authority's, `drawn_ms` when its keys were drawn."""

    DOMAIN: ClassVar[str] = "consilium.member-card"
    alliance: Annotated[str, AtMost(80)]
    drawn_ms: int
    profile: MemberProfile
    certificate: Annotated[bytes, AtMost(CERTIFICATE_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class SignedCard:
    """A card under both keys that its profile names: a founder's file."""

    DOMAIN: ClassVar[str] = "consilium.signed-card"
    card: MemberCard
    member_signature: Signature
    consensus_signature: Signature


@dataclass(frozen=True, slots=True)
class FoundingDraft:
    """A genesis before it is signed, with the cards that it follows from, sorted by id."""

    DOMAIN: ClassVar[str] = "consilium.founding-draft"
    parameters: Parameters
    cards: Annotated[tuple[SignedCard, ...], AtMost(FOUNDERS_MAX)]

    @property
    def genesis(self) -> Genesis:
        """What follows: the chain's first time is that of the card drawn last."""
        cards = [each.card for each in self.cards]
        profiles = tuple(each.profile for each in cards)
        return Genesis(cards[0].alliance, max(each.drawn_ms for each in cards), self.parameters, profiles)


@dataclass(frozen=True, slots=True)
class GenesisStatement:
    """What a founder signs, on the chain that the genesis names: that it founds it."""

    DOMAIN: ClassVar[str] = "consilium.genesis-statement"
    member_id: MemberId


@dataclass(frozen=True, slots=True)
class FounderConsent:
    """A founder's signature under the genesis, and its first authority, bound to the chain."""

    DOMAIN: ClassVar[str] = "consilium.founder-consent"
    member_id: MemberId
    signature: Signature
    authority: BoundAuthority


@dataclass(frozen=True, slots=True)
class SignedGenesis:
    """A genesis with the signature of every member it names, in their order: the genesis file."""

    DOMAIN: ClassVar[str] = "consilium.signed-genesis"
    genesis: Genesis
    signatures: Annotated[tuple[Signature, ...], AtMost(FOUNDERS_MAX)]


def sign_card(card: MemberCard, member: Signer, consensus: Signer, chain_id: bytes = ZERO_DIGEST) -> SignedCard:
    """A card under its two keys; a founder's is on no chain yet."""
    says = encode(card, chain_id)
    return SignedCard(card, member.sign(says), consensus.sign(says))


def verify_card(signed: SignedCard, verifier: Verifier, chain_id: bytes = ZERO_DIGEST) -> None:
    """Raise BadSignature: BAD_CARD unless both keys that the card names have signed it."""
    says, profile = encode(signed.card, chain_id), signed.card.profile
    try:
        verifier.verify(profile.member_key, says, signed.member_signature)
        verifier.verify(profile.consensus_key, says, signed.consensus_signature)
    except BadSignature as error:
        raise BadSignature(
            "BAD_CARD", f"The card of {profile.member_id} is not signed by the keys it names; have it made again.", "L5"
        ) from error


def draft_founding(cards: Sequence[SignedCard], parameters: Parameters, verifier: Verifier) -> FoundingDraft:
    """The draft of these founders, in whichever order they come. Raises as `verify_draft`."""
    draft = FoundingDraft(parameters, tuple(sorted(cards, key=lambda each: each.card.profile.member_id)))
    verify_draft(draft, verifier)
    return draft


def verify_draft(draft: FoundingDraft, verifier: Verifier) -> None:
    """Raise unless an alliance can be founded of this.

    Raises BadSignature: BAD_CARD; Conflict: DUPLICATE_MEMBER or DUPLICATE_KEY; InvalidArgument: OTHER_ALLIANCE, BAD_FOUNDERS
    or BAD_PARAMETERS; FailedPrecondition: TOO_FEW_MEMBERS below four founders.
    """
    if not draft.cards:
        raise FailedPrecondition("TOO_FEW_MEMBERS", "A draft without founders; four are needed at least.", "C6")
    profiles = [each.card.profile for each in draft.cards]
    for each in draft.cards:
        verify_card(each, verifier)
    _refuse_twice("DUPLICATE_MEMBER", [(each.member_id, each.member_id) for each in profiles])
    owned = [(key, each.member_id) for each in profiles for key in (each.member_key, each.consensus_key)]
    _refuse_twice("DUPLICATE_KEY", owned)
    names = sorted({each.card.alliance for each in draft.cards})
    if len(names) > 1:
        raise InvalidArgument("OTHER_ALLIANCE", f"The founders name different alliances: {', '.join(names)}.", "L5")
    verify_genesis(draft.genesis)
    first_committee(draft.genesis)


def _refuse_twice(reason: str, owned: Sequence[tuple[object, str]]) -> None:
    seen: dict[object, str] = {}
    for value, owner in owned:
        if value in seen:
            sentence = f"{seen[value]} and {owner} found with the same name or key; each founder draws its own."
            raise Conflict(reason, sentence, "L5")
        seen[value] = owner


def sign_genesis(genesis: Genesis, member_id: str, member: Signer) -> bytes:
    """A founder's signature under a genesis."""
    return member.sign(encode(GenesisStatement(member_id), genesis.chain_id))


def verify_signed_genesis(signed: SignedGenesis, verifier: Verifier) -> None:
    """Raise BadSignature: NOT_FOUNDED unless every member that the genesis names has signed it."""
    members, chain_id = signed.genesis.members, signed.genesis.chain_id
    if len(signed.signatures) != len(members):
        raise BadSignature("NOT_FOUNDED", "Not all founders have signed this genesis.", "L5")
    for each, signature in zip(members, signed.signatures, strict=True):
        try:
            verifier.verify(each.member_key, encode(GenesisStatement(each.member_id), chain_id), signature)
        except BadSignature as error:
            raise BadSignature("NOT_FOUNDED", f"{each.member_id} has not signed this genesis.", "L5") from error


def same_fingerprint(one: str, other: str) -> bool:
    """Whether two people have read the same, whatever dashes, spaces and capitals they wrote."""
    plain = [each.replace("-", "").replace(" ", "").lower() for each in (one, other)]
    return plain[0] == plain[1]


def fingerprint(digest: bytes) -> str:
    """What two people read to one another, who must see the same: the first 80 bits."""
    digits = digest[:FINGERPRINT_BYTES].hex()
    return "-".join(digits[at : at + GROUP] for at in range(0, len(digits), GROUP))
