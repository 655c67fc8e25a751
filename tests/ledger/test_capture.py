"""Votes in concert buy little (C6, R12): a coalition gives itself all its points on the ledger, and committees are drawn.

Open DPOS chains were captured because the most approved won all seats: by approvals three tenths of the voters take fourteen
of nineteen (election.md section 4.3, T8). Here points only bend a lot's weight, to twice as much at the very most, within
strata and caps. A tenth to four tenths of the members, spread over the strata, have 2.8, 4.5, 6.2 and 8.1 seats without any
votes; 2.8, 4.8, 6.7 and 8.9 by voting for themselves; 3.4, 5.7, 7.9 and 9.7 if all others stay at home.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.codes import Code
from consilium.kernel.election import draw_committee, stratum_of
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Grade, Points, VoteBody
from tests.alliance import Alliance, Scribe
from tests.simulation.signing import KeyedHashSigner, KeyedHashVerifier

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

STRATA = {Grade.A3: 6, Grade.B3: 5, Grade.A2: 41, Grade.A1: 48}
"""A hundred hospitals distributed as China's of 2019 (election.md section 3)."""
NAMES = ["anshan", *(f"m{number:02}" for number in range(1, 100))]
GRADES = dict(zip(NAMES, [grade for grade, count in STRATA.items() for _ in range(count)], strict=True))
PARAMETERS = Parameters(term_blocks=10, expiry_blocks_max=300, committee_target=19)
CANDIDATES_MAX = 5
DRAWS = 200


def coalition_of(percent: int) -> list[str]:
    """So many of a hundred, spread over the strata, in no order."""
    members = [name for place, name in enumerate(NAMES) if place * percent % 100 < percent]
    return Random(percent).sample(members, len(members))  # noqa: S311  a schedule, no secret


def vote_of(voter: str, others: Sequence[str]) -> VoteBody:
    """All a member's points on the first of these, one of another stratum, and those that follow, five at most."""
    first, *after = others
    elsewhere = next(name for name in after if stratum_of(GRADES[name]) != stratum_of(GRADES[first]))
    points = int(GRADES[voter])
    chosen = list(dict.fromkeys([first, elsewhere, *after]))[: min(CANDIDATES_MAX, points)]
    given = [points // len(chosen) + (place < points % len(chosen)) for place in range(len(chosen))]
    return VoteBody(tuple(Points(name, each) for name, each in zip(chosen, given, strict=True)))


def in_concert(coalition: Sequence[str]) -> dict[str, VoteBody]:
    """Each gives its points to those that follow it in the coalition, so that all of it have some."""
    rounds = [[*coalition[place + 1 :], *coalition[:place]] for place in range(len(coalition))]
    return {voter: vote_of(voter, others) for voter, others in zip(coalition, rounds, strict=True)}


def at_will(voters: Sequence[str]) -> dict[str, VoteBody]:
    """Each gives its points to whom it likes, of all."""
    chance = Random(0)  # noqa: S311  a schedule, no secret
    return {each: vote_of(each, chance.sample([name for name in NAMES if name != each], 99)) for each in voters}


def mean_seats(ballots: Mapping[str, VoteBody], names: Collection[str]) -> float:
    """How many seats these members have on average, over many mixes, once these votes have counted on a ledger."""
    scribe = Scribe(
        Alliance.founded(GRADES, PARAMETERS, signer=lambda seed: KeyedHashSigner(seed.hex())), KeyedHashVerifier()
    )
    signed = [scribe.signed(scribe.alliance.keys[name].member, body) for name, body in ballots.items()]
    if signed:
        assert set(scribe.write(*signed).codes) == {Code.APPLIED}
    scribe.cross_epoch()
    taken = 0
    for number in range(DRAWS):
        mix = sha256(number.to_bytes(4, "big"))
        drawn = draw_committee(scribe.chain.candidates, PARAMETERS, scribe.alliance.chain_id, 2, mix)
        taken += sum(each.member_id in names for each in drawn.committee.delegates)
    return taken / DRAWS


@pytest.mark.parametrize("percent", [10, 20, 30, 40])
def test_a_coalition_that_votes_for_itself_wins_hardly_a_seat(percent: int) -> None:
    """R12, C6: not one of nineteen where the others vote too; less than two where nobody else does and all weigh double."""
    coalition = coalition_of(percent)
    rest = [name for name in NAMES if name not in coalition]
    fair = mean_seats({}, coalition)
    against, alone = (mean_seats(in_concert(coalition) | others, coalition) for others in (at_will(rest), {}))
    assert fair < against < fair + 1
    assert against < alone < fair + 2
