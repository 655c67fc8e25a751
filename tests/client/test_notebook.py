"""The notebook: what was noted comes back, for its seed alone; damage is named; commands at once lose nothing (S1, S6)."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.client.notebook import MAGIC, KeptGrant, KeptRecord, Notebook, NotebookFile
from consilium.kernel.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.hashing import sha256

if TYPE_CHECKING:
    from pathlib import Path

SEED, CHAIN = bytes(range(32)), sha256(b"a chain")
LETTER = KeptRecord(bytes.fromhex("ab12" * 8), "anshan", "imaging", 1, "the letter of March", 7)
SCAN = KeptRecord(bytes.fromhex("ab34" * 8), "anshan", "imaging", 1, "scan", 3_000_000)
GRANT = KeptGrant(bytes.fromhex("cd56" * 8), "imaging", 1, 0, "benxi")
EMPTY = Notebook(in_custody=False, scopes=(), records=(), grants=())


@pytest.fixture
def file(tmp_path: Path) -> NotebookFile:
    return NotebookFile(tmp_path / "keystore", SEED, CHAIN)


def noted(file: NotebookFile) -> Notebook:
    return file.change(lambda notes: notes.with_record(LETTER).with_record(SCAN).with_grants((GRANT,)))


def test_what_was_noted_comes_back(file: NotebookFile) -> None:
    assert file.read() == EMPTY
    notes = noted(file)
    assert file.read() == notes
    assert (notes.records, notes.grants, notes.epoch_of("imaging")) == ((LETTER, SCAN), (GRANT,), 1)
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_file_shows_no_label_and_no_scope(file: NotebookFile) -> None:
    """Promise 3 at rest: what a patient calls a record is personal."""
    noted(file)
    data = file.path.read_bytes()
    assert b"letter of March" not in data
    assert b"imaging" not in data
    assert LETTER.record_id not in data


def test_notebook_is_its_seeds_and_its_chains_alone(file: NotebookFile) -> None:
    noted(file)
    for seed, chain in ((bytes(32), CHAIN), (SEED, sha256(b"another chain"))):
        other = NotebookFile(file.path.with_name("keystore"), seed, chain)
        assert other.read() == EMPTY
        other.path.write_bytes(file.path.read_bytes())
        other.path.chmod(0o600)
        with pytest.raises(DataLoss, match="DAMAGED_NOTEBOOK"):
            other.read()


@pytest.mark.parametrize("position", [0, 7, 8, 19, 20, 60, -33, -1])
def test_flipped_byte_is_damage(file: NotebookFile, position: int) -> None:
    noted(file)
    data = bytearray(file.path.read_bytes())
    data[position] ^= 1
    file.path.write_bytes(data)
    with pytest.raises(DataLoss, match="DAMAGED_NOTEBOOK"):
        file.read()


def test_cut_at_any_length_is_damage(file: NotebookFile) -> None:
    noted(file)
    data = file.path.read_bytes()
    for length in range(len(data)):
        file.path.write_bytes(data[:length])
        with pytest.raises(DataLoss, match="DAMAGED_NOTEBOOK"):
            file.read()


def test_right_hash_over_a_wrong_seal_is_damage(file: NotebookFile) -> None:
    """The closing hash anybody can make; the seal nobody without the seed."""
    noted(file)
    forged = MAGIC + bytes(40)
    file.path.write_bytes(forged + sha256(forged))
    with pytest.raises(DataLoss, match="DAMAGED_NOTEBOOK"):
        file.read()


def test_notebook_open_to_others_is_refused(file: NotebookFile) -> None:
    noted(file)
    file.path.chmod(0o640)
    with pytest.raises(FailedPrecondition, match="OPEN_TO_OTHERS"):
        file.read()


def test_failed_change_leaves_the_notebook_as_it_was(file: NotebookFile) -> None:
    before = noted(file)
    with pytest.raises(NotFound, match="NOT_NOTED"):
        file.change(lambda notes: notes.with_record(notes.record_named("nothing like it")))
    assert file.read() == before
    assert sorted(each.suffix for each in file.path.parent.iterdir()) == [".lock", ".notes"]


@pytest.mark.parametrize(
    "record",
    [replace(LETTER, label="x" * 401), replace(LETTER, scope="x" * 201), replace(LETTER, label="scan\udcff")],
)
def test_what_could_not_be_read_again_is_not_written(file: NotebookFile, record: KeptRecord) -> None:
    """Before, such a note made the whole notebook unreadable, and the record's id was lost."""
    before = noted(file)
    with pytest.raises(InvalidArgument, match="CANNOT_BE_NOTED"):
        file.check(lambda notes: notes.with_record(record))
    with pytest.raises(InvalidArgument, match="CANNOT_BE_NOTED"):
        file.change(lambda notes: notes.with_record(record))
    assert file.read() == before


def test_changes_at_once_take_turns(file: NotebookFile) -> None:
    """Each change reads what the one before has written: none is lost."""
    grants = [KeptGrant(bytes([each]) * 16, "imaging", 0, 0, "benxi") for each in range(12)]

    def note(grant: KeptGrant) -> None:
        file.change(lambda notes: notes.with_grants((grant,)))

    threads = [threading.Thread(target=note, args=(each,)) for each in grants]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(file.read().grants, key=lambda each: each.grant_id) == grants


def test_scope_never_goes_back_to_a_closed_epoch() -> None:
    """S6: what was closed stays closed, whatever an older device notes."""
    notes = EMPTY.at_epoch("imaging", 2).at_epoch("imaging", 1).at_epoch("letters", 0)
    assert (notes.epoch_of("imaging"), notes.epoch_of("letters"), notes.epoch_of("unheard of")) == (2, 0, 0)


def test_grant_is_noted_once() -> None:
    """Also when somebody lies about its place: the first one noted stays, and can be named."""
    other = replace(GRANT, epoch=2)
    for notes in (EMPTY.with_grants((GRANT,)).with_grants((GRANT, other)), EMPTY.with_grants((GRANT, other, GRANT))):
        assert notes.grants == (GRANT,)
        assert notes.grant_named("cd56") == GRANT


def test_record_is_named_by_label_id_or_beginning() -> None:
    notes = EMPTY.with_record(LETTER).with_record(SCAN)
    for name in ("the letter of March", LETTER.record_id.hex(), "AB12", "ab12"):
        assert notes.record_named(name) == LETTER
    with pytest.raises(InvalidArgument, match="AMBIGUOUS"):
        EMPTY.with_record(LETTER).with_record(LETTER).record_named("ab12")
    for name in ("ab1", "", "ff00", "the letter"):
        with pytest.raises(NotFound, match="NOT_NOTED"):
            notes.record_named(name)


def test_grant_is_named_by_id_or_beginning() -> None:
    notes = EMPTY.with_grants((GRANT,))
    assert notes.grant_named("cd56") == GRANT
    with pytest.raises(NotFound, match="consilium share list"):
        notes.grant_named("imaging")
