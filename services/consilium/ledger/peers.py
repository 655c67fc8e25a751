"""The other members' ledgers: noticing that they are ahead, and fetching what is missing (rules C2, L8).

Each of them is followed on a stream of tips that is opened again whenever it ends. What to ask for, and whom, is decided in
`core.sync`, which hears of an answer that stands still as slow, and of one that takes too long as failed. Whatever members
claim, there is one alarm for all of them and one word waiting of each. A delegate is content with blocks that have no result
certificate yet: its own result may be what that lacks, and nothing else would bring it the block. So is whoever stands
still: a recovery may have made it a delegate by blocks that it has not yet (C10).
Certificates that were passed over, because a later height became final first, are asked for in the background: a proof
stands under the certificate of its own height.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.signing import Verifier
from consilium.ledger.authorities import ANSWER_MAX, Authorities
from consilium.ledger.core.sync import (
    CERTIFICATE_BYTES_MAX,
    Append,
    Appended,
    Ban,
    Blocks,
    BlockSync,
    Effect,
    Input,
    PeerTip,
    RequestBlocks,
    RequestFailed,
    RequestSlow,
    SentBlock,
)
from consilium.ledger.keeper import Keeper
from consilium.runtime.channels import Channel, Limits, Peer, typed
from consilium.runtime.logs import Log
from consilium.runtime.threads import run_to_end
from consilium.runtime.tls import Tls

if TYPE_CHECKING:
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub

RETRY_S_MIN, RETRY_S_MAX = 0.1, 5.0
"""The pause before a stream of tips is opened again, doubled at every failure in a row."""
SLOW_S = 1.0
"""How long a member may take to begin an answer, or to go on with it, before another is asked beside it."""
FETCH_BYTES_MAX = 64 * 1024 * 1024
"""No more blocks are taken from an answer once it has brought so many bytes."""
MEND_S = 2.0
"""How often missing certificates are looked after, in seconds."""
MEND_MAX = 16
"""How many of them at a time."""
MEND_ANSWER_S = 2.0
"""How long a member may take to send one, in seconds."""

EXCHANGE_S = 5.0
"""How often other ledgers are asked for authorities, in seconds."""
EXCHANGE_MAX = 8
"""How many of them each time, in turns."""

_log = Log("consilium.ledger.peers")


class OtherLedgers:
    """Keeps this member's chain level with those of the others."""

    def __init__(
        self,
        member_id: str,
        keeper: Keeper,
        peers: Mapping[str, Peer],
        tls: Tls,
        limits: Limits,
        verifier: Verifier,
        patience_s: float,
    ) -> None:
        """`limits.unary_s` bounds an answer with blocks too, in seconds; as for `patience_s`, see `LedgerSettings`."""
        self.banned: dict[str, str] = {}
        """Members whose blocks are asked for no more, and why."""
        self._member_id, self._keeper, self._peers, self._patience_s = member_id, keeper, peers, patience_s
        self._tls, self._limits, self._chain_id = tls, limits, keeper.chain.chain_id
        self._lags = False
        """Whether the tip stood still with others ahead, and nothing but this has brought a block since."""
        self._shown: dict[str, int] = {}
        """The greatest height each member has shown a certificate of."""
        self._executed: dict[str, int] = {}
        """The greatest height each member has executed."""
        self._told: set[str] = set()
        """Whose height is on its way to `core.sync`."""
        self._alarm: asyncio.TimerHandle | None = None
        self._resting: dict[str, asyncio.TimerHandle] = {}
        """Who is to be asked again after a failure, and when."""
        self._mended_to, self._mender = 0, ""
        self._channels: dict[str, Channel] = {}
        self._sync = BlockSync(keeper.chain.tip, keeper.chain.chain_id, verifier)
        self._inputs: asyncio.Queue[Input | str] = asyncio.Queue()
        """What `core.sync` is to be told; a name stands for what that member has shown by then."""

    @property
    def shown(self) -> dict[str, int]:
        """The greatest height each member has shown, by member."""
        return dict(sorted(self._shown.copy().items()))

    async def run(self) -> None:
        """Serve until cancelled; raises what the keeper raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for name in sorted(self._peers):
                    tasks.create_task(self._follow(name))
                tasks.create_task(self._watch_tip())
                tasks.create_task(self._mend_forever())
                while True:
                    for effect in await self._step(await self._next()):
                        await self._obey(effect, tasks)
        finally:
            for timer in (self._alarm, *self._resting.values()):
                if timer is not None:
                    timer.cancel()
            for each in self._channels.values():
                await each.close()

    async def _next(self) -> Input:
        event = await self._inputs.get()
        if not isinstance(event, str):
            return event
        self._told.discard(event)
        return PeerTip(event, self._claims[event])

    async def _step(self, event: Input) -> list[Effect]:
        """In a thread where blocks are to be verified."""
        if isinstance(event, Blocks) or self._sync.has_blocks:
            return await run_to_end(self._sync.step, event)
        return self._sync.step(event)

    def _stub(self, name: str) -> "LedgerServiceAsyncStub":
        """Raises InvalidArgument (UNKNOWN_MEMBER) while no authority of the member is known."""
        if name not in self._channels:
            self._channels[name] = Channel(self._peers[name], self._tls, self._limits)
        return LedgerServiceStub(self._channels[name])

    # --- noticing ---

    async def _follow(self, name: str) -> None:
        pause_s = RETRY_S_MIN
        while True:
            try:
                with typed():
                    first = True
                    async for each in self._stub(name).StreamTips(pb.StreamTipsRequest()):
                        pause_s = RETRY_S_MIN
                        if self._shows(name, each) or first:
                            self._heard(name)
                        first = False
            except ConsiliumError as error:
                _log.write(logging.INFO, "ledger_not_followed", peer_member=name, reason=error.reason)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    def _shows(self, name: str, tip: pb.StreamTipsResponse) -> bool:
        """Whether a member shows more than it ever did."""
        before = self._shown.get(name, -1), self._executed.get(name, -1)
        self._shown[name] = max(before[0], tip.certified_height)
        self._executed[name] = max(before[1], tip.executed_height, tip.certified_height)
        return (self._shown[name], self._executed[name]) != before

    @property
    def _is_delegate(self) -> bool:
        return self._keeper.chain.tip.outlook.committee.index_of(self._member_id) is not None

    @property
    def _claims(self) -> dict[str, int]:
        """The height that counts of each member: a delegate is needed for blocks that are not certified yet."""
        return self._executed if self._is_delegate or self._lags else self._shown

    def _heard(self, name: str) -> None:
        """Have blocks fetched from a member that is ahead, if need be once the own tip has stood still for a while."""
        if name not in self._ahead():
            return
        height = self._keeper.chain.height
        if self._lags or (not self._is_delegate and self._shown[name] > height):
            self._tell(name)
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(self._patience_s, self._look_again, height)

    def _look_again(self, stood_at: int) -> None:
        """Ask for blocks if the tip has not moved: one fetched beside a delegate's consensus is work done twice.

        From then on what members show counts at once, until consensus brings a block itself. It votes on nothing more than a
        window above the tip, so whoever came level once in a while only would never have a vote again.
        """
        self._alarm = None
        ahead = self._ahead()
        self._lags = self._lags or (bool(ahead) and self._keeper.chain.height == stood_at)
        for name in ahead:
            self._heard(name)

    def _ahead(self) -> list[str]:
        """The members that have executed more than is here, and are believed."""
        height = self._keeper.chain.height
        return [name for name, executed in self._executed.items() if executed > height and name not in self.banned]

    def _tell(self, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._inputs.put_nowait(name)

    async def _watch_tip(self) -> None:
        """Consensus brings blocks as well."""
        chain = self._keeper.chain
        while True:
            tip = chain.tip
            self._lags = self._lags and self._is_delegate and tip.height == self._keeper.fetched_height
            self._inputs.put_nowait(Appended(tip))
            for name in self._ahead():
                self._heard(name)
            await self._keeper.until_executed(tip.height + 1)

    # --- fetching ---

    async def _obey(self, effect: Effect, tasks: asyncio.TaskGroup) -> None:
        match effect:
            case RequestBlocks():
                tasks.create_task(self._fetch(effect))
            case Append(block, certificate):
                tip = await self._keeper.append(block)
                if certificate is not None:
                    await self._keeper.certify(certificate)
                self._inputs.put_nowait(Appended(tip))
            case Ban(peer, reason):
                self.banned[peer] = reason
                _log.write(logging.ERROR, "ledger_banned", peer_member=peer, height=self._keeper.chain.height + 1)

    async def _fetch(self, wanted: RequestBlocks) -> None:
        sent: list[SentBlock] = []
        slow = self._slow_alarm(wanted.peer)
        try:
            async with aclosing(self._blocks(wanted)) as blocks:
                async for each in blocks:
                    slow.cancel()
                    slow = self._slow_alarm(wanted.peer)
                    sent.append(each)
        except ConsiliumError as error:
            _log.write(logging.INFO, "blocks_not_fetched", peer_member=wanted.peer, reason=error.reason)
        finally:
            slow.cancel()
        if not sent:
            self._rest(wanted.peer)
        # Blocks that came before a failure are as good as any: each is judged by itself.
        self._inputs.put_nowait(Blocks(wanted.peer, tuple(sent)) if sent else RequestFailed(wanted.peer))

    def _slow_alarm(self, peer: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(SLOW_S, self._inputs.put_nowait, RequestSlow(peer))

    def _rest(self, peer: str) -> None:
        """Come back to a member: it shows no new tip before the chain goes on, and the chain may wait for this very one."""
        if peer not in self._resting:
            self._resting[peer] = asyncio.get_running_loop().call_later(RETRY_S_MAX, self._rested, peer)

    def _rested(self, peer: str) -> None:
        del self._resting[peer]
        self._heard(peer)

    async def _blocks(self, wanted: RequestBlocks) -> AsyncGenerator[SentBlock, None]:
        """The blocks as they come, no more than were asked for. Raises what ended the call."""
        last = wanted.from_height + wanted.count - 1
        request = pb.StreamBlocksRequest(first_height=wanted.from_height, last_height=last, decided=True)
        count = taken = 0
        with typed():
            call = self._stub(wanted.peer).StreamBlocks(request, timeout=self._limits.unary_s)
            try:
                async for each in call:
                    block = each.certified_block
                    yield SentBlock(block.encoded, block.result_certificate or None)
                    count, taken = count + 1, taken + len(block.encoded)
                    if taken >= FETCH_BYTES_MAX or count == wanted.count:
                        return
            finally:
                call.cancel()

    # --- authorities ---

    async def exchange(self, authorities: Authorities) -> None:
        """Ask the others, in turns and for ever, for authorities that are not known here."""
        names: deque[str] = deque(sorted(self._peers))
        while True:
            await asyncio.gather(*(self._ask(names[at], authorities) for at in range(min(EXCHANGE_MAX, len(names)))))
            names.rotate(-EXCHANGE_MAX)
            await asyncio.sleep(EXCHANGE_S)

    async def _ask(self, name: str, authorities: Authorities) -> None:
        request = pb.GetAuthoritiesRequest(known_hashes=authorities.known())
        try:
            with typed():
                response = await self._stub(name).GetAuthorities(request, timeout=MEND_ANSWER_S)
            authorities.hear(response.authorities[:ANSWER_MAX])
        except ConsiliumError as error:
            _log.write(logging.INFO, "authorities_not_fetched", peer_member=name, reason=error.reason)

    # --- mending ---

    async def _mend_forever(self) -> None:
        while True:
            await asyncio.sleep(MEND_S)
            await self._mend_some()

    async def _mend_some(self) -> None:
        """Ask for certificates that are missing, in turns: one that nobody has keeps none of the others waiting."""
        # Whoever has shown a height has its certificate: the newest block may have been fetched before it was certified.
        known_to = max(self._keeper.chain.certified_height, *self._shown.values(), 0)
        missing = [each for each in list(self._keeper.unproven) if each <= known_to]
        turn = [each for each in missing if each > self._mended_to] or missing
        for height in turn[:MEND_MAX]:
            self._mended_to = height
            await self._mend(height)

    async def _mend(self, height: int) -> None:
        """Ask one after the other for the certificate of a height, first whoever had the last one.

        A proof between a height and itself carries it, and no block.
        """
        request = pb.GetConsistencyProofRequest(first_height=height, second_height=height)
        for name in sorted(self._peers.keys() - self.banned.keys(), key=lambda name: (name != self._mender, name)):
            try:
                with typed():
                    response = await self._stub(name).GetConsistencyProof(request, timeout=MEND_ANSWER_S)
                given = response.first_result_certificate
                await self._keeper.certify(decode(ResultCertificate, given, self._chain_id, CERTIFICATE_BYTES_MAX))
            except ConsiliumError as error:
                _log.write(logging.INFO, "certificate_not_fetched", peer_member=name, reason=error.reason, height=height)
            if height not in self._keeper.unproven:
                self._mender = name
                return
