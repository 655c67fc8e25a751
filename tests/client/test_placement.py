"""S4: who holds the fragments; S1 and promise 4: what it would take to collude."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.client.placement import HolderChoice, choose_holders, share_plan
from consilium.kernel.consent import holder_budget
from consilium.kernel.election import stratum_of
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.state_values import MemberState, MemberStatus
from consilium.kernel.transactions import Grade, MemberProfile

GRANT = bytes(range(16))
HEIGHT = 50
GRADE_OF_STRATUM = {1: Grade.A3, 2: Grade.B3, 3: Grade.A2, 4: Grade.UNGRADED}


def member(member_id: str, owner_group: str, stratum: int) -> MemberState:
    profile = MemberProfile(member_id, owner_group, GRADE_OF_STRATUM[stratum], bytes(32), bytes(32), bytes(32))
    return MemberState(profile, MemberStatus.ACTIVE, None, bytes(32), 1000, 0, tombstoned=False)


FIVE = [
    member("alder", "north", 1),
    member("birch", "south", 1),
    member("cedar", "east", 2),
    member("damson", "west", 2),
    member("elm", "coast", 3),
]


@pytest.mark.parametrize(("active", "shares", "threshold"), [(4, 3, 2), (5, 3, 2), (6, 3, 2), (7, 5, 3), (13, 5, 3)])
def test_two_of_three_below_seven_else_three_of_five(active: int, shares: int, threshold: int) -> None:
    """S4: h = 2 f_h + 1, t = f_h + 1."""
    assert holder_budget(active) == (shares, threshold)


def test_five_members_give_three_holders_over_three_strata() -> None:
    """S4: 2 of 3, spread over strata, the recipient not among them."""
    choice = choose_holders(FIVE, "birch", GRANT, HEIGHT)
    assert (len(choice.holders), choice.threshold, choice.weaker_budget) == (3, 2, False)
    strata = {each.profile.member_id: stratum_of(each.profile.grade) for each in FIVE}
    assert sorted(strata[each] for each in choice.holders) == [1, 2, 3]
    assert "birch" not in choice.holders


def test_same_grant_gives_same_holders_and_another_may_differ() -> None:
    choices = [choose_holders(FIVE, "birch", bytes([n]) * 16, HEIGHT).holders for n in range(20)]
    assert choices[0] == choose_holders(list(reversed(FIVE)), "birch", bytes(16), HEIGHT).holders
    assert len(set(choices)) > 1


def test_no_holder_shares_the_recipients_owner() -> None:
    """S4: never the recipient's owner group, else t counts as t - 1."""
    sibling = member("fir", "south", 4)
    for n in range(20):
        assert "fir" not in choose_holders([*FIVE, sibling], "birch", bytes([n]) * 16, HEIGHT).holders


def test_one_owner_holds_one_fragment() -> None:
    """S4: two fragments under one owner would be one party's."""
    twins = [*FIVE, member("fir", "north", 4)]
    for n in range(20):
        names = choose_holders(twins, "birch", bytes([n]) * 16, HEIGHT).holders
        assert not {"alder", "fir"} <= set(names)


def test_owner_of_two_strata_is_taken_in_the_rare_one() -> None:
    """S4: three fragments in one stratum would not be spread while another has somebody to offer."""
    active = [member("birch", "south", 3), *[member(name, name, 1) for name in ("oak", "pine")]]
    active += [member("fir", "north", 1), member("yew", "north", 2)]
    for n in range(20):
        assert "yew" in choose_holders(active, "birch", bytes([n]) * 16, HEIGHT).holders


def test_only_active_members_hold_and_count() -> None:
    """S4: a suspended member holds nothing."""
    away = dataclasses.replace(FIVE[0], status=MemberStatus.SUSPENDED)
    for n in range(20):
        assert "alder" not in choose_holders([away, *FIVE[1:]], "birch", bytes([n]) * 16, HEIGHT).holders


def test_expired_grade_counts_as_ungraded() -> None:
    """S4, C6: strata are read at the height of the grant."""
    active = [member("birch", "south", 1), *[member(name, name, 1) for name in ("fir", "oak", "pine", "yew")]]
    active[1] = dataclasses.replace(active[1], grade_expires_height=HEIGHT - 1)
    for n in range(20):
        assert "fir" in choose_holders(active, "birch", bytes([n]) * 16, HEIGHT).holders


def test_too_few_owners_is_refused_with_a_sentence() -> None:
    """S4: refused rather than silently weaker."""
    with pytest.raises(FailedPrecondition, match=r"needs 3 holders .* only 2 .*TOO_FEW_HOLDERS, rule S4"):
        choose_holders(FIVE[:3], "alder", GRANT, HEIGHT)


def test_weaker_budget_is_named_when_the_owner_allows_it() -> None:
    """S4: all that are eligible, a majority of them, and the flag the owner signs."""
    choice = choose_holders(FIVE[:3], "alder", GRANT, HEIGHT, allow_weaker=True)
    assert (sorted(choice.holders), choice.threshold, choice.weaker_budget) == (["birch", "cedar"], 2, True)


def test_nobody_eligible_is_refused_even_with_a_weaker_budget() -> None:
    with pytest.raises(FailedPrecondition, match="TOO_FEW_HOLDERS"):
        choose_holders(FIVE[:1], "alder", GRANT, HEIGHT, allow_weaker=True)


def test_unknown_recipient_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="UNKNOWN_RECIPIENT"):
        choose_holders(FIVE, "zelkova", GRANT, HEIGHT)


def test_plan_names_recipient_and_threshold_holders() -> None:
    """Promise 4: the smallest set that would have to collude, and what it would get."""
    choice = choose_holders(FIVE, "birch", GRANT, HEIGHT)
    budget = share_plan(choice, "birch", "oncology", 3, custodian=None)
    assert budget.smallest.members == ("birch", *sorted(choice.holders)[:2])
    assert "'oncology', epoch 3, and of nothing else" in budget.smallest.gains


def test_custodian_is_a_coalition_of_one() -> None:
    """S1: the one stated exception, counted."""
    budget = share_plan(choose_holders(FIVE, "birch", GRANT, HEIGHT), "birch", "oncology", 3, custodian="alder")
    assert budget.smallest.members == ("alder",)
    assert "every scope" in budget.smallest.gains
    assert len(budget.coalitions) == 2


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4)), min_size=1, max_size=14),
    st.binary(min_size=16, max_size=16),
)
def test_every_choice_keeps_the_rule(drawn: list[tuple[int, int]], grant_id: bytes) -> None:
    """S4 for any alliance: owners differ, recipient's owner absent, any t holders are t owners, t a majority."""
    active = [member(f"m{i}", f"owner{owner}", stratum) for i, (owner, stratum) in enumerate(drawn)]
    try:
        choice: HolderChoice = choose_holders(active, "m0", grant_id, HEIGHT, allow_weaker=True)
    except FailedPrecondition:
        assert all(each.profile.owner_group == active[0].profile.owner_group for each in active)
        return
    owners = [each.profile.owner_group for name in choice.holders for each in active if each.profile.member_id == name]
    assert len(set(owners)) == len(owners)
    assert active[0].profile.owner_group not in owners
    assert choice.threshold == len(owners) // 2 + 1
    assert choice.weaker_budget == (len(owners) < holder_budget(len(active))[0])


@given(st.lists(st.integers(1, 4), min_size=6, max_size=13), st.binary(min_size=16, max_size=16))
def test_strata_are_used_as_evenly_as_they_allow(strata: list[int], grant_id: bytes) -> None:
    """S4: with an owner each, no stratum holds two more fragments than one that had a member left."""
    active = [member(f"m{i}", f"owner{i}", stratum) for i, stratum in enumerate(strata)]
    chosen = choose_holders(active, "m0", grant_id, HEIGHT).holders
    used = [strata[int(name[1:])] for name in chosen]
    spare = [stratum for i, stratum in enumerate(strata) if i and f"m{i}" not in chosen]
    for stratum in spare:
        assert max(used.count(each) for each in range(1, 5)) <= used.count(stratum) + 1
