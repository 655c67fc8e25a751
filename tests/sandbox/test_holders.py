from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.codes import Code
from consilium.kernel.errors import FailedPrecondition, PermissionDenied
from consilium.kernel.umbral import CAPSULE_BYTES
from tests.sandbox.people import REASON, for_a_day, institution, patient
from tests.sandbox.running import QUICK, play, running, until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_refused_request_releases_nothing(tmp_path: Path) -> None:
    """S5, promise 2: NOT_THE_RECIPIENT on the ledger is NOT_GRANTED at every holder."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance)
            _, _, address = institution(alliance, "3A")
            stranger, keys, _ = institution(alliance, "3B")
            reference = await owner.write(b"a record", "2A")
            grant = await owner.share(address, for_a_day())
            with pytest.raises(PermissionDenied, match=r"NOT_THE_RECIPIENT, rule S3"):
                await stranger.request(grant.terms.grant_id, reference, REASON)
            home = alliance.member("3B")
            history = await home.ledger.read(
                lambda chain: [(each, *chain.code_of(each)) for each in home.histories.of(grant.terms.grant_id)]
            )
            refused = [(each, height) for each, height, code in history if code is Code.NOT_THE_RECIPIENT]
            assert len(refused) == 1
            for name in grant.terms.holders:
                await alliance.member(name).ledger.until_certified(refused[0][1])
                with pytest.raises(PermissionDenied, match=r"NOT_GRANTED, rule S5"):
                    await alliance.member(name).holder.reencrypt_capsule(refused[0][0], bytes(CAPSULE_BYTES))
            assert keys.author.public_key != grant.terms.recipient_key

    play(story())


def test_holders_give_their_fragments_up_by_themselves(tmp_path: Path) -> None:
    """S6: one revocation, and every holder deletes and signs, whether or not the patient's client asks."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance)
            _, _, address = institution(alliance, "3A")
            grant = await owner.share(address, for_a_day())
            grant_id = grant.terms.grant_id
            await owner.revoke(grant)
            await until(
                alliance,
                "2A",
                lambda chain: (
                    (found := chain.grant(grant_id)) is not None and sorted(found.deleted_by) == sorted(grant.terms.holders)
                ),
            )
            state = alliance.member("2A").ledger.chain.grant(grant_id)
            assert state is not None
            assert state.dead_height is not None
            assert all(grant_id not in each.holder.grant_ids for each in alliance.up)

    play(story())


def test_a_holder_that_was_down_gives_up_when_it_is_back(tmp_path: Path) -> None:
    """S6: the fragments lie on disk, the revocation on the ledger; a restart brings them together."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance)
            _, _, address = institution(alliance, "3A")
            grant = await owner.share(address, for_a_day())
            name = next(each for each in grant.terms.holders if each != "2A")
            await alliance.member(name).stop()
            revoking = asyncio.create_task(owner.revoke(grant))
            await until(
                alliance,
                "2A",
                lambda chain: (found := chain.grant(grant.terms.grant_id)) is not None and found.revoked_height is not None,
            )
            await alliance.member(name).start()
            await until(
                alliance,
                "2A",
                lambda chain: (found := chain.grant(grant.terms.grant_id)) is not None and name in found.deleted_by,
            )
            await revoking
            assert alliance.member(name).holder.grant_ids == []

    play(story())


def test_a_holder_that_is_cut_off_releases_nothing(tmp_path: Path) -> None:
    """S5: with a tip older than T_fresh a holder cannot know of a revocation, so it keeps its fragment to itself."""

    async def story() -> None:
        async with running(tmp_path, replace(QUICK, tip_age_max_ms=300)) as alliance:
            owner = patient(alliance)
            client, _, address = institution(alliance, "3A")
            reference = await owner.write(b"a record", "2A")
            grant = await owner.share(address, for_a_day())
            asked = await client.request(grant.terms.grant_id, reference, REASON)
            name = grant.terms.holders[0]
            holder, ledger = alliance.member(name).holder, alliance.member(name).ledger
            await until(alliance, name, lambda chain: chain.certified_height >= asked.height)
            alliance.board.isolate(name)
            others = [each for each in alliance.up if each.member_id != name]
            height = max(each.ledger.chain.height for each in others)
            for each in others:
                await until(alliance, each.member_id, lambda chain: chain.certified_height >= height + 5)
            assert ledger.certificate_age_ms > 300
            with pytest.raises(FailedPrecondition, match="STALE_TIP"):
                await holder.reencrypt_capsule(asked.transaction_hash, bytes(CAPSULE_BYTES))

    play(story())
