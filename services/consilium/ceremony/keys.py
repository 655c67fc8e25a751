"""What a member draws once and keeps to itself: four secrets and its first authority (rules L2, C6, S5; design section 7).

They lie in one folder, `keys`, one file each, mode 0600 in 0700, and nothing else lies there, so that the folder is the
Secret that a cluster mounts. The first authority is drawn with them, because every other member must carry its certificate
before any service can be reached.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consilium.consensus.keys import REVEALS_MAX
from consilium.identity.authority import draw_authority, private_pem
from consilium.identity.founding import FIRST_CERTIFICATE, FIRST_KEY
from consilium.kernel.attestations import BoundAuthority, bind_authority
from consilium.kernel.errors import Conflict, ConsiliumError, DataLoss
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.signed_genesis import MemberCard, SignedCard, sign_card
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import Grade, MemberProfile
from consilium.runtime.clock import DAY_MS
from consilium.runtime.names import member_of_authority
from consilium.runtime.whole_files import sync_directory

KEYS = "keys"
SECRETS = ("member", "consensus", "reveals", "sealing")
"""The files of 32 random bytes each in a member's keys folder."""
FILES = (*SECRETS, FIRST_CERTIFICATE, FIRST_KEY)
"""All files of that folder."""


@dataclass(frozen=True, slots=True)
class Founder:
    """Who a member will be: its name, its grade, and the owner it belongs to."""

    member_id: str
    grade: Grade
    owner_group: str


@dataclass(frozen=True, slots=True)
class MemberKeys:
    """What a member signs with, the secret its reveals come from, and the key its fragments are sealed under."""

    member: Ed25519Signer
    consensus: Ed25519Signer
    reveals: bytes
    sealing: bytes

    def __repr__(self) -> str:
        """Without the secrets, so that no log line shows them."""
        return f"MemberKeys({self.member!r}, {self.consensus!r})"

    @property
    def reveal_anchor(self) -> bytes:
        """The end of the hash chain, which the ledger publishes; the preimages are revealed backwards."""
        return anchor_of(self.reveals)


def draw_keys(folder: Path) -> MemberKeys:
    """Draw a member's secrets and write them. Raises Conflict: KEYS_EXIST where there are some."""
    with new_folder(folder) as drawing:
        draw_secrets(drawing, SECRETS)
    return read_keys(folder)


def draw_member(folder: Path, answer: Path, alliance: str, member_id: str, now_ms: int, days: int) -> None:
    """Draw a member's secrets and first authority; or leave them, where `answer`, which tells of them, was not written.

    Raises Conflict: KEYS_EXIST; DataLoss: BAD_KEYS.
    """
    if folder.exists() and not answer.exists() and read_first_names(folder) == (alliance, member_id):
        return
    with new_folder(folder) as drawing:
        draw_secrets(drawing, SECRETS)
        draw_first_authority(drawing, alliance, member_id, now_ms, days)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to draw into. It takes its name when all is drawn, so that it is whole or not there.

    Raises Conflict: KEYS_EXIST.
    """
    if folder.exists():
        raise Conflict("KEYS_EXIST", f"{folder} is there already; keys are drawn once: take those, or name another.", "L2")
    drawing = folder.with_name(f".{folder.name}.drawing")
    if drawing.exists():  # of a drawing that was cut short: nobody has had a public key of it
        shutil.rmtree(drawing)
    drawing.mkdir(mode=0o700)
    yield drawing
    sync_directory(drawing)
    drawing.rename(folder)
    sync_directory(folder.parent)


def draw_secrets(folder: Path, names: Sequence[str]) -> None:
    """Draw 32 random bytes each into a folder that holds none of these names."""
    for name in names:
        write_secret(folder / name, secrets.token_bytes(32))


def anchor_of(reveals: bytes) -> bytes:
    """The end of the hash chain that begins with a secret (C6)."""
    value = reveals
    for _ in range(REVEALS_MAX):
        value = sha256(value)
    return value


def draw_first_authority(folder: Path, alliance: str, member_id: str, now_ms: int, days: int) -> None:
    """Draw the member's first authority beside its secrets. Raises InvalidArgument: BAD_NAME."""
    key, certificate = draw_authority(alliance, member_id, now_ms, days * DAY_MS)
    write_secret(folder / FIRST_KEY, private_pem(key))
    write_secret(folder / FIRST_CERTIFICATE, certificate.public_bytes(Encoding.PEM))


def read_keys(folder: Path) -> MemberKeys:
    """A member's keys, from its folder. Raises DataLoss: BAD_KEYS."""
    try:
        member, consensus, reveals, sealing = [(folder / name).read_bytes() for name in SECRETS]
        return MemberKeys(Ed25519Signer.from_seed(member), Ed25519Signer.from_seed(consensus), reveals, sealing)
    except (OSError, ConsiliumError) as error:
        raise DataLoss("BAD_KEYS", f"{folder} holds no member's keys: {error}") from error


def read_first_certificate(folder: Path) -> bytes:
    """The certificate (DER) of the first authority. Raises DataLoss: BAD_KEYS."""
    try:
        return x509.load_pem_x509_certificate((folder / FIRST_CERTIFICATE).read_bytes()).public_bytes(Encoding.DER)
    except (OSError, ValueError) as error:
        raise DataLoss("BAD_KEYS", f"{folder} holds no member's first authority: {error}") from error


def read_first_names(folder: Path) -> tuple[str, str]:
    """Which alliance and member the first authority is of. Raises DataLoss: BAD_KEYS."""
    certificate = x509.load_der_x509_certificate(read_first_certificate(folder))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    alliance = urlsplit(uri).netloc
    return alliance, member_of_authority(uri, alliance)


def bind_first_authority(folder: Path, member_id: str, chain_id: bytes) -> BoundAuthority:
    """The first authority, bound to the chain by the member key; the same at every call. Raises DataLoss: BAD_KEYS."""
    der = read_first_certificate(folder)
    ends_ms = int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp()) * 1_000
    return bind_authority(member_id, der, ends_ms, read_keys(folder).member, chain_id)


def profile_of(founder: Founder, keys: MemberKeys) -> MemberProfile:
    """What the ledger says about a member: public keys only."""
    return MemberProfile(
        founder.member_id,
        founder.owner_group,
        founder.grade,
        keys.member.public_key,
        keys.consensus.public_key,
        keys.reveal_anchor,
    )


def card_of(folder: Path, founder: Founder, alliance: str, drawn_ms: int, chain_id: bytes = ZERO_DIGEST) -> SignedCard:
    """What the member hands out of what lies in its keys folder. Raises DataLoss: BAD_KEYS."""
    keys = read_keys(folder)
    card = MemberCard(alliance, drawn_ms, profile_of(founder, keys), read_first_certificate(folder))
    return sign_card(card, keys.member, keys.consensus, chain_id)


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, for its owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
