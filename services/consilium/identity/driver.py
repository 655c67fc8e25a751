"""What the identity service does by itself: follow the members on the ledger, and keep files current.

It knows the members from genesis and from the ledger's registry since, as other services do (`runtime.standing`), and
keeps whom it has heard of.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from consilium.identity.core.admission import admitted
from consilium.identity.core.proposals import Desk
from consilium.identity.enrolment import Enrolment
from consilium.identity.keeping import FileKeeper
from consilium.identity.store import IdentityStore, Known
from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.founding import founder
from consilium.kernel.hashing import sha256
from consilium.kernel.membership import judge_caller
from consilium.kernel.state_values import AllianceState, MemberState, MemberStatus, alliance_entry
from consilium.runtime import standing
from consilium.runtime.authorities import AUTHORITY_BYTES_MAX
from consilium.runtime.clock import wall_ms
from consilium.runtime.logs import Log
from consilium.runtime.names import PeerIdentity
from consilium.runtime.own_consensus import OwnConsensus
from consilium.runtime.proven_ledger import LedgerEvent, ProvenLedger
from consilium.runtime.threads import run_to_end

HANDED_MAX = 512
"""The most authorities that a ledger takes at a time; the own are first."""

_log = Log("consilium.identity.driver")


class Members(standing.Members):
    """The members as this service knows them, kept over restarts; `changed` when all or one were read anew."""

    def __init__(self, genesis: Genesis, ledger: ProvenLedger, store: IdentityStore) -> None:
        self._store, self._known, self._tip_of = store, store.known(), ledger.read_tip
        super().__init__(genesis.chain_id, self._known.member_ids, ledger, self._known.cursor)
        self._states |= {each.member_id: founder(each) for each in genesis.members}
        self.changed = asyncio.Event()

    def states(self) -> dict[str, MemberState]:
        """All members there have been, by their ids, in the order of these."""
        return {name: state for name, state in sorted(self._states.items()) if state is not None}

    def count(self) -> dict[str, int]:
        """How many members stand how, by the name of the state in lower case."""
        states = self.states().values()
        return {status.name.lower(): sum(each.status is status for each in states) for status in MemberStatus}

    def keys(self) -> dict[str, bytes] | None:
        """The member keys of all that have not been expelled; None until the ledger was read, but at the very first start.

        Genesis then names the keys, without which no service would reach another member's. Later it would be out of date.
        """
        if not self.loaded.is_set() and self._known.member_ids:
            return None
        states = self.states().items()
        return {name: each.profile.member_key for name, each in states if each.status is not MemberStatus.EXPELLED}

    async def _load(self) -> None:
        """Read every member known so far. While nothing is certified, the founders are the whole state."""
        if (await self._tip_of()).certified_height:
            await super()._load()
        self.loaded.set()
        # Whom to trust waits for this, so it does not wait for the next interval.
        self.changed.set()
        await self._keep()

    async def _take(self, event: LedgerEvent) -> None:
        """Read a member anew, and remember having done so."""
        await super()._take(event)
        await self._keep()
        self.changed.set()

    async def _keep(self) -> None:
        known = Known(self._cursor, tuple(self.states()))
        if known != self._known:
            await run_to_end(self._store.put_known, known)
            self._known = known


@dataclass(slots=True)
class Driver:
    """The service's own work, and what its servicer asks of it. `writes` is held by whoever changes the store."""

    genesis: Genesis
    members: Members
    keeper: FileKeeper
    ledger: ProvenLedger
    consensus: OwnConsensus
    writes: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def member_id(self) -> str:
        """The member this service belongs to."""
        return self.keeper.member_id

    @property
    def enrolment(self) -> Enrolment:
        """The member's credentials."""
        return self.keeper.enrolment

    def authorise(self, method: str, peer: PeerIdentity) -> None:
        """Raise unless the caller may call the method now (`kernel.membership`)."""
        member = None if peer.member_id == self.member_id else self.members.member(peer.member_id)
        judge_caller(peer, admitted(method), self.member_id, member, self.enrolment.revoked, wall_ms())

    async def desk(self) -> Desk:
        """What the member signs governance with now. Raises Unavailable while the ledger cannot be reached."""
        self.members.member(self.member_id)
        height = (await self.ledger.read_tip()).executed_height
        limit = (await self.alliance()).parameters.expiry_blocks_max
        return Desk(self.genesis.chain_id, self.enrolment.generations.signers, height, limit)

    async def alliance(self) -> AllianceState:
        """What the alliance lives by. Raises FailedPrecondition (NOT_FINAL) while nothing is certified."""
        found = await self.ledger.read_state(alliance_entry(), 1)
        return decode(AllianceState, found.value or b"", self.genesis.chain_id)

    async def tend(self, interval_s: float) -> None:
        """Keep files current, for ever: at intervals, and whenever a member has changed."""
        while True:
            self.members.changed.clear()
            await self.exchange()
            try:
                await self.keep_files()
            except (ConsiliumError, OSError) as error:
                _log.write(logging.WARNING, "not_tended", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self.members.changed.wait()

    async def exchange(self) -> None:
        """Hand the authorities known here to the own ledger, and take up what others' have told it (ADR 22)."""
        try:
            encoded = [encode(each, self.genesis.chain_id) for each in await run_to_end(self.keeper.held)]
            held = {sha256(data): data for data in encoded}
            await self.ledger.put_authorities(list(held.values())[:HANDED_MAX])
            for data in await self.ledger.get_authorities(list(held)):
                await self.take_up(data)
        except (ConsiliumError, OSError) as error:
            reason = error.reason if isinstance(error, ConsiliumError) else type(error).__name__
            _log.write(logging.INFO, "authorities_not_exchanged", reason=reason)

    async def take_up(self, data: bytes) -> None:
        """Keep another member's bound authority. Raises Malformed, and as `FileKeeper.take_up`; may raise OSError."""
        bound = decode(BoundAuthority, data, self.genesis.chain_id, AUTHORITY_BYTES_MAX)
        async with self.writes:
            await run_to_end(self.keeper.take_up, bound, data, self.members.keys() or {})

    async def keep_files(self) -> None:
        """Renew authority and certificates where due; publish trust and revocations. May raise OSError."""
        async with self.writes:
            await run_to_end(self.keeper.keep, self.members.keys())
