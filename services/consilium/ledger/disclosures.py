"""A patient's report: who was let read under the grants of one key, for the author of the grants alone (promise 8).

The query is signed by the grants' author, counts up to a height and once; what was already used is remembered for as long as
it would still count, so a query that was overheard opens nothing. A restart forgets; that is why queries end so soon.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, FailedPrecondition, PermissionDenied, ResourceExhausted
from consilium.kernel.executions import DisclosureQuery
from consilium.kernel.light_client import TransactionProof
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import ReceiptBody, ReceiptKind, RequestBody
from consilium.ledger.core.chain import Chain

QUERY_BLOCKS_MAX = 100
"""How far ahead of the ledger a query may count, in blocks."""
QUERIES_KEPT_MAX = 65_536
"""How many queries that still count are remembered; more are refused until some have expired."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One granted request with its proof, and the proofs of the release receipts for it."""

    request_hash: bytes
    request: TransactionProof
    receipts: tuple[TransactionProof, ...]


class Queries:
    """The queries that were used and would still count."""

    def __init__(self) -> None:
        self._used: dict[bytes, int] = {}

    def use(self, query: DisclosureQuery, author: bytes, signature: bytes, chain: Chain, verifier: Verifier) -> None:
        """Let a query through once.

        Raises BadSignature; FailedPrecondition: QUERY_EXPIRED or EXPIRES_TOO_LATE; Conflict: REPLAYED; ResourceExhausted.
        """
        statement = encode(query, chain.chain_id)
        verifier.verify(author, statement, signature)
        if query.expiry_height < chain.height:
            raise FailedPrecondition("QUERY_EXPIRED", f"The query counted up to height {query.expiry_height}.", "L6")
        if query.expiry_height > chain.height + QUERY_BLOCKS_MAX:
            limit = chain.height + QUERY_BLOCKS_MAX
            raise FailedPrecondition("EXPIRES_TOO_LATE", f"A query may count up to height {limit} now.", "L6")
        if author + statement in self._used:
            raise Conflict("REPLAYED", "This query was used already; sign one with a fresh nonce.", "L6")
        self._used = {name: expiry for name, expiry in self._used.items() if expiry >= chain.height}
        if len(self._used) >= QUERIES_KEPT_MAX:
            raise ResourceExhausted("TOO_MANY_QUERIES", "Too many queries were answered of late; ask again later.")
        self._used[author + statement] = query.expiry_height


def list_disclosures(chain: Chain, grant_ids: Sequence[bytes], author: bytes) -> list[Disclosure]:
    """Every final granted request under those of the grants that the author made, oldest first, with its receipts.

    Raises PermissionDenied: NOT_THE_OWNER for somebody who has made none of them.
    """
    grants = [chain.grant(each) for each in grant_ids]
    own = [each.terms.grant_id for each in grants if each is not None and each.author == author]
    if not own:
        raise PermissionDenied("NOT_THE_OWNER", "The signer has made no grant under this key.", "S3")
    found = [each for grant_id in own for each in _disclosures(chain, grant_id)]
    return sorted(found, key=lambda each: (each.request.certificate.result.height, each.request.log_proof.leaf_index))


def _disclosures(chain: Chain, grant_id: bytes) -> list[Disclosure]:
    """The ones under one grant, in the order of the ledger."""
    requests: dict[bytes, TransactionProof] = {}
    receipts: dict[bytes, list[TransactionProof]] = {}
    for leaf in chain.transactions_about(grant_id):
        height, code = chain.code_of(leaf)
        if code > Code.GRANTED or chain.result_certificate(height) is None:
            continue
        proof = chain.prove_transaction(leaf)
        body = open_transaction(proof.transaction, chain.chain_id).payload.body
        if isinstance(body, RequestBody):
            requests[leaf] = proof
        elif isinstance(body, ReceiptBody) and body.receipt is ReceiptKind.RELEASE:
            receipts.setdefault(body.request_hash, []).append(proof)
    return [Disclosure(leaf, proof, tuple(receipts.get(leaf, ()))) for leaf, proof in requests.items()]
