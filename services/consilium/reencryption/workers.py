"""Umbral work in processes of its own: the library holds the interpreter's lock, so threads would stop the whole service.

Workers are spawned, never forked: a fork would copy gRPC's threads half. Each holds the member keys, because the statement
of a release is signed where the fragment was made. A worker that dies is replaced, and its jobs are done again; one whose
service has died ends by itself.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from consilium.kernel.consent import Release
from consilium.kernel.errors import ResourceExhausted, Unavailable
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_values import GrantState
from consilium.kernel.umbral import verify_kfrag
from consilium.reencryption.core.proxy import grant_access, reencrypt_capsule
from consilium.reencryption.core.release import ReleasePermit
from consilium.runtime.member_key import signers_of

ATTEMPTS = 2
"""How often a job is tried that a worker died of, or beside."""
Given = ParamSpec("Given")
Made = TypeVar("Made")
_SIGNERS: dict[bytes, Ed25519Signer] = {}
"""In a worker: the member key, and the next one where there is one, by its public key (G3)."""


class Workers:
    """The processes, and at most `waiting_max` jobs for them."""

    def __init__(self, count: int, waiting_max: int, seeds: Sequence[bytes]) -> None:
        """`seeds` are the member keys', 32 bytes each."""
        self._count, self._waiting_max, self._seeds = count, waiting_max, tuple(seeds)
        self.waiting = 0
        """How many jobs they have."""
        self._pool = self._spawned()

    async def start(self) -> None:
        """Wait until a worker answers. Raises Unavailable: WORKERS_FAILED."""
        await self._run(os.getpid)

    async def verify_fragment(self, holder: str, kfrag: bytes, grant: GrantState) -> None:
        """Raise as `proxy.grant_access` unless the fragment is the one the grant commits to at this holder."""
        await self._run(_verify_fragment, holder, kfrag, grant)

    async def reencrypt(self, permit: ReleasePermit, kfrag: bytes, capsule: bytes, key: bytes, chain_id: bytes) -> Release:
        """Transform, and sign under the member key with this public key; raises as `proxy.reencrypt_capsule`."""
        return await self._run(_reencrypt, permit, kfrag, capsule, key, chain_id)

    def close(self) -> None:
        """End the processes once their jobs are done."""
        self._pool.shutdown(cancel_futures=True)

    async def _run(self, do: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        if self.waiting >= self._waiting_max:
            raise ResourceExhausted("TOO_MANY_JOBS", f"{self.waiting} jobs wait, the setting waiting_max; call again.")
        self.waiting += 1
        try:
            return await self._attempt(lambda pool: pool.submit(do, *args, **kwargs))
        finally:
            self.waiting -= 1

    async def _attempt(self, submit: Callable[[ProcessPoolExecutor], Future[Made]]) -> Made:
        for _ in range(ATTEMPTS):
            pool = self._pool
            try:
                return await asyncio.wrap_future(submit(pool))
            except BrokenProcessPool:
                if pool is self._pool:  # whoever sees it first replaces it
                    self._pool = self._spawned()
        raise Unavailable("WORKERS_FAILED", "The processes that transform capsules have died; call again.")

    def _spawned(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._count, context, initializer=_begin, initargs=self._seeds)


def _begin(*seeds: bytes) -> None:
    """In a worker: take the keys, leave signals to the service, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _SIGNERS.update(signers_of(seeds))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is spawned"
    parent.join()
    os._exit(1)


def _verify_fragment(holder: str, kfrag: bytes, grant: GrantState) -> None:
    grant_access(holder, kfrag, grant)


def _reencrypt(permit: ReleasePermit, kfrag: bytes, capsule: bytes, key: bytes, chain_id: bytes) -> Release:
    terms = permit.terms
    verified = verify_kfrag(kfrag, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
    return reencrypt_capsule(permit, verified, capsule, _SIGNERS[key], chain_id)
