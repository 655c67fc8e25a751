"""The shell around one replica: when things happen (rules C1, C5).

Inputs are stepped one at a time, in the order they came. What a step asks for is obeyed in the order it was
asked; steps that were waiting together share one sync of the vote log, which only moves records earlier,
never a message ahead of its record. Blocks go to the ledger in a task of their own, so that deciding h+1
does not wait for executing h.

Every envelope goes through `admission.admit` first; what is refused there is counted and dropped. Whatever waits for the
replica has the time at which it began to wait, so that time goes on in the order of the inputs (C2).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from consilium.consensus.core.admission import Directory, admit
from consilium.consensus.core.batching import is_held
from consilium.consensus.core.events import (
    Broadcast,
    CancelTimer,
    Deliver,
    Effect,
    Executed,
    Input,
    LogEntry,
    Persist,
    Received,
    Record,
    RecoverySigned,
    Send,
    SetTimer,
    StopAsked,
    Submitted,
    TimerExpired,
)
from consilium.consensus.core.identity import Identity, Recovered
from consilium.consensus.core.messages import (
    BatchOffer,
    Commit,
    Envelope,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ResultProof,
    SignedViewChange,
)
from consilium.consensus.core.recovering import report
from consilium.consensus.core.replica import Replica
from consilium.consensus.core.screening import screen
from consilium.consensus.inbox import Inbox
from consilium.consensus.peers import Transport
from consilium.consensus.store import VoteLog
from consilium.consensus.timing import Alarm, Alarms, Turns
from consilium.kernel.certificates import CommitCertificate, Result, ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header, Outlook
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, ConsiliumError, ResourceExhausted
from consilium.kernel.opening import OpenedBatch
from consilium.kernel.recovery import RecoveryCertificate, verify_recovery
from consilium.kernel.recovery_reports import RecoveryReport
from consilium.kernel.signing import Verifier
from consilium.runtime.threads import run_to_end

WAITING_MAX = 8_192
"""Inputs that may wait for the replica before submissions are refused and envelopes are looked at no more."""
SMALL_BYTES_MAX = 2_048
"""Batches of no more bytes are verified on the event loop: a few signatures take less than the way to a thread."""
GROUP_MAX = 64
"""Steps that may share one sync of the vote log."""


class LocalLedger(Protocol):
    """The member's own ledger. It tells the driver of every block it executed by `Driver.executed`."""

    async def deliver(self, item: CertifiedBlock | ResultCertificate) -> None:
        """Execute and keep a committed block, or keep the certificate of its result; durable on return."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a driver works with; `now_ms` is the wall clock since 1970 that headers carry (L7)."""

    log: VoteLog
    transport: Transport
    ledger: LocalLedger
    verifier: Verifier
    now_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What people ask of the replica; who asked is told once it is durable, or refused."""

    event: StopAsked | RecoverySigned
    done: asyncio.Future[None]


class Driver:
    """Runs one replica while `run` runs; its other methods are for the same event loop, at any time."""

    def __init__(self, replica: Replica, identity: Identity, directory: Directory, around: Surroundings) -> None:
        self._replica = replica
        self._identity = identity
        self._directory = directory
        self._around = around
        self._inbox = Inbox()
        self._inputs: asyncio.Queue[Input | Alarm | _Asked] = asyncio.Queue()
        self._answers: list[tuple[asyncio.Future[None], ConsiliumError | None]] = []
        self._deliveries: asyncio.Queue[CertifiedBlock | ResultCertificate] = asyncio.Queue()
        self._alarms = Alarms(self._inputs.put_nowait, around.now_ms)
        self._has_room = asyncio.Event()
        self.refused: Counter[tuple[str, str]] = Counter()
        """What was dropped, by the member it came from and the reason."""
        self.said: Counter[str] = Counter()
        """Messages handed to the links, one for each receiver, by kind (C8)."""
        self.last_votes: dict[str, int] = {}
        """The height of the last vote that each member's link brought, whether or not it still counted."""

    async def run(self) -> None:
        """Serve until cancelled.

        Raises what the vote log or the ledger raised: who cannot make its word durable must fall silent (C5).
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._step_forever())
                tasks.create_task(self._admit_forever())
                tasks.create_task(self._deliver_forever())
        finally:
            self._alarms.silence()

    def receive(self, peer: str, envelope: bytes) -> None:
        """Take what the link to `peer` brought; never waits. The link has authenticated the peer (design section 8)."""
        try:
            self._inbox.put(peer, envelope)
        except ResourceExhausted as error:
            self.refused[peer, error.reason] += 1

    def submit(self, transactions: Sequence[bytes]) -> None:
        """Hand in opened and verified transactions; raises ResourceExhausted when too much waits already."""
        if self._inputs.qsize() >= WAITING_MAX:
            raise ResourceExhausted("BUSY", f"{WAITING_MAX} inputs are waiting; submit again later.", "C4")
        self._inputs.put_nowait(Submitted(self._around.now_ms(), tuple(transactions)))

    def executed(self, result: Result, header: Header, commit: CommitCertificate, outlook: Outlook) -> None:
        """Take word that the ledger executed a block and made it durable, whoever brought the block."""
        previous = self._directory.previous_committee
        if outlook.epoch != self._directory.outlook.epoch:
            previous = self._directory.outlook.committee
        self._directory = Directory(outlook, previous)
        self._inputs.put_nowait(Executed(self._around.now_ms(), result, header, commit, outlook))

    def certified(self, certificate: ResultCertificate) -> None:
        """Take word that block sync brought the proof of a result; the ledger has verified it."""
        me, now_ms = self._identity, self._around.now_ms()
        proof = ResultProof(certificate)
        self._inputs.put_nowait(Received(now_ms, me.member_id, me.incarnation, me.session, proof))

    async def stop(self, epoch: int) -> RecoveryReport:
        """Say nothing more in this epoch; durable on return, with what the replica knows (C10).

        Raises FailedPrecondition: OTHER_EPOCH.
        """
        await self._asked(StopAsked(self._around.now_ms(), epoch))
        return report(self._replica.state)

    async def recover(self, certificate: RecoveryCertificate) -> None:
        """End the epoch as its electors have signed; durable on return (C10). One of an epoch that is over changes nothing.

        Raises FailedPrecondition (OTHER_EPOCH) for one to come, Conflict: OTHER_RECOVERY, and what `verify_recovery` raises.
        """
        outlook = self._directory.outlook
        if certificate.statement.epoch < outlook.epoch:
            return
        chain_id, verifier = self._identity.chain_id, self._around.verifier
        places = outlook.committee, outlook.electorate, outlook.epoch_start
        await asyncio.to_thread(verify_recovery, *places, certificate, chain_id, verifier)
        await self._asked(RecoverySigned(self._around.now_ms(), certificate))

    async def _asked(self, asked: StopAsked | RecoverySigned) -> None:
        """Have the replica step what people ask for; raises what it refuses it with."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inputs.put_nowait(_Asked(asked, done))
        await done

    async def _step_forever(self) -> None:
        await self._obey(self._arm(self._replica.start(self._around.now_ms())))
        turns = Turns()
        while True:
            await self._obey(self._step_waiting(await self._inputs.get()))
            self._answer()
            await turns.give_way()

    def _answer(self) -> None:
        """Tell those who asked, now that what they asked for is durable."""
        for done, refusal in self._answers:
            if not done.done() and refusal is not None:
                done.set_exception(refusal)
            elif not done.done():
                done.set_result(None)
        self._answers.clear()

    def _step_waiting(self, first: Input | Alarm | _Asked) -> list[Effect]:
        """Step the first input and those already behind it; their effects, less the timers, in order."""
        effects = self._step(first)
        for _ in range(GROUP_MAX - 1):
            if self._inputs.empty():
                break
            effects += self._step(self._inputs.get_nowait())
        if self._inputs.qsize() < WAITING_MAX:
            self._has_room.set()
        return effects

    def _step(self, happened: Input | Alarm | _Asked) -> list[Effect]:
        if isinstance(happened, Alarm):
            if not self._alarms.still_set(happened):
                return []
            happened = TimerExpired(happened.now_ms, happened.timer)
        effects = self._replica.step(happened.event if isinstance(happened, _Asked) else happened)
        if isinstance(happened, _Asked):
            self._answers.append((happened.done, self._replica.refused))
        for whose, error in self._replica.state.refusals:
            self.refused[whose, error.reason] += 1
        self._follow()
        return self._arm(effects)

    def _follow(self) -> None:
        """Judge messages by the epoch that the replica has crossed into; after a recovery the ledger comes a block later."""
        state = self._replica.state
        if state.outlook.epoch > self._directory.outlook.epoch:
            self._directory = Directory(state.outlook, state.previous_committee)

    def _arm(self, effects: Iterable[Effect]) -> list[Effect]:
        """Obey the timers at once: nobody outside sees them, but the next step may depend on them."""
        rest: list[Effect] = []
        for effect in effects:
            match effect:
                case SetTimer(timer, delay_ms):
                    self._alarms.set(timer, delay_ms)
                case CancelTimer(timer):
                    self._alarms.cancel(timer)
                case _:
                    rest.append(effect)
        return rest

    async def _obey(self, effects: Sequence[Effect]) -> None:
        """Make all records durable, then send and deliver in order (C5)."""
        log, persist = self._around.log, together(effects)
        speaks_again = log.lost and self._replica.state.silence is None
        if persist is not None and persist.at_leisure:
            log.append(self._entries(persist))
        elif persist is not None:
            await run_to_end(self._write, persist)
        if speaks_again:
            await run_to_end(log.end_silence)
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._post((to,), message)
                case Broadcast(to, message):
                    self._post(to, message)
                case Deliver(item):
                    self._deliveries.put_nowait(item)
                case _:
                    pass

    def _write(self, persist: Persist) -> None:
        """Make records durable, all at the cost of one sync."""
        log, entries = self._around.log, self._entries(persist)
        if persist.replace:
            log.prune(entries)
        else:
            log.append(entries)
            log.sync()

    def _entries(self, persist: Persist) -> list[bytes]:
        return [encode(LogEntry(each), self._identity.chain_id) for each in persist.records]

    def _post(self, to: Sequence[str], message: Message) -> None:
        me = self._identity
        envelope = encode(Envelope(me.member_id, me.incarnation, me.session, message), me.chain_id)
        self.said[type(message).__name__] += len(to)
        for member_id in to:
            self._around.transport.post(member_id, envelope)

    async def _deliver_forever(self) -> None:
        while True:
            await self._around.ledger.deliver(await self._deliveries.get())

    async def _admit_forever(self) -> None:
        turns = Turns()
        while True:
            await self._admit(*await self._inbox.take())
            await turns.give_way()
            if self._inputs.qsize() >= WAITING_MAX:
                self._has_room.clear()
                await self._has_room.wait()

    async def _admit(self, peer: str, data: bytes) -> None:
        """Verify one envelope, in a thread when that may take long, and queue it for the replica."""
        try:
            envelope = decode(Envelope, data, self._identity.chain_id)
            if envelope.sender != peer:
                raise BadSignature("FOREIGN_SENDER", f"{peer} speaks in the name of {envelope.sender}.", "C5")
            self._note_vote(peer, envelope.message)
            screen(self._replica.state, envelope.message)
            if _takes_long(envelope.message):
                judged = await asyncio.to_thread(self._judge, envelope)
                received = replace(judged, now_ms=self._around.now_ms())
            else:
                received = self._judge(envelope)
        except ConsiliumError as error:
            self.refused[peer, error.reason] += 1
        else:
            self._inputs.put_nowait(received)

    def _note_vote(self, peer: str, message: Message) -> None:
        """Who votes, attends (`leaving`); one who lies about it does so about itself alone."""
        if isinstance(message, PrePrepare | Prepare | Commit):
            self.last_votes[peer] = max(message.signed.vote.height, self.last_votes.get(peer, 0))

    def _judge(self, envelope: Envelope) -> Received:
        around = self._around
        chain_id, now_ms = self._identity.chain_id, around.now_ms()
        return admit(envelope, self._directory, chain_id, around.verifier, now_ms, self._is_held)

    def _is_held(self, opened: OpenedBatch) -> bool:
        """Not while the replica has still to enter the epoch whose keys count: a batch may be of a member that left."""
        state = self._replica.state
        return state.outlook.epoch == self._directory.outlook.epoch and is_held(state, opened)


def recovered(log: VoteLog, chain_id: bytes) -> Recovered:
    """What the vote log holds at a start; raises DataLoss for a damaged record, Malformed for a foreign one."""
    return Recovered(tuple(decode(LogEntry, each, chain_id).record for each in log.read()), log.lost)


def together(effects: Iterable[Effect]) -> Persist | None:
    """All records of several steps as one write, or None; a replacement drops what came before it."""
    records: list[Record] = []
    wanted = replace = False
    at_leisure = True
    for effect in effects:
        if isinstance(effect, Persist):
            wanted, at_leisure = True, at_leisure and effect.at_leisure
            if effect.replace:
                records, replace = [], True
            records += effect.records
    return Persist(tuple(records), replace, at_leisure) if wanted else None


def _takes_long(message: Message) -> bool:
    """Whether it may carry so many signatures that checking them here would hold up everything else."""
    match message:
        case BatchOffer(batch=batch):
            return len(batch) > SMALL_BYTES_MAX
        case PrePrepare(inline=inline, stored=stored):
            return sum(map(len, inline)) > SMALL_BYTES_MAX or bool(stored)
        case NewView() | SignedViewChange():
            return True
        case _:
            return False
