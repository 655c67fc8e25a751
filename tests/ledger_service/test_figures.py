"""The ledger's own metrics: outcomes, the others' heights, and how long revocations take (rule S6)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.founding import first_committee, founder
from consilium.kernel.state_values import Conduct, MemberState
from consilium.ledger.election_figures import quorum_chance
from consilium.ledger.revoking import DEAD, LAST_DELETED
from tests.alliance import Alliance
from tests.ledger.patient import Patient, grant, receipt, revoke
from tests.ledger_service.serving import Ledgers

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.ledger.__main__ import RunningService

HOLDERS = ("anshan", "chaoyang", "dalian")


def took(running: RunningService, until: str) -> tuple[float | None, float | None]:
    """How many revocations came so far, and in how many seconds."""
    sample, name = running.server.metrics.registry.get_sample_value, "consilium_ledger_revocation_seconds"
    return sample(f"{name}_count", {"until": until}), sample(f"{name}_sum", {"until": until})


def test_a_revocation_is_measured_from_its_block_to_the_last_deletion(tmp_path: Path) -> None:
    """S6: dead with two of three receipts, done with three; blocks are a second apart, and what was there is not counted."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        patient = Patient("mrs wang", scribe.alliance.chain_id)
        async with ledgers.serve() as running:
            sample = running.server.metrics.registry.get_sample_value
            scribe.write(grant(scribe, patient, holders=HOLDERS), grant(scribe, patient, "h", holders=HOLDERS))
            scribe.write(revoke(scribe, patient, epoch=1))
            await ledgers.give(running)
            assert sample("consilium_ledger_revocations_open") == 2, "closing a key revokes every grant under it"
            scribe.write(receipt(scribe, "anshan"))
            scribe.write(receipt(scribe, "chaoyang"), receipt(scribe, "chaoyang"))
            await ledgers.give(running)
            assert (took(running, DEAD), took(running, LAST_DELETED)) == ((1, 2.0), (0, 0))
            scribe.write(receipt(scribe, "dalian"))
            await ledgers.give(running)
            assert (took(running, DEAD), took(running, LAST_DELETED)) == ((1, 2.0), (1, 3.0))
            assert sample("consilium_ledger_revocations_open") == 1
            assert sample("consilium_ledger_revocation_oldest_seconds") == 3.0
            assert sample("consilium_ledger_transactions_total", {"code": "RECEIPT_REPEATED"}) == 1
            assert sample("consilium_ledger_transactions_total", {"code": "APPLIED"}) == 6
        async with ledgers.serve() as running:
            assert took(running, DEAD) == (0, 0), "a restart measures nothing again"
            assert running.server.metrics.registry.get_sample_value("consilium_ledger_revocations_open") == 1

    asyncio.run(scene())


def conduct_of(alliance: Alliance, missed: dict[str, int]) -> dict[str, MemberState]:
    """The founders, some of whom have missed duties."""
    found = {name: founder(keys.profile) for name, keys in alliance.keys.items()}
    return {name: replace(each, conduct=Conduct(missed=(1 << missed.get(name, 0)) - 1)) for name, each in found.items()}


@pytest.mark.parametrize(
    ("missed", "likely"),
    [(0, 51 / 52), (25, 26 / 52), (50, 1 / 52)],
)
def test_the_chance_of_a_quorum_is_the_exact_one(missed: int, likely: float) -> None:
    """C9: by hand for one of four that missed so many duties: all four are there, or one of them is not."""
    alliance, usual = Alliance.founded(), 51 / 52
    committee = first_committee(alliance.genesis)
    found = quorum_chance(committee, conduct_of(alliance, {committee.delegates[0].member_id: missed}))
    all_there, only_it_absent = likely * usual**3, (1 - likely) * usual**3
    another_absent = 3 * likely * (1 - usual) * usual**2
    assert found == pytest.approx(all_there + only_it_absent + another_absent, rel=1e-12)
