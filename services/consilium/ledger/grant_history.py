"""What happened under the grants of one key, for the author of the grants alone (promise 8).

The query is signed by the grants' author, counts up to a height and once. What was used is remembered for as long as it
would still count, so that a query which was overheard opens nothing; of authors alone, so that keys made up on the spot fill
nothing. A restart forgets; that is why queries end so soon.
"""

from collections.abc import Sequence

from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, FailedPrecondition, PermissionDenied, ResourceExhausted, Unavailable
from consilium.kernel.executions import GrantHistoryQuery
from consilium.kernel.signing import Verifier
from consilium.ledger.core.chain import Chain

QUERY_BLOCKS_MAX = 100
"""How far ahead of the ledger a query may count, in blocks."""
QUERIES_KEPT_MAX = 65_536
"""How many queries that still count are remembered; more are refused until some have expired."""


class Queries:
    """The queries that were used and would still count, by the last height at which they do."""

    def __init__(self) -> None:
        self._used: dict[int, set[bytes]] = {}

    def use(self, query: GrantHistoryQuery, author: bytes, chain: Chain) -> None:
        """Let a verified query of an author through once. Raises Conflict: REPLAYED; ResourceExhausted: TOO_MANY_QUERIES."""
        for over in [each for each in self._used if each < chain.height]:
            del self._used[over]
        used, name = self._used.setdefault(query.expiry_height, set()), author + encode(query, chain.chain_id)
        if name in used:
            raise Conflict("REPLAYED", "This query was used already; sign one with a fresh nonce.", "L6")
        if sum(map(len, self._used.values())) >= QUERIES_KEPT_MAX:
            raise ResourceExhausted("TOO_MANY_QUERIES", "Too many queries were answered of late; ask again later.")
        used.add(name)


def verify_query(query: GrantHistoryQuery, author: bytes, signature: bytes, chain: Chain, verifier: Verifier) -> None:
    """Judge a query by itself. Raises BadSignature; FailedPrecondition: QUERY_EXPIRED or EXPIRES_TOO_LATE."""
    verifier.verify(author, encode(query, chain.chain_id), signature)
    if query.expiry_height < chain.height:
        raise FailedPrecondition("QUERY_EXPIRED", f"The query counted up to height {query.expiry_height}.", "L6")
    if query.expiry_height > chain.height + QUERY_BLOCKS_MAX:
        limit = chain.height + QUERY_BLOCKS_MAX
        raise FailedPrecondition("EXPIRES_TOO_LATE", f"A query may count up to height {limit} now.", "L6")


def list_grant_history(chain: Chain, grant_ids: Sequence[bytes], author: bytes) -> dict[bytes, tuple[int, int]]:
    """The final transactions that name one of the grants the author made, by hash, in the order of the ledger; their places.

    Refused ones too: who tried counts. Raises PermissionDenied: NOT_THE_OWNER for somebody who has made none of the grants;
    Unavailable: CERTIFICATE_MISSING while one of them could not be proven, for a report that leaves it out would be false.
    """
    grants = [chain.grant(each) for each in grant_ids]
    own = [each.terms.grant_id for each in grants if each is not None and each.author == author]
    if not own:
        raise PermissionDenied("NOT_THE_OWNER", "The signer has made no grant under this key.", "S3")
    named = {leaf: chain.place_of(leaf) for grant_id in own for leaf in chain.transactions_about(grant_id)}
    final = {leaf: place for leaf, place in named.items() if place[0] <= chain.certified_height}
    missing = next((height for height, _ in final.values() if chain.result_certificate(height) is None), None)
    if missing is not None:
        why = f"The certificate of height {missing} is being fetched; ask again in a moment."
        raise Unavailable("CERTIFICATE_MISSING", why, "L3")
    return dict(sorted(final.items(), key=lambda each: each[1]))
