from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.client.session import EXPIRY_BLOCKS
from consilium.kernel.codes import Code
from consilium.kernel.errors import NotFound
from consilium.sandbox.gateway import LocalGateway
from tests.sandbox.people import REASON, for_a_day, institution, patient
from tests.sandbox.running import QUICK, play, running, until, until_certified

if TYPE_CHECKING:
    from pathlib import Path


def test_a_member_that_is_down_cannot_be_reached(tmp_path: Path) -> None:
    """Errors of the way to a member are OSErrors, as `client.alliance` promises."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until_certified(alliance, 1)
            await alliance.member("1A").stop()
            with pytest.raises(ConnectionRefusedError, match="1A"):
                await LocalGateway(alliance.member("1A")).prove_state(b"member/1A")

    play(story())


def test_what_the_ledger_does_not_know_is_not_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as alliance:
            gateway = LocalGateway(alliance.member("2A"))
            with pytest.raises(NotFound, match="UNKNOWN_RECORD"):
                await gateway.prove_record(bytes(16))
            with pytest.raises(NotFound, match="NO_SUCH_HOP"):
                await gateway.epoch_hop(99)
            assert await gateway.prove_grant_history(bytes(16)) == []

    play(story())


@pytest.mark.slow
def test_a_client_that_was_idle_for_long_can_act_again(tmp_path: Path) -> None:
    """L6: the expiry of a transaction is counted from where the chain is now, not from where the client saw it last."""

    async def story() -> None:
        async with running(tmp_path, replace(QUICK, term_blocks=1_000, heartbeat_ms=20)) as alliance:
            owner = patient(alliance)
            client, _, address = institution(alliance, "3A")
            reference = await owner.write(b"a letter", "2A")
            grant = await owner.share(address, for_a_day())
            await client.request(grant.terms.grant_id, reference, REASON)
            seen = alliance.member("2A").ledger.chain.height
            await until(alliance, "2A", lambda chain: chain.height > seen + EXPIRY_BLOCKS + 5)
            await owner.revoke(grant)
            chain = alliance.member("2A").ledger.chain
            codes = [chain.code_of(each)[1] for each in alliance.member("2A").histories.of(grant.terms.grant_id)]
            assert Code.EXPIRED not in codes

    play(story())
