"""What must stand when a view or an epoch ends: the chain of prepared blocks that some of its delegates show (rule C3).

A new view proposes it again (C2), a recovery lets it stand (C10). Of one height's certificates that of the highest view
counts; the first gap, or the first header that does not name its forerunner as parent, ends the chain. Since a prepare
for h+1 leaves only after h is prepared, whatever can have been committed is in it.
"""

from collections.abc import Iterable

from consilium.kernel.certificates import PreparedCertificate
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256


def prepared_chain(
    shown: Iterable[PreparedCertificate], height: int, tail: bytes | None, chain_id: bytes
) -> list[tuple[Header, PreparedCertificate]]:
    """The chain above a height, whose block has the hash `tail`; None where the first header's parent is not looked at."""
    best = _highest_views(shown, chain_id)
    chain: list[tuple[Header, PreparedCertificate]] = []
    while (height := height + 1) in best and tail in (best[height][0].parent_hash, None):
        chain.append(best[height])
        tail = sha256(best[height][1].header)
    return chain


def _highest_views(shown: Iterable[PreparedCertificate], chain_id: bytes) -> dict[int, tuple[Header, PreparedCertificate]]:
    """For every height shown, the prepared certificate of the highest view."""
    best: dict[int, tuple[Header, PreparedCertificate]] = {}
    for prepared in shown:
        header = decode(Header, prepared.header, chain_id)
        known = best.get(header.height)
        if known is None or prepared.view > known[1].view:
            best[header.height] = (header, prepared)
    return best
