"""A committee of production replicas in one room: messages pass at once, in order, unless a test holds them back.

Everything that is said goes through the production codec and admission; every Persist lands in a list that is all a
restarted replica gets back; at every effect a test may cut the power.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consilium.consensus.core.admission import Directory, admit
from consilium.consensus.core.events import (
    Broadcast,
    CancelTimer,
    Deliver,
    Effect,
    Executed,
    LogEntry,
    Persist,
    Record,
    Send,
    SetTimer,
    Submitted,
    Timer,
    TimerExpired,
)
from consilium.consensus.core.identity import Identity, Recovered
from consilium.consensus.core.messages import Commit, Envelope, Message, Prepare
from consilium.consensus.core.replica import Replica
from consilium.consensus.core.state import State
from consilium.kernel.certificates import Committee, Delegate, Elector, Electorate, ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Outlook
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.hashing import domain_hash, sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Payload, RecordBody
from tests.consensus.toy_ledger import ToyLedger
from tests.simulation.signing import KeyedHashSigner, KeyedHashVerifier

CHAIN_ID = sha256(b"a committee under test")
PARAMETERS = Parameters(term_blocks=1_000_000, window_blocks=16, pipeline_blocks=4, batch_bytes_max=2_400)
VERIFIER = KeyedHashVerifier()
GENESIS_MS = 999_999
"""The chain's first time; the clusters' clocks start one millisecond later."""
MESSAGES_MAX = 100_000
"""How many messages one `run` may deliver; more means that replicas talk without end."""

Filter = Callable[[str, str, Message], bool]
"""Whether a message from one member to another arrives."""


def signer(name: str) -> KeyedHashSigner:
    """The key a member of this name has in tests."""
    return KeyedHashSigner(name)


def delegates(names: Sequence[str]) -> tuple[Delegate, ...]:
    """These members as delegates, in this order."""
    return tuple(Delegate(name, signer(name).public_key) for name in names)


def make_outlook(count: int, voters: int | None = None, parameters: Parameters = PARAMETERS) -> Outlook:
    """Epoch 0 of an alliance of `count` members, of which the first `voters` are the delegates."""
    names = [f"member-{index}" for index in range(count)]
    electors = tuple(Elector(name, signer(name).public_key) for name in names)
    committee = Committee(0, delegates(names[: voters or count]))
    return Outlook(0, 1, committee, None, bytes(32), Electorate(0, electors), parameters)


def make_record(author: str, number: int, expiry_height: int = 1_000) -> bytes:
    """A registration, as its member would vouch for it with a batch."""
    key = signer(author).public_key
    body = RecordBody(
        number.to_bytes(16, "big"),
        author,
        domain_hash("owner", number.to_bytes(8, "big")),
        domain_hash("root", number.to_bytes(8, "big")),
        domain_hash("capsule", number.to_bytes(8, "big")),
        3,
    )
    return encode(Payload(key, number.to_bytes(16, "big"), expiry_height, body), CHAIN_ID)


@dataclass
class Seat:
    """One member: its replica, its ledger, its vote log, its alarms, and what its replica asked for.

    `fuse` counts the effects that are still obeyed before the power fails; None for never. `lost` is the vote log's mark
    that an earlier one was lost, which stays until the replica may speak again.
    """

    name: str
    replica: Replica
    ledger: ToyLedger
    incarnation: int = 1
    log: list[Record] = field(default_factory=list)
    alarms: dict[Timer, int] = field(default_factory=dict)
    sent: list[tuple[str, Message]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    up: bool = True
    fuse: int | None = None
    lost: bool = False

    @property
    def state(self) -> State:
        """What the replica knows."""
        return self.replica.state

    @property
    def silent(self) -> bool:
        """Whether it may not speak as a delegate, its vote log being lost (C5)."""
        return self.state.silence is not None

    @property
    def refusal(self) -> str:
        """The reason why its last input was refused, "" when it was not."""
        return self.replica.refused.reason if self.replica.refused is not None else ""

    @property
    def height(self) -> int:
        """The last executed height."""
        return self.ledger.height

    @property
    def blocks(self) -> list[CertifiedBlock]:
        """The executed blocks."""
        return self.ledger.blocks

    @property
    def certificates(self) -> list[ResultCertificate]:
        """The result certificates the replica delivered."""
        return self.ledger.certificates

    def said(self, *kinds: type[Message]) -> list[Message]:
        """The messages of these kinds it sent, one for each receiver."""
        return [message for _, message in self.sent if isinstance(message, kinds)]

    def slots(self, kind: type[Prepare | Commit]) -> list[tuple[int, int, bytes]]:
        """The slots it prepared or committed, each once, in the order it did: view, height, digest."""
        votes = [message.signed.vote for _, message in self.sent if isinstance(message, kind)]
        return list(dict.fromkeys((vote.view, vote.height, vote.digest) for vote in votes))


class Cluster:
    """Replicas, links and one clock in milliseconds."""

    def __init__(
        self,
        count: int = 4,
        voters: int | None = None,
        parameters: Parameters = PARAMETERS,
        successors: Sequence[Sequence[str]] = (),
    ) -> None:
        """Start `count` members, the first `voters` of them delegates; `successors` sit in the epochs to come."""
        self.parameters = parameters
        self.outlook = make_outlook(count, voters, parameters)
        self.now_ms = GENESIS_MS + 1
        self.arrives: Filter = lambda _sender, _to, _message: True
        self.queue: deque[tuple[str, str, bytes]] = deque()
        self.spoken: list[tuple[str, Message]] = []
        self.refusals: list[ConsiliumError] = []
        following = [delegates(names) for names in successors]
        self.seats: dict[str, Seat] = {}
        for elector in self.outlook.electorate.electors:
            self._sit_down(elector.member_id, Recovered(), ToyLedger(CHAIN_ID, self.outlook, following), 1)
        for seat in self.seats.values():
            self.obey(seat, seat.replica.start(self.now_ms))
        self.run()

    def _sit_down(self, name: str, recovered: Recovered, ledger: ToyLedger, incarnation: int) -> Seat:
        key = signer(name)
        session = sha256(f"{name}/{incarnation}".encode())[:16]
        identity = Identity(CHAIN_ID, name, key, key, incarnation, session)
        replica = Replica(identity, ledger.outlook, ledger.tip(GENESIS_MS), recovered)
        self.seats[name] = Seat(name, replica, ledger, incarnation)
        return self.seats[name]

    @property
    def names(self) -> list[str]:
        """All members, delegates first, in the committee's order."""
        return list(self.seats)

    @property
    def heights(self) -> list[int]:
        """The members' last executed heights."""
        return [seat.height for seat in self.seats.values()]

    # --- life and death ---

    def stop(self, *names: str) -> None:
        """Cut these members' power."""
        for name in names:
            self.seats[name].up = False

    def restart(self, name: str, *, lost: bool = False, records: Sequence[Record] | None = None) -> Seat:
        """Start a member's replica anew from its vote log and its ledger, as a process after kill -9 would."""
        old = self.seats[name]
        old.up = False
        kept = [] if lost else list(old.log if records is None else records)
        silenced = lost or (old.lost and old.state.silence is not None)
        seat = self._sit_down(name, Recovered(tuple(kept), lost=silenced), old.ledger, old.incarnation + 1)
        seat.log, seat.effects, seat.lost = kept, [Persist(tuple(kept), replace=True)], silenced
        self.obey(seat, seat.replica.start(self.now_ms))
        return seat

    # --- what happens ---

    def submit(self, name: str, *transactions: bytes) -> None:
        """Hand transactions in at a member, let its batch wait pass, and let everything settle."""
        seat = self.seats[name]
        self.obey(seat, seat.replica.step(Submitted(self.now_ms, transactions)))
        self.ring(name, Timer.BATCH)

    def order(self, count: int, name: str = "member-0", first: int = 1) -> None:
        """Have so many blocks ordered, one record each."""
        for number in range(first, first + count):
            self.submit(name, make_record(name, number))

    def ring(self, name: str, timer: Timer) -> None:
        """Let an alarm ring now at one member, the clock moved to when it was due."""
        self._ring(self.seats[name], timer)
        self.run()

    def ring_all(self, timer: Timer, names: Sequence[str] | None = None) -> None:
        """Let an alarm ring at several members before any message passes."""
        for name in names or self.names:
            seat = self.seats[name]
            if seat.up and timer in seat.alarms:
                self._ring(seat, timer)
        self.run()

    def _ring(self, seat: Seat, timer: Timer) -> None:
        self.now_ms = max(self.now_ms, seat.alarms.pop(timer, self.now_ms))
        if seat.up:
            self.obey(seat, seat.replica.step(TimerExpired(self.now_ms, timer)))

    def let_pass(self, span_ms: int) -> None:
        """Let time pass: every alarm rings when it is due, and messages take no time."""
        end = self.now_ms + span_ms
        while (due := self._next_alarm()) is not None and due[0] <= end:
            self._ring(self.seats[due[1]], due[2])
            self.run()
        self.now_ms = max(self.now_ms, end)

    def _next_alarm(self) -> tuple[int, str, Timer] | None:
        alarms = [(at, seat.name, timer) for seat in self.seats.values() if seat.up for timer, at in seat.alarms.items()]
        return min(alarms, default=None)

    def run(self) -> None:
        """Deliver messages until none is under way."""
        for _ in range(MESSAGES_MAX):
            if not self.queue:
                return
            sender, to, data = self.queue.popleft()
            self.receive(to, sender, data)
        raise AssertionError("the replicas talk without end")

    def receive(self, to: str, sender: str, data: bytes) -> None:
        """One envelope arrives: decoded, verified, stepped, obeyed."""
        seat = self.seats[to]
        if not seat.up:
            return
        envelope = decode(Envelope, data, CHAIN_ID)
        assert envelope.sender == sender
        directory = Directory(seat.state.outlook, seat.state.previous_committee)
        try:
            event = admit(envelope, directory, CHAIN_ID, VERIFIER, self.now_ms)
        except ConsiliumError as error:
            self.refusals.append(error)
            return
        self.obey(seat, seat.replica.step(event))
        if seat.replica.refused is not None:
            self.refusals.append(seat.replica.refused)

    def deliver_message(self, sender: str, to: str, message: Message, incarnation: int | None = None) -> None:
        """Put a hand-made message on the link from one member to another."""
        identity = self.seats[sender].state.identity
        number = incarnation if incarnation is not None else identity.incarnation
        self.receive(to, sender, encode(Envelope(sender, number, identity.session, message), CHAIN_ID))
        self.run()

    # --- what is asked for ---

    def obey(self, seat: Seat, effects: list[Effect]) -> None:
        """Do what a replica asked for, in order, as far as its power lasts."""
        for effect in effects:
            if seat.fuse == 0:
                seat.up = False
            if not seat.up:
                return
            seat.fuse = None if seat.fuse is None else seat.fuse - 1
            seat.effects.append(effect)
            self._obey_one(seat, effect)

    def _obey_one(self, seat: Seat, effect: Effect) -> None:
        match effect:
            case Persist(records=records, replace=replace):
                kept = [decode(LogEntry, encode(LogEntry(each), CHAIN_ID), CHAIN_ID).record for each in records]
                seat.log = kept if replace else [*seat.log, *kept]
            case Send(to=to, message=message):
                self._post(seat, (to,), message)
            case Broadcast(to=to, message=message):
                self._post(seat, to, message)
            case SetTimer(timer=timer, delay_ms=delay_ms):
                seat.alarms[timer] = self.now_ms + delay_ms
            case CancelTimer(timer=timer):
                seat.alarms.pop(timer, None)
            case Deliver(item=CertifiedBlock() as block):
                self.execute(seat, block)
            case Deliver(item=ResultCertificate() as certificate):
                seat.certificates.append(certificate)

    def _post(self, seat: Seat, to: tuple[str, ...], message: Message) -> None:
        identity = seat.state.identity
        data = encode(Envelope(seat.name, identity.incarnation, identity.session, message), CHAIN_ID)
        self.spoken.append((seat.name, message))
        for name in to:
            assert name != seat.name, "nobody writes to itself"
            seat.sent.append((name, message))
            if self.arrives(seat.name, name, message):
                self.queue.append((seat.name, name, data))

    def execute(self, seat: Seat, block: CertifiedBlock) -> None:
        """The ledger takes the next block, and says so to the replica."""
        result = seat.ledger.execute(block)
        event = Executed(self.now_ms, result, seat.ledger.headers[-1], block.commit, seat.ledger.outlook)
        self.obey(seat, seat.replica.step(event))

    def catch_up(self, name: str, source: str) -> None:
        """What the ledgers' block sync does: hand over the committed blocks that one lacks."""
        seat = self.seats[name]
        while seat.height < len(self.seats[source].blocks):
            self.execute(seat, self.seats[source].blocks[seat.height])
        self.run()

    def heal(self, span_ms: int) -> None:
        """Let time pass with the ledgers' block sync at work: whoever lags is handed the blocks each second."""
        for _ in range(0, span_ms, 1_000):
            self.let_pass(1_000)
            ahead = max((seat for seat in self.seats.values() if seat.up), key=lambda each: each.height)
            for seat in self.seats.values():
                if seat.up and seat.height < ahead.height:
                    self.catch_up(seat.name, ahead.name)


def isolated(parameters: Parameters = PARAMETERS) -> Cluster:
    """Four replicas whose own messages go nowhere: only what a test delivers by hand arrives."""
    cluster = Cluster(parameters=parameters)
    cluster.arrives = lambda _sender, _to, _message: False
    return cluster
