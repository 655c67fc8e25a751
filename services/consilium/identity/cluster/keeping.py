"""The loop that keeps the member's things in Kubernetes current: Secrets, the Lease, the conditions.

Each has a turn of its own, and fails alone. A failure is logged once for each reason, counted, and tried again at the next
turn: the API server may be away for days, and identity, like all the member's services, serves on.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from consilium.identity import founding
from consilium.identity.cluster.secrets import put_secrets, secrets_of
from consilium.identity.driver import Driver
from consilium.identity.settings import IdentitySettings
from consilium.kernel.errors import ConsiliumError
from consilium.runtime.clock import wall_ms
from consilium.runtime.cluster import Cluster
from consilium.runtime.logs import Log
from consilium.runtime.threads import run_to_end

_log = Log("consilium.identity.cluster")


@dataclass(slots=True)
class ClusterKeeper:
    """What identity does in Kubernetes; `failures` and `reached_ms` are for the metrics."""

    cluster: Cluster
    settings: IdentitySettings
    driver: Driver
    failures: Counter[str] = field(default_factory=Counter)
    """Failed turns, by the kind of object."""
    reached_ms: int = 0
    """When the API server last did what it was asked, in milliseconds since 1970-01-01 UTC."""
    _said: dict[str, str] = field(default_factory=dict)

    async def tend(self) -> None:
        """Take turns for ever."""
        turns: dict[str, Callable[[], Awaitable[None]]] = {"secrets": self.keep_secrets}
        while True:
            for kind, turn in turns.items():
                await self._take(kind, turn)
            await asyncio.sleep(self.settings.interval_s)

    async def keep_secrets(self) -> None:
        """Have every Secret hold what its folder holds. May raise OSError."""
        async with self.driver.writes:
            await run_to_end(founding.renew_administrator, self.settings, self.driver.enrolment)
            wanted = await run_to_end(secrets_of, self.settings)
        for name in await asyncio.to_thread(put_secrets, self.cluster, wanted):
            _log.write(logging.INFO, "secret_written", kind=name)

    async def _take(self, kind: str, turn: Callable[[], Awaitable[None]]) -> None:
        """One turn; its failure is told and forgotten."""
        try:
            await turn()
        except (ConsiliumError, OSError) as error:
            self.failures[kind] += 1
            reason = error.reason if isinstance(error, ConsiliumError) else type(error).__name__
            if self._said.get(kind) != reason:
                _log.write(logging.WARNING, "kubernetes_failed", error, kind=kind)
            self._said[kind] = reason
        else:
            self.reached_ms = wall_ms()
            if self._said.pop(kind, ""):
                _log.write(logging.INFO, "kubernetes_answers_again", kind=kind)
