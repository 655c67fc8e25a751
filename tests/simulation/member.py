"""One endpoint: the production replica, ledger, vote log and codec, on a simulated disk, clock and network.

It obeys effects in their order, as the driver does. The power may fail between any two of them, between writing to the log
and syncing it, and inside the log's own steps: whatever was not synced is then lost or torn (C5). A disk may also be slow;
then everything that rests on a write waits for it, and what happens meanwhile queues behind.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from consilium.consensus.core.admission import Directory
from consilium.consensus.core.events import (
    Broadcast,
    CancelTimer,
    Deliver,
    Executed,
    Persist,
    RecoverySigned,
    Send,
    SetTimer,
    StopAsked,
    Submitted,
    TimerExpired,
)
from consilium.consensus.core.identity import Identity, Tip
from consilium.consensus.core.recovering import report
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.errors import DataLoss, ResourceExhausted
from consilium.kernel.opening import open_block
from consilium.kernel.recovery_reports import sign_report
from consilium.ledger.core.acceptance import verify_block
from tests.simulation.alliance import GENESIS_MS
from tests.simulation.block_exchange import BlockExchange
from tests.simulation.builds import running
from tests.simulation.disk import BlockStore, VoteLog
from tests.simulation.endpoint import Endpoint
from tests.simulation.liar import Liar
from tests.simulation.local_ledger import LocalLedger
from tests.simulation.machine import ProcessEnds
from tests.simulation.observed import Execution, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from consilium.consensus.core.events import Effect, Input, Record, Timer
    from consilium.kernel.chain import CertifiedBlock
    from consilium.kernel.opening import OpenedBlock
    from consilium.kernel.recovery import RecoveryCertificate
    from consilium.kernel.recovery_reports import SignedReport
    from consilium.ledger.core.acceptance import VerifiedBlock
    from consilium.ledger.core.execution import BlockOutcome
    from consilium.ledger.core.sync import SentBlock
    from tests.simulation.alliance import Founder
    from tests.simulation.parcels import Parcel
    from tests.simulation.twin import Dropper
    from tests.simulation.world import World

TIP_EVERY_MS = 1_000
"""How often an endpoint tells the others its height."""


class Member(Endpoint):
    """One instance of one member; a twin is a second one with the same founder."""

    def __init__(self, endpoint: str, founder: Founder, world: World, dropper: Dropper | None = None) -> None:
        super().__init__(endpoint, founder, world, dropper)
        self.log = VoteLog(world.chain_id)
        self.ledger = LocalLedger(world, BlockStore())
        self.damaged = False
        self.certified_at: int | None = None
        self._has_begun = False
        self._timers: dict[Timer, int] = {}
        self._effects: deque[Effect] = deque()
        self._writing = False
        self._deliveries: deque[CertifiedBlock | ResultCertificate] = deque()
        self._peers = [each.member_id for each in world.genesis.members if each.member_id != founder.member_id]
        self._blocks = BlockExchange(self)

    # --- life and death ---

    def start(self, twin_of: Identity | None = None) -> None:
        """Come up: read the disk, begin a session, and let the replica speak. A clone speaks in its twin's session."""
        world, founder = self._world, self.founder
        self._boot()
        self.certified_at, self._has_begun = None, False
        self._open_log()
        with running(self.build):
            self.ledger.start(self._chance)
        self.identity = twin_of or Identity(
            chain_id=world.chain_id,
            member_id=founder.member_id,
            consensus_signer=founder.consensus_signer,
            member_signer=founder.member_signer,
            incarnation=self.log.incarnation,
            session=self._chance.randbytes(16),
        )
        self._blocks = BlockExchange(self)
        self._after(TIP_EVERY_MS, self._tell_tip)
        self._enter(self._speak_first)

    def _open_log(self) -> None:
        """Open the vote log; one that nothing has befallen but a power cut must be whole (C5)."""
        if self.log.open():
            if not self.damaged:
                raise Violation("S9 durability", f"{self.endpoint} finds its vote log damaged after a mere power cut.")
            for hear in self._world.watchers.forgot:
                hear(self.founder.member_id)
        self.damaged = False

    def _speak_first(self) -> None:
        ledger, chain = self.ledger, self.ledger.chain
        self._world.story.note(self.endpoint, "starts at", chain.height, "lost log" if self.log.lost else "")
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
        self._directory = Directory(chain.tip.outlook, ledger.previous_committee)
        self.replica = self._world.replica_class(self.identity, chain.tip.outlook, tip, self.log.read())
        if self.honest:
            self._tell_start()
        self._obey(self.replica.start(self.wall_ms()))
        self._has_begun = True

    def _tell_start(self) -> None:
        """Tell of the tip here as far as anybody was told of it, and of what lies above as executed now.

        Before the replica speaks: the power may fail while it does. A client that answers at once finds nobody here.
        """
        chain = self.ledger.chain
        height = min(chain.height, self._world.top)
        result = chain.outcome(height).result if height else None
        for hear in self._world.watchers.restarted:
            hear(self.endpoint, height, self._world.chain_id if result is None else result.block_hash, result)
        for execution in self._found():
            self._tell_all(execution)

    def _found(self) -> list[Execution]:
        """What this disk holds above all that was told: executed, and kept though the power went before it was synced.

        How a block came is not known any more, so it is judged as a copy, as block sync's are.
        """
        chain = self.ledger.chain
        heights = range(self._world.top + 1, chain.height + 1)
        opened = [open_block(chain.block(height), self._world.chain_id) for height in heights]
        return [self._execution(each, chain.outcome(each.header.height), synced=True) for each in opened]

    def crash(self, *, power: bool = True) -> None:
        """Stop at once; with the power, what was not synced may be lost."""
        if not self.up:
            return
        self._world.story.note(self.endpoint, "loses power" if power else "is killed")
        self._halt()
        for alarm in self._timers.values():
            self._clock.cancel(alarm)
        self._timers.clear()
        self._deliveries.clear()
        self._effects.clear()
        self._writing = False
        if power:
            self.log.lose_power(self._chance)
        else:
            self.log.kill()
        self.ledger.crash(self._chance, power=power)

    @property
    def is_silent(self) -> bool:
        """Whether it has forgotten something, or is about to find out, and so counts among the f (C5)."""
        return self.log.lost or self.damaged or self.replica.state.silence is not None

    def clone(self, endpoint: str) -> Member:
        """A second instance that starts from a copy of this one's disk."""
        other = Member(endpoint, self.founder, self._world)
        other.build = self.build
        other.log, other.ledger = self.log.copy(), LocalLedger(self._world, self.ledger.store.copy())
        return other

    def put_back(self, log: VoteLog, store: BlockStore) -> None:
        """Hold an older copy of the disk from now on."""
        log.highest = self.log.highest
        self.log, self.ledger = log, LocalLedger(self._world, store)
        self.ledger.forget()

    # --- the replica ---

    def submit(self, transactions: tuple[bytes, ...]) -> None:
        """A client hands transactions in."""
        if self.up and self._has_begun:
            self._enter(self._hand_in, transactions)

    def _hand_in(self, transactions: tuple[bytes, ...]) -> None:
        self.step(Submitted(self.wall_ms(), transactions))

    def stop_epoch(self, epoch: int) -> SignedReport:
        """Its people stop the replica for a recovery; what it reports (C10)."""
        self.step(StopAsked(self.wall_ms(), epoch))
        return sign_report(report(self.replica.state), self.founder.member_signer, self._world.chain_id)

    def take_recovery(self, certificate: RecoveryCertificate) -> None:
        """More than two thirds of the electors have signed (C10)."""
        self.step(RecoverySigned(self.wall_ms(), certificate))

    def step(self, event: Input) -> None:
        """Let the replica take an input, and obey what it asks for. A liar that finds it has broken its word ends."""
        try:
            effects = self.replica.step(event)
        except AssertionError as error:
            if not isinstance(self._dropper, Liar):
                raise
            self._world.hits["liar caught itself"] += 1
            raise ProcessEnds from error
        state, refused = self.replica.state, self.replica.refused
        if state.outlook.epoch > self._directory.outlook.epoch:
            self._directory = Directory(state.outlook, state.previous_committee)
        if refused is not None:
            self._world.hits[f"refused {refused.reason}"] += 1
        if effects:
            self._obey(effects)

    def _obey(self, effects: Iterable[Effect]) -> None:
        """Set alarms at once; everything else happens in order, and waits for the disk."""
        for effect in effects:
            if isinstance(effect, SetTimer):
                self._set(effect.timer, effect.delay_ms)
            elif isinstance(effect, CancelTimer):
                self._cancel(effect.timer)
            else:
                self._effects.append(effect)
        if self._effects and not self._writing:
            self._drain()

    def _drain(self) -> None:
        speaks_again = self.log.lost and self.replica.state.silence is None
        while self._effects and not self._writing:
            self._tick()
            effect = self._effects.popleft()
            if speaks_again and not isinstance(effect, Persist):
                self.log.end_silence()
                speaks_again = False
            match effect:
                case Persist():
                    self._persist(effect)
                case Broadcast():
                    self._post(effect.to, effect.message)
                case Deliver():
                    self._deliveries.append(effect.item)
                    self._after(self._chance.randint(0, self._world.options.execute_delay_max), self._take_delivery)
                case Send():
                    self._post((effect.to,), effect.message)

    def _persist(self, effect: Persist) -> None:
        """Write; what follows waits until it is durable, unless the next sync is soon enough."""
        records, replace = effect.records, effect.replace
        try:
            self.log.write(records, replace=replace)
        except (DataLoss, ResourceExhausted) as error:
            raise ProcessEnds from error
        if effect.at_leisure:
            return
        if self._world.options.disk_ms and not self._world.calm:
            self._world.hits["slow disk"] += 1
            self._writing = True
            delay_ms = self._chance.randrange(self._world.options.disk_ms)
            self._after(delay_ms, partial(self._go_on_after, records, replace=replace))
        else:
            self._sync(records, replace=replace)

    def _go_on_after(self, records: Sequence[Record], *, replace: bool) -> None:
        """The disk has taken its time."""
        self._sync(records, replace=replace)
        self._writing = False
        self._drain()

    def _sync(self, records: Sequence[Record], *, replace: bool) -> None:
        self._tick()
        try:
            self.log.sync()
        except (DataLoss, ResourceExhausted) as error:
            raise ProcessEnds from error
        for hear in self._world.watchers.persisted:
            hear(self, records, replace)

    def _set(self, timer: Timer, delay_ms: int) -> None:
        self._cancel(timer)
        self._timers[timer] = self._after(delay_ms, self._ring, timer)

    def _ring(self, timer: Timer) -> None:
        self.step(TimerExpired(self.wall_ms(), timer))

    def _cancel(self, timer: Timer) -> None:
        alarm = self._timers.pop(timer, None)
        if alarm is not None:
            self._clock.cancel(alarm)

    # --- the ledger ---

    def take(self, source: str, parcel: Parcel) -> None:
        """What block sync has been told."""
        self._blocks.take(source, parcel)

    def _take_delivery(self) -> None:
        """Execute or keep the next item that the replica delivered."""
        item = self._deliveries.popleft()
        if isinstance(item, ResultCertificate):
            self.certify(item)
        elif item.commit.height > self.ledger.chain.height:
            self.append(verify_block(item, self.ledger.chain.tip, self._world.chain_id, self._world.verifier))

    def append(self, verified: VerifiedBlock, *, synced: bool = False) -> None:
        """Execute a block, make it durable, and tell the replica."""
        outcome = self.ledger.append(verified)
        self._tick()
        self.ledger.store.sync()
        self._tell(verified.opened, outcome, synced=synced)
        outlook, header = outcome.outlook, verified.opened.header
        if outlook.epoch != self._directory.outlook.epoch:
            self._directory = Directory(outlook, self._directory.outlook.committee)
        else:
            self._directory = Directory(outlook, self._directory.previous_committee)
        self.step(Executed(self.wall_ms(), outcome.result, header, verified.opened.block.commit, outlook))
        self._blocks.appended()

    def _tell(self, opened: OpenedBlock, outcome: BlockOutcome, *, synced: bool) -> None:
        """Show the checkers and clients what happened; a twin's ledger is nobody's business."""
        height, root = outcome.result.height, outcome.result.state_root
        self._world.story.note(self.endpoint, "executes", height, root.hex()[:12])
        if self.honest:
            self._tell_all(self._execution(opened, outcome, synced=synced))

    def _execution(self, opened: OpenedBlock, outcome: BlockOutcome, *, synced: bool) -> Execution:
        return Execution(self.endpoint, opened, outcome.codes, outcome.result, outcome.outlook, synced)

    def _tell_all(self, execution: Execution) -> None:
        """Tell the checkers, and clients and whoever else wants to know of every block once: these may act on it at once."""
        world = self._world
        for hear in world.watchers.executed:
            hear(execution)
        if execution.height > world.top:
            world.top = execution.height
            for hear in world.watchers.first_executed:
                hear(execution)

    def certify(self, certificate: ResultCertificate) -> None:
        """Keep a result certificate; it tells that the tip is fresh."""
        if not self.ledger.certify(certificate):
            return
        self.certified_at = self._clock.now_ms
        if self.honest:
            for hear in self._world.watchers.certified:
                hear(self.endpoint, certificate)

    def _tell_tip(self) -> None:
        self._blocks.tell_tip(self._peers)
        self._after(TIP_EVERY_MS, self._tell_tip)

    # --- for the exchange of blocks ---

    @property
    def world(self) -> World:
        """The run this endpoint belongs to."""
        return self._world

    def after(self, delay_ms: int, action: Callable[..., None], *what: object) -> int:
        """Let something happen in this life after a delay; the number cancels it."""
        return self._after(delay_ms, action, *what)

    def false_blocks(self, blocks: tuple[SentBlock, ...]) -> tuple[SentBlock, ...]:
        """What a liar answers block sync with; the blocks themselves from everybody else."""
        return self._dropper.alter_blocks(blocks) if isinstance(self._dropper, Liar) else blocks

    def claimed_height(self) -> int:
        """The height this endpoint tells others; a liar's may be any."""
        height = self.ledger.chain.height
        return self._dropper.alter_height(height) if isinstance(self._dropper, Liar) else height
