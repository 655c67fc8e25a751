"""One contract for every block store (L1, L8): blocks as received, in height order, and none that was not stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, NotFound
from consilium.ledger.store import BlockStore, JournalBlockStore, MemoryBlockStore
from consilium.runtime.disk import OsDisk
from consilium.runtime.journal import Journal
from consilium.runtime.journal_format import RECORD_OVERHEAD_BYTES, read_journal
from tests.stores.simulated_disk import SimulatedDisk, cut_everywhere

if TYPE_CHECKING:
    from consilium.runtime.disk import Disk

PATH = Path("/member/blocks")
BLOCKS = [b"block %d " % height * height for height in range(1, 8)]


class Member(ABC):
    """A member's place for its blocks."""

    @abstractmethod
    def create(self) -> BlockStore:
        """The first store."""

    @abstractmethod
    def restart(self) -> BlockStore:
        """End the process and open the store again; what was not synced may be gone."""


class MemoryMember(Member):
    """A simulated member."""

    def create(self) -> BlockStore:
        """As a `Member` does."""
        self.store = MemoryBlockStore()
        return self.store

    def restart(self) -> BlockStore:
        """As a `Member` does."""
        self.store = self.store.crash()
        return self.store


class FileMember(Member):
    """A member with a disk."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.disk = disk
        self.path = path

    def create(self) -> BlockStore:
        """As a `Member` does."""
        self.store = JournalBlockStore.create(self.disk, self.path)
        return self.store

    def restart(self) -> BlockStore:
        """As a `Member` does."""
        self.store.close()
        self.store = JournalBlockStore.open(self.disk, self.path)
        return self.store


class HarshMember(FileMember):
    """A member whose every restart is a power cut that loses all it may lose."""

    def restart(self) -> BlockStore:
        """As a `Member` does."""
        assert isinstance(self.disk, SimulatedDisk)
        self.disk = next(self.disk.crash_states())
        self.store = JournalBlockStore.open(self.disk, self.path)
        return self.store


@pytest.fixture(params=["memory", "journal", "power cut"])
def member(request: pytest.FixtureRequest, tmp_path: Path) -> Member:
    if request.param == "memory":
        return MemoryMember()
    if request.param == "journal":
        return FileMember(OsDisk(), tmp_path / "blocks")
    return HarshMember(SimulatedDisk(), PATH)


def fill(store: BlockStore) -> None:
    """Store all blocks, and certificates for the odd heights."""
    for height, block in enumerate(BLOCKS, start=1):
        store.append_block(height, block)
        if height % 2:
            store.add_certificate(height, b"certificate %d" % height)


def check(store: BlockStore) -> None:
    """Everything `fill` stored is there, and nothing else."""
    assert store.height == len(BLOCKS)
    assert [store.read_block(height) for height in range(1, len(BLOCKS) + 1)] == BLOCKS
    assert list(store.blocks()) == BLOCKS
    assert list(store.blocks(from_height=6)) == BLOCKS[5:]
    assert list(store.certificates()) == [b"certificate %d" % height for height in (1, 3, 5, 7)]
    assert list(store.certificates(from_height=4)) == [b"certificate 5", b"certificate 7"]
    assert store.read_certificate(3) == b"certificate 3"
    with pytest.raises(NotFound, match="NO_CERTIFICATE"):
        store.read_certificate(2)


def test_blocks_and_certificates_survive(member: Member) -> None:
    store = member.create()
    assert store.height == 0
    fill(store)
    check(store)
    store.sync()
    check(member.restart())
    check(member.restart())


def test_certificates_come_in_height_order_however_late(member: Member) -> None:
    store = member.create()
    for height in (1, 2, 3):
        store.append_block(height, BLOCKS[height - 1])
    store.add_certificate(3, b"three")
    store.add_certificate(1, b"one")
    store.sync()
    assert list(member.restart().certificates()) == [b"one", b"three"]


def test_l8_heights_have_no_gaps(member: Member) -> None:
    store = member.create()
    for height in (0, 2, -1):
        with pytest.raises(FailedPrecondition, match="HEIGHT_GAP"):
            store.append_block(height, b"x")
        with pytest.raises(FailedPrecondition, match="HEIGHT_GAP"):
            store.add_certificate(height, b"x")
    store.append_block(1, b"x")
    with pytest.raises(FailedPrecondition, match="HEIGHT_GAP"):
        store.append_block(3, b"x")
    with pytest.raises(FailedPrecondition, match="HEIGHT_GAP"):
        store.add_certificate(2, b"x")


def test_promise_1_a_height_has_one_block(member: Member) -> None:
    store = member.create()
    fill(store)
    store.append_block(3, BLOCKS[2])
    assert store.height == len(BLOCKS)
    with pytest.raises(Conflict, match="OTHER_BLOCK"):
        store.append_block(3, BLOCKS[2] + b"!")
    store.add_certificate(3, b"another quorum's")
    check(store)


def test_what_is_not_there_is_not_found(member: Member) -> None:
    store = member.create()
    fill(store)
    for height in (0, -1, len(BLOCKS) + 1):
        with pytest.raises(NotFound, match="NO_SUCH_HEIGHT"):
            store.read_block(height)
    assert list(store.blocks(from_height=len(BLOCKS) + 1)) == []


@pytest.mark.parametrize("mode", ["memory", "power cut"])
def test_what_was_not_synced_may_be_lost(mode: str) -> None:
    member = MemoryMember() if mode == "memory" else HarshMember(SimulatedDisk(), PATH)
    store = member.create()
    store.append_block(1, b"synced")
    store.sync()
    store.add_certificate(1, b"not synced")
    store.append_block(2, b"not synced")
    again = member.restart()
    assert list(again.blocks()) == [b"synced"]
    assert list(again.certificates()) == []
    again.append_block(2, b"another, as nobody was told of the first")


# --- the journal only ---


def test_one_sync_serves_many_blocks(tmp_path: Path) -> None:
    store = JournalBlockStore.create(OsDisk(), tmp_path / "blocks")
    before = store.syncs
    fill(store)
    store.sync()
    assert store.syncs == before + 1


def test_every_bit_of_a_stored_block_is_guarded(tmp_path: Path) -> None:
    """A flipped bit in an open store gives DataLoss for that record and for no other."""
    path = tmp_path / "blocks"
    store = JournalBlockStore.create(OsDisk(), path)
    fill(store)
    store.sync()
    data = path.read_bytes()
    records, _, _ = read_journal(data)
    start = data.index(records[2]) - RECORD_OVERHEAD_BYTES
    for place in range(start, start + RECORD_OVERHEAD_BYTES + len(records[2])):
        bad = bytearray(data)
        bad[place] ^= 4
        path.write_bytes(bad)
        found = []
        for height in range(1, 8):
            try:
                found.append(store.read_block(height))
            except DataLoss:
                found.append(b"damaged")
        expected = [block if height != 2 else found[1] for height, block in enumerate(BLOCKS, start=1)]
        assert found == expected
        assert found[1] in {b"damaged", BLOCKS[1]}
        if place - start >= RECORD_OVERHEAD_BYTES:
            assert found[1] == b"damaged"


def test_swapped_rolled_back_and_truncated_blocks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    store = JournalBlockStore.create(OsDisk(), path)
    for height in (1, 2, 3, 4):
        store.append_block(height, b"same size %d" % height)
        store.sync()
    store.close()
    data = path.read_bytes()
    frame = (len(data) - data.index(b"same size 1") + 9 + RECORD_OVERHEAD_BYTES) // 4
    start = len(data) - 4 * frame
    frames = [data[start + place * frame : start + (place + 1) * frame] for place in range(4)]
    older = JournalBlockStore.create(OsDisk(), tmp_path / "older")
    older.append_block(1, b"same size 1")
    older.close()
    cases = {
        "swapped": data[:start] + frames[1] + frames[0] + frames[2] + frames[3],
        "one left out": data[:start] + frames[0] + frames[2] + frames[3],
        "rolled back": data[: start + 2 * frame],
        "truncated": data[:-1],
        "another store's": (tmp_path / "older").read_bytes(),
    }
    for name, case in cases.items():
        path.write_bytes(case)
        with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
            JournalBlockStore.open(OsDisk(), path)
        assert name
    path.write_bytes(data)
    assert JournalBlockStore.open(OsDisk(), path).height == 4


def test_a_lost_store_is_begun_again_empty(tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    with pytest.raises(DataLoss, match="JOURNAL_MISSING"):
        JournalBlockStore.open(OsDisk(), path)
    store = JournalBlockStore.begin_again(OsDisk(), path)
    assert store.height == 0
    store.append_block(1, b"fetched from a peer")
    store.sync()
    store.close()
    assert JournalBlockStore.open(OsDisk(), path).height == 1


@pytest.mark.parametrize(
    "records",
    [[b"\x01" + b"\0" * 7 + b"\x02block"], [b"\x02" + b"\0" * 7 + b"\x01x"], [b"\x09" + bytes(8)], [b"short"]],
)
def test_a_journal_of_something_else_is_no_block_store(records: list[bytes]) -> None:
    disk = SimulatedDisk()
    Journal.create(disk, PATH, bytes(16), records).close()
    with pytest.raises(DataLoss, match="not a block store"):
        JournalBlockStore.open(disk, PATH)


def test_promise_5_power_cut_at_every_step() -> None:
    """Promise 5: every acknowledged block and certificate is there, and every block there is the one of its height."""
    acknowledged: dict[str, int] = {}

    def run(disk: SimulatedDisk) -> None:
        acknowledged.update(height=0, certified=0)
        store = JournalBlockStore.create(disk, PATH)
        for height in (1, 2, 3, 4, 5):
            store.append_block(height, BLOCKS[height - 1])
            if height > 1:
                store.add_certificate(height - 1, b"certificate %d" % (height - 1))
            if height != 3:
                store.sync()
                acknowledged.update(height=height, certified=height - 1)

    states = 0
    for disk in cut_everywhere(run, SimulatedDisk()):
        for state in disk.crash_states():
            states += 1
            if not state.exists(PATH):
                assert acknowledged["height"] == 0
                continue
            store = JournalBlockStore.open(state, PATH)
            assert store.height >= acknowledged["height"]
            assert list(store.blocks()) == BLOCKS[: store.height]
            found = list(store.certificates())
            assert len(found) >= acknowledged["certified"]
            assert found == [b"certificate %d" % height for height in range(1, len(found) + 1)]
    assert states > 100
