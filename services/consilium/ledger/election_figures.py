"""What elections have come to, as metrics: ranks, scores, seats, and how near anybody is to capturing a committee (C6, C9).

Worked out from the sitting committee and the members' state when Prometheus asks. An owner group or stratum whose seats
exceed f could break the committee alone: that is what the capture ratio warns of, at more than 1. The chance of a quorum
takes every delegate to be there as often as the chain shows it was, in its last duties; the label `peer` names a member.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import fsum

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.kernel.apportionment import Cap, owner_cap_of, stratum_cap_of
from consilium.kernel.certificates import Committee
from consilium.kernel.election import stratum_of
from consilium.kernel.state_values import DUTIES_KEPT, MemberState
from consilium.kernel.transactions import Grade
from consilium.ledger.keeper import Keeper


@dataclass(frozen=True, slots=True)
class Seats:
    """The seats of a committee by stratum and by owner group."""

    size: int
    faults_max: int
    most: Mapping[Cap, int]

    @property
    def relaxed(self) -> dict[Cap, int]:
        """By how many seats each cap of the rule is exceeded."""
        allowed = {Cap.STRATUM: stratum_cap_of(self.size), Cap.OWNER: owner_cap_of(self.size)}
        return {cap: max(0, self.most[cap] - allowed[cap]) for cap in Cap}


def seats_of(committee: Committee, members: Mapping[str, MemberState], height: int) -> Seats:
    """Count the seats; strata by the grades that count at this height."""
    sitting = [members[each.member_id] for each in committee.delegates]
    strata = Counter(stratum_of(each.grade_at(height)) for each in sitting)
    owners = Counter(each.profile.owner_group for each in sitting)
    most = {Cap.STRATUM: max(strata.values()), Cap.OWNER: max(owners.values())}
    return Seats(len(sitting), committee.faults_max, most)


class ElectionFigures(Collector):
    """The metrics of elections."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        chain = self._keeper.chain
        outlook, members = chain.tip.outlook, {each.profile.member_id: each for each in chain.members()}
        yield GaugeMetricFamily("consilium_election_epoch", "The epoch of the next block.", outlook.epoch)
        yield GaugeMetricFamily(
            "consilium_election_alliance_height", "The last height final by the alliance.", chain.alliance_height
        )
        yield from _ranks(outlook.committee, members, chain.height)
        chance = quorum_chance(outlook.committee, members)
        yield GaugeMetricFamily("consilium_election_quorum_chance", "Of a quorum being there, by conduct (C9).", chance)
        yield _kept_out(members, outlook.epoch)
        seats = seats_of(outlook.committee, members, chain.height)
        capture = GaugeMetricFamily(
            "consilium_election_capture_ratio", "The most seats of one, over f; above 1 it can break all.", labels=["cap"]
        )
        relaxed = GaugeMetricFamily("consilium_election_relaxed_seats", "Seats above the rule's cap.", labels=["cap"])
        for cap in Cap:
            capture.add_metric([cap], seats.most[cap] / seats.faults_max)
            relaxed.add_metric([cap], seats.relaxed[cap])
        yield capture
        yield relaxed


def quorum_chance(committee: Committee, members: Mapping[str, MemberState]) -> float:
    """How likely a quorum of the sitting delegates is there: the exact law of independent absences (C9).

    One that missed m of its last 50 duties is taken to be absent with a chance of (m + 1) / 52 (Laplace), so that nobody is
    called certain.
    """
    absent = [1.0]
    for each in committee.delegates:
        chance = (members[each.member_id].conduct.missed.bit_count() + 1) / (DUTIES_KEPT + 2)
        absent = [here * (1 - chance) + fewer * chance for here, fewer in zip([*absent, 0.0], [0.0, *absent], strict=True)]
    return min(1.0, fsum(absent[: committee.faults_max + 1]))


def _ranks(committee: Committee, members: Mapping[str, MemberState], height: int) -> Iterator[Metric]:
    """A member's rank: its grade, the stratum that makes, its score, and whether it has a seat."""
    ranks: tuple[tuple[str, str, dict[str, float]], ...] = (
        ("grade", "A member's grade, 0 for none that counts.", {n: m.grade_at(height) for n, m in members.items()}),
        ("stratum", "The stratum of that grade.", {n: stratum_of(m.grade_at(height)) for n, m in members.items()}),
        ("score", "A member's conduct score, 0 to 1000.", {n: m.score for n, m in members.items()}),
        ("evidence", "Offences of a member proven on the ledger.", {n: m.evidence_count for n, m in members.items()}),
        ("seat", "1 for a delegate.", {n: committee.index_of(n) is not None for n in members}),
        ("grade_expiry_height", "The last height a grade counts at.", _ends(members)),
    )
    for name, says, values in ranks:
        family = GaugeMetricFamily(f"consilium_election_{name}", says, labels=["peer"])
        for peer, value in values.items():
            family.add_metric([peer], value)
        yield family


def _ends(members: Mapping[str, MemberState]) -> dict[str, float]:
    """When grades end, of those that do."""
    graded = {name: each.grade_expires_height for name, each in members.items() if each.profile.grade is not Grade.UNGRADED}
    return {name: height for name, height in graded.items() if height is not None}


def _kept_out(members: Mapping[str, MemberState], epoch: int) -> Metric:
    """How many active members the next draws pass over, by why."""
    active = [each for each in members.values() if each.is_active]
    found = GaugeMetricFamily("consilium_election_kept_out", "Active members that draws pass over.", labels=["reason"])
    found.add_metric(["jailed"], sum(each.conduct.jailed_until > epoch + 1 for each in active))
    found.add_metric(["silent"], sum(each.conduct.silent for each in active))
    found.add_metric(["tombstoned"], sum(each.tombstoned for each in active))
    return found
