"""Leaving by permission (ADR 23): one member at a time, never below a quorum, for a bounded time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.consensus.leaving import TURN_S, Departure, Permission, Seen, Word
from consilium.kernel.founding import first_committee
from consilium.runtime.names import Role
from tests.alliance import Alliance
from tests.consensus_service.serving import FOUR, Alliances, founded
from tests.ledger_service.serving import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

COMMITTEE = first_committee(Alliance.founded(FOUR).genesis)
A, B, C, D = (each.member_id for each in COMMITTEE.delegates)
ALL = Seen(COMMITTEE, frozenset((A, B, C, D)), dict.fromkeys((A, B, C, D), 1))
WAIT_S = 90


def without(*names: str) -> Seen:
    return replace(ALL, attending=ALL.attending - set(names))


def back(name: str) -> Seen:
    return replace(ALL, incarnations={**ALL.incarnations, name: 2})


def test_one_at_a_time_until_its_time_is_over() -> None:
    permission = Permission()
    assert permission.ask(A, 60, ALL, 0.0) == Word(granted=True, holder=A, holder_s=60)
    assert permission.ask(B, 60, ALL, 59.0) == Word(granted=False, holder=A, holder_s=1)
    assert permission.ask(B, 60, ALL, 60.0).granted


def test_more_time_for_who_holds_it_never_beyond_the_most() -> None:
    permission = Permission()
    assert permission.ask(A, 60, ALL, 0.0).granted
    assert permission.ask(A, 300, ALL, 50.0) == Word(granted=True, holder=A, holder_s=300)
    assert permission.ask(A, 10, ALL, 60.0) == Word(granted=True, holder=A, holder_s=290), "it has as much already"
    assert permission.ask(A, 300, ALL, 300.0).granted
    assert permission.ask(A, 300, ALL, 301.0) == Word(granted=False, holder=A, holder_s=299)
    assert not permission.ask(B, 60, ALL, 599.0).granted
    assert permission.ask(B, 60, ALL, 600.0).granted


def test_no_more_time_while_another_waits() -> None:
    """One that asks for ever, and never goes, holds up nobody for longer than its time."""
    permission = Permission()
    assert permission.ask(A, 60, ALL, 0.0).granted
    assert not permission.ask(B, 60, ALL, 30.0).granted
    assert permission.ask(A, 30, ALL, 30.0).granted, "that is no more time"
    assert permission.ask(A, 60, ALL, 31.0) == Word(granted=False, holder=B, holder_s=29)
    assert not permission.ask(B, 60, ALL, 59.0).granted
    assert not permission.ask(A, 60, ALL, 60.0).granted
    assert permission.ask(B, 60, ALL, 60.5).granted


def test_not_below_a_quorum() -> None:
    permission = Permission()
    assert permission.ask(A, 60, without(C), 0.0) == Word(granted=False, missing=(C,))
    assert permission.ask(C, 60, without(C), 0.0).granted, "one that does not vote is not missed"
    assert Permission().ask(A, 60, without(A), 0.0).granted


def test_the_word_ends_when_the_member_votes_from_a_later_incarnation() -> None:
    permission = Permission()
    assert permission.ask(A, 600, ALL, 0.0).granted
    assert not permission.ask(B, 60, ALL, 1.0).granted, "it has not gone yet"
    silent = replace(back(A), attending=ALL.attending - {A})
    assert permission.ask(B, 60, silent, 2.0) == Word(granted=False, holder=A, holder_s=598), "it does not vote yet"
    assert permission.ask(B, 60, back(A), 3.0).granted


def test_who_was_started_a_moment_ago_is_not_back_when_its_greeting_comes() -> None:
    """It asked from its second incarnation before this delegate had heard of that."""
    permission = Permission()
    assert permission.ask(A, 60, back(A), 0.0).granted
    assert not permission.ask(B, 60, ALL, 1.0).granted, "the votes of the first come in still"
    assert not permission.ask(B, 60, back(A), 2.0).granted, "the second votes, and has not gone yet"


def test_given_back_by_the_one_that_holds_it_alone() -> None:
    permission = Permission()
    permission.ask(A, 60, ALL, 0.0)
    permission.give_back(B)
    assert permission.holder(ALL, 0.0) == A
    permission.give_back(A)
    assert permission.ask(B, 60, ALL, 0.0).granted


def test_a_member_without_a_seat_holds_up_nobody() -> None:
    permission = Permission()
    assert permission.ask("someone", 60, ALL, 0.0) == Word(granted=True)
    assert permission.ask(A, 60, ALL, 0.0).granted


def test_nobody_keeps_the_others_from_leaving_by_asking_again() -> None:
    permission = Permission()
    permission.ask(A, 10, ALL, 0.0)
    assert not permission.ask(B, 10, ALL, 9.0).granted
    assert permission.ask(A, 10, ALL, 10.0) == Word(granted=False, holder=B, holder_s=0), "B has waited"
    assert permission.ask(B, 10, ALL, 11.0).granted
    assert not permission.ask(A, 10, ALL, 12.0).granted
    assert permission.ask(B, 10, ALL, 12.0 + TURN_S).granted, "A has gone away meanwhile"


class Hall:
    """Four delegates' desks and wishes in one place, and a clock that a test moves; it may lose or hold up what is said."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.desks = {name: Permission() for name in (A, B, C, D)}
        self.wishes = {name: Departure(name, self._way_from(name), lambda: self.now_s) for name in self.desks}
        self.unheard: set[tuple[str, str]] = set()
        """By who asks and whom: what is granted there, and not heard of."""
        self.pauses: random.Random | None = None

    def _way_from(self, asker: str) -> Callable[[str, int], Awaitable[Word | None]]:
        async def asked(name: str, hold_s: int) -> Word | None:
            await self._pause()
            word = self._answer(asker, name, hold_s)
            await self._pause()
            return None if (asker, name) in self.unheard else word

        return asked

    def _answer(self, asker: str, name: str, hold_s: int) -> Word:
        if hold_s:
            return self.desks[name].ask(asker, hold_s, ALL, self.now_s)
        self.desks[name].give_back(asker)
        return Word(granted=False)

    async def _pause(self) -> None:
        for _ in range(self.pauses.randrange(4) if self.pauses else 0):
            await asyncio.sleep(0)

    async def may_go(self, name: str, hold_s: int = 60) -> bool:
        """Ask as `consilium drain` does, once."""
        return (await self.wishes[name].ask(COMMITTEE, hold_s)).granted


def test_a_second_question_takes_nothing_from_the_first_ones_answer() -> None:
    """C5, ADR 23: two pods of a member ask; the later is not heard everywhere, and the other member must wait still."""

    async def scene() -> None:
        hall = Hall()
        assert await hall.may_go(A)
        hall.unheard = {(A, C), (A, D)}
        assert not await hall.may_go(A, 120)
        assert not await hall.may_go(B)
        hall.now_s = 119.0
        assert not await hall.may_go(B), "C and D have let it go for longer, and cannot know that it was not heard"
        hall.now_s = 120.0
        assert await hall.may_go(B)

    asyncio.run(scene())


def test_what_too_few_grant_is_given_back_and_what_is_given_back_is_free() -> None:
    async def scene() -> None:
        hall = Hall()
        hall.unheard = {(A, C), (A, D)}
        assert not await hall.may_go(A)
        hall.desks[C].give_back(A)
        assert await hall.may_go(B), "A and B themselves, and C"
        assert not await hall.may_go(B, 0)
        hall.desks[D].give_back(A)
        assert await hall.may_go(C)

    asyncio.run(scene())


def test_all_delegates_know_who_waits() -> None:
    """Who may go gets no more time for it, though only its own desk and that of who waits would have had to be asked."""

    async def scene() -> None:
        hall = Hall()
        assert await hall.may_go(B)
        assert not await hall.may_go(A)
        assert not await hall.may_go(B, 120)
        hall.now_s = 50.0
        assert not await hall.may_go(A)
        hall.now_s = 60.0
        assert not await hall.may_go(B), "it has just been"
        assert await hall.may_go(A)

    asyncio.run(scene())


@pytest.mark.parametrize("seed", range(50))
def test_two_never_have_permission_at_once(seed: int) -> None:
    """C5, ADR 23: however the questions of all members interleave, are lost, and are asked twice by one of them."""
    draw = random.Random(seed)  # noqa: S311  a test's dice
    hall, until_s = Hall(), dict.fromkeys((A, B, C, D), 0.0)
    hall.pauses = draw

    async def asks() -> None:
        for _ in range(60):
            name, hold_s = draw.choice([A, B, C, D]), draw.choice([5, 5, 20])
            hall.unheard = {(draw.choice([A, B, C, D]), draw.choice([A, B, C, D]))} if draw.random() < 0.5 else set()
            asked_s = hall.now_s
            granted = await hall.may_go(name, hold_s)
            until_s[name] = max(until_s[name], asked_s + hold_s if granted else 0.0)
            assert sum(each > hall.now_s for each in until_s.values()) <= 1
            hall.now_s += draw.random()

    async def scene() -> None:
        await asyncio.gather(*(asks() for _ in range(6)))

    asyncio.run(scene())


async def ask(alliances: Alliances, name: str, hold_s: int = 60) -> pb.AskLeaveResponse:
    """A member's staff asks its own consensus."""
    issued = alliances.authorities[name].person(Role.STAFF, "s1")
    async with alliances.channel(name, "consensus", issued, f"{name}-staff") as channel:
        return await ConsensusServiceStub(channel).AskLeave(pb.AskLeaveRequest(hold_seconds=hold_s), timeout=20)


async def until_granted(alliances: Alliances, name: str) -> pb.AskLeaveResponse:
    """Ask until the answer is yes."""
    while not (said := await ask(alliances, name)).granted:  # noqa: ASYNC110  asked over the wire
        await asyncio.sleep(0.2)
    return said


@pytest.mark.slow
def test_four_services_let_one_go_and_the_next_when_it_is_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(WAIT_S), founded(tmp_path) as four, four.members(B, C, D):
            async with four.member(A):
                said = await until_granted(four, A)
                assert (said.needed, said.answers[0].member_id) == (3, A)
                refused = await ask(four, B)
                assert not refused.granted
                assert A in {each.word.holder_member_id for each in refused.answers}
                await ask(four, A, 0)
                assert (await until_granted(four, B)).granted
                await ask(four, B, 0)
                assert (await until_granted(four, A)).granted
            # It is gone, under three delegates' word: nobody else may go, whatever the time.
            assert not (await ask(four, B)).granted
            async with four.member(A):
                assert (await until_granted(four, B)).granted
                assert (await refusal(ask(four, B, 601))).reason == "BAD_HOLD"

    asyncio.run(scene())
