"""What happened under the grants of one key, for the author of the grants alone (promise 8).

The query is signed by the grants' author, counts up to a height and once; what was already used is remembered for as long as
it would still count, so a query that was overheard opens nothing. A restart forgets; that is why queries end so soon.
"""

from collections.abc import Sequence

from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, FailedPrecondition, PermissionDenied, ResourceExhausted
from consilium.kernel.executions import GrantHistoryQuery
from consilium.kernel.signing import Verifier
from consilium.ledger.core.chain import Chain

QUERY_BLOCKS_MAX = 100
"""How far ahead of the ledger a query may count, in blocks."""
QUERIES_KEPT_MAX = 65_536
"""How many queries that still count are remembered; more are refused until some have expired."""


class Queries:
    """The queries that were used and would still count."""

    def __init__(self) -> None:
        self._used: dict[bytes, int] = {}

    def use(self, query: GrantHistoryQuery, author: bytes, signature: bytes, chain: Chain, verifier: Verifier) -> None:
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


def list_grant_history(chain: Chain, grant_ids: Sequence[bytes], author: bytes) -> list[bytes]:
    """The hashes of all final transactions that name one of the grants the author made, in the order of the ledger.

    Refused ones too: who tried counts. Raises PermissionDenied: NOT_THE_OWNER for somebody who has made none of the grants.
    """
    grants = [chain.grant(each) for each in grant_ids]
    own = [each.terms.grant_id for each in grants if each is not None and each.author == author]
    if not own:
        raise PermissionDenied("NOT_THE_OWNER", "The signer has made no grant under this key.", "S3")
    named = {leaf: chain.place_of(leaf) for grant_id in own for leaf in chain.transactions_about(grant_id)}
    final = [leaf for leaf, (height, _) in named.items() if chain.result_certificate(height) is not None]
    return sorted(final, key=named.__getitem__)
