"""Replaying what a sandbox left, offline, from the genesis file alone (promise 8).

Every member's blocks are verified and executed again with the ledger's own rules: order, signatures, draws,
verdicts, roots. A block store is opened like any other, so no ledger may run meanwhile.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Genesis
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, NotFound
from consilium.kernel.signing import Ed25519Verifier, Verifier
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.sync import BLOCK_BYTES_MAX
from consilium.ledger.store import BlockStore, JournalBlockStore
from consilium.runtime.disk import OsDisk
from consilium.runtime.genesis_file import read_genesis


def audit(folder: Path) -> Iterator[str]:
    """Replay each member's chain; a line for each, and one about all of them.

    Raises NotFound NO_GENESIS where no alliance was left, what the ledger core raises for a chain that breaks a
    rule, and Conflict TWO_CHAINS when two members hold different blocks at one height.
    """
    if not (folder / "genesis").is_file():
        raise NotFound("NO_GENESIS", f"{folder} holds no genesis file; `consilium demo --keep` leaves one.")
    genesis, verifier = read_genesis(folder / "genesis"), Ed25519Verifier()
    chains: dict[str, Chain] = {}
    for member in genesis.members:
        name = member.member_id
        chains[name] = _replayed(folder / name / "ledger" / "blocks", genesis, verifier)
        yield f"{name}: {_summary(chains[name])}"
    yield compare(chains)


def compare(chains: dict[str, Chain]) -> str:
    """Hold the members' chains against each other, as far as both go; raises Conflict TWO_CHAINS."""
    longest = max(chains.values(), key=lambda chain: chain.height)
    for name, chain in chains.items():
        for height in range(1, chain.height + 1):
            if chain.outcome(height).result != longest.outcome(height).result:
                raise Conflict("TWO_CHAINS", f"{name} holds another block or result at height {height}.", "L3")
    return f"all {len(chains)} members hold one chain, {longest.chain_id.hex()[:32]}..."


def _replayed(path: Path, genesis: Genesis, verifier: Verifier) -> Chain:
    chain, store = Chain(genesis, verifier), JournalBlockStore.open(OsDisk(), path)
    try:
        replay(store, chain)
    finally:
        store.close()
    return chain


def replay(store: BlockStore, chain: Chain) -> None:
    """Append every stored block and certificate to a chain that stands at genesis; raises what `Chain` raises."""
    for height in range(1, store.height + 1):
        chain.append_block(decode(CertifiedBlock, store.read_block(height), chain.chain_id, BLOCK_BYTES_MAX))
        try:
            certificate = store.read_certificate(height)
        except NotFound:  # consensus may go on to the next height before this one's results are all in
            continue
        chain.add_result_certificate(decode(ResultCertificate, certificate, chain.chain_id))


def _summary(chain: Chain) -> str:
    codes = Counter(code.name for height in range(1, chain.height + 1) for code in chain.outcome(height).codes)
    told = ", ".join(f"{count} {name}" for name, count in sorted(codes.items()))
    return (
        f"{chain.height} blocks replayed, {chain.certified_height} certified, epochs 0 to {chain.tip.outlook.epoch};"
        f" transactions: {told}"
    )
