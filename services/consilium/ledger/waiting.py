"""Who waits for which transaction to become final (rule L3).

A client that has handed in a transaction asks once and is answered with the certificate. Each waits under the name of its
own transaction, so a block costs one look for each transaction in it, however many wait. For one event loop.
"""

import asyncio
from collections.abc import Iterable
from typing import TypeVar

from consilium.kernel.errors import NotFound
from consilium.ledger.core.chain import Chain

Key = TypeVar("Key", bytes, int)


class Waiting:
    """Those who wait: by transaction until it is executed, by height until that is certified."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._unordered: dict[bytes, list[asyncio.Future[None]]] = {}
        self._uncertified: dict[int, list[asyncio.Future[None]]] = {}

    async def until_final(self, transaction_hash: bytes) -> None:
        """Wait for a transaction to be executed and its height certified here."""
        height = self._height_of(transaction_hash)
        if height is not None and self._chain.result_certificate(height) is not None:
            return
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if height is None:
            self._unordered.setdefault(transaction_hash, []).append(arrived)
        else:
            self._uncertified.setdefault(height, []).append(arrived)
        try:
            await arrived
        except asyncio.CancelledError:
            _forget(self._unordered, transaction_hash, arrived)
            _forget(self._uncertified, self._height_of(transaction_hash) or 0, arrived)
            raise

    @property
    def count(self) -> int:
        """How many wait."""
        return sum(map(len, (*self._unordered.values(), *self._uncertified.values())))

    def executed(self, height: int, transaction_hashes: Iterable[bytes]) -> None:
        """A height was executed with these transactions."""
        if not self._unordered:
            return
        for each in transaction_hashes:
            if each in self._unordered:
                self._uncertified.setdefault(height, []).extend(self._unordered.pop(each))

    def certified(self, height: int) -> None:
        """A height became final."""
        for each in self._uncertified.pop(height, ()):
            if not each.done():
                each.set_result(None)

    def _height_of(self, transaction_hash: bytes) -> int | None:
        try:
            return self._chain.place_of(transaction_hash)[0]
        except NotFound:
            return None


def _forget(waiting: dict[Key, list[asyncio.Future[None]]], key: Key, arrived: asyncio.Future[None]) -> None:
    """Let go of one who no longer waits: what is waited for may never come."""
    others = waiting.get(key, [])
    if arrived in others:
        others.remove(arrived)
        if not others:
            del waiting[key]
