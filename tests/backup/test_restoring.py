"""A member put back from a backup within one process: what is damaged, what is there already, what breaks off (S10)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.chain.v1 import chain_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.backup.places import Bucket, Folder
from consilium.backup.restoring import Member, check_confirmed, confirms, restore
from consilium.backup.taking import packed
from consilium.backup.vault import KeptObject, Page, Segment, Snapshot, Vault
from consilium.client.commands.backups import told_restore
from consilium.client.commands.telling import DONE, UNTRUE
from consilium.consensus.settings import ConsensusSettings
from consilium.consensus.store import FileVoteLog
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, ConsiliumError, DataLoss, FailedPrecondition, NotFound, Unavailable
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.ledger.core.chain import Chain
from consilium.ledger.settings import LedgerSettings
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import OsDisk
from consilium.storage.__main__ import open_stores
from consilium.storage.settings import StorageSettings
from tests.alliance import Alliance, Scribe
from tests.backup.s3 import impatient, s3_server
from tests.client.local_member import LocalAlliance
from tests.runtime.authority import ALLIANCE, Authority
from tests.storage_service.world import HOME, Sharing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from consilium.backup.places import Place
    from consilium.backup.restoring import Restored
    from consilium.kernel.certificates import ResultCertificate
    from consilium.kernel.chain import CertifiedBlock

RECORDS = 3


class Kept:
    """A home with three records, backed up; a fourth is younger than the backup."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.local = folder, LocalAlliance()
        self.vault = Vault(Folder(folder / "backup"), b"k" * 32)
        sharing = Sharing(self.local)
        self.records = [self._written(sharing, bytes([number]) * 300_000) for number in range(RECORDS)]
        self.name = self._keep()
        self._written(sharing, b"younger")
        (folder / "genesis").write_bytes(self.local.scribe.alliance.genesis_file)
        authority = Authority(HOME)
        tls = authority.service("ledger").write(folder / "tls", authority)
        usual = {"alliance": ALLIANCE, "member_id": HOME, "tls_directory": tls}
        self.member = Member(
            LedgerSettings(**usual, genesis=folder / "genesis", blocks=folder / "ledger" / "blocks"),  # type: ignore[arg-type]
            StorageSettings(**usual, state_directory=folder / "storage"),  # type: ignore[arg-type]
            ConsensusSettings(**usual, votes=folder / "consensus" / "votes"),  # type: ignore[arg-type]
        )

    def _written(self, sharing: Sharing, data: bytes) -> bytes:
        return asyncio.run(sharing.patient.write(data, media_class=2)).record_id

    def _keep(self) -> str:
        chain, blocks = self.local.scribe.chain, self.local.scribe.blocks
        parts = [packed(encode(each, chain.chain_id), b"") for each in blocks]
        segment = Segment(1, len(blocks), self.vault.put_blob(b"".join(parts)))
        page = self.vault.put_blob(encode(Page(tuple(map(self._object, self.records))), ZERO_DIGEST))
        certificate = chain.result_certificate(chain.height)
        assert certificate is not None
        final = encode(certificate, chain.chain_id)
        return self.vault.put_snapshot(Snapshot(HOME, chain.chain_id, 1, chain.height, final, (segment,), (page,)))

    def _object(self, record_id: bytes) -> KeptObject:
        manifest = self.local.manifest(record_id)
        for index, leaf in enumerate(manifest.chunk_hashes):
            self.vault.put_chunk(leaf, self.local.members[HOME].chunks[record_id, index])
        return KeptObject(record_id, HOME, (), self.vault.put_blob(encode(manifest, self.local.scribe.chain.chain_id)))

    def file_of_chunk(self, record_id: bytes, index: int) -> Path:
        """Where a chunk lies in the backup."""
        return self.folder / "backup" / self.vault._chunk(self.local.manifest(record_id).chunk_hashes[index])  # noqa: SLF001

    def lies_in(self, changed: dict[str, Any]) -> None:
        """Have the member's objects lie elsewhere."""
        self.member = replace(self.member, storage=replace(self.member.storage, **changed))

    def move_to(self, place: Place) -> None:
        """Have the backup lie elsewhere."""
        for name in self.vault.place.names(""):
            place.put(name, self.vault.place.get(name))
        self.vault = Vault(place, b"k" * 32)

    def restore(self, *, alone: bool = True) -> Restored:
        """Put the home back."""
        return asyncio.run(restore(self.vault, self.name, self.member, lambda *_: None, alone=alone))

    def objects(self) -> Sequence[bytes]:
        """The records whose objects are whole here now."""
        with ExitStack() as stack:
            stores = open_stores(self.member.storage, self.local.scribe.chain.chain_id, stack)  # type: ignore[arg-type]
            assert [each for each in self.records if stores.holdings.find(each)] == [
                each for each in self.records if each in stores.objects.record_ids()
            ]
            return stores.objects.record_ids()

    def vote_log(self) -> tuple[bool, bool]:
        """Whether the replica that starts now knows that its log was lost, and names itself above all starts there were."""
        log = FileVoteLog.open(OsDisk(), self.member.consensus.votes)
        try:
            return log.lost, log.incarnation > 1_000_000_000
        finally:
            log.close()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_s10_all_that_was_kept_is_put_back(kept: Kept) -> None:
    found = kept.restore()
    assert (found.objects, found.damaged, found.to_heal, kept.objects()) == (RECORDS, 0, 0, sorted(kept.records))
    assert kept.vote_log() == (True, True)
    assert told_restore(HOME, found, drill=True).code == DONE


@pytest.mark.parametrize("is_missing", [False, True])
def test_s10_a_damaged_object_is_left_to_the_others_and_the_rest_is_put_back(kept: Kept, *, is_missing: bool) -> None:
    """Nothing of it stays, not even its first chunks; a heal finds it missing, and a drill ends with an exit code."""
    path = kept.file_of_chunk(kept.records[1], 1)
    if is_missing:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    found = kept.restore()
    assert (found.objects, found.damaged, found.to_heal) == (RECORDS - 1, 1, 1)
    assert told_restore(HOME, found, drill=True).code == UNTRUE
    assert not list(kept.member.storage.state_directory.rglob(f"*{kept.records[1].hex()}*"))
    assert kept.objects() == sorted({*kept.records} - {kept.records[1]})


def test_s10_a_restore_that_breaks_off_leaves_no_replica_that_votes_anew(kept: Kept) -> None:
    """C5: whatever it broke off at, the log is there, marked as lost."""
    with pytest.raises(FailedPrecondition, match="NOT_CONFIRMED"):
        kept.restore(alone=False)
    assert kept.vote_log() == (True, True)


def test_s10_a_vote_log_that_is_there_is_not_overwritten(kept: Kept) -> None:
    votes = kept.member.consensus.votes
    votes.parent.mkdir()
    FileVoteLog.create(OsDisk(), votes).close()
    with pytest.raises(Conflict, match="STATE_THERE"):
        kept.restore()
    assert kept.vote_log() == (False, False)


class Leaving(Folder):
    """A place that goes away after so many reads."""

    reads_left = 1_000_000

    def get(self, name: str) -> bytes:
        """As a folder does, while it is there."""
        if not self.reads_left:
            raise Unavailable("S3_UNREACHABLE", "The store cannot be reached.", "S10")
        self.reads_left -= 1
        return super().get(name)


def test_s10_a_restore_goes_on_after_the_place_went_away_again_and_again(kept: Kept, tmp_path: Path) -> None:
    """Each time one object more is whole; in the end all is as if nothing had happened."""
    place, broke_off = Leaving(tmp_path / "elsewhere"), 0
    kept.move_to(place)
    while True:
        # The snapshot, a page, a manifest and its two chunks.
        place.reads_left = 5
        try:
            found = kept.restore()
        except Unavailable as error:
            assert error.reason == "S3_UNREACHABLE"  # noqa: PT017
            broke_off += 1
        else:
            break
    assert broke_off == RECORDS
    assert (found.objects, found.damaged, found.to_heal, kept.objects()) == (RECORDS, 0, 0, sorted(kept.records))
    assert kept.vote_log() == (True, True)
    place.reads_left = 5
    with pytest.raises(Conflict, match="STATE_THERE"):
        kept.restore()


def test_s10_a_restore_that_broke_off_goes_on_from_its_own_snapshot_only(kept: Kept, tmp_path: Path) -> None:
    place = Leaving(tmp_path / "elsewhere")
    kept.move_to(place)
    place.reads_left = 2
    with pytest.raises(Unavailable):
        kept.restore()
    place.reads_left = 100
    first, newer = kept.name, replace(kept.vault.snapshot(), taken_ms=2)
    kept.name = kept.vault.put_snapshot(newer)
    with pytest.raises(Conflict, match=f"{first} broke off here.*STATE_THERE"):
        kept.restore()
    kept.name = first
    assert kept.restore().objects == RECORDS


class Ending(Bucket):
    """A bucket of a store that ends, as by a power cut, before one of its reads."""

    def end_after(self, reads: int, end: Callable[[], None]) -> None:
        """So many are answered."""
        self._reads_left, self._end = reads, end

    def get(self, name: str) -> bytes:
        """As a bucket does."""
        if self._reads_left == 0:
            self._end()
        self._reads_left -= 1
        return super().get(name)


@pytest.mark.slow
def test_s10_a_restore_goes_on_after_a_real_s3_store_went_away(kept: Kept, tmp_path: Path) -> None:
    """The client never tries again here, unlike production's, which asks a store that is not there for six seconds."""
    with s3_server(tmp_path / "s3") as store:
        place = Ending(impatient(store.address), "backups", "home")
        place.end_after(-1, store.kill)
        kept.move_to(place)
        place.end_after(7, store.kill)
        with pytest.raises(Unavailable, match="S3_UNREACHABLE"):
            kept.restore()
        with pytest.raises(Unavailable, match="S3_UNREACHABLE"):
            kept.restore()
        store.start()
        found = kept.restore()
    assert (found.objects, found.damaged, found.to_heal, kept.objects()) == (RECORDS, 0, 0, sorted(kept.records))


def test_s10_another_snapshot_than_there_is_makes_nothing(kept: Kept) -> None:
    kept.name = "none"
    with pytest.raises(NotFound, match="NO_SNAPSHOT"):
        kept.restore()
    assert not (kept.folder / "consensus").exists()


class OtherLedger:
    """What another member's ledger answers; an error instead, where one is named."""

    def __init__(self, certificate: ResultCertificate, blocks: Sequence[CertifiedBlock], chain_id: bytes) -> None:
        self._final, self._blocks, self._chain_id = encode(certificate, chain_id), blocks, chain_id
        self.error: ConsiliumError | None = None

    async def GetTip(self, _: ledger_pb2.GetTipRequest) -> ledger_pb2.GetTipResponse:
        """As the service."""
        if self.error is not None:
            raise self.error
        return ledger_pb2.GetTipResponse(result_certificate=self._final)

    async def StreamBlocks(
        self, request: ledger_pb2.StreamBlocksRequest
    ) -> AsyncGenerator[ledger_pb2.StreamBlocksResponse, None]:
        """As the service."""
        for each in self._blocks[request.first_height - 1 : request.last_height]:
            encoded = chain_pb2.CertifiedBlock(encoded=encode(each, self._chain_id))
            yield ledger_pb2.StreamBlocksResponse(certified_block=encoded)


def asked(folder: Path, scribe: Scribe, other: OtherLedger) -> tuple[bool, int]:
    """Whether the member confirms a chain that begins anew, and how far that comes."""
    chain, blocks = Chain(scribe.alliance.genesis, scribe.verifier), JournalBlockStore.create(OsDisk(), folder / "blocks")
    try:
        return asyncio.run(confirms(other, chain, blocks, lambda *_: None)), chain.height  # type: ignore[arg-type]
    finally:
        blocks.close()


@pytest.fixture
def scribe() -> Scribe:
    scribe = Scribe(Alliance.founded())
    scribe.write_until(3)
    return scribe


def other_of(scribe: Scribe) -> OtherLedger:
    certificate = scribe.chain.result_certificate(3)
    assert certificate is not None
    return OtherLedger(certificate, scribe.blocks, scribe.alliance.chain_id)


def test_s10_a_member_confirms_by_the_tip_it_certifies(scribe: Scribe, tmp_path: Path) -> None:
    assert asked(tmp_path, scribe, other_of(scribe)) == (True, 3)


def test_s10_one_member_alone_confirms_nothing(scribe: Scribe) -> None:
    """Of four delegates one may lie, and hide what was erased since."""
    for several in ((), ("benxi",)):
        with pytest.raises(FailedPrecondition, match=f"{len(several)} other members .* 2 have to.*NOT_CONFIRMED"):
            check_confirmed(scribe.chain, several)
    check_confirmed(scribe.chain, ("benxi", "dalian"))


@pytest.mark.parametrize("error", [Unavailable("AWAY", "Away."), DataLoss("JOURNAL_DAMAGED", "Its own journal.")])
def test_s10_a_member_that_cannot_answer_does_not_end_a_restore(
    scribe: Scribe, tmp_path: Path, error: ConsiliumError
) -> None:
    """Its own damage is not ours."""
    other = other_of(scribe)
    other.error = error
    assert asked(tmp_path, scribe, other) == (False, 0)


def test_s10_a_quorum_that_certified_another_state_ends_a_restore(scribe: Scribe, tmp_path: Path) -> None:
    """L3: this is no member to pass over, it is two states of one chain."""
    committee, result = scribe.chain.tip.outlook.committee, scribe.chain.outcome(3).result
    other = scribe.alliance.certify(committee, replace(result, state_root=bytes(32)))
    with pytest.raises(DataLoss, match="DIVERGED"):
        asked(tmp_path, scribe, OtherLedger(other, scribe.blocks, scribe.alliance.chain_id))
