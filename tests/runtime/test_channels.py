"""The channel to a member's service: how long it takes to connect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from consilium.runtime.channels import Channel, Peer
from tests.runtime.loopback import UNHURRIED, Loopback, Scripted, call

SLOW_S = 2.7
"""Less than an attempt may take, and more than the pause before the next one, which an attempt has in any case."""


async def copied(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Hand on what comes, until nothing does."""
    with closing(target):
        while some := await source.read(65_536):
            target.write(some)


@asynccontextmanager
async def slow_way(port: int) -> AsyncIterator[int]:
    """A port from which every connection to the other goes on only after a while."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await asyncio.sleep(SLOW_S)
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(copied(reader, back), copied(there, writer), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1")
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_a_slow_way_is_a_way(tmp_path: Path) -> None:
    async def scene() -> int:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as running, slow_way(running.port) as port:
            peer = Peer("1A", "ledger", f"127.0.0.1:{port}")
            async with Channel(peer, loopback.client_tls(), UNHURRIED) as channel:
                return int((await call("unary", channel, wait_for_ready=True)).executed_height)

    assert asyncio.run(scene()) == 7
