"""Leaving by permission (ADR 23): one member at a time, never below a quorum, for a bounded time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.consensus.leaving import TURN_S, Permission, Seen, Word
from consilium.kernel.founding import first_committee
from consilium.runtime.names import Role
from tests.alliance import Alliance
from tests.consensus_service.serving import FOUR, Alliances
from tests.ledger_service.serving import refusal

if TYPE_CHECKING:
    from pathlib import Path

COMMITTEE = first_committee(Alliance.founded(FOUR).genesis)
A, B, C, D = (each.member_id for each in COMMITTEE.delegates)
ALL = Seen(COMMITTEE, frozenset((A, B, C, D)), {name: name.encode() for name in (A, B, C, D)})
WAIT_S = 90


def without(*names: str) -> Seen:
    return replace(ALL, attending=ALL.attending - set(names))


def back(name: str) -> Seen:
    return replace(ALL, sessions={**ALL.sessions, name: b"a new one"})


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


def test_the_word_ends_when_the_member_votes_from_a_new_session() -> None:
    permission = Permission()
    assert permission.ask(A, 600, ALL, 0.0).granted
    assert not permission.ask(B, 60, ALL, 1.0).granted, "it has not gone yet"
    silent = replace(back(A), attending=ALL.attending - {A})
    assert permission.ask(B, 60, silent, 2.0) == Word(granted=False, holder=A, holder_s=598), "it does not vote yet"
    assert permission.ask(B, 60, back(A), 3.0).granted


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


@pytest.mark.parametrize("seed", range(50))
def test_two_never_have_a_quorums_word_at_once(seed: int) -> None:
    """However the questions of all members interleave, over delegates that have not crashed."""
    draw = random.Random(seed)  # noqa: S311  a test's dice
    desks = {name: Permission() for name in (A, B, C, D)}
    granted: dict[str, dict[str, float]] = {name: {} for name in desks}
    now_s = 0.0
    for _ in range(400):
        now_s += draw.random()
        asker, desk = draw.choice([A, B, C, D]), draw.choice([A, B, C, D])
        if draw.random() < 0.1:
            desks[desk].give_back(asker)
            granted[asker].pop(desk, None)
        elif desks[desk].ask(asker, 5, ALL, now_s).granted:
            granted[asker][desk] = now_s + 5
        holds = {name: sum(until > now_s for until in words.values()) for name, words in granted.items()}
        assert sum(count >= COMMITTEE.quorum for count in holds.values()) <= 1


@pytest.mark.slow
def test_four_services_let_one_go_and_the_next_when_it_is_back(tmp_path: Path) -> None:
    async def scene() -> None:
        alliances = Alliances(tmp_path)

        async def ask(name: str, hold_s: int = 60) -> pb.AskLeaveResponse:
            issued = alliances.authorities[name].person(Role.STAFF, "s1")
            async with alliances.channel(name, "consensus", issued, f"{name}-staff") as channel:
                return await ConsensusServiceStub(channel).AskLeave(pb.AskLeaveRequest(hold_seconds=hold_s), timeout=20)

        async def until_granted(name: str) -> pb.AskLeaveResponse:
            while not (said := await ask(name)).granted:  # noqa: ASYNC110  asked over the wire
                await asyncio.sleep(0.2)
            return said

        async with asyncio.timeout(WAIT_S), alliances.members(B, C, D):
            async with alliances.member(A):
                said = await until_granted(A)
                assert (said.needed, said.answers[0].member_id) == (3, A)
                refused = await ask(B)
                assert not refused.granted
                assert {each.word.holder_member_id for each in refused.answers} == {A}, "its own word is asked for first"
                await ask(A, 0)
                assert (await until_granted(B)).granted
                await ask(B, 0)
                assert (await until_granted(A)).granted
            # It is gone, under three delegates' word: nobody else may go, whatever the time.
            assert not (await ask(B)).granted
            async with alliances.member(A):
                assert (await until_granted(B)).granted
                assert (await refusal(ask(B, 601))).reason == "BAD_HOLD"

    asyncio.run(scene())
