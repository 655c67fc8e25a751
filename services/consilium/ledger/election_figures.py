"""What elections have come to, as metrics: scores, who is kept out, and how near anybody is to capturing a committee (C6).

Worked out from the sitting committee and the members' state when Prometheus asks. An owner group or stratum whose seats
exceed f could break the committee alone: that is what the capture ratio warns of, at more than 1.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.kernel.apportionment import Cap, owner_cap_of, stratum_cap_of
from consilium.kernel.certificates import Committee
from consilium.kernel.election import stratum_of
from consilium.kernel.state_values import MemberState
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
        scores = GaugeMetricFamily("consilium_election_score", "A member's conduct score, 0 to 1000.", labels=["member"])
        for name, member in members.items():
            scores.add_metric([name], member.score)
        yield scores
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


def _kept_out(members: Mapping[str, MemberState], epoch: int) -> Metric:
    """How many active members the next draws pass over, by why."""
    active = [each for each in members.values() if each.is_active]
    found = GaugeMetricFamily("consilium_election_kept_out", "Active members that draws pass over.", labels=["reason"])
    found.add_metric(["jailed"], sum(each.conduct.jailed_until > epoch + 1 for each in active))
    found.add_metric(["silent"], sum(each.conduct.silent for each in active))
    found.add_metric(["tombstoned"], sum(each.tombstoned for each in active))
    return found
