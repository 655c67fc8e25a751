"""What the identity service does by itself: follow the members on the ledger, keep files current, see proposals through.

It knows the members from genesis and from every member transaction since; each standing is read under its proof when such a
transaction was executed, so the view is as fresh as the member's own ledger. Until it has been read once after a start,
nobody of another member is let in.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from consilium.identity.core.admission import admitted
from consilium.identity.core.proposals import Assembly, Proposal, ProposalState, settle
from consilium.identity.enrolment import Enrolment, wall_ms
from consilium.identity.keeping import FileKeeper
from consilium.identity.store import IdentityStore, Known
from consilium.kernel.chain import Genesis
from consilium.kernel.election import SCORE_START
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from consilium.kernel.membership import judge_caller
from consilium.kernel.state_values import MemberState, MemberStatus, member_entry
from consilium.kernel.transactions import Kind, MemberBody, MemberProfile
from consilium.runtime.logs import Log
from consilium.runtime.names import PeerIdentity
from consilium.runtime.own_consensus import OwnConsensus
from consilium.runtime.proven_ledger import LedgerEvent, ProvenLedger
from consilium.runtime.threads import run_to_end

RETRY_S = 1.0
"""How long to wait after the ledger failed, in seconds."""
CATCH_UP_S = 0.1
"""How long to wait for a height to be certified before asking again, in seconds."""
LATE_BLOCKS = 1_000
"""How many blocks after its expiry the outcome of a proposal is still asked for."""
PROPOSALS_AT_ONCE = 1_000
"""How many of the newest proposals are seen through."""

_log = Log("consilium.identity.driver")


class Members:
    """The members as the ledger knows them; `loaded` once it was read, `changed` when one was read anew."""

    def __init__(self, genesis: Genesis, ledger: ProvenLedger, store: IdentityStore) -> None:
        self._genesis, self._ledger, self._store = genesis, ledger, store
        self._states = {each.member_id: founding_state(each) for each in genesis.members}
        self._known = store.known()
        self.loaded = asyncio.Event()
        self.changed = asyncio.Event()

    def standing(self, member_id: str) -> MemberState | None:
        """A member, None for one unheard of. Raises Unavailable: STANDING_UNKNOWN until the ledger was read."""
        if not self.loaded.is_set():
            raise Unavailable("STANDING_UNKNOWN", "The ledger has not been read since this service started; call again.")
        return self._states.get(member_id)

    def active(self) -> tuple[MemberState, ...]:
        """The active members, in the order of their ids."""
        return tuple(self._states[each] for each in self.ids() if self._states[each].is_active)

    def ids(self) -> list[str]:
        """The ids of all members there have been, sorted."""
        return sorted(self._states)

    def count(self) -> dict[str, int]:
        """How many members stand how, by the name of the state in lower case."""
        states = list(self._states.values())
        return {status.name.lower(): sum(each.status is status for each in states) for status in MemberStatus}

    def keys(self) -> dict[str, bytes] | None:
        """The member keys of all that have not been expelled; None until the ledger was read, but at the very first start.

        Genesis then names the keys, without which no service would reach another member's. Later it would be out of date.
        """
        if not self.loaded.is_set() and self._known.member_ids:
            return None
        states = self._states.items()
        return {name: each.profile.member_key for name, each in states if each.status is not MemberStatus.EXPELLED}

    async def follow(self) -> None:
        """Follow the ledger for ever. A stream ends after a while; then all members are read anew."""
        while True:
            try:
                await self._load()
                async for event in self._ledger.events(Kind.MEMBER, self._known.cursor):
                    await self._take(event)
            except DeadlineExceeded:
                continue
            except ConsiliumError as error:
                _log.write(logging.WARNING, "ledger_not_followed", reason=error.reason)
            await asyncio.sleep(RETRY_S)

    async def _load(self) -> None:
        """Read every member known so far. While nothing is certified, the founders are the whole state."""
        if (await self._ledger.read_tip()).certified_height:
            for member_id in sorted({*self._states, *self._known.member_ids}):
                await self._read(member_id, 0)
        await self._keep(self._known.cursor)
        self.loaded.set()

    async def _take(self, event: LedgerEvent) -> None:
        """Read a member anew, and remember having done so."""
        if isinstance(event.body, MemberBody):
            await self._read(event.body.profile.member_id, event.height)
        await self._keep(event.cursor)
        self.changed.set()

    async def _keep(self, cursor: bytes) -> None:
        known = Known(cursor, tuple(self.ids()))
        if known != self._known:
            await run_to_end(self._store.put_known, known)
            self._known = known

    async def _read(self, member_id: str, height: int) -> None:
        """Take over what the state of this height or a later one says."""
        key = member_entry(member_id)
        state = await self._ledger.read_state(key)
        while state.height < height:
            await asyncio.sleep(CATCH_UP_S)
            state = await self._ledger.read_state(key)
        if state.value is not None:
            self._states[member_id] = decode(MemberState, state.value, self._genesis.chain_id)


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
        member = None if peer.member_id == self.member_id else self.members.standing(peer.member_id)
        judge_caller(peer, admitted(method), self.member_id, member, self.enrolment.revoked, wall_ms())

    async def assembly(self) -> Assembly:
        """Who may sign proposals now. Raises Unavailable while the ledger cannot be reached."""
        self.members.standing(self.member_id)
        height = (await self.ledger.read_tip()).executed_height
        limit = self.genesis.parameters.expiry_blocks_max
        return Assembly(self.genesis.chain_id, self.members.active(), height, limit)

    async def tend(self, interval_s: float) -> None:
        """Keep files current and see proposals through, for ever: at intervals, and whenever a member has changed."""
        while True:
            self.members.changed.clear()
            try:
                await self.keep_files()
                await self.settle_proposals()
            except (ConsiliumError, OSError) as error:
                _log.write(logging.WARNING, "not_tended", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.members.changed.wait(), interval_s)

    async def keep_files(self) -> None:
        """Renew authority and certificates where due; publish trust and revocations. May raise OSError."""
        async with self.writes:
            await run_to_end(self.keeper.keep, self.members.keys())

    async def settle_proposals(self) -> None:
        """Learn how submitted transactions ended, and submit again what is not final yet."""
        height = (await self.ledger.read_tip()).executed_height
        for _, proposal in await run_to_end(self.enrolment.store.proposals_back, 0, PROPOSALS_AT_ONCE):
            if proposal.transaction is not None and height <= proposal.expiry_height + LATE_BLOCKS:
                settled = await self.settled(proposal)
                if settled.state_at(height) is ProposalState.SUBMITTED:
                    await self.submit(proposal.transaction)

    async def submit(self, transaction: bytes) -> None:
        """Hand over a proposal's transaction. What consensus does not take now is handed over again later."""
        try:
            await self.consensus.submit(transaction)
        except ConsiliumError as error:
            _log.write(logging.WARNING, "proposal_not_submitted", reason=error.reason)

    async def settled(self, proposal: Proposal) -> Proposal:
        """The proposal, with how it ended if that is final by now."""
        if proposal.transaction_hash is None or proposal.code is not None:
            return proposal
        try:
            found = await self.ledger.read_transaction(proposal.transaction_hash)
        except (NotFound, FailedPrecondition):  # not final yet
            return proposal
        ended = settle(proposal, found.code)
        async with self.writes:
            await run_to_end(self.enrolment.store.put_proposal, ended)
        return ended


def founding_state(profile: MemberProfile) -> MemberState:
    """A founder before the first block (L5)."""
    return MemberState(profile, MemberStatus.ACTIVE, None, profile.reveal_anchor, SCORE_START, 0, tombstoned=False)
