"""What a service reads of its own ledger: the real one, over mutual TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import FailedPrecondition, NotFound
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import member_entry
from consilium.runtime.proven_ledger import ProvenLedger
from consilium.runtime.tls import Tls
from tests.ledger_service.serving import HOME, Ledgers
from tests.runtime.authority import ALLIANCE

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_not_final_yet_is_waited_for(tmp_path: Path) -> None:
    """L3: one call each, answered with the certificate; without waiting they are refused at once."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        reveal = ledgers.scribe.reveal(HOME)
        ledgers.scribe.write()
        ledgers.scribe.write(reveal)
        async with ledgers.serve() as running:
            await ledgers.give(running, [1])
            tls = Tls(ledgers.tls_folder("storage", ledgers.authorities[HOME].service("storage")), ALLIANCE)
            async with ledgers.channel(running, tls) as channel:
                ledger = ProvenLedger(channel, ledgers.scribe.alliance.genesis, Ed25519Verifier())
                with pytest.raises(NotFound):
                    await ledger.read_transaction(leaf_hash(reveal))
                with pytest.raises(FailedPrecondition, match="NOT_FINAL"):
                    await ledger.read_state(member_entry(HOME), 2, 0)
                transaction = asyncio.ensure_future(ledger.read_transaction(leaf_hash(reveal), 60))
                state = asyncio.ensure_future(ledger.read_state(member_entry(HOME), 2, 60))
                while not running.keeper.waiting.count:  # noqa: ASYNC110  it is told by nobody
                    await asyncio.sleep(0)
                await ledgers.give(running, [2])
                assert ((await transaction).height, (await state).height) == (2, 2)

    asyncio.run(scene())
