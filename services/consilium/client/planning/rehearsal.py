"""The production election, run many times with faults injected, beside the calculation (C9).

Every term is drawn by `kernel.election.draw_committee`, as the ledger does, from a mix of its own; then each delegate is
malicious or unreachable as the scenario says. Terms are independent, so what is counted has an exact interval (Clopper and
Pearson), and the calculation must lie inside it. The random source starts at a fixed number: the same file, the same answer.
"""

from dataclasses import dataclass
from random import Random

from consilium.client.planning.chances import exact_interval
from consilium.client.planning.forecast import Forecast
from consilium.kernel.election import draw_committee
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import Parameters

CONFIDENCE = 0.99
"""Of each interval: one in a hundred right calculations lies outside."""
TERMS = 1_000
TERMS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """How often something happened in how many terms, and what was calculated for it."""

    hits: int
    terms: int
    calculated: float

    @property
    def rate(self) -> float:
        """The measured chance."""
        return self.hits / self.terms

    @property
    def interval(self) -> tuple[float, float]:
        """The chances that the count does not contradict."""
        return exact_interval(self.hits, self.terms, CONFIDENCE)

    @property
    def agrees(self) -> bool:
        """Whether the calculation lies in the interval."""
        low, high = self.interval
        return low <= self.calculated <= high


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was measured of the two things that can go wrong."""

    unsafe: Measured
    no_quorum: Measured

    @property
    def agrees(self) -> bool:
        """Whether both calculations stand."""
        return self.unsafe.agrees and self.no_quorum.agrees


def rehearse(forecast: Forecast, terms: int = TERMS) -> Rehearsal:
    """Draw that many committees, let their delegates fail, count. Raises InvalidArgument: BAD_TERMS, NOT_ELECTED."""
    if not 1 <= terms <= TERMS_MAX:
        raise InvalidArgument("BAD_TERMS", f"Simulate 1 to {TERMS_MAX} terms; {terms} asked for.", "C9")
    candidates = [member.candidate for member in forecast.scenario.members]
    parameters = Parameters(committee_target=forecast.size, seat_shares=forecast.scenario.shares)
    chain_id, random = sha256(b"consilium plan"), Random(0)  # noqa: S311  replayed, and nothing secret
    unsafe = no_quorum = 0
    for term in range(terms):
        election = draw_committee(candidates, parameters, chain_id, term, sha256(term.to_bytes(8, "big")))
        if election.seats != forecast.seats:
            raise InvalidArgument("NOT_ELECTED", _not_elected(forecast, election.seats), "C6")
        malicious, bad = _faults(forecast, [each.member_id for each in election.committee.delegates], random)
        unsafe += malicious > forecast.faults_max
        no_quorum += forecast.size - bad < forecast.quorum
    return Rehearsal(Measured(unsafe, terms, forecast.p_unsafe), Measured(no_quorum, terms, forecast.p_no_quorum))


def _faults(forecast: Forecast, delegates: list[str], random: Random) -> tuple[int, int]:
    """How many of these delegates are malicious, and how many do not help, this time."""
    members = {member.member_id: member for member in forecast.scenario.members}
    malicious = bad = 0
    for name in delegates:
        is_malicious = random.random() < members[name].p_malicious
        is_unreachable = random.random() < members[name].p_unreachable
        malicious += is_malicious
        bad += is_malicious or is_unreachable
    return malicious, bad


def _not_elected(forecast: Forecast, seats: tuple[int, ...]) -> str:
    asked, elected = ("/".join(map(str, each)) for each in (forecast.seats, seats))
    return f"The production election gives seats {elected}, not {asked}: simulate without --seats, and a size of 3f+1."
