"""C6: seats for the strata: the reference's table, the theorem, caps that give way no further than needed."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilium.kernel.apportionment import (
    Apportionment,
    Cap,
    Relaxation,
    Room,
    apportion,
    faults_of,
    owner_cap_of,
    stratum_cap_of,
)
from tests.kernel import recomputed_election as text

SHARES = (39, 13, 36, 12)
SIZES = (4, 7, 10, 13, 16, 19, 22, 25)

Pools = list[Counter[str]]


def independents(*counts: int) -> Pools:
    """Strata of so many members, each with an owner of its own."""
    return [Counter(f"{s}-{i}" for i in range(count)) for s, count in enumerate(counts)]


def owned(*owners: str) -> Pools:
    """Strata whose members have the owners named, a letter each."""
    return [Counter(letters) for letters in owners]


def seats_of(pools: Pools, size: int) -> tuple[int, ...]:
    return apportion(pools, SHARES, size).seats


def people_of(pools: Pools) -> list[text.Person]:
    """The same members for the independent recomputation."""
    grades = ("3A", "3B", "2A", "1A")
    return [
        text.Person(f"{grade}-{owner}-{i}", owner, grade)
        for grade, pool in zip(grades, pools, strict=True)
        for owner, count in pool.items()
        for i in range(count)
    ]


def vectors(size: int, most: int) -> list[dict[int, int]]:
    """Every way to share out `size` seats with at most `most` for a stratum."""
    return [dict(zip(text.STRATA, seats, strict=True)) for seats in product(range(most + 1), repeat=4) if sum(seats) == size]


any_pools = st.lists(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", max_size=14), min_size=4, max_size=4).map(
    lambda owners: owned(*owners)
)
few_owners = st.lists(st.text("ABCDE", max_size=6), min_size=4, max_size=4).map(lambda owners: owned(*owners))


def sizes_for(pools: Pools) -> list[int]:
    """The committees that so many members can fill."""
    return [n for n in SIZES if n <= sum(pool.total() for pool in pools)]


@pytest.mark.parametrize(
    ("size", "seats"),
    [
        (4, (1, 1, 1, 1)),
        (7, (2, 2, 2, 1)),
        (10, (3, 2, 3, 2)),
        (13, (4, 3, 4, 2)),
        (16, (4, 4, 4, 4)),
        (19, (5, 5, 5, 4)),
    ],
)
def test_c6_seats_of_the_reference(size: int, seats: tuple[int, ...]) -> None:
    """election.md section 5, point 2; 16 follows from the cap alone."""
    assert apportion(independents(20, 20, 20, 20), SHARES, size) == Apportionment(seats, owner_cap_of(size), ())


@pytest.mark.parametrize(
    ("size", "stratum_cap", "owner_cap"),
    [(4, 1, 1), (7, 2, 1), (10, 3, 1), (13, 4, 2), (16, 4, 2), (19, 5, 3)],
)
def test_c6_caps_of_the_rule(size: int, stratum_cap: int, owner_cap: int) -> None:
    assert (stratum_cap_of(size), owner_cap_of(size)) == (stratum_cap, owner_cap)


def test_c6_a_tie_goes_to_the_smaller_number() -> None:
    """The fifth seat of seven: four equal shares, so S1; the sixth S2, the seventh S3."""
    assert apportion(independents(9, 9, 9, 9), (1, 1, 1, 1), 7).seats == (2, 2, 2, 1)


def test_c6_every_stratum_with_members_has_a_seat() -> None:
    """S3 and S4 have no share at all; by quotients alone they would have no seat."""
    assert apportion(independents(9, 9, 9, 9), (98, 2, 0, 0), 10).seats == (3, 3, 3, 1)


def test_c6_the_first_seat_of_a_stratum_comes_before_the_second_of_another() -> None:
    """A may hold one seat, in S1 or in S4; by quotients alone S1 would have it as its second (13 before 12)."""
    assert seats_of(owned("AB", "CDE", "FGH", "A"), 7) == (1, 2, 3, 1)


def test_c6_seats_pass_on_within_the_caps() -> None:
    """Of 4/3/4/2, S2 can take but one: its two seats go to S4, the only one below the cap."""
    assert apportion(independents(9, 1, 9, 9), SHARES, 13) == Apportionment((4, 1, 4, 4), 2, ())
    assert seats_of(independents(1, 3, 2, 9), 7) == (1, 2, 2, 2)


def test_c6_a_missing_stratum_relaxes_the_cap_by_one_seat() -> None:
    """Three strata cannot fill seven seats with two each; only one, whose turn it is, gets a third."""
    plan = apportion(independents(5, 5, 0, 5), SHARES, 7)
    assert plan.seats == (3, 2, 0, 2)
    assert plan.relaxations == (Relaxation(Cap.STRATUM, 2, 3, 7),)


def test_c6_one_stratum_alone_holds_every_seat() -> None:
    plan = apportion(independents(0, 0, 0, 7), SHARES, 7)
    assert plan.seats == (0, 0, 0, 7)
    assert plan.relaxations == (Relaxation(Cap.STRATUM, 2, 7, 7),)


def test_c6_thirteen_members_of_a_lopsided_alliance() -> None:
    """election.md section 5, point 2: pools of 2/2/4/5 cannot fill 13 within the caps, and must not crash."""
    plan = apportion(independents(2, 2, 4, 5), SHARES, 13)
    assert plan.seats == (2, 2, 4, 5)
    assert plan.relaxations == (Relaxation(Cap.STRATUM, 4, 5, 13),)


def test_c6_an_owner_group_counts_in_all_strata_together() -> None:
    """A owns a hub in every stratum. With n = 4 it may hold one seat."""
    assert apportion(owned("AB", "AC", "AD", "A"), SHARES, 4) == Apportionment((1, 1, 1, 1), 1, ())
    assert seats_of(owned("ABE", "A", "AC", "A"), 4) == (2, 1, 1, 0)


def test_c6_the_stratum_cap_gives_way_before_the_owner_cap() -> None:
    """A has all but S1, where shares put S3 first for the one seat A may hold."""
    plan = apportion(owned("BCD", "A", "A", "A"), SHARES, 4)
    assert plan.seats == (3, 0, 1, 0)
    assert plan.relaxations == (Relaxation(Cap.STRATUM, 1, 3, 4),)


def test_c6_the_stratum_cap_is_not_relaxed_where_it_would_not_help() -> None:
    """One owner has everything: only its cap gives way, and the strata keep theirs."""
    plan = apportion(owned("AAAA", "AAAA", "AAAA", "AAAA"), SHARES, 7)
    assert plan == Apportionment((2, 2, 2, 1), 7, (Relaxation(Cap.OWNER, 1, 7, 7),))


def test_c6_both_caps_give_way_and_say_so() -> None:
    plan = apportion(owned("AAAAAAA", "", "", ""), SHARES, 7)
    assert plan.relaxations == (Relaxation(Cap.STRATUM, 2, 7, 7), Relaxation(Cap.OWNER, 1, 7, 7))


def test_c6_a_relaxation_says_what_it_means() -> None:
    assert Relaxation(Cap.STRATUM, 4, 5, 16).sentence.endswith("instead of 4; still no more than f = 5.")
    assert Relaxation(Cap.STRATUM, 4, 5, 13).sentence == (
        "The members do not fill 13 seats within the stratum cap: one stratum may hold 5 seats instead of 4; "
        "one alone could break the committee, as f = 4."
    )
    assert Relaxation(Cap.OWNER, 2, 3, 13).sentence == (
        "The members do not fill 13 seats within the owner group cap: one owner group may hold 3 seats instead "
        "of 2; still no more than f = 4."
    )


@given(any_pools, st.sampled_from(SIZES), st.lists(st.integers(0, 100), min_size=4, max_size=4))
@settings(max_examples=1_000)
@pytest.mark.slow
def test_c6_agrees_with_the_independent_recomputation(pools: Pools, size: int, shares: list[int]) -> None:
    if size not in sizes_for(pools):
        return
    plan = apportion(pools, shares, size)
    seats, owner_cap = text.apportion(size, people_of(pools), shares)
    assert (plan.seats, plan.owner_cap) == (tuple(seats.values()), owner_cap)


@given(any_pools, st.sampled_from(SIZES))
@settings(max_examples=1_000)
def test_c6_theorem_no_stratum_holds_more_than_f_seats(pools: Pools, size: int) -> None:
    """One whole stratum, malicious or dark, leaves a quorum of others: unless a relaxation says otherwise."""
    if size not in sizes_for(pools):
        return
    plan = apportion(pools, SHARES, size)
    assert sum(plan.seats) == size
    granted = {relaxation.cap: relaxation.granted for relaxation in plan.relaxations}
    assert max(plan.seats) <= granted.get(Cap.STRATUM, faults_of(size) - (size >= 16))
    assert plan.owner_cap == granted.get(Cap.OWNER, max(1, faults_of(size) // 2))
    assert all(relaxation.granted > relaxation.allowed for relaxation in plan.relaxations)


@given(few_owners, st.sampled_from((4, 7, 10)))
@settings(max_examples=300)
def test_c6_no_cap_gives_way_needlessly(pools: Pools, size: int) -> None:
    """One seat less under either relaxed cap, and not one of all possible apportionments could be filled."""
    if size not in sizes_for(pools):
        return
    people = people_of(pools)
    plan = apportion(pools, SHARES, size)
    most = max(plan.seats)
    for relaxation in plan.relaxations:
        if relaxation.cap is Cap.STRATUM:
            tighter, owner_cap = vectors(size, most - 1), plan.owner_cap
        else:
            tighter, owner_cap = vectors(size, size), plan.owner_cap - 1
        assert not any(text.can_be_filled(seats, people, owner_cap, {}) for seats in tighter)


@given(few_owners, st.lists(st.integers(0, 5), min_size=4, max_size=4), st.integers(1, 3))
@settings(max_examples=1_000)
def test_counting_sets_of_strata_is_as_good_as_seating_people(pools: Pools, seats: list[int], owner_cap: int) -> None:
    """Hall's condition against augmenting paths."""
    wanted = dict(zip(text.STRATA, seats, strict=True))
    expected = text.can_be_filled(wanted, people_of(pools), owner_cap, {})
    assert Room(pools, owner_cap).fits(seats) == expected


def test_c6_looking_ahead_keeps_a_seat_for_whoever_has_no_other() -> None:
    """S2 has but one member, and its owner A may hold one seat: so A gets none in S1."""
    room = Room(owned("AB", "A", "", ""), 1)
    assert not room.take(0, "A", (0, 1, 0, 0))
    assert room.take(0, "B", (0, 1, 0, 0))
    assert room.take(1, "A", (0, 0, 0, 0))


def test_c6_an_owner_group_at_its_cap_takes_no_seat() -> None:
    """R12: though nobody needs the room that is left in any stratum."""
    room = Room(owned("AABC", "D", "E", "F"), 1)
    assert room.take(0, "A", (1, 0, 0, 0))
    assert not room.take(0, "A", (0, 0, 0, 0))
