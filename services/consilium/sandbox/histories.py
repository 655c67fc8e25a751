"""Which transactions name a grant: what a member looks up for a patient's report (promise 8).

Built from the blocks, never stored: a restarted member reads its chain once more. A member can leave
something out of an answer, but prove nothing that did not happen; so a client asks several.
"""

from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.errors import NotFound
from consilium.kernel.opening import open_block
from consilium.kernel.transactions import Body, GrantBody, ReceiptBody, RequestBody, RevokeBody
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.execution import BlockOutcome


class GrantHistories:
    """For every grant the hashes of the transactions that name it, in the order of the ledger."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._by_grant: dict[bytes, dict[bytes, None]] = {}
        for height in range(1, chain.height + 1):
            self._take(chain.block(height))

    def of(self, grant_id: bytes) -> list[bytes]:
        """The final ones among them."""
        return [each for each in self._by_grant.get(grant_id, ()) if is_final(self._chain, each)]

    def executed(self, block: CertifiedBlock, _header: Header, _outcome: BlockOutcome) -> None:
        """Take in one more block."""
        self._take(block)

    def certified(self, _certificate: ResultCertificate) -> None:
        """Nothing to do: what is final is looked up."""

    def _take(self, block: CertifiedBlock) -> None:
        for batch in open_block(block, self._chain.chain_id).batches:
            for each in batch.transactions:
                for grant_id in grants_named(each.payload.body):
                    self._by_grant.setdefault(grant_id, {})[each.leaf] = None


def is_final(chain: Chain, transaction_hash: bytes) -> bool:
    """Whether a transaction is ordered and its block certified here."""
    try:
        height, _ = chain.code_of(transaction_hash)
    except NotFound:
        return False
    return chain.result_certificate(height) is not None


def grants_named(body: Body) -> list[bytes]:
    """The ids of the grants a transaction is about."""
    match body:
        case GrantBody(terms=terms):
            return [terms.grant_id]
        case RevokeBody(grant_id=grant_id, regrants=regrants):
            return [grant_id, *(each.terms.grant_id for each in regrants)]
        case RequestBody(grant_id=grant_id) | ReceiptBody(grant_id=grant_id):
            return [grant_id]
        case _:
            return []
