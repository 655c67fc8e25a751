"""Founding an alliance: four acts over files, by each founder alone, with nobody above them (rules L5, C6; ADR 22).

    prepare   a founder draws its keys and first authority, and hands out its card        NAME.founder
    draft     anybody puts the cards together; whoever does so gets the same bytes        genesis-draft
    sign      a founder, having compared the fingerprint, signs for the chain             NAME.consent
    seal      anybody puts the signatures together: the genesis, and every first authority, bound to the chain

Only the keys folder is secret. Every file can be made again from those before it, except the keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from consilium.ceremony.keys import (
    KEYS,
    Founder,
    bind_first_authority,
    card_of,
    draw_member,
    profile_of,
    read_keys,
)
from consilium.identity.generations import authority_file
from consilium.identity.trust import SUFFIX
from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import Encodable, decode, encode
from consilium.kernel.errors import (
    BadSignature,
    Conflict,
    ConsiliumError,
    FailedPrecondition,
    InvalidArgument,
    Malformed,
    NotFound,
)
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.parameters import Parameters
from consilium.kernel.signed_genesis import (
    FounderConsent,
    FoundingDraft,
    SignedCard,
    SignedGenesis,
    draft_founding,
    fingerprint,
    same_fingerprint,
    sign_genesis,
    verify_draft,
    verify_signed_genesis,
)
from consilium.kernel.signing import Ed25519Verifier
from consilium.runtime.authorities import AUTHORITY_BYTES_MAX, read_authority, verify_bound
from consilium.runtime.genesis_file import read_signed_genesis
from consilium.runtime.names import authority_uri
from consilium.runtime.whole_files import write_atomically

CARD, CONSENT = ".founder", ".consent"
"""How the names of the files end."""
GENESIS, AUTHORITIES = "genesis", "authorities"
PUBLIC = 0o644
Kind = TypeVar("Kind", bound=Encodable)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A founded alliance as its folder holds it."""

    genesis: Genesis
    authorities: tuple[BoundAuthority, ...]


def prepare(folder: Path, founder: Founder, alliance: str, now_ms: int, days: int = 365) -> SignedCard:
    """Draw a founder's keys into `folder`/keys and write its card beside them; again after an interruption it goes on.

    Raises Conflict: KEYS_EXIST; InvalidArgument: BAD_NAME.
    """
    authority_uri(alliance, founder.member_id)
    if not founder.owner_group:
        raise InvalidArgument("BAD_NAME", "Name the owner that the member belongs to.", "C6")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{founder.member_id}{CARD}"
    draw_member(folder / KEYS, path, alliance, founder.member_id, now_ms, days)
    signed = card_of(folder / KEYS, founder, alliance, now_ms)
    write_atomically(path, encode(signed, ZERO_DIGEST), PUBLIC)
    return signed


def draft(cards: Sequence[SignedCard], parameters: Parameters, now_ms: int) -> FoundingDraft:
    """The draft of these founders, the same for whoever makes it. Raises as `check_draft`."""
    drafted = draft_founding(cards, parameters, Ed25519Verifier())
    check_draft(drafted, now_ms)
    return drafted


def check_draft(drafted: FoundingDraft, now_ms: int) -> None:
    """Raise unless an alliance can be founded of this now.

    Raises as `verify_draft`; FailedPrecondition: CLOCK_AHEAD or AUTHORITY_OVER; InvalidArgument: BAD_AUTHORITY.
    """
    verify_draft(drafted, Ed25519Verifier())
    skew_ms = drafted.parameters.clock_skew_max_ms
    for each in [each.card for each in drafted.cards]:
        name = each.profile.member_id
        if each.drawn_ms > now_ms + skew_ms:
            raise FailedPrecondition(
                "CLOCK_AHEAD",
                f"{name} drew its keys {each.drawn_ms - now_ms} ms after this clock's now; set both clocks right (NTP), "
                f"and let {name} prepare again if its own was wrong.",
                "L7",
            )
        _check_certificate(name, each.alliance, each.certificate, now_ms)


def _check_certificate(name: str, alliance: str, der: bytes, now_ms: int) -> None:
    _, ends_ms = read_authority(der, f"the card of {name}", alliance, name)
    if ends_ms < now_ms:
        raise FailedPrecondition("AUTHORITY_OVER", f"The first authority of {name} has ended; let {name} prepare again.")


def sign(folder: Path, drafted: FoundingDraft, shown: str, now_ms: int) -> FounderConsent:
    """A founder's signature under a draft, once its fingerprint is the one that people compared.

    Raises as `check_draft`; BadSignature: OTHER_FINGERPRINT; FailedPrecondition: NOT_A_FOUNDER; DataLoss: BAD_KEYS.
    """
    check_draft(drafted, now_ms)
    genesis, keys = drafted.genesis, read_keys(folder / KEYS)
    if not same_fingerprint(shown, fingerprint(genesis.chain_id)):
        raise BadSignature(
            "OTHER_FINGERPRINT",
            f"This draft's fingerprint is {fingerprint(genesis.chain_id)}, not {shown}: sign only what all founders see.",
            "L5",
        )
    for each in genesis.members:
        mine = Founder(each.member_id, each.grade, each.owner_group)
        if each == profile_of(mine, keys):
            authority = bind_first_authority(folder / KEYS, each.member_id, genesis.chain_id)
            return FounderConsent(each.member_id, sign_genesis(genesis, each.member_id, keys.member), authority)
    raise FailedPrecondition(
        "NOT_A_FOUNDER", f"The draft names nobody with the keys in {folder}; have it drafted anew.", "L5"
    )


def seal(folder: Path, drafted: FoundingDraft, consents: Sequence[FounderConsent], now_ms: int) -> Sealed:
    """Write the genesis under all signatures, and the founders' authorities, into a folder.

    Raises as `check_draft`; FailedPrecondition: MISSING_CONSENT; InvalidArgument: FOREIGN_CONSENT or what `verify_bound`
    raises; BadSignature: NOT_FOUNDED; Conflict: FOUNDED_ALREADY.
    """
    check_draft(drafted, now_ms)
    genesis, by_name = drafted.genesis, {each.member_id: each for each in consents}
    names = [each.member_id for each in genesis.members]
    foreign, missing = sorted(set(by_name) - set(names)), [each for each in names if each not in by_name]
    if foreign:
        raise InvalidArgument("FOREIGN_CONSENT", f"{', '.join(foreign)} found no part of this draft.", "L5")
    if missing:
        raise FailedPrecondition("MISSING_CONSENT", f"Still to sign: {', '.join(missing)}.", "L5")
    signed = SignedGenesis(genesis, tuple(by_name[each].signature for each in names))
    verify_signed_genesis(signed, Ed25519Verifier())
    sealed = Sealed(genesis, tuple(by_name[each].authority for each in names))
    _check_authorities(sealed, now_ms)
    for signed_card, authority in zip(drafted.cards, sealed.authorities, strict=True):
        if signed_card.card.certificate != authority.certificate:
            name = authority.binding.member_id
            raise InvalidArgument("BAD_AUTHORITY", f"The consent of {name} binds another authority than its card.", "L5")
    _write_sealed(folder, signed, sealed)
    return sealed


def verify(folder: Path, now_ms: int) -> Sealed:
    """What a sealed folder holds, checked as of the founding: years later it is whole still, whatever has ended since.

    Raises InvalidArgument: BAD_GENESIS, BAD_AUTHORITY_FILE or as `verify_bound`; NotFound: NO_AUTHORITY; FailedPrecondition:
    CLOCK_AHEAD.
    """
    genesis = read_signed_genesis(folder / GENESIS).genesis
    if genesis.time_ms > now_ms + genesis.parameters.clock_skew_max_ms:
        raise FailedPrecondition("CLOCK_AHEAD", "This clock is behind the genesis; set it right (NTP).", "L7")
    where = folder / AUTHORITIES if (folder / AUTHORITIES).is_dir() else folder
    paths = sorted(where.glob(f"*{SUFFIX}"))
    sealed = Sealed(genesis, tuple(_read_authority(each, genesis.chain_id) for each in paths))
    _check_authorities(sealed, genesis.time_ms)
    return sealed


def public_files(folder: Path, now_ms: int) -> dict[str, bytes]:
    """The files of a sealed folder by name, once they are checked. Raises as `verify`."""
    verify(folder, now_ms)
    paths = [folder / GENESIS, *sorted((folder / AUTHORITIES).glob(f"*{SUFFIX}"))]
    return {each.name: each.read_bytes() for each in paths}


def _check_authorities(sealed: Sealed, now_ms: int) -> None:
    keys = {each.member_id: each.member_key for each in sealed.genesis.members}
    for each in sealed.authorities:
        name = each.binding.member_id
        if name not in keys:
            raise InvalidArgument("BAD_AUTHORITY", f"There is an authority of {name}, who is no founder.", "L5")
        verify_bound(each, keys[name], sealed.genesis.alliance, sealed.genesis.chain_id, now_ms, Ed25519Verifier())
    without = sorted(set(keys) - {each.binding.member_id for each in sealed.authorities})
    if without:
        raise NotFound("NO_AUTHORITY", f"The authority of {', '.join(without)} is not there; copy the whole folder.")


def _write_sealed(folder: Path, signed: SignedGenesis, sealed: Sealed) -> None:
    path = folder / GENESIS
    data = encode(signed, ZERO_DIGEST)
    if path.exists() and path.read_bytes() != data:
        raise Conflict("FOUNDED_ALREADY", f"{path} is another alliance's; name another folder.", "L5")
    (folder / AUTHORITIES).mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in sealed.authorities:
        chain_id = sealed.genesis.chain_id
        write_atomically(folder / AUTHORITIES / authority_file(each), encode(each, chain_id), PUBLIC)
    write_atomically(path, data)


# --- files ---


def read_card(path: Path) -> SignedCard:
    """A founder's file. Raises Malformed: BAD_FOUNDER_FILE."""
    return _read(path, SignedCard, ZERO_DIGEST, "BAD_FOUNDER_FILE", "founder's file")


def read_draft(path: Path) -> FoundingDraft:
    """A draft's file. Raises Malformed: BAD_DRAFT."""
    return _read(path, FoundingDraft, ZERO_DIGEST, "BAD_DRAFT", "draft of a genesis")


def read_consent(path: Path, chain_id: bytes) -> FounderConsent:
    """A consent's file. Raises Malformed: FOREIGN_CONSENT for another draft's as well."""
    return _read(path, FounderConsent, chain_id, "FOREIGN_CONSENT", "founder's consent to this draft")


def write_draft(path: Path, drafted: FoundingDraft) -> None:
    """Write a draft's file."""
    write_atomically(path, encode(drafted, ZERO_DIGEST), PUBLIC)


def write_consent(folder: Path, consent: FounderConsent, chain_id: bytes) -> Path:
    """Write a consent's file into a folder; where it lies."""
    path = folder / f"{consent.member_id}{CONSENT}"
    write_atomically(path, encode(consent, chain_id), PUBLIC)
    return path


def _read_authority(path: Path, chain_id: bytes) -> BoundAuthority:
    return _read(path, BoundAuthority, chain_id, "BAD_AUTHORITY_FILE", "authority's file of this chain", AUTHORITY_BYTES_MAX)


def _read(path: Path, kind: type[Kind], chain_id: bytes, reason: str, what: str, bytes_max: int = 4_194_304) -> Kind:
    try:
        return decode(kind, path.read_bytes(), chain_id, bytes_max)
    except ConsiliumError as error:
        raise Malformed(reason, f"{path} is no {what}: {error}", "L1") from error
