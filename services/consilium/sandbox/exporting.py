"""One member's chain as a folder to hand to an auditor: the genesis file, and all certified blocks (promise 8).

The blocks come over the same stream as other members catch up by, and are not judged here: `consilium verify` and
`consilium election explain` do that from the genesis alone. A folder left by the sandbox is read in the same way.
"""

from pathlib import Path

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.signed_genesis import SignedGenesis
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.channels import Channel, typed
from consilium.runtime.disk import OsDisk
from consilium.sandbox.audit import BLOCKS, GENESIS_FILE


def new_export(folder: Path, genesis: SignedGenesis) -> JournalBlockStore:
    """An export without blocks. Raises FailedPrecondition: FOLDER_EXISTS."""
    if folder.exists() and any(folder.iterdir()):
        raise FailedPrecondition("FOLDER_EXISTS", f"{folder} holds something already; name an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GENESIS_FILE).write_bytes(encode(genesis, ZERO_DIGEST))
    return JournalBlockStore.create(OsDisk(), folder / BLOCKS)


async def export_chain(ledger: Channel, genesis: Genesis, store: JournalBlockStore) -> int:
    """Write all blocks that are final now into an empty store, and close it; how many there are."""
    stub = LedgerServiceStub(ledger)
    try:
        with typed():
            tip = (await stub.GetTip(pb.GetTipRequest())).result_certificate
            if tip:
                last = decode(ResultCertificate, tip, genesis.chain_id).result.height
                async for each in stub.StreamBlocks(pb.StreamBlocksRequest(first_height=1, last_height=last)):
                    _keep(store, each)
        store.sync()
        return store.height
    finally:
        store.close()


def _keep(store: JournalBlockStore, response: pb.StreamBlocksResponse) -> None:
    block = response.certified_block
    store.append_block(store.height + 1, block.encoded)
    if block.result_certificate:
        store.add_certificate(store.height, block.result_certificate)
