"""Putting a member back from a backup, while its services are down, and proving what was put back (rule S10).

The blocks come first: each is verified and executed from the genesis file on, so the state root is made again and has to be
the certified one. Then what the alliance has ordered since is fetched from the other members and executed likewise; what
they have certified is this chain's continuation or the restore ends. So every erasure up to now is known before the first
object: an erased one is not put back. An object has to be what its record on the chain registers; a damaged one is left for
the other members to heal. Before all that the vote log begins again, marked as lost, so that a restore which breaks off
leaves no replica that votes anew: it speaks in an epoch that begins above all it could have signed, as its peers tell (C5).
A restore that broke off, as when the place of the backup went away, goes on when it is started again: a mark beside the
blocks tells its state from a member's that must not be overwritten. Blocks that are there are verified again, and not
fetched again; objects that are there were verified when they were put back, and are passed over.
Shred secrets and key fragments are in no backup: the sealed secrets come back by `consilium storage heal`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.api.chain.v1 import chain_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.backup.taking import Show, blocks_of
from consilium.backup.vault import KeptObject, Snapshot, Vault
from consilium.consensus.settings import ConsensusSettings
from consilium.consensus.store import FileVoteLog, above_all_starts
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Genesis
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, ConsiliumError, DataLoss, FailedPrecondition, NotFound, Unavailable
from consilium.kernel.manifest import Manifest, verify_chunk, verify_manifest
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import RetentionState, is_erased, retention_entry
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.replay import replay_all
from consilium.ledger.core.sync import BLOCK_BYTES_MAX
from consilium.ledger.settings import LedgerSettings
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.addresses import peers_of
from consilium.runtime.channels import Channel, Limits, typed
from consilium.runtime.disk import OsDisk
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.settings import FILE_VARIABLE, load
from consilium.runtime.tls import Tls
from consilium.runtime.whole_files import write_atomically
from consilium.storage.__main__ import open_stores
from consilium.storage.driver import Stores, storage_of
from consilium.storage.holdings import Holding, HoldingState
from consilium.storage.settings import StorageSettings

if TYPE_CHECKING:  # a name of the generated types alone
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Member:
    """The member to put back: the settings of its services, which say where its state belongs."""

    ledger: LedgerSettings
    storage: StorageSettings
    consensus: ConsensusSettings

    @classmethod
    def of(cls, path: Path) -> "Member":
        """From the member's settings file. Raises InvalidArgument: BAD_SETTING, BAD_SETTINGS_FILE."""
        environment = {FILE_VARIABLE: str(path)}
        return cls(
            load(LedgerSettings, environment), load(StorageSettings, environment), load(ConsensusSettings, environment)
        )

    def within(self, scratch: Path) -> "Member":
        """The same member, its state below a scratch folder, its objects in the embedded store: for a drill."""
        return Member(
            replace(self.ledger, blocks=scratch / "ledger" / "blocks"),
            replace(self.storage, state_directory=scratch / "storage", objects="embedded"),
            replace(self.consensus, votes=scratch / "consensus" / "votes"),
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to. `confirmed_by` are the members whose certified tip the chain contains."""

    snapshot_height: int
    height: int
    state_root: bytes
    confirmed_by: tuple[str, ...]
    blocks_fetched: int
    objects: int
    bytes: int
    erased: int
    unregistered: int
    damaged: int
    to_heal: int
    seconds: float

    @property
    def rpo_blocks(self) -> int:
        """How many blocks of the live chain the backup does not have."""
        return self.height - self.snapshot_height


async def restore(vault: Vault, name: str, member: Member, show: Show, *, alone: bool = False) -> Restored:
    """Put a member back; `alone` for when no other member is left to ask.

    Raises Conflict: OTHER_BACKUP, STATE_THERE, OTHER_RESULT; FailedPrecondition: NOT_CONFIRMED when too few other members
    confirm the chain; DataLoss for a damaged backup, or DIVERGED for a state that a quorum contradicts; and what a block
    that breaks a rule is refused for.
    """
    began_s = time.monotonic()
    snapshot, genesis = await asyncio.to_thread(vault.snapshot, name), read_genesis(member.ledger.genesis)
    _check_room(member, snapshot, genesis)
    _begin_votes(member.consensus)
    async with AsyncExitStack() as stack:
        blocks = await asyncio.to_thread(_blocks, member.ledger.blocks)
        stack.callback(blocks.close)
        chain = Chain(genesis, Ed25519Verifier(), blocks)
        # What a restore that broke off has left is verified and executed like the rest.
        await asyncio.to_thread(replay_all, chain, blocks, blocks.height)
        await asyncio.to_thread(_replay, vault, snapshot, chain, blocks, show)
        confirmed, fetched = await _catch_up(member.ledger, chain, blocks, show)
        blocks.sync()
        if not alone:
            check_confirmed(chain, confirmed)
        stores = open_stores(member.storage, genesis.chain_id, stack)
        counts = await asyncio.to_thread(_objects, vault, snapshot, chain, stores, show)
        to_heal = _to_heal(chain, stores, snapshot.member_id)
    _mark(member).unlink()
    root = chain.outcome(chain.height).result.state_root
    seconds = time.monotonic() - began_s
    found = (counts.objects, counts.bytes, counts.erased, counts.unregistered, counts.damaged)
    return Restored(snapshot.height, chain.height, root, confirmed, fetched, *found, to_heal, seconds)


def _check_room(member: Member, snapshot: Snapshot, genesis: Genesis) -> None:
    """Raise Conflict unless the backup is this member's, and nothing is there that would be overwritten; leave the mark.

    What a restore of the same snapshot has left that broke off is no such thing.
    """
    if (snapshot.member_id, snapshot.chain) != (member.ledger.member_id, genesis.chain_id):
        sentence = f"The backup is of {snapshot.member_id} on chain {snapshot.chain.hex()[:16]}, not of this member's."
        raise Conflict("OTHER_BACKUP", sentence, "S10")
    mark, folder = _mark(member), member.storage.state_directory
    if mark.exists():
        begun = mark.read_text()
        if begun == snapshot.name:
            return
        sentence = f"A restore of snapshot {begun} broke off here: go on with it (--snapshot), or move all away first."
        raise Conflict("STATE_THERE", sentence, "S10")
    taken = [each for each in (member.ledger.blocks, member.consensus.votes) if each.exists()]
    taken += [folder] if folder.exists() and any(folder.iterdir()) else []
    if taken:
        names = ", ".join(map(str, taken))
        raise Conflict("STATE_THERE", f"{names} is there already: stop the member's services and move it away first.", "S10")
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(mark, snapshot.name.encode())


def _mark(member: Member) -> Path:
    """What says that a restore has begun and not ended; the name of its snapshot stands in it."""
    return member.ledger.blocks.with_name("restoring")


# --- the chain ---


def _blocks(path: Path) -> JournalBlockStore:
    return (JournalBlockStore.open if path.exists() else JournalBlockStore.create)(OsDisk(), path)


def _replay(vault: Vault, snapshot: Snapshot, chain: Chain, blocks: JournalBlockStore, show: Show) -> None:
    """The backup's blocks, verified and executed; the state root they make has to be the one that was certified."""
    for segment in snapshot.segments:
        if segment.last_height <= chain.height:
            continue
        there = max(chain.height - segment.first_height + 1, 0)
        for encoded, certificate in blocks_of(vault.get_blob(segment.blob))[there:]:
            _append(chain, blocks, encoded, certificate)
        show("blocks", chain.height, snapshot.height)
    certified = decode(ResultCertificate, snapshot.result_certificate, chain.chain_id)
    if chain.height < snapshot.height:
        raise Conflict("OTHER_RESULT", f"The backup's blocks end at height {chain.height}, not {snapshot.height}.", "S10")
    _certify(chain, blocks, snapshot.height, snapshot.result_certificate)
    if chain.outcome(snapshot.height).result != certified.result:
        raise Conflict("OTHER_RESULT", f"The backup's blocks make another state at height {snapshot.height}.", "S10")


def _append(chain: Chain, blocks: JournalBlockStore, encoded: bytes, certificate: bytes) -> None:
    outcome = chain.append_block(decode(CertifiedBlock, encoded, chain.chain_id, BLOCK_BYTES_MAX))
    blocks.append_block(chain.height, encoded)
    # The committee after a recovery is known with a later block only; the ledger will ask for its certificate again (C10).
    if certificate and decode(ResultCertificate, certificate, chain.chain_id).result.epoch == outcome.result.epoch:
        _certify(chain, blocks, chain.height, certificate)


def _certify(chain: Chain, blocks: JournalBlockStore, height: int, certificate: bytes) -> None:
    """A certificate of another result than the one made here is refused by the chain."""
    chain.add_result_certificate(decode(ResultCertificate, certificate, chain.chain_id))
    blocks.add_certificate(height, certificate)


async def _catch_up(
    settings: LedgerSettings, chain: Chain, blocks: JournalBlockStore, show: Show
) -> tuple[tuple[str, ...], int]:
    """What was ordered since, from every member that can be reached; those whose certified tip this chain contains.

    Raises as `confirms`.
    """
    before, confirmed = chain.height, list[str]()
    tls = Tls(settings.tls_directory, settings.alliance)
    for name, peer in peers_of(settings.peers, "ledger", settings.member_id).items():
        async with Channel(peer, tls, Limits(message_bytes_max=settings.message_bytes_max)) as channel:
            if await confirms(LedgerServiceStub(channel), chain, blocks, show):
                confirmed.append(name)
    return tuple(confirmed), chain.height - before


def check_confirmed(chain: Chain, members: Sequence[str]) -> None:
    """Raise FailedPrecondition (NOT_CONFIRMED) for fewer than f + 1: a liar alone could hide what was erased since."""
    least = chain.tip.outlook.committee.faults_max + 1
    if len(members) < least:
        sentence = (
            f"{len(members)} other members say that this is the chain as it is now, and so what was erased since; {least}"
            " have to, one more than may lie. See that they can be reached, or say that fewer are left (--alone)."
        )
        raise FailedPrecondition("NOT_CONFIRMED", sentence, "S10")


async def confirms(ledger: "LedgerServiceAsyncStub", chain: Chain, blocks: JournalBlockStore, show: Show) -> bool:
    """Go on to a member's certified tip; whether that is on this chain, and False for a member that is out of reach.

    Raises DataLoss: DIVERGED when a quorum certified another state than is made here, and for blocks that cannot be kept.
    """
    try:
        await _follow(ledger, chain, blocks, show)
    except DataLoss:
        raise
    except ConsiliumError:  # out of reach, or not on this chain: the next one may confirm it
        return False
    return True


async def _follow(ledger: "LedgerServiceAsyncStub", chain: Chain, blocks: JournalBlockStore, show: Show) -> None:
    """Go on to a member's certified tip, which the chain then has to contain."""
    with _asked():
        encoded = (await ledger.GetTip(ledger_pb2.GetTipRequest())).result_certificate
    height = decode(ResultCertificate, encoded, chain.chain_id).result.height
    if height > chain.height:
        async with aclosing(_sent(ledger, chain.height + 1, height)) as sent:
            async for block in sent:
                await asyncio.to_thread(_append, chain, blocks, block.encoded, block.result_certificate)
                show("blocks", chain.height, height)
    await asyncio.to_thread(_certify, chain, blocks, height, encoded)


async def _sent(ledger: "LedgerServiceAsyncStub", first: int, last: int) -> AsyncGenerator[chain_pb2.CertifiedBlock, None]:
    with _asked():
        async for each in ledger.StreamBlocks(ledger_pb2.StreamBlocksRequest(first_height=first, last_height=last)):
            yield each.certified_block


@contextmanager
def _asked() -> Iterator[None]:
    """What another member says of its own losses is none here: it could not be asked."""
    try:
        with typed():
            yield
    except DataLoss as error:
        raise Unavailable("NOT_ANSWERED", f"The member cannot answer: {error.sentence}", "S10") from error


# --- the objects ---


@dataclass(slots=True)
class _Counts:
    objects: int = 0
    bytes: int = 0
    erased: int = 0
    unregistered: int = 0
    damaged: int = 0


def _objects(vault: Vault, snapshot: Snapshot, chain: Chain, stores: Stores, show: Show) -> _Counts:
    """Put back what the chain knows and has not erased."""
    counts = _Counts()
    listed = _listed(vault, snapshot, counts)
    for done, kept in enumerate(listed, 1):
        if _is_erased(chain, kept.record_id):
            counts.erased += 1
        elif chain.record(kept.record_id) is None:
            counts.unregistered += 1
        else:
            _sound_object(vault, chain, stores, snapshot.member_id, kept, counts)
        show("objects", done, len(listed))
    return counts


def _listed(vault: Vault, snapshot: Snapshot, counts: _Counts) -> list[KeptObject]:
    """What the snapshot's pages name; a page that does not open counts as one damaged object."""
    found = list[KeptObject]()
    for name in snapshot.pages:
        try:
            found += vault.page(name).objects
        except (DataLoss, NotFound):
            counts.damaged += 1
    return found


def _sound_object(vault: Vault, chain: Chain, stores: Stores, member_id: str, kept: KeptObject, counts: _Counts) -> None:
    """One object, or nothing of it: a damaged one is counted, and other members may have it whole.

    One that is here already was put back by a restore that broke off.
    """
    try:
        there = stores.holdings.find(kept.record_id)
        if there is not None and there.state is HoldingState.COMPLETE:
            counts.bytes += there.size
        else:
            counts.bytes += _object(vault, chain, stores, member_id, kept)
    except (DataLoss, NotFound):
        stores.objects.delete(kept.record_id)
        counts.damaged += 1
    else:
        counts.objects += 1


def _object(vault: Vault, chain: Chain, stores: Stores, member_id: str, kept: KeptObject) -> int:
    """One object, every chunk of it verified against what the record on the chain names; its bytes."""
    entry = chain.record(kept.record_id)
    assert entry is not None
    manifest, size = decode(Manifest, vault.get_blob(kept.manifest), chain.chain_id), 0
    verify_manifest(manifest, entry.body)
    for index, leaf in enumerate(manifest.chunk_hashes):
        chunk = vault.get_chunk(leaf)
        verify_chunk(manifest.chunk_hashes, index, chunk)
        stores.objects.put_chunk(kept.record_id, index, chunk)
        size += len(chunk)
    stores.objects.complete(manifest)
    home = entry.body.holder
    keepers = kept.keepers if home == member_id else ()
    kept_as, now_s = HoldingState.COMPLETE, int(time.time())
    row = Holding(kept.record_id, home, storage_of(home), manifest.size_class, size, now_s, kept_as)
    stores.holdings.write(replace(row, root=manifest.ciphertext_root, keepers=keepers))
    return size


def _is_erased(chain: Chain, record_id: bytes) -> bool:
    value = chain.prove_state(retention_entry(record_id)).value
    return is_erased(None if value is None else decode(RetentionState, value, chain.chain_id))


def _to_heal(chain: Chain, stores: Stores, member_id: str) -> int:
    """How many own records of the chain have no object here: younger than the backup or damaged in it, not erased."""
    own = [each.body.record_id for each in chain.records() if each.body.holder == member_id]
    missing = [each for each in own if stores.holdings.find(each) is None]
    return sum(not _is_erased(chain, each) for each in missing)


def _begin_votes(settings: ConsensusSettings) -> None:
    """A vote log marked as lost, its incarnation above every one there can have been (C5); one of these may be here."""
    if settings.votes.exists():
        return
    settings.votes.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    FileVoteLog.begin_again(OsDisk(), settings.votes, above_all_starts()).close()
