"""The other members' ledgers: noticing that they are ahead, and fetching what is missing (rules C2, L8).

Each of them is followed on a stream of tips that is opened again whenever it ends. What to ask for, and whom, is decided in
`core.sync`, which hears of an answer that does not begin soon as slow, and of one that takes too long as failed.
Certificates that were passed over, because a later height became final first, are asked for in the background: a proof
stands under the certificate of its own height.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.signing import Verifier
from consilium.ledger.core.sync import (
    REQUEST_BLOCKS_MAX,
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
"""How long a member may take to begin an answer before another is asked beside it."""
FETCH_BYTES_MAX = 64 * 1024 * 1024
"""No more blocks are taken from an answer once it has brought so many bytes."""
MEND_S = 2.0
"""How often missing certificates are looked after, in seconds."""
MEND_MAX = 16
"""How many of them at a time."""

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
        self._target = 0
        self._shown: dict[str, int] = {}
        """The newest height each member has shown."""
        self._channels: dict[str, Channel] = {}
        self._sync = BlockSync(keeper.chain.tip, keeper.chain.chain_id, verifier)
        self._inputs: asyncio.Queue[Input] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until cancelled; raises what the keeper raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for name in sorted(self._peers):
                    tasks.create_task(self._follow(name))
                tasks.create_task(self._watch_tip())
                tasks.create_task(self._mend_forever())
                while True:
                    for effect in await self._step(await self._inputs.get()):
                        await self._obey(effect, tasks)
        finally:
            for each in self._channels.values():
                await each.close()

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
                    async for each in self._stub(name).StreamTips(pb.StreamTipsRequest()):
                        pause_s = RETRY_S_MIN
                        self._shown[name] = each.certified_height
                        self._heard(name, each.certified_height)
            except ConsiliumError as error:
                _log.write(logging.INFO, "ledger_not_followed", peer_member=name, reason=error.reason)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    def _heard(self, name: str, height: int) -> None:
        tip = self._keeper.chain.tip
        if height <= tip.height:
            return
        if tip.height < self._target or tip.outlook.committee.index_of(self._member_id) is None:
            self._catch_up(name, height)
        else:
            asyncio.get_running_loop().call_later(self._patience_s, self._look_again, name, height, tip.height)

    def _look_again(self, name: str, height: int, stood_at: int) -> None:
        """As a delegate, ask for blocks if the tip has not moved: a block fetched beside consensus is work done twice."""
        if self._keeper.chain.height == stood_at:
            self._catch_up(name, height)
        else:
            self._heard(name, height)

    def _catch_up(self, name: str, height: int) -> None:
        """Have blocks fetched; until they are here, what more a member shows counts at once."""
        self._target = min(height, self._keeper.chain.height + REQUEST_BLOCKS_MAX)
        self._inputs.put_nowait(PeerTip(name, height))

    async def _watch_tip(self) -> None:
        """Consensus brings blocks as well."""
        chain = self._keeper.chain
        while True:
            tip = chain.tip
            self._inputs.put_nowait(Appended(tip))
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
        slow = asyncio.get_running_loop().call_later(SLOW_S, self._inputs.put_nowait, RequestSlow(wanted.peer))
        try:
            await self._take(wanted, sent, slow)
        except ConsiliumError as error:
            _log.write(logging.INFO, "blocks_not_fetched", peer_member=wanted.peer, reason=error.reason)
        slow.cancel()
        if not sent:
            # It shows no new tip before the chain goes on, and the chain may wait for this very member.
            asyncio.get_running_loop().call_later(RETRY_S_MAX, self._heard, wanted.peer, self._shown[wanted.peer])
        # Blocks that came before a failure are as good as any: each is judged by itself.
        self._inputs.put_nowait(Blocks(wanted.peer, tuple(sent)) if sent else RequestFailed(wanted.peer))

    async def _take(self, wanted: RequestBlocks, sent: list[SentBlock], slow: asyncio.TimerHandle) -> None:
        last = wanted.from_height + wanted.count - 1
        request = pb.StreamBlocksRequest(first_height=wanted.from_height, last_height=last)
        with typed():
            call = self._stub(wanted.peer).StreamBlocks(request, timeout=self._limits.unary_s)
            taken = 0
            async for each in call:
                slow.cancel()
                block = each.certified_block
                sent.append(SentBlock(block.encoded, block.result_certificate or None))
                taken += len(block.encoded)
                if taken >= FETCH_BYTES_MAX or len(sent) == wanted.count:
                    call.cancel()
                    return

    async def _mend_forever(self) -> None:
        while True:
            await asyncio.sleep(MEND_S)
            certified = self._keeper.chain.certified_height
            missing = [each for each in self._keeper.unproven if each < certified]
            for height in missing[:MEND_MAX]:
                await self._mend(height)

    async def _mend(self, height: int) -> None:
        """Ask one after the other for the certificate of a height."""
        for name in sorted(self._peers.keys() - self.banned.keys()):
            try:
                with typed():
                    response = await self._stub(name).GetBlock(pb.GetBlockRequest(height=height))
                given = response.certified_block.result_certificate
                if given:
                    await self._keeper.certify(decode(ResultCertificate, given, self._chain_id))
                    return
            except ConsiliumError as error:
                _log.write(logging.INFO, "certificate_not_fetched", peer_member=name, reason=error.reason, height=height)
