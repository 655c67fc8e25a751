"""What one committee size comes to in a scenario: seats, odds, outages, coalitions (C6, C9; election.md section 4).

PBFT is certain inside its bounds, so all chance is in who sits and who fails. *Unsafe*: more than f delegates malicious. *No
quorum*: fewer than a quorum good and reachable. Malice is drawn once a term, members fail on their own; a common cause is
looked at apart, as one stratum or region that is dark, and malice in concert as coalitions. What is here is an output of
the scenario's numbers and of nothing else: no probability is written down anywhere.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consilium.client.planning.chances import Row, above, hypergeometric_above, never, within_views
from consilium.client.planning.lots import Lots
from consilium.client.planning.scenario import STRATUM_NAMES, PlannedMember, Scenario
from consilium.kernel.apportionment import STRATA, Apportionment, Room, apportion, faults_of, owner_cap_of
from consilium.kernel.certificates import COMMITTEE_MAX
from consilium.kernel.election import COMMITTEE_MIN, committee_size
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.parameters import Parameters

TARGET = 0.99
"""The paper's figure: what warnings are measured by where no target is named."""
TERMS_PER_YEAR = 365
"""One committee a day: what "a year" counts."""
COALITION_PERCENTS = (10, 15, 20)


@dataclass(frozen=True, slots=True)
class Coalition:
    """Members who act as one: their part of the alliance, and how likely they hold more than f seats in a term.

    `p_spread`: they are any members, wherever the draw finds them. `p_placed`: they are those who are drawn most often.
    """

    percent: int
    members: int
    p_spread: float
    p_placed: float


@dataclass(frozen=True, slots=True)
class Outage:
    """All members of one stratum or region unreachable: the chance that a quorum is left."""

    where: str
    p_quorum: float


@dataclass(frozen=True, slots=True)
class SmallestCoalition:
    """How few suffice: delegates, once they sit; owner groups (at least); and members who do in every single term.

    `members_every_term` is None where a draw can always pass the coalition over.
    """

    delegates: int
    owners: int
    members_every_term: int | None


class Forecast:
    """One committee size in one scenario."""

    def __init__(self, scenario: Scenario, size: int, seats: tuple[int, ...] | None = None) -> None:
        """Share the seats out by the production rule, or take those given, and work out the law of the draw.

        Raises InvalidArgument: BAD_COMMITTEE, BAD_SEATS; FailedPrecondition: TOO_FEW_MEMBERS.
        """
        self.scenario, self.size, self.given_seats = scenario, size, seats
        self.faults_max = faults_of(size)
        self.quorum = (size + self.faults_max) // 2 + 1
        self.apportionment = _apportioned(scenario, size) if seats is None else _given(scenario, size, seats)
        self.lots = Lots(scenario, self.apportionment)
        self.malicious = self.lots.row({member.member_id: member.p_malicious for member in scenario.members})
        self.bad = self._bad(lambda _: False)

    @property
    def seats(self) -> tuple[int, ...]:
        """The seats of each stratum."""
        return self.apportionment.seats

    @property
    def messages_per_block(self) -> int:
        """What ordering one block takes: 2n(n-1) messages (C8)."""
        return 2 * self.size * (self.size - 1)

    @property
    def p_unsafe(self) -> float:
        """The chance that more than f delegates of a term are malicious."""
        return above(self.malicious, self.faults_max)

    @property
    def p_no_quorum(self) -> float:
        """The chance that fewer than a quorum of delegates are good and reachable."""
        return above(self.bad, self.size - self.quorum)

    def meets(self, target: float) -> bool:
        """Whether agreement is reached with the probability asked for; a quorum of good delegates also keeps it safe."""
        return self.p_no_quorum <= 1 - target

    def commit_within_views(self) -> Row:
        """The chance that a block commits within 1, 2, ... f + 1 views, whoever is malicious saying nothing as primary."""
        return [within_views(self.bad, self.size, self.quorum, views) for views in range(1, self.faults_max + 2)]

    def never_in_a_year(self, chance: float) -> float:
        """The chance that it never happens in a year of daily terms, each drawn anew."""
        return never(chance, TERMS_PER_YEAR)

    def stratum_outages(self) -> list[Outage]:
        """Each stratum that has members, dark as a whole."""
        return [
            self._outage(name, lambda member, stratum=stratum: member.stratum == stratum)  # type: ignore[misc]
            for stratum, name in enumerate(STRATUM_NAMES)
            if self.scenario.in_stratum(stratum)
        ]

    def region_outages(self) -> list[Outage]:
        """Each region, dark as a whole."""
        regions = sorted({member.region for member in self.scenario.members})
        return [self._outage(name, lambda member, name=name: member.region == name) for name in regions]  # type: ignore[misc]

    def coalitions(self) -> list[Coalition]:
        """A tenth, three twentieths and a fifth of the alliance."""
        return [self._coalition(percent) for percent in COALITION_PERCENTS]

    def smallest_to_stop(self) -> SmallestCoalition:
        """How few keep a committee from deciding anything: so many that no quorum is left."""
        return self._smallest(self.size - self.quorum + 1)

    def smallest_to_fork(self) -> SmallestCoalition:
        """How few could have two blocks decided at one height: so many that two quorums may share no honest delegate."""
        return self._smallest(2 * self.quorum - self.size)

    def warnings(self, target: float = TARGET) -> list[str]:
        """What to know before founding an alliance like this, a sentence each."""
        said = [each.sentence for each in self.apportionment.relaxations]
        said += self._about_size()
        if not self.meets(target):
            said.append(
                f"No quorum with probability {shown(self.p_no_quorum)}: {target:.6g} is not met by {self.size} delegates."
            )
        if not self.lots.is_exact:
            said.append("Owner groups tie the draw together in too many ways; the odds are means over drawn committees.")
        return said + self._about_coalitions(target)

    # --- the parts ---

    def _bad(self, is_dark: Callable[[PlannedMember], bool]) -> Row:
        """How many delegates do not help, when some members are unreachable for certain."""
        return self.lots.row({each.member_id: 1.0 if is_dark(each) else each.p_bad for each in self.scenario.members})

    def _outage(self, where: str, is_dark: Callable[[PlannedMember], bool]) -> Outage:
        row = self._bad(is_dark)
        return Outage(where, sum(row[: self.size - self.quorum + 1]))

    def _coalition(self, percent: int) -> Coalition:
        members = -(-len(self.scenario.members) * percent // 100)
        spread = hypergeometric_above(len(self.scenario.members), members, self.size, self.faults_max)
        placed = self.lots.row(dict.fromkeys(self._most_often_drawn()[:members], 1.0))
        return Coalition(percent, members, spread, above(placed, self.faults_max))

    def _most_often_drawn(self) -> list[str]:
        seated = self.lots.seated()
        return sorted(seated, key=lambda member_id: (-seated[member_id], member_id))

    def _smallest(self, delegates: int) -> SmallestCoalition:
        owners: Counter[str] = Counter()
        for (owner, stratum), count in Counter((each.owner, each.stratum) for each in self.scenario.members).items():
            owners[owner] += min(count, self.seats[stratum])
        most = sorted((min(count, self.apportionment.owner_cap) for count in owners.values()), reverse=True)
        least = next(count for count in range(1, len(most) + 1) if sum(most[:count]) >= delegates)
        return SmallestCoalition(delegates, least, self._certain(delegates))

    def _certain(self, delegates: int) -> int | None:
        """The fewest members of whom so many sit in every draw: all but s - 1 of a stratum's others are needed for s seats.

        With c members of a stratum of N in a coalition, at least seats - (N - c) of its seats are theirs.
        """
        fewest = {0: 0}
        for stratum, seats in enumerate(self.seats):
            spare = len(self.scenario.in_stratum(stratum)) - seats
            after = dict(fewest)
            for held, members in fewest.items():
                for more in range(1, seats + 1):
                    total = members + spare + more
                    after[held + more] = min(after.get(held + more, total), total)
            fewest = after
        return min((members for held, members in fewest.items() if held >= delegates), default=None)

    def _about_size(self) -> list[str]:
        said = []
        elected = committee_size(len(self.scenario.members), self.size)
        if elected != self.size:
            said.append(f"Committees are 3f+1 only (C1): with a target of {self.size} the alliance elects {elected}.")
        if self.size > COMMITTEE_MAX:
            said.append(f"A genesis takes no target above {COMMITTEE_MAX}; this size is for comparison only.")
        if not self.apportionment.relaxations and max(self.seats) > self.faults_max:
            said.append(
                f"One stratum holds {max(self.seats)} seats, more than f = {self.faults_max}: alone it could break them."
            )
        return said

    def _about_coalitions(self, target: float) -> list[str]:
        """One sentence a coalition that breaks the target wherever it is, and one for the smallest that is well placed."""
        coalitions = list({each.members: each for each in reversed(self.coalitions())}.values())[::-1]
        said = [
            f"A coalition of {each.percent} % of the alliance ({each.members} of {len(self.scenario.members)} members, any"
            f" of them) holds more than f = {self.faults_max} seats with probability {shown(each.p_spread)},"
            f" above {shown(1 - target)}."
            for each in coalitions
            if each.p_spread > 1 - target
        ]
        placed = next((each for each in coalitions if each.p_placed > 1 - target), None)
        if placed is not None:
            said.append(
                f"If the {placed.members} members drawn most often ({placed.percent} %) are the coalition, it does so with"
                f" probability {shown(placed.p_placed)}."
            )
        return said


def default_size(scenario: Scenario) -> int:
    """The size that a genesis without a target of its own leads to."""
    return committee_size(len(scenario.members), Parameters().committee_target)


def sizes(scenario: Scenario) -> Sequence[int]:
    """Every size that this alliance could elect."""
    return range(COMMITTEE_MIN, min(len(scenario.members), COMMITTEE_MAX) + 1, 3)


def smallest_meeting(scenario: Scenario, target: float) -> Forecast:
    """The smallest committee that meets the target, or, where none does, the one that comes nearest.

    Sizes at which one stratum alone could break the committee are looked at last.
    """
    breakable = {size: max(_apportioned(scenario, size).seats) > faults_of(size) for size in sizes(scenario)}
    seen: list[Forecast] = []
    for size in sorted(sizes(scenario), key=lambda size: (breakable[size], size)):
        seen.append(Forecast(scenario, size))
        if seen[-1].meets(target):
            return seen[-1]
    return min(seen, key=lambda forecast: forecast.p_no_quorum)


def shown(chance: float) -> str:
    """A chance for people: three figures where it is common, two of a power of ten where it is rare."""
    return f"{chance:.4f}" if chance >= 0.001 or chance == 0 else f"{chance:.1e}"  # noqa: PLR2004


def _apportioned(scenario: Scenario, size: int) -> Apportionment:
    if size < COMMITTEE_MIN:
        raise InvalidArgument(
            "BAD_COMMITTEE", f"A committee has at least {COMMITTEE_MIN} delegates; {size} asked for.", "C1"
        )
    if size > len(scenario.members):
        raise FailedPrecondition(
            "TOO_FEW_MEMBERS",
            f"{scenario.name} has {len(scenario.members)} members, too few for {size} delegates;"
            f" ask for {committee_size(len(scenario.members), size)}.",
            "C6",
        )
    return apportion(_owners(scenario), scenario.shares, size)


def _given(scenario: Scenario, size: int, seats: tuple[int, ...]) -> Apportionment:
    """The seats somebody wants to know the odds of; within the owner cap, as no draw could fill them else."""
    if len(seats) != STRATA or sum(seats) != size or size < COMMITTEE_MIN:
        raise InvalidArgument(
            "BAD_SEATS", f"Give the seats of four strata, {COMMITTEE_MIN} or more in all, as 4/3/4/2; got {seats}.", "C6"
        )
    if not Room(_owners(scenario), owner_cap_of(size)).fits(seats):
        raise InvalidArgument(
            "BAD_SEATS",
            f"The members of {scenario.name} cannot fill seats {'/'.join(map(str, seats))} within the owner cap.",
            "C6",
        )
    return Apportionment(seats, owner_cap_of(size), ())


def _owners(scenario: Scenario) -> list[Counter[str]]:
    """For each stratum how many members each owner group has, as production counts them."""
    return [Counter(member.owner for member in scenario.in_stratum(stratum)) for stratum in range(STRATA)]
