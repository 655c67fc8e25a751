"""One endpoint: the production replica, ledger and codec, on a simulated disk, clock and network.

It obeys effects in their order, as the driver does. The power may fail between any two of them, and between writing to the
log and syncing it: whatever was not synced is then lost (C5).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from consilium.consensus.core.admission import Directory, admit
from consilium.consensus.core.events import (
    Broadcast,
    CancelTimer,
    Deliver,
    Executed,
    Persist,
    Received,
    RecoverySigned,
    Send,
    SetTimer,
    StopAsked,
    Submitted,
    TimerExpired,
)
from consilium.consensus.core.identity import Identity, Recovered, Tip
from consilium.consensus.core.messages import Envelope, ResultProof
from consilium.consensus.core.recovering import report
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import ConsiliumError, Malformed
from consilium.kernel.recovery_reports import sign_report
from consilium.ledger.core.acceptance import verify_block
from consilium.ledger.core.sync import Append, Appended, Ban, Blocks, PeerTip, RequestBlocks, RequestFailed
from tests.simulation.alliance import GENESIS_MS
from tests.simulation.disk import BlockStore, VoteLog
from tests.simulation.liar import Liar
from tests.simulation.local_ledger import LocalLedger
from tests.simulation.observed import Execution, Speech, Violation
from tests.simulation.parcels import BlocksAsked, BlocksSent, TipSaid
from tests.simulation.schedule import stream
from tests.simulation.twin import member_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from consilium.consensus.core.events import Effect, Input, Timer
    from consilium.consensus.core.messages import Message
    from consilium.consensus.core.replica import Replica
    from consilium.kernel.chain import CertifiedBlock
    from consilium.kernel.recovery import RecoveryCertificate
    from consilium.kernel.recovery_reports import SignedReport
    from consilium.ledger.core.acceptance import VerifiedBlock
    from consilium.ledger.core.execution import BlockOutcome
    from consilium.ledger.core.sync import Effect as SyncEffect
    from consilium.ledger.core.sync import Input as SyncInput
    from tests.simulation.alliance import Founder
    from tests.simulation.clock import Alarm
    from tests.simulation.parcels import Parcel
    from tests.simulation.twin import Dropper
    from tests.simulation.world import World

SYNC_TIMEOUT_MS = 600
"""How long a request for blocks may take."""
TIP_EVERY_MS = 1_000
"""How often an endpoint tells the others its height."""


class PowerCut(Exception):
    """The machine stopped here."""


class Member:
    """One instance of one member; a twin is a second one with the same founder."""

    def __init__(
        self,
        endpoint: str,
        founder: Founder,
        world: World,
        log: VoteLog,
        store: BlockStore,
        dropper: Dropper | None = None,
        *,
        honest: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self.founder = founder
        self.honest = honest
        self.log = log
        self.ledger = LocalLedger(world, store)
        self.life = 0
        self.up = False
        self.fuse: int | None = None
        self.certified_at: int | None = None
        self._world = world
        self._dropper = dropper
        self._chance = stream(world.options.seed, f"member {endpoint}")
        self._peers = [each.member_id for each in world.genesis.members if each.member_id != founder.member_id]
        self._timers: dict[Timer, Alarm] = {}
        self._deliveries: deque[CertifiedBlock | ResultCertificate] = deque()
        self._sync_alarm: Alarm | None = None
        self._ticket = 0
        self._offset = 0
        self.replica: Replica
        self.identity: Identity
        self._directory: Directory

    # --- life and death ---

    def start(self, session: bytes | None = None) -> None:
        """Come up: read the disk, begin a session, and let the replica speak."""
        assert not self.up
        world = self._world
        self.life += 1
        self.up, self.certified_at = True, None
        self._offset = self._chance.randint(-world.options.skew_max, world.options.skew_max)
        self.ledger.start(self._chance)
        self.log.incarnation += 1
        founder = self.founder
        self.identity = Identity(
            chain_id=world.chain_id,
            member_id=founder.member_id,
            consensus_signer=founder.consensus_signer,
            member_signer=founder.member_signer,
            incarnation=self.log.incarnation,
            session=session or self._chance.randbytes(16),
        )
        self._after(TIP_EVERY_MS, self._tell_tip)
        self._guarded(self.life, self._speak_first)

    def _speak_first(self) -> None:
        ledger, chain = self.ledger, self.ledger.chain
        self._world.story.note(self.endpoint, "starts at", chain.height, "lost log" if self.log.lost else "")
        if self.honest:
            for hear in self._world.watchers.restarted:
                hear(self.endpoint, chain.height, chain.tip.block_hash, ledger.last_result)
        block = ledger.last_block
        tip = Tip(
            genesis_ms=GENESIS_MS,
            header=None if block is None else decode(Header, block.header, self._world.chain_id),
            result=ledger.last_result,
            commit=None if block is None else block.commit,
            certificate=ledger.newest_certificate,
            term_end=ledger.term_end,
            previous_committee=ledger.previous_committee,
            recent=ledger.recent_headers(),
        )
        recovered = Recovered(self.log.read(self._world.chain_id), self.log.lost)
        self._directory = Directory(chain.tip.outlook, ledger.previous_committee)
        self.replica = self._world.replica_class(self.identity, chain.tip.outlook, tip, recovered)
        self._obey(self.replica.start(self._now()))

    def crash(self) -> None:
        """Stop at once; what was not synced may be lost."""
        if not self.up:
            return
        self._world.story.note(self.endpoint, "crashes")
        self.up, self.fuse = False, None
        self.life += 1
        for alarm in self._timers.values():
            alarm.cancel()
        self._timers.clear()
        self._deliveries.clear()
        self.log.crash(self._chance)
        self.ledger.crash(self._chance)

    def clone(self, endpoint: str) -> Member:
        """A second instance that starts from a copy of this one's disk."""
        return Member(endpoint, self.founder, self._world, self.log.copy(), self.ledger.store.copy(), honest=False)

    def _tick(self) -> None:
        """One more place where the power may fail."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self._world.hits["crash between effects"] += 1
                raise PowerCut

    def _guarded(self, life: int, action: Callable[[], None]) -> None:
        """Do it in this life only, and die of a power cut."""
        if self.life != life:
            return
        try:
            action()
        except PowerCut:
            self.crash()

    def _after(self, delay_ms: int, action: Callable[[], None]) -> Alarm:
        return self._world.clock.after(delay_ms, partial(self._guarded, self.life, action))

    def _now(self) -> int:
        """The wall clock here, milliseconds since 1970."""
        return GENESIS_MS + self._world.clock.now_ms + self._offset

    # --- the replica ---

    def submit(self, transactions: tuple[bytes, ...]) -> None:
        """A client hands transactions in."""
        if self.up:
            self._guarded(self.life, lambda: self._step(Submitted(self._now(), transactions)))

    def stop_epoch(self, epoch: int) -> SignedReport:
        """Its people stop the replica for a recovery; what it reports (C10)."""
        self._step(StopAsked(self._now(), epoch))
        return sign_report(report(self.replica.state), self.founder.member_signer, self._world.chain_id)

    def take_recovery(self, certificate: RecoveryCertificate) -> None:
        """More than two thirds of the electors have signed (C10)."""
        self._step(RecoverySigned(self._now(), certificate))

    def _step(self, event: Input) -> None:
        effects = self.replica.step(event)
        state = self.replica.state
        if state.outlook.epoch > self._directory.outlook.epoch:
            self._directory = Directory(state.outlook, state.previous_committee)
        if self.replica.refused is not None:
            self._world.hits[f"refused {self.replica.refused.reason}"] += 1
        self._obey(effects)
        if self.log.lost and self.replica.state.silence is None:
            self.log.lost = False

    def _obey(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self._tick()
            match effect:
                case Persist(records, replace, at_leisure):
                    (self.log.replace if replace else self.log.append)(records)
                    self._tick()
                    if not at_leisure:
                        self.log.sync()
                case Send(to, message):
                    self._post((to,), message)
                case Broadcast(to, message):
                    self._post(to, message)
                case SetTimer(timer, delay_ms):
                    self._set(timer, delay_ms)
                case CancelTimer(timer):
                    self._cancel(timer)
                case Deliver(item):
                    self._deliveries.append(item)
                    self._after(self._chance.randint(0, self._world.options.execute_delay_max), self._take_delivery)

    def _set(self, timer: Timer, delay_ms: int) -> None:
        self._cancel(timer)
        self._timers[timer] = self._after(delay_ms, lambda: self._step(TimerExpired(self._now(), timer)))

    def _cancel(self, timer: Timer) -> None:
        alarm = self._timers.pop(timer, None)
        if alarm is not None:
            alarm.cancel()

    def _post(self, to: Iterable[str], message: Message) -> None:
        me, world = self.identity, self._world
        speech = Speech(self.endpoint, me.member_id, self.honest, message)
        for hear in world.watchers.sent:
            hear(speech)
        data = encode(Envelope(me.member_id, me.incarnation, me.session, message), me.chain_id)
        for member_id in to:
            if self._dropper is not None and self._dropper.drops(member_id, message):
                world.hits["kept back"] += 1
            else:
                self._send(member_id, self._lie(message) or data)

    def _lie(self, message: Message) -> bytes | None:
        """What a liar tells one member instead, or None where it tells the truth."""
        me, world = self.identity, self._world
        if not isinstance(self._dropper, Liar):
            return None
        told = self._dropper.alter(me, message)
        if told is message:
            return None
        self._dropper.stand_by(told, self.replica.state)
        world.hits["lie"] += 1
        for hear in world.watchers.sent:
            hear(Speech(self.endpoint, me.member_id, self.honest, told))
        return encode(Envelope(me.member_id, me.incarnation, me.session, told), me.chain_id)

    def _send(self, member_id: str, parcel: Parcel) -> None:
        target = self._world.views.endpoint(self.endpoint, member_id)
        if target is not None:
            self._world.network.send(self.endpoint, target, parcel)

    def receive(self, source: str, parcel: Parcel) -> None:
        """Something arrived from an endpoint."""
        if not self.up:
            return
        try:
            if type(parcel) is bytes:
                self._admit(source, parcel)
            else:
                self._take(source, parcel)
        except PowerCut:
            self.crash()

    def _take(self, source: str, parcel: Parcel) -> None:
        """A word of the ledgers' block sync."""
        match parcel:
            case TipSaid(height):
                self._sync(PeerTip(member_of(source), height))
            case BlocksAsked(ticket, from_height, count):
                blocks = self.ledger.blocks_from(from_height, count)
                self._send(member_of(source), BlocksSent(ticket, blocks))
            case BlocksSent(ticket, blocks) if self._sync_alarm is not None and ticket == self._ticket:
                self._sync_alarm.cancel()
                self._sync_alarm = None
                self._sync(Blocks(member_of(source), blocks))

    def _admit(self, source: str, data: bytes) -> None:
        """Judge an envelope as the driver does, and hand it to the replica."""
        world = self._world
        world.story.mix(data[-16:])
        try:
            received = self._judged(data)
        except ConsiliumError as refusal:
            world.hits[f"refused {refusal.reason}"] += 1
            if self.honest and isinstance(refusal, Malformed):
                raise Violation("codec", f"{source} sent {self.endpoint} what it refuses: {refusal}") from refusal
        else:
            assert received.sender == member_of(source), "the link knows its peer"
            self._step(received)

    def _judged(self, data: bytes) -> Received:
        """What admission says; it is a pure function of bytes and epoch, worked out once for all who get them."""
        world, key = self._world, (data, self._directory.outlook.epoch)
        known = world.admitted.get(key)
        if known is None:
            known = world.admitted[key] = self._admission(data)
        if isinstance(known, ConsiliumError):
            raise known.with_traceback(None)
        return Received(self._now(), known.sender, known.incarnation, known.session, known.message, known.batches)

    def _admission(self, data: bytes) -> Received | ConsiliumError:
        world = self._world
        try:
            envelope = decode(Envelope, data, world.chain_id)
            return admit(envelope, self._directory, world.chain_id, world.verifier, 0)
        except ConsiliumError as refusal:
            return refusal

    # --- the ledger ---

    def _take_delivery(self) -> None:
        """Execute or keep the next item that the replica delivered."""
        item = self._deliveries.popleft()
        if isinstance(item, ResultCertificate):
            self._certify(item)
            return
        height = item.commit.height
        chain = self.ledger.chain
        if height > chain.height:
            self._append(verify_block(item, chain.tip, self._world.chain_id, self._world.verifier))

    def _append(self, verified: VerifiedBlock) -> None:
        outcome = self.ledger.append(verified)
        self._tick()
        self.ledger.store.sync()
        self._tell(verified, outcome)
        outlook, header = outcome.outlook, verified.opened.header
        if outlook.epoch != self._directory.outlook.epoch:
            self._directory = Directory(outlook, self._directory.outlook.committee)
        else:
            self._directory = Directory(outlook, self._directory.previous_committee)
        self._step(Executed(self._now(), outcome.result, header, verified.opened.block.commit, outlook))
        self._sync(Appended(self.ledger.chain.tip))

    def _tell(self, verified: VerifiedBlock, outcome: BlockOutcome) -> None:
        """Show the checkers and clients what happened; a twin's ledger is nobody's business."""
        world, height = self._world, outcome.result.height
        world.story.note(self.endpoint, "executes", height, outcome.result.state_root.hex()[:12])
        if not self.honest:
            return
        execution = Execution(self.endpoint, verified.opened, outcome.codes, outcome.result, outcome.outlook.committee)
        for hear in world.watchers.executed:
            hear(execution)
        if height > world.top:
            world.top = height
            for hear in world.watchers.first_executed:
                hear(execution)

    def _certify(self, certificate: ResultCertificate) -> None:
        if not self.ledger.certify(certificate):
            return
        self.certified_at = self._world.clock.now_ms
        if self.honest:
            for hear in self._world.watchers.certified:
                hear(self.endpoint, certificate)

    # --- block sync ---

    def _tell_tip(self) -> None:
        for member_id in self._peers:
            self._send(member_id, TipSaid(self.ledger.chain.height))
        self._after(TIP_EVERY_MS, self._tell_tip)

    def _sync(self, event: SyncInput) -> None:
        for effect in self.ledger.sync.step(event):
            self._obey_sync(effect)

    def _obey_sync(self, effect: SyncEffect) -> None:
        match effect:
            case RequestBlocks(peer, from_height, count):
                self._ticket += 1
                self._send(peer, BlocksAsked(self._ticket, from_height, count))
                self._sync_alarm = self._after(SYNC_TIMEOUT_MS, lambda: self._give_up(peer))
            case Append(block, certificate):
                self._after(0, lambda: self._append_synced(block, certificate))
            case Ban(peer, reason):
                raise Violation("sync", f"{self.endpoint} bans {peer}: {reason}")

    def _give_up(self, peer: str) -> None:
        """The answer did not come in time."""
        self._sync_alarm = None
        self._sync(RequestFailed(peer))

    def _append_synced(self, verified: VerifiedBlock, certificate: ResultCertificate | None) -> None:
        """Append what sync brought, unless consensus was quicker."""
        if verified.opened.header.parent_hash == self.ledger.chain.tip.block_hash:
            self._world.hits["block synced"] += 1
            self._append(verified)
        if certificate is not None and certificate.result.height <= self.ledger.chain.height:
            self._certify(certificate)
            me = self.identity
            self._step(Received(self._now(), me.member_id, me.incarnation, me.session, ResultProof(certificate)))
