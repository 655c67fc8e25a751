"""Founding an alliance: every member draws its keys, the genesis file names them all (rules L5, C6).

Secrets lie in the member's own folder, one file each, mode 0600 in a folder of mode 0700. The genesis file
is public; it alone is what a light client starts from.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from consilium.consensus.keys import REVEALS_MAX
from consilium.identity.files import write_atomically
from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import encode
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import Grade, MemberProfile

SECRETS = ("member", "consensus", "reveals", "sealing")
"""The files a member's keys folder holds: 32 random bytes each."""


@dataclass(frozen=True, slots=True)
class Founder:
    """A founding member: its name, its grade, and the owner it belongs to."""

    member_id: str
    grade: Grade
    owner_group: str


FIVE = (
    Founder("1A", Grade.A1, "community"),
    Founder("2A", Grade.A2, "county-east"),
    Founder("2B", Grade.B2, "county-west"),
    Founder("3A", Grade.A3, "university"),
    Founder("3B", Grade.B3, "city"),
)
"""The demo's five hospitals, sorted by id; each is named after its level and grade."""
MORE = (
    Founder("1B", Grade.B1, "township"),
    Founder("2C", Grade.C2, "county-north"),
    Founder("3C", Grade.C3, "railway"),
    Founder("3S", Grade.SPECIAL3, "ministry"),
    Founder("1C", Grade.C1, "village"),
)
"""Who joins them in larger alliances, in this order."""
FOUNDERS_MIN, FOUNDERS_MAX = 4, len(FIVE) + len(MORE)


def founders_of(count: int) -> tuple[Founder, ...]:
    """So many hospitals, sorted by id; four of them have one in every stratum. Raises InvalidArgument: BAD_FOUNDERS."""
    if not FOUNDERS_MIN <= count <= FOUNDERS_MAX:
        raise InvalidArgument(
            "BAD_FOUNDERS", f"An alliance of {count} is asked for; {FOUNDERS_MIN} to {FOUNDERS_MAX} can be."
        )
    without = FIVE[:2] + FIVE[3:]
    chosen = without if count == FOUNDERS_MIN else FIVE + MORE[: count - len(FIVE)]
    return tuple(sorted(chosen, key=lambda each: each.member_id))


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
        """The end of the hash chain, which the genesis publishes; the preimages are revealed backwards."""
        value = self.reveals
        for _ in range(REVEALS_MAX):
            value = sha256(value)
        return value


def draw_keys(folder: Path) -> MemberKeys:
    """Draw a member's secrets and write them; `folder` must not exist."""
    folder.mkdir(mode=0o700)
    for name in SECRETS:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return read_keys(folder)


def read_keys(folder: Path) -> MemberKeys:
    """A member's keys, from its folder."""
    member, consensus, reveals, sealing = [(folder / name).read_bytes() for name in SECRETS]
    return MemberKeys(Ed25519Signer.from_seed(member), Ed25519Signer.from_seed(consensus), reveals, sealing)


def profile_of(founder: Founder, keys: MemberKeys) -> MemberProfile:
    """What the genesis says about a founder: public keys only."""
    return MemberProfile(
        founder.member_id,
        founder.owner_group,
        founder.grade,
        keys.member.public_key,
        keys.consensus.public_key,
        keys.reveal_anchor,
    )


def write_genesis(path: Path, genesis: Genesis) -> None:
    """Write the genesis file; its hash is the chain id."""
    write_atomically(path, encode(genesis, ZERO_DIGEST))


def found(folder: Path, parameters: Parameters, time_ms: int, founders: tuple[Founder, ...] = FIVE) -> Genesis:
    """Draw every founder's keys into `folder`/NAME/keys and write `folder`/genesis; `time_ms` is the chain's first.

    `folder` is there and empty.
    """
    for each in founders:
        (folder / each.member_id).mkdir(mode=0o700)
    profiles = tuple(profile_of(each, draw_keys(folder / each.member_id / "keys")) for each in founders)
    genesis = Genesis("Consilium demo", time_ms, parameters, profiles)
    write_genesis(folder / "genesis", genesis)
    return genesis
