"""Where callers stand: members as the ledger knows them, and the certificates this member has revoked (design section 8).

Members are read under proof when the service starts. Whenever a ballot or a handover becomes final, the ledger's registry
tells whose status or keys have changed by it, and they are read again; so the view is as fresh as the member's own ledger
(G2). Until they have been read once, nobody of another member is let in. Revoked serial numbers are in the file `revoked`
beside the TLS files.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, DeadlineExceeded, Unavailable
from consilium.kernel.membership import Admits, judge_caller
from consilium.kernel.state_values import REVISIONS_MAX, MemberState, Registry, member_entry, registry_entry
from consilium.kernel.transactions import Kind
from consilium.runtime.clock import wall_ms
from consilium.runtime.logs import Log
from consilium.runtime.names import PeerIdentity
from consilium.runtime.proven_ledger import LedgerEvent, LedgerReader
from consilium.runtime.revocations import Revocations

CHANGING = (Kind.BALLOT, Kind.HANDOVER)
"""What may change a member's status or keys."""
RETRY_S = 0.5
"""How long to wait after the ledger failed, or had nothing certified yet, in seconds."""
_log = Log("consilium.runtime.standing")


class Members:
    """The members as the ledger knows them; `loaded` once it was read."""

    def __init__(self, chain_id: bytes, founders: Iterable[str], ledger: LedgerReader, cursor: bytes = b"") -> None:
        """Those heard of so far, and the cursor of the last event that told of one."""
        self._chain_id, self._ledger, self._cursor = chain_id, ledger, cursor
        self._states: dict[str, MemberState | None] = dict.fromkeys(founders)
        self._looked = 0
        """The height at which the registry was read last."""
        self.loaded = asyncio.Event()

    def member(self, member_id: str) -> MemberState | None:
        """A member, None for one unheard of. Raises Unavailable: STANDING_UNKNOWN until the ledger was read."""
        if not self.loaded.is_set():
            raise Unavailable("STANDING_UNKNOWN", "The ledger has not been read since this service started; call again.")
        return self._states.get(member_id)

    async def follow(self) -> None:
        """Follow the ledger for ever. A stream ends after a while; then all members are read anew."""
        while True:
            try:
                await self._load()
                async for event in self._ledger.events(CHANGING, self._cursor):
                    await self._take(event)
            except DeadlineExceeded:
                continue
            except ConsiliumError as error:
                _log.write(logging.WARNING, "ledger_not_followed", reason=error.reason)
            await asyncio.sleep(RETRY_S)

    async def _load(self) -> None:
        """Read all that the registry lists. Raises FailedPrecondition (NOT_FINAL) while nothing is certified."""
        self._looked = 0
        await self._look(1)
        self.loaded.set()

    async def _take(self, event: LedgerEvent) -> None:
        if event.height > self._looked:
            await self._look(event.height)
        self._cursor = event.cursor

    async def _look(self, least: int) -> None:
        """Read whoever has changed since the registry was read last; everybody when that cannot be told any more."""
        found = await self._ledger.read_state(registry_entry(), least)
        registry = decode(Registry, found.value or b"", self._chain_id)
        changed = [each.member_id for each in registry.revisions if each.height > self._looked]
        if not self._looked or len(changed) == REVISIONS_MAX:
            changed = list(registry.member_ids)
        for member_id in dict.fromkeys(changed):
            await self._read(member_id, found.height)
        self._looked = found.height

    async def _read(self, member_id: str, height: int) -> None:
        """Take over what the state of this height or a later one says. Raises FailedPrecondition: NOT_FINAL."""
        value = (await self._ledger.read_state(member_entry(member_id), height)).value
        self._states[member_id] = None if value is None else decode(MemberState, value, self._chain_id)


class Standing(Members):
    """Who may call now."""

    def __init__(
        self, member_id: str, chain_id: bytes, founders: list[str], ledger: LedgerReader, tls_directory: Path,
        admitted: Callable[[str], tuple[Admits, ...]],
    ) -> None:  # fmt: skip
        """`admitted` tells whom a method admits. Raises Malformed: BAD_REVOCATION_LIST."""
        super().__init__(chain_id, founders, ledger)
        self._member_id, self._admitted, self._revoked = member_id, admitted, Revocations(tls_directory)

    def authorise(self, method: str, peer: PeerIdentity) -> None:
        """Raise unless the caller may call the method now (`kernel.membership`). Raises Unavailable: STANDING_UNKNOWN."""
        member = None if peer.member_id == self._member_id else self.member(peer.member_id)
        judge_caller(peer, self._admitted(method), self._member_id, member, self._revoked, wall_ms())
