"""Replaying what a sandbox left, offline, from the genesis file alone (promise 8).

Every member's blocks are verified and executed again with the ledger's own rules: order, signatures, draws,
verdicts, roots. The folder is judged as it lies: nothing in it is written, made or cut, so it may be read-only.
Its ledgers must be still meanwhile.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from consilium.kernel.chain import CertifiedBlock, Genesis
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, FailedPrecondition, NotFound
from consilium.kernel.signing import Ed25519Verifier
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.replay import replay_all
from consilium.ledger.core.sync import BLOCK_BYTES_MAX
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import File, Lock, OsDisk, OsFile
from consilium.runtime.genesis_file import read_genesis


class ReadOnlyFile(OsFile):
    """A file that takes every change for done and stays as it is: a torn end is passed over, not cut off."""

    def write(self, offset: int, data: bytes) -> None:
        """Write nothing."""

    def truncate(self, length: int) -> None:
        """Cut nothing."""

    def sync(self) -> None:
        """There is nothing to make durable."""


class ReadOnlyDisk(OsDisk):
    """The operating system's files, for looking at."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open a file for reading; one that would be made is an empty one that is not there."""
        missing = create and not path.exists()
        return ReadOnlyFile(os.open(os.devnull if missing else path, os.O_RDONLY))

    def lock(self, path: Path) -> Lock:
        """Keep others from writing, where a ledger has left its lock file; several may look at once.

        Raises FailedPrecondition: STILL_RUNNING.
        """
        descriptor = os.open(path if path.exists() else os.devnull, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            folder = path.parents[2]
            sentence = f"The alliance in {folder} is running; end it, then verify."
            raise FailedPrecondition("STILL_RUNNING", sentence) from error
        return ReadOnlyFile(descriptor)


GENESIS_FILE, BLOCKS = "genesis", "blocks"
"""What lies in a folder that `consilium election export` wrote; a sandbox keeps the blocks of each member apart."""


def audit(folder: Path) -> Iterator[str]:
    """Replay each member's chain; a line for each, and one about all of them.

    Raises NotFound NO_GENESIS where no alliance was left, FailedPrecondition STILL_RUNNING where one runs, what the
    ledger core raises for a chain that breaks a rule, and Conflict TWO_CHAINS when two members hold different blocks
    at one height.
    """
    genesis, verifier = kept_genesis(folder), Ed25519Verifier()
    chains: dict[str, Chain] = {}
    with ExitStack() as stack:
        for name, path in block_folders(folder, genesis).items():
            store = JournalBlockStore.open(ReadOnlyDisk(), path)
            stack.callback(store.close)
            chains[name] = Chain(genesis, verifier, store)
            replay_all(chains[name], store, store.height)
            yield f"{name}: {_summary(chains[name])}"
        yield compare(chains)


def kept_genesis(folder: Path) -> Genesis:
    """The genesis that lies in a folder. Raises NotFound NO_GENESIS, InvalidArgument BAD_GENESIS."""
    if not (folder / GENESIS_FILE).is_file():
        raise NotFound("NO_GENESIS", f"{folder} holds no genesis file; `consilium demo --keep` leaves one.")
    return read_genesis(folder / GENESIS_FILE)


def block_folders(folder: Path, genesis: Genesis) -> dict[str, Path]:
    """Where blocks lie in a folder: those of an export, or of every founder in a sandbox."""
    if (folder / BLOCKS).exists():
        return {BLOCKS: folder / BLOCKS}
    return {name: folder / name / "ledger" / "blocks" for name in (each.member_id for each in genesis.members)}


def kept_blocks(folder: Path, genesis: Genesis) -> Iterator[CertifiedBlock]:
    """The blocks of an export, or of the longest chain that a sandbox left. Raises FailedPrecondition STILL_RUNNING."""
    stores = list[JournalBlockStore]()
    try:
        for path in block_folders(folder, genesis).values():
            stores.append(JournalBlockStore.open(ReadOnlyDisk(), path))
        for data in max(stores, key=lambda each: each.height).blocks():
            yield decode(CertifiedBlock, data, genesis.chain_id, BLOCK_BYTES_MAX)
    finally:
        for each in stores:
            each.close()


def compare(chains: dict[str, Chain]) -> str:
    """Hold the members' chains against each other, as far as both go; raises Conflict TWO_CHAINS."""
    longest = max(chains.values(), key=lambda chain: chain.height)
    for name, chain in chains.items():
        for height in range(1, chain.height + 1):
            if chain.outcome(height).result != longest.outcome(height).result:
                raise Conflict("TWO_CHAINS", f"{name} holds another block or result at height {height}.", "L3")
    return f"all {len(chains)} members hold one chain, {longest.chain_id.hex()[:32]}..."


def _summary(chain: Chain) -> str:
    codes = Counter(code.name for height in range(1, chain.height + 1) for code in chain.codes(height))
    told = ", ".join(f"{count} {name}" for name, count in sorted(codes.items()))
    return (
        f"{chain.height} blocks replayed, {chain.certified_height} certified, epochs 0 to {chain.tip.outlook.epoch};"
        f" transactions: {told}"
    )
