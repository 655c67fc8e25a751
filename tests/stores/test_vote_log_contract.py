"""One contract for every vote log (C1, C5): what was synced is there, under an incarnation nobody had before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consilium.consensus.store import FileVoteLog, MemoryVoteLog, VoteLog
from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition
from consilium.runtime.disk import OsDisk
from consilium.runtime.journal import Journal
from tests.stores.simulated_disk import SimulatedDisk, cut_everywhere

if TYPE_CHECKING:
    from consilium.runtime.disk import Disk

PATH = Path("/member/votes")


class Member(ABC):
    """A member's place for its vote log, and what may happen to it."""

    @abstractmethod
    def create(self) -> VoteLog:
        """The first log."""

    @abstractmethod
    def restart(self) -> VoteLog:
        """End the process and open the log again; what was not synced may be gone."""

    @abstractmethod
    def begin_again(self, above: int) -> VoteLog:
        """Lose the log and begin another."""


class MemoryMember(Member):
    """A simulated member."""

    def create(self) -> VoteLog:
        """As a `Member` does."""
        self.log = MemoryVoteLog()
        return self.log

    def restart(self) -> VoteLog:
        """As a `Member` does."""
        self.log = self.log.crash()
        return self.log

    def begin_again(self, above: int) -> VoteLog:
        """As a `Member` does."""
        self.log = self.log.begin_again(above)
        return self.log


class FileMember(Member):
    """A member with a disk, real or simulated."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.disk = disk
        self.path = path

    def create(self) -> VoteLog:
        """As a `Member` does."""
        self.log = FileVoteLog.create(self.disk, self.path)
        return self.log

    def restart(self) -> VoteLog:
        """As a `Member` does."""
        self.log.close()
        self.log = FileVoteLog.open(self.disk, self.path)
        return self.log

    def begin_again(self, above: int) -> VoteLog:
        """As a `Member` does."""
        self.log.close()
        self.log = FileVoteLog.begin_again(self.disk, self.path, above)
        return self.log


class HarshMember(FileMember):
    """A member whose every restart is a power cut that loses all it may lose."""

    def restart(self) -> VoteLog:
        """As a `Member` does."""
        assert isinstance(self.disk, SimulatedDisk)
        self.disk = next(self.disk.crash_states())
        self.log = FileVoteLog.open(self.disk, self.path)
        return self.log


@pytest.fixture(params=["memory", "file", "power cut"])
def member(request: pytest.FixtureRequest, tmp_path: Path) -> Member:
    if request.param == "memory":
        return MemoryMember()
    if request.param == "file":
        return FileMember(OsDisk(), tmp_path / "votes")
    return HarshMember(SimulatedDisk(), PATH)


def test_c5_synced_records_survive_in_order(member: Member) -> None:
    log = member.create()
    assert log.read() == []
    log.append([b"prepare 1", b"prepare 2"])
    log.append([b"commit 1"])
    assert log.read() == [b"prepare 1", b"prepare 2", b"commit 1"]
    log.sync()
    assert member.restart().read() == [b"prepare 1", b"prepare 2", b"commit 1"]


def test_c5_every_opening_has_a_higher_incarnation(member: Member) -> None:
    seen = [member.create().incarnation]
    seen += [member.restart().incarnation for _ in range(4)]
    assert seen == [1, 2, 3, 4, 5]


def test_c5_the_incarnation_survives_pruning(member: Member) -> None:
    log = member.create()
    log.append([b"old"] * 5)
    log.sync()
    member.restart().prune([b"kept"])
    again = member.restart()
    assert (again.incarnation, again.read()) == (3, [b"kept"])


def test_pruning_is_durable_and_appending_goes_on(member: Member) -> None:
    log = member.create()
    log.append([b"old"])
    log.sync()
    log.append([b"old and not synced"])
    log.prune([b"kept", b"also kept"])
    log.append([b"new"])
    log.sync()
    assert member.restart().read() == [b"kept", b"also kept", b"new"]


def test_a_log_may_be_pruned_to_nothing(member: Member) -> None:
    log = member.create()
    log.append([b"old"])
    log.prune([])
    assert member.restart().read() == []


def test_c5_a_log_begun_again_stays_marked_as_lost(member: Member) -> None:
    member.create().append([b"forgotten"])
    log = member.begin_again(above=17)
    assert (log.incarnation, log.lost, log.read()) == (18, True, [])
    log.append([b"checkpoint"])
    log.prune([b"checkpoint"])
    again = member.restart()
    assert (again.incarnation, again.lost, again.read()) == (19, True, [b"checkpoint"])
    again.end_silence()
    assert not again.lost
    last = member.restart()
    assert (last.incarnation, last.lost, last.read()) == (20, False, [b"checkpoint"])


def test_a_new_log_is_not_lost(member: Member) -> None:
    assert not member.create().lost
    assert not member.restart().lost


@pytest.mark.parametrize("mode", ["memory", "power cut"])
def test_what_was_not_synced_may_be_lost(mode: str) -> None:
    """The fakes are as harsh as a power cut, else no test over them could find a missing sync."""
    member = MemoryMember() if mode == "memory" else HarshMember(SimulatedDisk(), PATH)
    log = member.create()
    log.append([b"synced"])
    log.sync()
    log.append([b"not synced"])
    assert member.restart().read() == [b"synced"]


# --- files only ---


def test_c5_new_opened_and_lost_are_told_apart(tmp_path: Path) -> None:
    """C5: NEW is an explicit create; LOST is an open that finds nothing; neither stands in for the other."""
    path = tmp_path / "votes"
    with pytest.raises(DataLoss, match="begins again after a loss"):
        FileVoteLog.open(OsDisk(), path)
    FileVoteLog.create(OsDisk(), path).close()
    with pytest.raises(Conflict, match="JOURNAL_EXISTS"):
        FileVoteLog.create(OsDisk(), path)
    path.unlink()
    with pytest.raises(Conflict, match="JOURNAL_EXISTS"):
        FileVoteLog.create(OsDisk(), path)
    with pytest.raises(DataLoss, match="JOURNAL_MISSING"):
        FileVoteLog.open(OsDisk(), path)


def test_c5_a_damaged_log_is_kept_and_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    log = FileVoteLog.create(OsDisk(), path)
    log.append([b"signed something"])
    log.sync()
    log.close()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
        FileVoteLog.open(OsDisk(), path)
    again = FileVoteLog.begin_again(OsDisk(), path, above=1)
    assert (again.incarnation, again.lost, again.read()) == (2, True, [])
    assert (tmp_path / "votes.lost").read_bytes() == damaged


def test_c5_a_log_put_back_from_a_backup_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    log = FileVoteLog.create(OsDisk(), path)
    backup = path.read_bytes()
    log.append([b"signed since"])
    log.sync()
    log.close()
    path.write_bytes(backup)
    with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
        FileVoteLog.open(OsDisk(), path)


def test_c5_one_log_is_not_open_twice(tmp_path: Path) -> None:
    log = FileVoteLog.create(OsDisk(), tmp_path / "votes")
    with pytest.raises(FailedPrecondition, match="LOCKED"):
        FileVoteLog.open(OsDisk(), tmp_path / "votes")
    with pytest.raises(FailedPrecondition, match="LOCKED"):
        FileVoteLog.begin_again(OsDisk(), tmp_path / "votes", above=1)
    assert log.incarnation == 1


def test_a_journal_without_an_incarnation_is_no_vote_log() -> None:
    disk = SimulatedDisk()
    Journal.create(disk, PATH, bytes(16), [b"\x01only a record"]).close()
    with pytest.raises(DataLoss, match="no incarnation"):
        FileVoteLog.open(disk, PATH)


def test_promise_5_power_cut_at_every_step() -> None:
    """C5: whatever the cut leaves, what was acknowledged is there, nothing is invented, no incarnation comes twice."""
    acknowledged: list[bytes] = []
    written: list[bytes] = []
    used: list[int] = []

    def say(log: FileVoteLog, records: list[bytes]) -> None:
        written.extend(records)
        log.append(records)
        log.sync()
        acknowledged.extend(records)

    def run(disk: SimulatedDisk) -> None:
        acknowledged.clear()
        written.clear()
        used[:] = [1]
        for life in (b"first ", b"second"):
            log = FileVoteLog.open(disk, PATH)
            used.append(log.incarnation)
            say(log, [life + b" prepare", life + b" commit" * 20])
            say(log, [life + b" view change"])
            written.append(life + b" stable")
            log.prune([*acknowledged, life + b" stable"])
            acknowledged.append(life + b" stable")
            log.close()

    start = SimulatedDisk()
    FileVoteLog.create(start, PATH).close()
    states = 0
    for disk in cut_everywhere(run, start):
        for state in disk.crash_states():
            states += 1
            log = FileVoteLog.open(state, PATH)
            found = log.read()
            assert found in [written[:count] for count in range(len(acknowledged), len(written) + 1)]
            assert log.incarnation > max(used)
            assert not log.lost
    assert states > 100


def test_promise_5_power_cut_while_beginning_again() -> None:
    """C5: until the new log stands, the old one stays refused: a lost log never comes back as a whole or a new one."""

    def run(disk: SimulatedDisk) -> None:
        FileVoteLog.begin_again(disk, PATH, above=6)

    start = SimulatedDisk()
    log = FileVoteLog.create(start, PATH)
    log.append([b"signed"])
    log.sync()
    log.close()
    start.contents(PATH)[-1] ^= 1
    outcomes = {"refused": 0, "begun again": 0}
    for disk in cut_everywhere(run, start):
        for state in disk.crash_states():
            with pytest.raises(Conflict, match="JOURNAL_EXISTS"):
                FileVoteLog.create(state, PATH)
            try:
                found = FileVoteLog.open(state, PATH)
            except DataLoss:
                outcomes["refused"] += 1
                found = FileVoteLog.begin_again(state, PATH, above=6)
                assert found.incarnation == 7
            else:
                outcomes["begun again"] += 1
                assert found.incarnation == 8
            assert (found.lost, found.read()) == (True, [])
    assert all(outcomes.values())
