"""The loop that keeps the member's things in Kubernetes current: Secrets, the Lease, the conditions.

Each has a turn of its own, and fails alone. A failure is logged once for each reason, counted, and tried again at the next
turn: the API server may be away for days, and identity, like all the member's services, serves on.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from consilium.identity import founding
from consilium.identity.cluster.conditions import Observed, carried, conditions, status_data
from consilium.identity.cluster.lease import SeatSeen, keep_lease
from consilium.identity.cluster.secrets import authority_secret, put_secrets, secrets_of
from consilium.identity.driver import Driver
from consilium.identity.settings import IdentitySettings
from consilium.kernel.errors import ConsiliumError
from consilium.runtime.clock import wall_ms
from consilium.runtime.cluster import PODS, Cluster
from consilium.runtime.logs import Log
from consilium.runtime.threads import run_to_end

Answer = TypeVar("Answer")
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
    seat: SeatSeen = field(default_factory=SeatSeen)
    """How the seat of consensus looked last."""
    _said: dict[str, str] = field(default_factory=dict)
    _warned: dict[str, str] = field(default_factory=dict)

    async def tend(self) -> None:
        """Take turns for ever."""
        turns: dict[str, Callable[[], Awaitable[None]]] = {
            "secrets": self.keep_secrets,
            "lease": self.keep_lease,
            "conditions": self.keep_conditions,
        }
        while True:
            for kind, turn in turns.items():
                await self._take(kind, turn)
            await asyncio.sleep(self.settings.interval_s)

    async def keep_secrets(self) -> None:
        """Have every Secret hold what its folder holds, and an Issuer's the authority. May raise OSError."""
        async with self.driver.writes:
            await run_to_end(founding.renew_administrator, self.settings, self.driver.enrolment)
            issuing = self.driver.enrolment.generations.issuing(wall_ms())
            wanted = authority_secret(self.settings, issuing) | await run_to_end(secrets_of, self.settings)
        for name in await asyncio.to_thread(put_secrets, self.cluster, wanted):
            _log.write(logging.INFO, "secret_written", kind=name)

    async def keep_lease(self) -> None:
        """Renew the Lease for the consensus pod that runs, and warn when there may be two."""
        name = f"{self.settings.kubernetes_secrets}-consensus"
        self.seat = await asyncio.to_thread(keep_lease, self.cluster, name, self.seat, wall_ms())
        await self._warn("Lease", name, "Seat", self.seat.warning, self.seat.note)

    async def keep_conditions(self) -> None:
        """Write how the member stands; a condition that went bad becomes an event as well."""
        name, seen = f"{self.settings.kubernetes_secrets}-status", await self._observed()
        before = await asyncio.to_thread(self.cluster.config_map, name)
        found = carried(conditions(seen), before, datetime.now(UTC))
        await asyncio.to_thread(self.cluster.put_config_map, name, status_data(found))
        for each in found:
            bad = "" if each.is_well else each.reason
            await self._warn("ConfigMap", name, each.type, bad, f"{each.type}: {each.message}")

    async def _observed(self) -> Observed:
        """What can be seen of the member now."""
        driver, now_ms = self.driver, wall_ms()
        pods = await _answer(asyncio.to_thread(self.cluster.pods, PODS))
        tip, replica = await _answer(driver.ledger.read_tip()), await _answer(driver.consensus.replica_state())
        stale = await run_to_end(driver.keeper.folders.stale, driver.enrolment, now_ms)
        return Observed(driver.member_id, pods, tip, driver.genesis.parameters.tip_age_max_ms, replica, stale)

    async def _warn(self, kind: str, name: str, what: str, reason: str, note: str) -> None:
        """Write a warning once, when it begins; and one normal event when it is over."""
        before = self._warned.get(what, "")
        if reason == before:
            return
        about = self.cluster.about(kind, name)
        await asyncio.to_thread(self.cluster.tell, about, reason or f"{before}Over", note or what, is_warning=bool(reason))
        _log.write(logging.WARNING if reason else logging.INFO, "condition_changed", kind=what, reason=reason or before)
        self._warned[what] = reason

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


async def _answer(question: Awaitable[Answer]) -> Answer | None:
    """What was answered, None where there was no answer."""
    try:
        return await question
    except ConsiliumError:
        return None
