"""L3: a ledger with many waiting answers at once, and is asked again for as long as this client waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import add_LedgerServiceServicer_to_server
from consilium.client import remote_member
from consilium.client.remote_member import RemoteMember
from consilium.kernel.errors import FailedPrecondition, Malformed, NotFound
from consilium.runtime.methods import Service
from consilium.runtime.server import serving
from tests.client.cases import CHAIN
from tests.runtime.loopback import Loopback, Scripted, allow

if TYPE_CHECKING:
    from pathlib import Path


class Full(Scripted):
    """A ledger that has no room for waiting calls: not here, not final, then an answer."""

    waits: list[int]

    async def GetTransactionProof(self, request: Any, context: Any) -> Any:
        self.waits.append(request.wait_ms)
        if len(self.waits) == 1:
            raise NotFound("NO_SUCH_TRANSACTION", "Not here.")
        if len(self.waits) == 2:
            raise FailedPrecondition("NOT_FINAL", "Not final.", "L3")
        return pb.GetTransactionProofResponse()


def test_an_answer_that_came_too_early_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        loopback, ledger = Loopback(tmp_path), Full()
        ledger.waits = []
        offered = [Service(pb.DESCRIPTOR.services_by_name["LedgerService"], add_LedgerServiceServicer_to_server, ledger)]
        async with serving(loopback.settings(), offered, allow) as running, loopback.channel(running) as channel:
            with pytest.raises(Malformed):  # the empty proof: it was waited for
                await RemoteMember(lambda _: channel, CHAIN, 10).prove_transaction(bytes(32))
            assert len(ledger.waits) == 3
            assert ledger.waits == sorted(ledger.waits, reverse=True)
            ledger.waits = []
            with pytest.raises(NotFound, match="NO_SUCH_TRANSACTION"):
                await RemoteMember(lambda _: channel, CHAIN, 0).prove_transaction(bytes(32))

    monkeypatch.setattr(remote_member, "PAUSE_S", 0.0)
    asyncio.run(story())
