"""C6: the draw of a committee, against a recomputation, frozen vectors and exact probabilities."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilium.kernel.apportionment import Cap
from consilium.kernel.election import (
    Candidate,
    Election,
    bars,
    committee_size,
    draw_committee,
    is_eligible,
    stratum_of,
    weights,
)
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Grade
from tests.kernel import recomputed_election as text

CHAIN_ID = bytes(range(32))
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "election.json").read_text())
DEMO = [text.Person(f"member-{grade.lower()}", f"owner-{grade}", grade) for grade in ("3A", "3B", "2A", "2B", "1A")]


def candidate_of(person: text.Person) -> Candidate:
    """The same member in the product's words."""
    key = sha256(person.name.encode()).digest()
    grade = Grade(text.GRADES.index(person.grade))
    return Candidate(person.name, person.owner, grade, key, *person[3:])


def mix_of(number: int) -> bytes:
    return sha256(f"mix {number}".encode()).digest()


def parameters_of(target: int = 13, shares: tuple[int, ...] = (39, 13, 36, 12)) -> Parameters:
    return Parameters(committee_target=target, seat_shares=shares)


def elect(people: list[text.Person], target: int = 13, epoch: int = 1, mix: int = 0) -> Election:
    return draw_committee([candidate_of(person) for person in people], parameters_of(target), CHAIN_ID, epoch, mix_of(mix))


def names(election: Election) -> list[str]:
    return [delegate.member_id for delegate in election.committee.delegates]


def outcome_of(election: Election) -> text.Outcome:
    """What the independent recomputation would call it."""
    relaxed = [(str(each.cap), each.allowed, each.granted) for each in election.relaxations]
    return text.Outcome(names(election), list(election.seats), relaxed)


@st.composite
def alliances(draw: st.DrawFn, members_max: int = 30) -> list[text.Person]:
    """Members of any grade, with owners of their own or shared, some jailed, silent, tired or of low score."""
    owners = draw(st.integers(1, members_max))
    person = st.tuples(
        st.integers(0, owners - 1).map(lambda number: f"owner-{number}"),
        st.sampled_from(text.GRADES),
        st.sampled_from((700, 700, 700, 1_000, 200, 199, 0)),
        st.sampled_from((0, 0, 1, 5, 100)),
        st.sampled_from((0, 0, 0, 7, 8)),
        st.sampled_from((0, 0, 1, 2, 3, 5)),
        st.sampled_from((False, False, False, True)),
    )
    return [text.Person(f"m{i}", *each) for i, each in enumerate(draw(st.lists(person, min_size=3, max_size=members_max)))]


def test_c6_strata_and_grade_numbers() -> None:
    """election.md section 5, point 1."""
    strata = [stratum_of(grade) for grade in sorted(Grade, reverse=True)]
    assert strata == [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert [weights([candidate_of(text.Person("m", "o", grade, 1))]) for grade in text.GRADES] == [
        [1], [1], [2], [3], [4], [5], [6], [7], [8], [9], [10]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("eligible", "target", "size"),
    [
        (4, 13, 4),
        (5, 13, 4),
        (6, 13, 4),
        (7, 13, 7),
        (12, 13, 10),
        (13, 13, 13),
        (500, 13, 13),
        (30, 20, 19),
        (9, 4, 4),
    ],
)
def test_c6_n_is_the_largest_3f_plus_1(eligible: int, target: int, size: int) -> None:
    assert committee_size(eligible, target) == size


def test_c6_three_members_elect_nobody() -> None:
    with pytest.raises(FailedPrecondition, match="serves on") as caught:
        elect(DEMO[:3])
    assert (caught.value.reason, caught.value.rule) == ("TOO_FEW_MEMBERS", "C6")


def test_c6_weights_with_votes() -> None:
    """election.md section 5, point 7. Of mean votes 10/3, one vote is 300 per mille; nine are capped at 1000."""
    people = [
        text.Person("a", "o", "2A", 700, 1),
        text.Person("b", "o", "2B", 701, 9),
        text.Person("c", "o", "2C", 333),
    ]
    assert weights([candidate_of(person) for person in people]) == [
        6 * 700 * 1_300 // 1_000, 5 * 701 * 2, 4 * 333
    ]  # fmt: skip


def test_c6_without_votes_nobody_has_a_bonus() -> None:
    assert weights([candidate_of(person) for person in DEMO[:2]]) == [6_300, 5_600]


def test_c6_eligible_by_score_and_jail() -> None:
    member = candidate_of(DEMO[0])
    assert is_eligible(member, 0)
    assert is_eligible(replace(member, score=200), 0)
    assert not is_eligible(replace(member, score=199), 0)
    assert is_eligible(replace(member, jailed_until=5), 5)
    assert not is_eligible(replace(member, jailed_until=5), 4)
    assert not is_eligible(replace(member, silent=True), 4)
    assert len(bars(replace(member, score=0, jailed_until=5, silent=True), 4)) == 3


def test_c6_the_demo_alliance() -> None:
    """Five members, four seats, one a stratum: one of the two level-2 hospitals follows without a vote."""
    drawn = Counter()  # type: Counter[str]
    orders = []
    for epoch in range(1, 41):
        election = elect(DEMO, epoch=epoch, mix=epoch % 2)
        assert election.seats == (1, 1, 1, 1)
        assert election.relaxations == ()
        assert election.strata[2] == ("member-2a", "member-2b")
        assert election.committee.epoch == epoch
        drawn.update(names(election))
        orders.append(names(election))
    assert drawn["member-3a"] == drawn["member-3b"] == drawn["member-1a"] == 40
    assert min(drawn["member-2a"], drawn["member-2b"]) > 0
    assert len({order[0] for order in orders}) > 3


def test_c6_chain_epoch_and_mix_all_enter_the_seed() -> None:
    people = [text.Person(f"m{i}", f"o{i}", "2A") for i in range(30)]
    candidates = [candidate_of(person) for person in people]
    base = draw_committee(candidates, parameters_of(), CHAIN_ID, 1, mix_of(0))
    others = [
        draw_committee(candidates, parameters_of(), bytes(32), 1, mix_of(0)),
        draw_committee(candidates, parameters_of(), CHAIN_ID, 2, mix_of(0)),
        draw_committee(candidates, parameters_of(), CHAIN_ID, 1, mix_of(1)),
    ]
    assert all(sorted(names(other)) != sorted(names(base)) for other in others)


def test_c6_delegates_carry_their_consensus_keys() -> None:
    for delegate in elect(DEMO).committee.delegates:
        assert delegate.consensus_key == sha256(delegate.member_id.encode()).digest()


def test_c6_one_seat_falls_by_weight() -> None:
    """2A against 2B is 6 : 5: of 2,000 draws 1,090.9 are expected; 89 is four standard deviations."""
    wins = sum("member-2a" in names(elect(DEMO, mix=number)) for number in range(2_000))
    assert abs(wins - 2_000 * 6 / 11) < 89


def test_c6_two_seats_fall_as_lots_without_replacement() -> None:
    """Weights 6 : 5 : 4, two of three drawn: each pair's chance is exact (election.md formula 3)."""
    people = [*DEMO, text.Person("member-2c", "owner-2C", "2C"), text.Person("member-3c", "owner-3C", "3C")]
    weight = {"member-2a": 6, "member-2b": 5, "member-2c": 4}
    left_out: Counter[str] = Counter()
    draws = 2_000
    spare = [*people, text.Person("member-3s", "owner-3S", "3S")]
    for number in range(draws):
        election = elect(spare, target=7, mix=number)
        assert election.seats == (2, 2, 2, 1)
        left_out.update(name for name in weight if name not in names(election))
    total = sum(weight.values())
    for last in weight:
        first, second = (weight[name] for name in weight if name != last)
        chance = first / total * second / (total - first) + second / total * first / (total - second)
        assert abs(left_out[last] - draws * chance) < 4 * (draws * chance * (1 - chance)) ** 0.5


def test_c6_lots_on_the_edge_between_two_members() -> None:
    """Weights of 200 each, so that some of 1,200 lots fall exactly where one member ends and the next begins."""
    people = [text.Person(f"m{i}", f"o{i}", "U", 200) for i in range(7)]
    for number in range(300):
        expected = text.recompute(people, 4, (39, 13, 36, 12), CHAIN_ID, 1, mix_of(number))
        assert outcome_of(elect(people, target=4, mix=number)) == expected


def test_c6_every_place_in_the_order_is_equally_likely() -> None:
    """2,000 orders of four delegates: each is first in about 500; 77 is four standard deviations."""
    people = [*DEMO[:3], DEMO[4]]
    first = Counter(names(elect(people, mix=number))[0] for number in range(2_000))
    last = Counter(names(elect(people, mix=number))[-1] for number in range(2_000))
    assert all(abs(count - 500) < 77 for places in (first, last) for count in places.values())
    assert len(first) == len(last) == 4


def test_c6_an_owner_group_never_takes_the_seat_another_stratum_needs() -> None:
    """A's clinic is all that S4 has, and n = 4 leaves A one seat: its hub is not drawn, whatever the mix."""
    people = [
        text.Person("a-hub", "A", "3S"),
        text.Person("b-hub", "B", "3A", 200),
        text.Person("c", "C", "3B"),
        text.Person("d", "D", "2A"),
        text.Person("a-clinic", "A", "U"),
    ]
    for number in range(60):
        election = elect(people, mix=number)
        assert sorted(names(election)) == ["a-clinic", "b-hub", "c", "d"]
        assert election.relaxations == ()


def test_c6_thirteen_members_of_a_lopsided_alliance() -> None:
    grades = ["3A"] * 2 + ["3B"] * 2 + ["2B"] * 4 + ["1A"] * 5
    election = elect([text.Person(f"m{i:02}", f"o{i}", grade) for i, grade in enumerate(grades)])
    assert election.seats == (2, 2, 4, 5)
    assert [(each.cap, each.allowed, each.granted) for each in election.relaxations] == [(Cap.STRATUM, 4, 5)]


def test_c6_the_largest_alliance_is_drawn() -> None:
    """512 members in 100 owner groups that reach over all strata, 64 seats."""
    people = [text.Person(f"m{i}", f"o{i % 100}", text.GRADES[i * 7 % 11]) for i in range(512)]
    election = elect(people, target=64)
    assert len(set(names(election))) == 64
    assert election.relaxations == ()


@given(alliances(), st.permutations(range(30)), st.integers(0, 9))
@settings(max_examples=100)
def test_c6_the_order_of_the_members_does_not_matter(people: list[text.Person], order: list[int], epoch: int) -> None:
    shuffled = [people[i] for i in order if i < len(people)]
    if sum(is_eligible(candidate_of(person), epoch) for person in people) >= 4:
        assert elect(people, epoch=epoch) == elect(shuffled, epoch=epoch)


@given(alliances(), st.integers(4, 31), st.integers(0, 9), st.integers(0, 2**32))
@settings(max_examples=1_000)
@pytest.mark.slow
def test_c6_the_caps_hold_unless_a_relaxation_is_recorded(
    people: list[text.Person], target: int, epoch: int, mix: int
) -> None:
    by_name = {person.name: person for person in people}
    if sum(is_eligible(candidate_of(person), epoch) for person in people) < 4:
        return
    election = elect(people, target, epoch, mix)
    chosen = [by_name[name] for name in names(election)]
    n = len(chosen)
    f = election.committee.faults_max
    assert n == len(set(chosen)) == 3 * f + 1 <= target
    assert all(person.score >= 200 and person.jailed_until <= epoch and not person.silent for person in chosen)
    _check_rest(chosen, [person for person in people if is_eligible(candidate_of(person), epoch)], election)
    granted = {each.cap: each.granted for each in election.relaxations}
    strata = Counter(person.stratum for person in chosen)
    assert [strata[s] for s in text.STRATA] == list(election.seats)
    assert max(strata.values()) <= granted.get(Cap.STRATUM, f if n < 16 else f - 1)
    assert max(Counter(person.owner for person in chosen).values()) <= granted.get(Cap.OWNER, max(1, f // 2))


def _check_rest(chosen: list[text.Person], eligible: list[text.Person], election: Election) -> None:
    """Who has served three terms running sits only where every other member of its stratum had its lot before."""
    passed = {lot.member_id for lot in election.lots}
    for tired in (person for person in chosen if person.running >= 3):
        fresh = [each for each in eligible if each.stratum == tired.stratum and each.running < 3]
        assert all(each in chosen or each.name in passed for each in fresh)


@given(
    alliances(),
    st.integers(3, 31),
    st.lists(st.integers(0, 100), min_size=4, max_size=4),
    st.integers(0, 9),
    st.binary(min_size=32, max_size=32),
)
@settings(max_examples=2_000)
@pytest.mark.slow
def test_c6_agrees_with_the_independent_recomputation(
    people: list[text.Person], target: int, shares: list[int], epoch: int, mix: bytes
) -> None:
    expected = text.recompute(people, target, shares, CHAIN_ID, epoch, mix)
    candidates = [candidate_of(person) for person in people]
    parameters = parameters_of(target, tuple(shares))
    if expected is None:
        with pytest.raises(FailedPrecondition):
            draw_committee(candidates, parameters, CHAIN_ID, epoch, mix)
    else:
        assert outcome_of(draw_committee(candidates, parameters, CHAIN_ID, epoch, mix)) == expected


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: str(case["name"]))
def test_c6_frozen_vectors(case: dict[str, Any]) -> None:
    people = [text.Person(*row) for row in case["members"]]
    chain_id, mix = bytes.fromhex(case["chain_id"]), bytes.fromhex(case["mix"])
    expected = text.Outcome(case["order"], case["seats"], [tuple(each) for each in case["relaxed"]])
    parameters = parameters_of(case["target"], tuple(case["shares"]))
    candidates = [candidate_of(person) for person in people]
    assert outcome_of(draw_committee(candidates, parameters, chain_id, case["epoch"], mix)) == expected
    assert text.recompute(people, case["target"], case["shares"], chain_id, case["epoch"], mix) == expected
