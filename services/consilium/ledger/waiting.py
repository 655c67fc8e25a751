"""Who waits for what to become final: a transaction, a height, or any height from one on (rule L3).

A client that has handed in a transaction asks once and is answered with the certificate. Each waits under the name of what
it waits for, so a block costs one look for each transaction in it, however many wait. For one event loop.
"""

import asyncio
from collections.abc import Hashable, Iterable
from typing import TypeVar

from consilium.kernel.errors import NotFound
from consilium.ledger.core.chain import Chain

AHEAD_MAX = 1_024
"""How far above the tip a height is waited for, in blocks: one further away comes too late for whoever asks."""

Key = TypeVar("Key", bound=Hashable)
Waiters = dict[Key, list[asyncio.Future[None]]]


class Waiting:
    """Those who wait: by transaction until it is executed, by height until that is certified."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._unordered: Waiters[bytes] = {}
        self._uncertified: Waiters[int] = {}
        self._below: Waiters[int] = {}

    async def until_final(self, transaction_hash: bytes) -> None:
        """Wait for a transaction to be executed and its height certified here."""
        height = self._height_of(transaction_hash)
        if height is not None:
            await self.until_proven(height)
            return
        arrived = _enter(self._unordered, transaction_hash)
        try:
            await arrived
        finally:
            _forget(self._unordered, transaction_hash, arrived)
            _forget(self._uncertified, self._height_of(transaction_hash) or 0, arrived)

    async def until_proven(self, height: int) -> None:
        """Wait for the certificate of this very height, not at all for one that is far away."""
        executed = height <= self._chain.height
        if not (executed and self._chain.result_certificate(height)) and self._is_near(height):
            await _arrival(self._uncertified, height)

    async def until_certified(self, least: int) -> None:
        """Wait for a height from this one on to be certified, not at all for one that is far away."""
        if self._chain.certified_height < least and self._is_near(least):
            await _arrival(self._below, least)

    @property
    def count(self) -> int:
        """How many wait."""
        return sum(len(each) for kind in (self._unordered, self._uncertified, self._below) for each in kind.values())

    def executed(self, height: int, transaction_hashes: Iterable[bytes]) -> None:
        """A height was executed with these transactions."""
        if not self._unordered:
            return
        for each in transaction_hashes:
            if each in self._unordered:
                self._uncertified.setdefault(height, []).extend(self._unordered.pop(each))

    def certified(self, height: int) -> None:
        """A height became final."""
        reached = [each for each in self._below if each <= height]
        for arrived in [*self._uncertified.pop(height, ()), *(one for each in reached for one in self._below.pop(each))]:
            if not arrived.done():
                arrived.set_result(None)

    def _is_near(self, height: int) -> bool:
        return height <= self._chain.height + AHEAD_MAX

    def _height_of(self, transaction_hash: bytes) -> int | None:
        try:
            return self._chain.place_of(transaction_hash)[0]
        except NotFound:
            return None


async def _arrival(waiting: Waiters[Key], key: Key) -> None:
    arrived = _enter(waiting, key)
    try:
        await arrived
    finally:
        _forget(waiting, key, arrived)


def _enter(waiting: Waiters[Key], key: Key) -> asyncio.Future[None]:
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting.setdefault(key, []).append(arrived)
    return arrived


def _forget(waiting: Waiters[Key], key: Key, arrived: asyncio.Future[None]) -> None:
    """Let go of one who no longer waits: what is waited for may never come."""
    others = waiting.get(key, [])
    if arrived in others:
        others.remove(arrived)
        if not others:
            del waiting[key]
