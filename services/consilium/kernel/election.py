"""The draw of a committee: a pure function of the chain that anyone can recompute (rule C6; election.md).

Integers only; in the kernel, because the ledger draws with it, and delegates, clients and auditors check it.

1. Eligible: an active member with a score of at least 200 that is not jailed in the epoch it would serve in, and gave a
   sign of life in the last term.
2. n = the largest 3f+1 that is at most min(eligible members, target); below 4 there is no election.
3. Seats per stratum: `kernel.apportionment`.
4. Weight of member i: G * score * (1000 + B) // 1000, with G the grade's number (ungraded counts as 1) and
   B = min(1000, 1000 * votes_i // mean votes of the stratum's eligible members); where nobody voted, B = 0.
5. seed = domain_hash("consilium.election", chain id, epoch as 8 bytes, mix).
6. Stratum by stratum, 1 to 4: lot k = 0, 1, ... of stratum s is x = SHA-256(seed | s as 1 byte | k as 4
   bytes) mod the weights of those still waiting, who stand sorted by id; x falls on one, who stops waiting. Who has
   served three terms running waits until all others of the stratum had their lot: it serves only for want of a substitute.
   That member takes a seat, unless its owner group is at its cap, or the seats that are left could then not
   all be filled within the owner cap. So luck never decides whether a committee can be filled.
7. The order in which delegates are primary: the delegates sorted by id, then shuffled (Durstenfeld 1964): for
   i = n - 1 down to 1 places i and SHA-256(seed | 0 as 1 byte | i as 4 bytes) mod (i + 1) are swapped.

Numbers are big-endian. 256 bits modulo a sum below 2^64 favour no member by more than one part in 2^192.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consilium.kernel.apportionment import STRATA, Apportionment, Relaxation, Room, apportion
from consilium.kernel.certificates import Committee, Delegate
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.hashing import domain_hash, sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Grade

COMMITTEE_MIN = 4
"""The smallest committee that tolerates a fault: 3f+1 with f = 1 (C1)."""
SCORE_START = 700
"""The conduct score, 0 to 1000, that a member starts with (election.md section 5, point 9)."""
SCORE_MIN = 200
"""The lowest score with which a member may be drawn (election.md section 5, point 10)."""
TERMS_RUNNING_MAX = 3
"""How many terms a member serves without a break while its stratum has a substitute (election.md section 5, point 4)."""
BONUS_MAX = 1_000
"""The most that votes add to a weight, in thousandths: at most double it (election.md section 5)."""

_ORDER = 0
"""Stands for the stratum in the lots that settle the order; the strata count from 1."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An active member as the draw sees it.

    `score` is 0 to 1000; `votes` are points; `jailed_until` is the first epoch it may serve in again, 0 if
    it was never jailed. `terms_running` are the terms it has served without a break, the present one included; a `silent`
    member gave no sign of life in the last term.
    """

    member_id: str
    owner_group: str
    grade: Grade
    consensus_key: bytes
    score: int = SCORE_START
    votes: int = 0
    jailed_until: int = 0
    terms_running: int = 0
    silent: bool = False

    @property
    def is_tired(self) -> bool:
        """Whether it has served so long that others come first."""
        return self.terms_running >= TERMS_RUNNING_MAX


@dataclass(frozen=True, slots=True)
class Lot:
    """One lot of a stratum: its number, the weights it was drawn among, on whom it fell, and whether that member sits."""

    stratum: int
    number: int
    value: int
    weight_sum: int
    member_id: str
    is_seated: bool


@dataclass(frozen=True, slots=True)
class Election:
    """A drawn committee and how it came about: the seats and eligible members of each stratum, the seed, every lot."""

    committee: Committee
    apportionment: Apportionment
    strata: tuple[tuple[str, ...], ...]
    seed: bytes
    lots: tuple[Lot, ...]

    @property
    def seats(self) -> tuple[int, ...]:
        """The seats of each stratum."""
        return self.apportionment.seats

    @property
    def relaxations(self) -> tuple[Relaxation, ...]:
        """The caps that gave way."""
        return self.apportionment.relaxations


def draw_committee(
    candidates: Sequence[Candidate], parameters: Parameters, chain_id: bytes, epoch: int, mix: bytes
) -> Election:
    """The committee of `epoch`, drawn from the active members of a state and the sealed mix (C6).

    Raises FailedPrecondition TOO_FEW_MEMBERS below four eligible members; the sitting committee serves on.
    """
    pools = _pools(candidates, epoch)
    size = committee_size(sum(len(pool) for pool in pools), parameters.committee_target)
    owners = [Counter(candidate.owner_group for candidate in pool) for pool in pools]
    plan = apportion(owners, parameters.seat_shares, size)
    seed = domain_hash("consilium.election", chain_id, epoch.to_bytes(8, "big"), mix)
    lots = _lots(seed, pools, plan, Room(owners, plan.owner_cap))
    keys = {candidate.member_id: candidate.consensus_key for candidate in candidates}
    seated = sorted(lot.member_id for lot in lots if lot.is_seated)
    delegates = _shuffled(seed, [Delegate(name, keys[name]) for name in seated])
    strata = tuple(tuple(candidate.member_id for candidate in pool) for pool in pools)
    return Election(Committee(epoch, delegates), plan, strata, seed, tuple(lots))


def stratum_of(grade: Grade) -> int:
    """The stratum of a grade, 1 to 4: 3-special and 3A, 3B and 3C, level 2, level 1 and ungraded (C6)."""
    lowest = (Grade.A3, Grade.C3, Grade.C2, Grade.UNGRADED)
    return next(number for number, least in enumerate(lowest, start=1) if grade >= least)


def committee_size(eligible: int, target: int) -> int:
    """n, the largest 3f+1 that is at most min(eligible, target) (C6).

    Raises FailedPrecondition TOO_FEW_MEMBERS below 4.
    """
    most = min(eligible, target)
    if most < COMMITTEE_MIN:
        raise FailedPrecondition(
            "TOO_FEW_MEMBERS",
            f"{eligible} eligible members and a target of {target} seats give no committee; "
            f"the least is {COMMITTEE_MIN}, so the sitting committee serves on.",
            "C6",
        )
    return most - (most - 1) % 3


def is_eligible(candidate: Candidate, epoch: int) -> bool:
    """Whether an active member may serve in `epoch` (C6)."""
    return not bars(candidate, epoch)


def bars(candidate: Candidate, epoch: int) -> tuple[str, ...]:
    """What keeps an active member from serving in `epoch`, in words: score, jail, silence; mostly nothing (C6)."""
    reasons = (
        (candidate.score < SCORE_MIN, f"score {candidate.score} is below {SCORE_MIN}"),
        (candidate.jailed_until > epoch, f"jailed until epoch {candidate.jailed_until}"),
        (candidate.silent, "no sign of life in the last term"),
    )
    return tuple(words for holds, words in reasons if holds)


def weights(pool: Sequence[Candidate]) -> list[int]:
    """The weight of each eligible member of one stratum: G * score * (1000 + B) // 1000 (C6)."""
    votes_sum = sum(candidate.votes for candidate in pool)
    return [_weight(candidate, len(pool), votes_sum) for candidate in pool]


def _weight(candidate: Candidate, pool_size: int, votes_sum: int) -> int:
    """One weight. Votes over mean votes is votes * pool size over all votes, so nothing is rounded twice."""
    bonus = min(BONUS_MAX, 1_000 * candidate.votes * pool_size // votes_sum) if votes_sum else 0
    return max(1, candidate.grade) * candidate.score * (1_000 + bonus) // 1_000


def _pools(candidates: Sequence[Candidate], epoch: int) -> list[list[Candidate]]:
    """The eligible members of each stratum, sorted by id."""
    pools: list[list[Candidate]] = [[] for _ in range(STRATA)]
    for candidate in sorted(candidates, key=lambda each: each.member_id):
        if is_eligible(candidate, epoch):
            pools[stratum_of(candidate.grade) - 1].append(candidate)
    return pools


def _lots(seed: bytes, pools: Sequence[Sequence[Candidate]], plan: Apportionment, room: Room) -> list[Lot]:
    """Fill every seat from the lots of its stratum; all the lots that took, in order."""
    left = list(plan.seats)
    drawn: list[Lot] = []
    for stratum, pool in enumerate(pools):
        falls = _in_order_of_lots(seed, stratum + 1, pool)
        while left[stratum]:
            number, value, weight_sum, candidate = next(falls)
            after = [seats - (s == stratum) for s, seats in enumerate(left)]
            is_seated = room.take(stratum, candidate.owner_group, after)
            left = after if is_seated else left
            drawn.append(Lot(stratum + 1, number, value, weight_sum, candidate.member_id, is_seated))
    return drawn


def _in_order_of_lots(seed: bytes, stratum: int, pool: Sequence[Candidate]) -> Iterator[tuple[int, int, int, Candidate]]:
    """The members of a stratum in the order in which the lots fall on them, the tired ones last.

    With each come its lot's number, its value, and the sum of the weights it was drawn among.
    """
    weighted = list(zip(pool, weights(pool), strict=True))
    number = 0
    for tired in (False, True):
        waiting = [pair for pair in weighted if pair[0].is_tired is tired]
        weight_sum = sum(weight for _, weight in waiting)
        while waiting:
            value = _lot(seed, stratum, number, weight_sum)
            candidate, weight = waiting.pop(_place_of(value, [weight for _, weight in waiting]))
            yield number, value, weight_sum, candidate
            weight_sum -= weight
            number += 1


def _place_of(value: int, weights: Sequence[int]) -> int:
    """On whom a value below the sum of the weights falls."""
    place = 0
    while value >= weights[place]:
        value -= weights[place]
        place += 1
    return place


def _shuffled(seed: bytes, delegates: Sequence[Delegate]) -> tuple[Delegate, ...]:
    """The order in which the delegates are primary."""
    order = list(delegates)
    for i in range(len(order) - 1, 0, -1):
        j = _lot(seed, _ORDER, i, i + 1)
        order[i], order[j] = order[j], order[i]
    return tuple(order)


def _lot(seed: bytes, number: int, k: int, below: int) -> int:
    """Lot k of a stratum: a number from 0 to below - 1."""
    return int.from_bytes(sha256(seed + bytes([number]) + k.to_bytes(4, "big")), "big") % below
