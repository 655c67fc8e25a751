"""The journal: what was acknowledged is there, what is damaged is never returned (C5, promise 5)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, ResourceExhausted
from consilium.runtime.disk import OsDisk
from consilium.runtime.journal import Journal
from consilium.runtime.journal_format import (
    HEADER_BYTES,
    RECORD_OVERHEAD_BYTES,
    Header,
    Mark,
    Verdict,
    frame_records,
    read_journal,
)
from tests.stores.simulated_disk import PowerCutError, SimulatedDisk, cut_everywhere

PATH = Path("/member/votes")
NAME = bytes(range(16))
RECORDS = [b"a", b"second " * 9, b"\0" * 40 + b".", b"the fourth", b"\xff" * 130, b"last"]


def journal_bytes(records: list[bytes], *, each_synced: bool) -> tuple[bytes, list[int]]:
    """A journal made by hand, and where each record ends."""
    header = Header(NAME, 0, HEADER_BYTES)
    data, chain, ends = bytearray(header.encode()), header.chain, [HEADER_BYTES]
    for record in records:
        synced = len(data) if each_synced else HEADER_BYTES
        framed = frame_records(header, [record], len(data), chain, synced)
        data += framed.data
        chain = framed.chain
        ends.append(len(data))
    return bytes(data), ends


def expected(ends: list[int], length: int) -> list[bytes]:
    """The records that lie wholly within the first `length` bytes."""
    return RECORDS[: sum(end <= length for end in ends[1:])]


@pytest.mark.parametrize("each_synced", [True, False])
def test_every_prefix_with_every_tail_gives_the_records_before_the_tear(*, each_synced: bool) -> None:
    """C5: a torn tail is cut, whether it is missing, zeroed or rubbish."""
    data, ends = journal_bytes(RECORDS, each_synced=each_synced)
    for length in range(HEADER_BYTES, len(data) + 1):
        for tail in (b"", b"\0" * 7, b"\0" * 300, b"\xa5" * 90, data[HEADER_BYTES : HEADER_BYTES + 20]):
            records, good, verdict = read_journal(data[:length] + tail)
            assert records == expected(ends, length)
            assert good == max(end for end in ends if end <= length)
            assert verdict is (Verdict.WHOLE if good == length + len(tail) else Verdict.TORN)


def test_a_prefix_shorter_than_the_header_is_damage() -> None:
    data, _ = journal_bytes(RECORDS, each_synced=True)
    for length in range(HEADER_BYTES):
        with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
            read_journal(data[:length])


def test_every_flipped_bit_inside_is_damage_and_in_the_last_record_a_tear() -> None:
    """C5: a later record that knows the bad one was durable makes it damage."""
    data, ends = journal_bytes(RECORDS, each_synced=True)
    for place in range(len(data)):
        for bit in (1, 128):
            bad = bytearray(data)
            bad[place] ^= bit
            if place < ends[-2]:
                with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
                    read_journal(bytes(bad))
            else:
                assert read_journal(bytes(bad)) == (RECORDS[:-1], ends[-2], Verdict.TORN)


def test_a_batch_under_one_sync_may_be_torn_in_any_order() -> None:
    """A power cut that kept a later record of the unsynced batch and lost an earlier one is no damage."""
    data, ends = journal_bytes(RECORDS, each_synced=False)
    for place in range(HEADER_BYTES, len(data)):
        bad = bytearray(data)
        bad[place] ^= 1
        records, good, verdict = read_journal(bytes(bad))
        assert (records, verdict) == (expected(ends, place), Verdict.TORN)
        assert good == max(end for end in ends if end <= place)


def test_the_mark_makes_every_flip_and_every_truncation_damage() -> None:
    data, _ = journal_bytes(RECORDS, each_synced=True)
    header = Header(NAME, 0, HEADER_BYTES)
    chain = frame_records(header, RECORDS, HEADER_BYTES, header.chain, 0).chain
    mark = Mark(NAME, 0, len(data), chain).encode()
    assert read_journal(data, mark) == (RECORDS, len(data), Verdict.WHOLE)
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= 16
        for case in (bytes(bad), data[:place]):
            with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
                read_journal(case, mark)


def test_the_mark_names_one_content_of_that_length() -> None:
    header = Header(NAME, 0, HEADER_BYTES)
    chain = frame_records(header, [b"synced"], HEADER_BYTES, header.chain, 0).chain
    other = frame_records(header, [b"forged", b"more"], HEADER_BYTES, header.chain, 0)
    mark = Mark(NAME, 0, HEADER_BYTES + RECORD_OVERHEAD_BYTES + 6, chain).encode()
    with pytest.raises(DataLoss, match="not those that were synced"):
        read_journal(header.encode() + other.data, mark)


def test_a_torn_mark_says_nothing() -> None:
    data, _ = journal_bytes(RECORDS, each_synced=True)
    mark = bytearray(Mark(NAME, 0, len(data) + 10, b"x" * 16).encode())
    for place in range(len(mark)):
        torn = bytes(mark[:place]) + bytes(len(mark) - place)
        assert read_journal(data, torn)[0] == RECORDS


def test_swapped_replayed_and_dropped_records_are_damage() -> None:
    """Each record is good in itself; the chain says that it is not the one that stood there."""
    data, ends = journal_bytes(RECORDS, each_synced=True)
    frames = [data[start:end] for start, end in pairwise(ends)]
    for order in ([0, 2, 1, 3, 4, 5], [0, 1, 2, 2, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 5]):
        with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
            read_journal(data[:HEADER_BYTES] + b"".join(frames[place] for place in order))


def test_a_journal_of_another_version_or_name_is_refused() -> None:
    data, _ = journal_bytes(RECORDS, each_synced=True)
    other = Mark(b"another journal!", 0, len(data), b"x" * 16).encode()
    with pytest.raises(DataLoss, match="another or of a newer"):
        read_journal(data, other)
    with pytest.raises(DataLoss, match="another or of a newer"):
        read_journal(data, Mark(NAME, 1, len(data), b"x" * 16).encode())
    with pytest.raises(DataLoss, match="header"):
        read_journal(b"not a journal at all, but long enough to be one................")


def test_many_records_cost_one_sync(tmp_path: Path) -> None:
    journal = Journal.create(OsDisk(), tmp_path / "votes", NAME)
    before = journal.syncs
    journal.append(RECORDS)
    journal.append([b"one more"])
    journal.sync()
    assert journal.syncs == before + 1
    assert list(journal.records()) == [*RECORDS, b"one more"]


def test_records_survive_closing_and_opening(tmp_path: Path) -> None:
    journal = Journal.create(OsDisk(), tmp_path / "votes", NAME, RECORDS[:2])
    journal.append(RECORDS[2:])
    journal.sync()
    journal.close()
    again = Journal.open(OsDisk(), tmp_path / "votes")
    assert list(again.records()) == RECORDS
    assert again.torn_bytes == 0
    again.append([b"later"])
    assert again.read(again.spans[-1]) == b"later"


def test_a_journal_is_open_only_once(tmp_path: Path) -> None:
    """C5: two processes must not append to one journal."""
    path = tmp_path / "votes"
    journal = Journal.create(OsDisk(), path, NAME)
    with pytest.raises(FailedPrecondition, match="LOCKED"):
        Journal.open(OsDisk(), path)
    with pytest.raises(FailedPrecondition, match="LOCKED"):
        Journal.create(OsDisk(), path, NAME)
    journal.close()
    Journal.open(OsDisk(), path).close()


def test_create_and_open_never_stand_in_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    with pytest.raises(DataLoss, match="JOURNAL_MISSING"):
        Journal.open(OsDisk(), path)
    Journal.create(OsDisk(), path, NAME).close()
    with pytest.raises(Conflict, match="JOURNAL_EXISTS"):
        Journal.create(OsDisk(), path, NAME)
    path.unlink()
    with pytest.raises(Conflict, match="JOURNAL_EXISTS"):
        Journal.create(OsDisk(), path, NAME)


def test_a_record_that_changes_while_open_is_not_returned(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    journal = Journal.create(OsDisk(), path, NAME)
    spans = journal.append(RECORDS)
    data = bytearray(path.read_bytes())
    data[spans[3].offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataLoss, match="RECORD_DAMAGED"):
        journal.read(spans[3])
    assert journal.read(spans[4]) == RECORDS[4]
    path.write_bytes(data[:40])
    with pytest.raises(DataLoss, match="RECORD_DAMAGED"):
        journal.read(spans[4])


@pytest.mark.parametrize("rewritten", [0, 1, 4])
def test_damage_is_found_without_the_mark(tmp_path: Path, rewritten: int) -> None:
    """C5: all but the records of the last sync are guarded by the journal itself."""
    path = tmp_path / "votes"
    journal = Journal.create(OsDisk(), path, NAME, RECORDS[:rewritten])
    for record in [*RECORDS[rewritten:], b"one more", b"the very last"]:
        journal.append([record])
        journal.sync()
    journal.close()
    data = path.read_bytes()
    for span in list(journal.spans)[:-1]:
        bad = bytearray(data)
        bad[span.offset] ^= 1
        path.write_bytes(bad)
        (tmp_path / "votes.mark").unlink(missing_ok=True)
        with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
            Journal.open(OsDisk(), path)


def test_all_of_a_rewritten_journal_is_guarded_without_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    (tmp_path / "votes.new").write_bytes(b"left by a crash" * 100)
    journal = Journal.create(OsDisk(), path, NAME)
    (tmp_path / "votes.new").write_bytes(b"left by a crash" * 100)
    journal.rewrite(RECORDS)
    journal.close()
    data = path.read_bytes()
    assert read_journal(data) == (RECORDS, len(data), Verdict.WHOLE)
    for place in range(len(data)):
        with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
            read_journal(data[:place])


def test_a_failed_sync_is_never_tried_again() -> None:
    """After a failed sync every call refuses, although the disk would now claim success (Rebello et al., ATC 2020)."""
    disk = SimulatedDisk()
    journal = Journal.create(disk, PATH, NAME)
    journal.append(RECORDS)
    disk.sync_fails = True
    with pytest.raises(DataLoss, match="SYNC_FAILED"):
        journal.sync()
    disk.sync_fails = False
    steps = len(disk.steps)
    with pytest.raises(FailedPrecondition, match="JOURNAL_FAILED"):
        journal.sync()
    with pytest.raises(FailedPrecondition, match="JOURNAL_FAILED"):
        journal.append([b"x"])
    with pytest.raises(FailedPrecondition, match="JOURNAL_FAILED"):
        journal.rewrite([])
    with pytest.raises(FailedPrecondition, match="JOURNAL_FAILED"):
        journal.read(journal.spans[0])
    assert len(disk.steps) == steps


def test_a_full_disk_ends_the_journal_and_leaves_what_was_synced() -> None:
    disk = SimulatedDisk()
    journal = Journal.create(disk, PATH, NAME, RECORDS[:1])
    disk.full = True
    with pytest.raises(ResourceExhausted, match="WRITE_FAILED"):
        journal.append(RECORDS[1:])
    with pytest.raises(FailedPrecondition, match="JOURNAL_FAILED"):
        journal.sync()
    again = Journal.open(disk.killed(), PATH)
    assert list(again.records()) == RECORDS[: len(again.spans)]
    assert again.spans


def test_a_failed_rewrite_leaves_the_old_journal() -> None:
    disk = SimulatedDisk()
    journal = Journal.create(disk, PATH, NAME, RECORDS)
    disk.sync_fails = True
    with pytest.raises(DataLoss, match="SYNC_FAILED"):
        journal.rewrite([b"new"])
    with pytest.raises(FailedPrecondition, match="JOURNAL_FAILED"):
        journal.append([b"x"])
    assert list(Journal.open(disk.killed(), PATH).records()) == RECORDS


def test_power_cut_at_every_step_keeps_what_was_acknowledged() -> None:
    """Promise 5: append, sync and rewrite, with the power going before each step and every disk it may leave."""
    acknowledged: list[bytes] = []
    allowed: list[list[bytes]] = []

    def run(disk: SimulatedDisk) -> None:
        acknowledged.clear()
        allowed.clear()
        journal = Journal.open(disk, PATH)
        allowed.append([b"old"])
        acknowledged[:] = [b"old"]
        for batch in ([b"1", b"2" * 80, b"3"], [b"4" * 70]):
            allowed.append(acknowledged + batch)
            journal.append(batch)
            journal.sync()
            acknowledged.extend(batch)
        allowed.append([b"kept", b"5" * 100])
        journal.rewrite([b"kept", b"5" * 100])
        acknowledged[:] = [b"kept", b"5" * 100]
        allowed.append([*acknowledged, b"6"])
        journal.append([b"6"])
        journal.sync()
        acknowledged.append(b"6")

    start = SimulatedDisk()
    Journal.create(start, PATH, NAME, [b"old"])
    states = 0
    for disk in cut_everywhere(run, start):
        for state in disk.crash_states():
            states += 1
            found = list(Journal.open(state, PATH).records())
            in_flight = allowed[-1] if allowed else [b"old"]
            prefixes = [in_flight[:count] for count in range(len(acknowledged), len(in_flight) + 1)]
            assert found in ([acknowledged, in_flight] if in_flight[:1] == [b"kept"] else [acknowledged, *prefixes])
    assert states > 100


def test_power_cut_while_creating_leaves_all_or_nothing() -> None:
    def run(disk: SimulatedDisk) -> None:
        Journal.create(disk, PATH, NAME, RECORDS[:2])

    opened = 0
    for disk in cut_everywhere(run, SimulatedDisk()):
        for state in disk.crash_states():
            if state.exists(PATH):
                assert list(Journal.open(state, PATH).records()) == RECORDS[:2]
                opened += 1
            else:
                Journal.create(state, PATH, NAME, RECORDS[:2])
    assert opened


def test_a_journal_opened_after_kill_9_makes_what_it_read_durable() -> None:
    """What was only visible and is read again may be acted on, so it must outlive the next power cut."""
    disk = SimulatedDisk()
    Journal.create(disk, PATH, NAME).append([b"seen"])
    killed = disk.killed()
    assert list(Journal.open(killed, PATH).records()) == [b"seen"]
    for state in killed.crash_states():
        assert list(Journal.open(state, PATH).records()) == [b"seen"]


def test_what_a_failed_sync_left_clean_is_written_again_by_the_next_process() -> None:
    """C5: it is read back from the page cache, and a sync alone would not write it (Rebello et al., ATC 2020)."""
    disk = SimulatedDisk()
    journal = Journal.create(disk, PATH, NAME, RECORDS[:1])
    journal.append(RECORDS[1:3])
    journal.sync()
    journal.append(RECORDS[3:])
    disk.sync_fails = disk.sync_forgets = True
    with pytest.raises(DataLoss, match="SYNC_FAILED"):
        journal.sync()
    killed = disk.killed()
    assert list(Journal.open(killed, PATH).records()) == RECORDS
    for state in killed.crash_states():
        assert list(Journal.open(state, PATH).records()) == RECORDS


def test_power_cut_while_the_tail_is_written_again_keeps_what_was_durable() -> None:
    """Promise 5: writing bytes over themselves takes nothing away, whatever of it reaches the disk."""

    def run(disk: SimulatedDisk) -> None:
        Journal.open(disk, PATH)

    start = SimulatedDisk()
    journal = Journal.create(start, PATH, NAME, RECORDS[:1])
    for record in RECORDS[1:4]:
        journal.append([record])
    for disk in cut_everywhere(run, start):
        for state in disk.crash_states():
            assert list(Journal.open(state, PATH).records()) == RECORDS[:4]


def test_a_name_that_outlived_only_the_process_outlives_the_power_too() -> None:
    """C5: killed between a rewrite's rename and the sync of its name."""
    disk = SimulatedDisk()
    journal = Journal.create(disk, PATH, NAME, [b"old"])
    disk.cut_at = len(disk.steps) + 4
    with pytest.raises(PowerCutError):
        journal.rewrite([b"new"])
    assert disk.steps[-1] == "rename"
    disk.cut_at = None
    killed = disk.killed()
    again = Journal.open(killed, PATH)
    again.append([b"said"])
    again.sync()
    for state in killed.crash_states():
        assert list(Journal.open(state, PATH).records()) == [b"new", b"said"]


def test_a_torn_tail_is_cut_once_and_appending_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    Journal.create(OsDisk(), path, NAME, RECORDS[:3]).close()
    with path.open("ab") as file:
        file.write(b"\0" * 1000)
    journal = Journal.open(OsDisk(), path)
    assert journal.torn_bytes == 1000
    journal.append(RECORDS[3:])
    journal.sync()
    journal.close()
    assert list(Journal.open(OsDisk(), path).records()) == RECORDS
    assert path.stat().st_size == HEADER_BYTES + sum(RECORD_OVERHEAD_BYTES + len(each) for each in RECORDS)


def test_the_rolled_back_file_of_a_rewritten_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    journal = Journal.create(OsDisk(), path, NAME, RECORDS)
    old = path.read_bytes()
    journal.rewrite([b"new"])
    journal.close()
    path.write_bytes(old)
    with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
        Journal.open(OsDisk(), path)
