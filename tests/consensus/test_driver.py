from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from consilium.ceremony.keys import draw_keys, profile_of
from consilium.consensus.core.admission import Directory
from consilium.consensus.core.events import (
    BatchRecord,
    Broadcast,
    LogEntry,
    Persist,
    PreparedRecord,
    ProposalRecord,
    Timer,
    ViewRecord,
)
from consilium.consensus.core.identity import Identity, Tip
from consilium.consensus.core.messages import Commit, Envelope, Prepare, PrePrepare, StatusRequest
from consilium.consensus.core.replica import Replica
from consilium.consensus.driver import Driver, Surroundings, recovered, together
from consilium.consensus.inbox import BYTES_MAX, ENVELOPES_MAX, Inbox
from consilium.consensus.store import MemoryVoteLog
from consilium.consensus.timing import Alarm, Alarms
from consilium.kernel.chain import CertifiedBlock, Genesis, Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import DataLoss, ResourceExhausted
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import Parameters
from consilium.ledger.core.chain import Chain
from consilium.runtime.clock import wall_ms
from consilium.sandbox.founders import FIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from consilium.ceremony.keys import MemberKeys
    from consilium.consensus.core.events import Effect, Input
    from consilium.kernel.certificates import ResultCertificate
    from consilium.kernel.signing import Verifier

from consilium.kernel.signing import Ed25519Verifier

PARAMETERS = Parameters(heartbeat_ms=20, view_timeout_ms=5_000)
WAIT_S = 60


class WatchedLog(MemoryVoteLog):
    """A vote log that knows what is durable at any moment; `broken` makes the next sync fail."""

    def __init__(self, chain_id: bytes) -> None:
        super().__init__()
        self._chain_id = chain_id
        self.durable: list[object] = []
        self._fresh: list[object] = []
        self.broken = False

    def append(self, records: Sequence[bytes]) -> None:
        super().append(records)
        self._fresh += [decode(LogEntry, each, self._chain_id).record for each in records]

    def sync(self) -> None:
        if self.broken:
            raise DataLoss("SYNC_FAILED", "The disk is gone.", "C5")
        super().sync()
        self.durable += self._fresh
        self._fresh = []


class Room:
    """Four drivers over real replicas, logs in memory, links of bytes, and real chains as their ledgers."""

    def __init__(
        self, folder: Path, now_ms: Callable[[], int] = wall_ms, replica_class: Callable[..., Replica] = Replica
    ) -> None:
        self.now_ms, self.replica_class = now_ms, replica_class
        keys = {each.member_id: draw_keys(folder / each.member_id) for each in FIVE}
        members = tuple(profile_of(each, keys[each.member_id]) for each in FIVE)
        self.genesis = Genesis("a room", wall_ms(), PARAMETERS, members)
        self.drivers: dict[str, Driver] = {}
        self.logs: dict[str, WatchedLog] = {}
        self.chains: dict[str, Chain] = {}
        self.too_early: list[str] = []
        self.posts = 0
        self.grown = asyncio.Event()
        for name, each in keys.items():
            self._add(name, each, Ed25519Verifier())

    def _add(self, name: str, keys: MemberKeys, verifier: Verifier) -> None:
        chain = self.chains[name] = Chain(self.genesis, verifier)
        log = self.logs[name] = WatchedLog(chain.chain_id)
        identity = Identity(chain.chain_id, name, keys.consensus, keys.member, 1, sha256(name.encode())[:16])
        outlook = chain.tip.outlook
        replica = self.replica_class(identity, outlook, Tip(self.genesis.time_ms), recovered(log, chain.chain_id))
        around = Surroundings(log, RoomLink(self, name), RoomLedger(self, name), verifier, self.now_ms)
        self.drivers[name] = Driver(replica, identity, Directory(outlook, None), around)

    def check(self, sender: str, data: bytes) -> None:
        """Note a vote that leaves before the record it rests on is durable."""
        message = decode(Envelope, data, self.genesis.chain_id).message
        durable = self.logs[sender].durable
        if isinstance(message, PrePrepare | Prepare):
            proposed = [sha256(each.header) for each in durable if isinstance(each, ProposalRecord)]
            if message.signed.vote.digest not in proposed:
                self.too_early.append(f"{sender}: {type(message).__name__}")
        elif isinstance(message, Commit):
            prepared = [sha256(each.certificate.header) for each in durable if isinstance(each, PreparedRecord)]
            if message.signed.vote.digest not in prepared:
                self.too_early.append(f"{sender}: Commit")


class RoomLink:
    """One member's links, which check that nothing leaves too early."""

    def __init__(self, room: Room, name: str) -> None:
        self._room, self._name = room, name

    def post(self, to: str, envelope: bytes) -> None:
        self._room.posts += 1
        self._room.check(self._name, envelope)
        asyncio.get_running_loop().call_soon(self._room.drivers[to].receive, self._name, envelope)


class RoomLedger:
    """One member's chain."""

    def __init__(self, room: Room, name: str) -> None:
        self._room, self._name = room, name

    async def deliver(self, item: CertifiedBlock | ResultCertificate) -> None:
        chain = self._room.chains[self._name]
        if not isinstance(item, CertifiedBlock):
            chain.add_result_certificate(item)
            return
        outcome = chain.append_block(item)
        header = decode(Header, item.header, chain.chain_id)
        self._room.drivers[self._name].executed(outcome.result, header, item.commit, outcome.outlook)
        self._room.grown.set()


async def run_until(room: Room, height: int) -> None:
    """Run all drivers until every delegate's chain is this high; raises what a driver ended with."""

    async def grown() -> None:
        delegates = room.chains["3A"].committee_of(0).delegates
        while min(room.chains[each.member_id].height for each in delegates) < height:
            room.grown.clear()
            await room.grown.wait()

    waiting = asyncio.ensure_future(grown())
    tasks = [waiting, *(asyncio.ensure_future(driver.run()) for driver in room.drivers.values())]
    done, _ = await asyncio.wait(tasks, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)
    assert done, f"no height {height} in {WAIT_S} seconds"
    for each in done:
        each.result()


def test_no_vote_leaves_before_its_record_is_durable(tmp_path: Path) -> None:
    """C5: every pre-prepare, prepare and commit of a run finds its record synced when it goes out."""

    async def story() -> None:
        room = Room(tmp_path)
        await run_until(room, 8)
        assert room.posts > 100
        assert room.too_early == []

    asyncio.run(story())


def test_time_goes_on_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    """C2: whoever waits in a queue ages no batch twice; what was stamped late and stepped early would set the clock back."""
    times = itertools.count(wall_ms())
    seen: dict[str, list[int]] = {}

    class Watched(Replica):
        def step(self, event: Input) -> list[Effect]:
            seen.setdefault(self.state.identity.member_id, []).append(event.now_ms)
            return super().step(event)

    async def story() -> None:
        room = Room(tmp_path, lambda: next(times), Watched)
        for each in room.drivers.values():
            each._alarms.set(Timer.BATCH, 0)  # noqa: SLF001  a timer rings, and something else happens before it is heard
            while each._inputs.empty():  # noqa: ASYNC110, SLF001  the event loop's own timer
                await asyncio.sleep(0)
            each.submit(())
        await run_until(room, 8)

    asyncio.run(story())
    assert all(len(each) > 1 and each == sorted(each) for each in seen.values())


def test_a_replica_whose_disk_fails_falls_silent(tmp_path: Path) -> None:
    """C5: after a failed sync nothing more is said, and the driver ends with the error."""

    async def story() -> None:
        room = Room(tmp_path)
        name = room.chains["3A"].committee_of(0).delegates[1].member_id
        room.logs[name].broken = True
        with pytest.raises(ExceptionGroup) as ended:
            await run_until(room, 3)
        assert ended.group_contains(DataLoss, match="SYNC_FAILED")
        assert room.too_early == []

    asyncio.run(story())


def test_what_is_not_an_envelope_is_refused_by_reason(tmp_path: Path) -> None:
    """L1: garbage, another chain's bytes and a borrowed name are counted and dropped, and blocks go on."""

    async def story() -> None:
        room = Room(tmp_path)
        driver, chain_id = room.drivers["3A"], room.genesis.chain_id
        foreign = Envelope("3B", 1, bytes(16), StatusRequest(0))
        driver.receive("1A", b"")
        driver.receive("1A", b"\xff" * 100)
        driver.receive("1A", encode(foreign, sha256(b"another chain")))
        driver.receive("1A", encode(foreign, chain_id))
        await run_until(room, 3)
        for reason, count in (("NOT_DETERMINISTIC", 2), ("FOREIGN_CHAIN", 1), ("FOREIGN_SENDER", 1)):
            assert driver.refused["1A", reason] == count

    asyncio.run(story())


def test_a_flooded_inbox_loses_the_newest(tmp_path: Path) -> None:
    """Design section 8: every queue has a bound."""
    driver = Room(tmp_path).drivers["3A"]
    for _ in range(ENVELOPES_MAX + 7):
        driver.receive("1A", b"")
    assert driver.refused["1A", "INBOX_FULL"] == 7


def test_a_flood_costs_the_others_one_place_each() -> None:
    """C1: whoever floods is heard in its turn; its bytes are bounded as well, and its own word is what is lost."""

    async def story() -> None:
        inbox = Inbox()
        for _ in range(ENVELOPES_MAX):
            inbox.put("flooder", b"junk")
        inbox.put("honest", b"first")
        inbox.put("honest", b"second")
        heard = [await inbox.take() for _ in range(4)]
        assert [each for each in heard if each[0] == "honest"] == [("honest", b"first"), ("honest", b"second")]
        large = bytes(BYTES_MAX // 4)
        for _ in range(4):
            inbox.put("heavy", large)
        with pytest.raises(ResourceExhausted, match="heavy") as refusal:
            inbox.put("heavy", b"x")
        assert refusal.value.reason == "INBOX_FULL"
        assert inbox.waiting_bytes("heavy") == BYTES_MAX

    asyncio.run(story())


def test_a_full_inbox_does_not_keep_timers_waiting(tmp_path: Path) -> None:
    """C1: whoever fills the inbox with what takes long to verify does not stop this replica's clock."""

    async def story() -> None:
        room, rung = Room(tmp_path), asyncio.Event()
        driver, loop = room.drivers["3A"], asyncio.get_running_loop()
        for _ in range(ENVELOPES_MAX):
            driver.receive("1A", b"")
        loop.time = SlowClock(loop.time()).time  # type: ignore[method-assign]  # each look at the clock costs one ms
        loop.call_later(0.05, rung.set)
        running = asyncio.ensure_future(driver.run())
        await rung.wait()
        running.cancel()
        assert driver.refused.total() < ENVELOPES_MAX

    asyncio.run(story())


class SlowClock:
    """A clock that has gone on by a millisecond whenever somebody looks."""

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def time(self) -> float:
        self._now_s += 0.001
        return self._now_s


def test_steps_that_waited_together_share_one_write() -> None:
    """C5: the records of several steps, in order; a replacement drops those before it and keeps those after."""
    first, second, third = (ViewRecord(0, view, entered=True) for view in range(3))
    batch = BatchRecord(b"a batch")
    assert together([Broadcast((), StatusRequest(0))]) is None
    assert together([Persist((first,)), Persist((second, third))]) == Persist((first, second, third))
    replaced = [Persist((first,)), Persist((second,), replace=True), Persist((batch,))]
    assert together(replaced) == Persist((second, batch), replace=True)
    later = Persist((batch,), at_leisure=True)
    assert together([later, later]) == Persist((batch, batch), at_leisure=True)
    assert together([later, Persist((first,))]) == Persist((batch, first))


def test_a_timer_that_was_moved_rings_once() -> None:
    """C1: setting a timer again moves it, even when the first ring is already waiting to be heard."""

    async def story() -> None:
        rings: asyncio.Queue[Alarm] = asyncio.Queue()
        heard: list[Alarm] = []
        alarms = Alarms(rings.put_nowait, wall_ms)
        alarms.set(Timer.PROGRESS, 0)
        heard.append(await rings.get())
        alarms.set(Timer.PROGRESS, 0)
        alarms.set(Timer.RESEND, 0)
        alarms.cancel(Timer.RESEND)
        heard.append(await rings.get())
        assert [alarms.still_set(each) for each in heard] == [False, True]
        assert rings.empty()

    asyncio.run(story())
