"""The founders of a simulated alliance: their keys, their hash chains of reveals, and the genesis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from consilium.kernel.chain import Genesis
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Grade, MemberProfile
from tests.simulation.signing import KeyedHashSigner

if TYPE_CHECKING:
    from tests.simulation.schedule import Options

GENESIS_MS = 1_700_000_000_000
"""The chain's first time; simulated clocks count from here."""
REVEALS = 40
"""How many reveals a member's hash chain holds, more than a run has epochs."""
GRADES = {
    5: (Grade.A3, Grade.B3, Grade.A2, Grade.B2, Grade.A1),
    7: (Grade.A3, Grade.A3, Grade.B3, Grade.B3, Grade.A2, Grade.A2, Grade.A1),
    8: (Grade.A3, Grade.A3, Grade.B3, Grade.B3, Grade.A2, Grade.B2, Grade.A1, Grade.B1),
}
"""The grades of alliances of five, seven and eight, so that the strata caps can be met (C6)."""


@dataclass(frozen=True)
class Founder:
    """One founding member and all it keeps secret."""

    member_id: str
    grade: Grade
    member_signer: KeyedHashSigner
    consensus_signer: KeyedHashSigner
    reveals: tuple[bytes, ...]

    @cached_property
    def profile(self) -> MemberProfile:
        """What the genesis says about it."""
        return MemberProfile(
            member_id=self.member_id,
            owner_group=self.member_id,
            grade=self.grade,
            member_key=self.member_signer.public_key,
            consensus_key=self.consensus_signer.public_key,
            reveal_anchor=sha256(self.reveals[0]),
        )


@cache
def founders(members: int) -> tuple[Founder, ...]:
    """The members of an alliance of this size, in order of their ids."""
    names = [f"m{place}" for place in range(members)]
    return tuple(_founder(name, grade) for name, grade in zip(names, GRADES[members], strict=True))


def _founder(name: str, grade: Grade) -> Founder:
    chain = [sha256(f"{name}/reveals".encode())]
    while len(chain) < REVEALS:
        chain.append(sha256(chain[-1]))
    member, consensus = KeyedHashSigner(f"{name}/member"), KeyedHashSigner(f"{name}/consensus")
    return Founder(name, grade, member, consensus, tuple(reversed(chain)))


def genesis_of(options: Options) -> Genesis:
    """The genesis of a seed's alliance, its spans scaled down so that a seed crosses several epochs."""
    parameters = Parameters(
        term_blocks=options.term_blocks,
        committee_target=options.committee_target,
        heartbeat_ms=options.heartbeat_ms,
        view_timeout_ms=1_000,
        view_timeout_max_ms=8_000,
        clock_skew_max_ms=1_000,
        window_blocks=16,
        pipeline_blocks=4,
        batch_bytes_max=8_192,
        inline_bytes_max=1_024 if options.large_batches else 16_384,
        expiry_blocks_max=60,
        release_window_blocks=30,
        tip_age_max_ms=options.heartbeat_ms + 1_800,
    )
    profiles = tuple(founder.profile for founder in founders(options.members))
    return Genesis(f"simulation {options.members}", GENESIS_MS, parameters, profiles)
