from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import Conflict, ConsiliumError, DataLoss, FailedPrecondition, NotFound
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import OsDisk
from consilium.sandbox.audit import audit, compare
from tests.alliance import Alliance, Scribe

if TYPE_CHECKING:
    from pathlib import Path


def chain_left_in(folder: Path, founders: Alliance | None = None) -> Scribe:
    """What an alliance leaves: a genesis file, this one or its own, and each member's blocks, an epoch change within."""
    alliance = Alliance.founded()
    scribe = Scribe(alliance)
    scribe.write(scribe.record("a letter"))
    scribe.cross_epoch()
    scribe.write()
    (folder / "genesis").write_bytes((founders or alliance).genesis_file)
    for name in alliance.keys:
        (folder / name / "ledger").mkdir(parents=True)
        _keep(folder / name / "ledger" / "blocks", scribe)
    return scribe


def _keep(path: Path, scribe: Scribe) -> None:
    store = JournalBlockStore.create(OsDisk(), path)
    scribe.keep_in(store)
    assert len(list(store.certificates())) == store.height
    store.sync()
    store.close()


def test_every_chain_is_replayed(tmp_path: Path) -> None:
    """Promise 8: from the genesis file alone, offline; one line a member and one about all."""
    scribe = chain_left_in(tmp_path)
    lines = list(audit(tmp_path))
    assert [line.partition(":")[0] for line in lines[:-1]] == sorted(scribe.alliance.keys)
    assert all(f"{scribe.chain.height} blocks replayed" in line and "epochs 0 to 1" in line for line in lines[:-1])
    assert lines[-1].startswith("all 5 members hold one chain")


def test_the_folder_stays_as_it_lies(tmp_path: Path) -> None:
    """What is judged is not mended: a torn end is passed over, no file is made; and it needs no right to write."""
    chain_left_in(tmp_path)
    blocks = tmp_path / "benxi" / "ledger" / "blocks"
    with blocks.open("ab") as file:
        file.write(b"torn")
    for each in (blocks.with_name("blocks.lock"), blocks.with_name("blocks.mark")):
        each.unlink()
    before = contents(tmp_path)
    assert len(list(audit(tmp_path))) == 6
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file with its bytes, and when it was changed last."""
    return {each: (each.read_bytes(), each.stat().st_mtime_ns) for each in sorted(folder.rglob("*")) if each.is_file()}


def test_a_running_alliance_is_not_judged(tmp_path: Path) -> None:
    chain_left_in(tmp_path)
    store = JournalBlockStore.open(OsDisk(), tmp_path / "dalian" / "ledger" / "blocks")
    with pytest.raises(FailedPrecondition, match=f"The alliance in {tmp_path} is running; end it.*STILL_RUNNING"):
        list(audit(tmp_path))
    store.close()


def test_a_chain_of_another_alliance_is_refused(tmp_path: Path) -> None:
    """L1: another alliance's blocks, whole and signed, do not replay from this genesis."""
    chain_left_in(tmp_path, Alliance.founded(owner_groups={"anshan": "iron"}))
    with pytest.raises(ConsiliumError, match="FOREIGN_CHAIN"):
        list(audit(tmp_path))


def test_a_damaged_block_is_refused(tmp_path: Path) -> None:
    chain_left_in(tmp_path)
    path = tmp_path / "benxi" / "ledger" / "blocks"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataLoss, match="JOURNAL_DAMAGED"):
        list(audit(tmp_path))


def test_a_forged_block_is_refused(tmp_path: Path) -> None:
    """L3: a journal that is whole and a commit certificate that is not."""
    scribe = chain_left_in(tmp_path)
    forged, other = scribe.blocks[2], scribe.blocks[3]
    scribe.blocks[2] = type(forged)(forged.header, forged.batches, other.commit)
    shutil.rmtree(tmp_path / "dalian" / "ledger")
    (tmp_path / "dalian" / "ledger").mkdir()
    _keep(tmp_path / "dalian" / "ledger" / "blocks", scribe)
    with pytest.raises(ConsiliumError, match="rule L3"):
        list(audit(tmp_path))


def test_two_chains_are_told() -> None:
    """L3, promise 1: where two members hold different blocks at a height, that is the finding."""
    ours, theirs = Scribe(Alliance.founded()), Scribe(Alliance.founded())
    ours.write()
    theirs.write(theirs.record("another letter"))
    with pytest.raises(Conflict, match=r"TWO_CHAINS, rule L3"):
        compare({"anshan": ours.chain, "benxi": theirs.chain})


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="NO_GENESIS"):
        list(audit(tmp_path))
