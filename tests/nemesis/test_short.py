"""The nemesis in short; `make nemesis` is the long one."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from consilium.consensus.core.messages import Commit, PrePrepare
from consilium.kernel.founding import first_committee
from consilium.kernel.membership import SERVICES
from consilium.kernel.transactions import ReceiptKind
from tests.nemesis.book import Book, Fragment
from tests.nemesis.kills import draw_kills
from tests.nemesis.linearizable import Act
from tests.nemesis.recorded import recorded
from tests.nemesis.recording import FORGETFUL
from tests.nemesis.replay import judge
from tests.nemesis.run import PARAMETERS, Plan, run
from tests.nemesis.strikes import Way, between, draw_strikes
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.nemesis.recorded import Recorded

MEMBERS = ["1A", "2A", "2B", "3A", "3B"]
POLL_S = 0.1
STALL_S = 5
PATIENT = replace(PARAMETERS, heartbeat_ms=200, view_timeout_ms=12_000)
"""Long views: a proposal that waits is said again, every few seconds, before anybody gives the primary up."""


@pytest.mark.slow
def test_kills_in_mid_work_lose_nothing(tmp_path: Path) -> None:
    """Promises 1, 2 and 5: what was acknowledged is at every member, nobody said two things, all hold one chain."""
    report = run(tmp_path, Plan(seed=8, kills=6), tell=lambda _: None)
    assert report.strikes["kill"] == 6
    assert {"open", "share", "write"} <= report.book.done.keys()
    assert report.proofs >= 5 * len(report.book.stored) > 0
    assert report.looked_at.envelopes > 0
    assert report.book.reads
    assert {each.act for calls in report.book.calls.values() for each in calls} == set(Act)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["", FORGETFUL])
def test_a_vote_log_that_keeps_nothing_is_noticed(tmp_path: Path, fault: str) -> None:
    """C5: a primary that proposed a block, was killed and proposes another in its place; the real one says the same."""
    with recorded(tmp_path, PATIENT, fault) as found:
        asyncio.run(kill_a_proposer(found))
        if not fault:
            assert judge(found, Book()).heights > 0
            return
        with pytest.raises(Violation, match="S6 no amnesia: A second, different message"):
            judge(found, Book())


async def kill_a_proposer(found: Recorded) -> None:
    """Kill the primary while its proposal can have no quorum; started again, it proposes before anybody helps it."""
    alliance = found.alliance
    await alliance.start()
    await alliance.until_final(3)
    primary, *backups = (each.member_id for each in first_committee(alliance.genesis).delegates)
    await stall(found, primary, backups[:2])
    alliance.kill(primary, "consensus")
    await alliance.start(primary, "consensus")
    await until(lambda: newest(found, primary, PrePrepare, incarnation=2) > 0)
    await alliance.stop()


async def stall(found: Recorded, primary: str, backups: Sequence[str]) -> None:
    """Pause two backups so that the primary has a proposal out that neither of them has committed to."""
    while True:
        for each in backups:
            found.alliance.pause(each, "consensus")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STALL_S):
                await until(
                    lambda: newest(found, primary, PrePrepare) > max(newest(found, each, Commit) for each in backups)
                )
                return
        # A commit was under way when they were paused, and its block waits for it: they run until the next is proposed.
        for each in backups:
            found.alliance.resume(each, "consensus")
        await until_after(found, primary, newest(found, primary, PrePrepare))


async def until_after(found: Recorded, primary: str, height: int) -> None:
    """Wait until the primary has proposed a later block."""
    await until(lambda: newest(found, primary, PrePrepare) > height)


def newest(found: Recorded, member_id: str, kind: type[PrePrepare | Commit], incarnation: int = 1) -> int:
    """The newest height a member has spoken of in such a message, in one of its starts."""
    said = (each.message for each in found.envelopes(member_id) if each.incarnation == incarnation)
    return max((each.signed.vote.height for each in said if isinstance(each, kind)), default=0)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for words to be written down; pytest's limit ends it."""
    while not holds():  # noqa: ASYNC110  the words are in another process's file
        await asyncio.sleep(POLL_S)


# --- the schedule ---


def test_every_six_kills_hit_each_service_and_a_whole_member() -> None:
    kills = draw_kills(5, 30, MEMBERS)
    for start in range(0, 30, 6):
        assert {each.service for each in kills[start : start + 6]} == {*SERVICES, None}
    assert {(each.member_id, each.service) for each in kills} == {
        (name, one) for name in MEMBERS for one in (*SERVICES, None)
    }
    assert draw_kills(5, 30, MEMBERS) == kills != draw_kills(6, 30, MEMBERS)


def test_every_round_of_strikes_has_every_way_once() -> None:
    drawn = list(islice(draw_strikes(5, list(Way), MEMBERS, MEMBERS[:1]), 80))
    for start in range(0, 80, len(Way)):
        assert {each.way for each in drawn[start : start + len(Way)]} == set(Way)
    again = list(islice(draw_strikes(5, list(Way), MEMBERS, MEMBERS[:1]), 80))
    assert [str(each) for each in again] == [str(each) for each in drawn]
    assert {each.member_id for each in drawn if each.way is Way.WIPE_MEMBER} == {"1A"}


def test_halves_cannot_speak_to_each_other_and_can_among_themselves() -> None:
    ways = between({"1A", "2A"}, MEMBERS)
    assert len(set(ways)) == 2 * 2 * 3
    assert all((one in {"1A", "2A"}) != (two in {"1A", "2A"}) for one, two in ways)


def test_a_wiped_holder_owes_nothing_any_more() -> None:
    book = Book(taken={Fragment(b"a", "1A"), Fragment(b"a", "2A")}, deleted={Fragment(b"b", "1A"), Fragment(b"b", "2A")})
    book.forgive("1A")
    assert book.taken == {Fragment(b"a", "2A")}
    assert book.receipts_owed() == {(ReceiptKind.DELETION, "2A", b"b")}
    book.deleted.add(Fragment(b"c", "1A"))
    assert (ReceiptKind.DELETION, "1A", b"c") in book.receipts_owed()
