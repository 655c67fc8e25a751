"""The metrics of elections (C6)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from consilium.kernel.apportionment import Cap
from consilium.kernel.founding import first_committee, founder
from consilium.kernel.transactions import Grade
from consilium.ledger.election_figures import seats_of
from tests.alliance import GRADES, Alliance
from tests.ledger_service.serving import Ledgers

if TYPE_CHECKING:
    from pathlib import Path


def test_a_ledger_tells_what_elections_have_come_to(tmp_path: Path) -> None:
    """C6: scores by member, nobody kept out, no stratum above f, the alliance's height."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        ledgers.scribe.cross_epoch()
        async with ledgers.serve() as running:
            await ledgers.give(running)
            sample = running.server.metrics.registry.get_sample_value
            assert sample("consilium_election_epoch") == 1
            assert sample("consilium_election_alliance_height") == 10
            assert [sample("consilium_election_score", {"peer": name}) for name in GRADES] == [700] * 5
            kept_out = ("jailed", "silent", "tombstoned")
            assert [sample("consilium_election_kept_out", {"reason": each}) for each in kept_out] == [0] * 3
            assert [sample("consilium_election_capture_ratio", {"cap": cap}) for cap in Cap] == [1.0, 1.0]
            assert [sample("consilium_election_relaxed_seats", {"cap": cap}) for cap in Cap] == [0, 0]

    asyncio.run(scene())


def test_a_committee_of_one_owner_is_seen_to_be_captured() -> None:
    """C6: four seats of one group and three of one stratum, where one of each is allowed."""
    grades = {"a": Grade.A3, "b": Grade.A2, "c": Grade.A2, "d": Grade.B2}
    alliance = Alliance.founded(grades, owner_groups=dict.fromkeys(grades, "one"))
    members = {name: founder(keys.profile) for name, keys in alliance.keys.items()}
    committee = first_committee(alliance.genesis)
    seats = seats_of(committee, members, 1)
    assert (seats.most, seats.relaxed) == ({Cap.STRATUM: 3, Cap.OWNER: 4}, {Cap.STRATUM: 2, Cap.OWNER: 3})
    expired = {name: replace(each, grade_expires_height=0) for name, each in members.items()}
    assert seats_of(committee, expired, 1).most[Cap.STRATUM] == 4
