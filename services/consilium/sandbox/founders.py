"""The hospitals of the sandbox, founded as any alliance is, by one hand (rules L5, C6).

Secrets lie in the member's own folder. The genesis file is public; it alone is what a light client starts from.
"""

from pathlib import Path

from consilium.ceremony import founding
from consilium.ceremony.keys import Founder
from consilium.kernel.chain import Genesis
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.parameters import Parameters
from consilium.kernel.signed_genesis import fingerprint
from consilium.kernel.transactions import Grade

ALLIANCE = "consilium"
"""The alliance's name in certificates, which is every service's default."""

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


def found(folder: Path, parameters: Parameters, time_ms: int, founders: tuple[Founder, ...] = FIVE) -> Genesis:
    """Found an alliance in `folder`: NAME/keys, genesis and authorities; `time_ms` is the chain's first.

    `folder` is there and empty.
    """
    cards = [founding.prepare(folder / each.member_id, each, ALLIANCE, time_ms) for each in founders]
    drafted = founding.draft(cards, parameters, time_ms)
    shown = fingerprint(drafted.genesis.chain_id)
    consents = [founding.sign(folder / each.member_id, drafted, shown, time_ms) for each in founders]
    for each in founders:
        (folder / each.member_id / f"{each.member_id}{founding.CARD}").unlink()
    return founding.seal(folder, drafted, consents, time_ms).genesis
