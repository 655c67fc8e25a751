"""What the service looks up in its blocks: kinds by height, this epoch's reveals, the grants of a key.

Made from the blocks as they are executed, and again at every start; never stored. It lets an event stream for rare kinds
pass over blocks without taking them apart.
"""

from array import array
from collections.abc import Sequence

from consilium.kernel.codes import Code
from consilium.kernel.opening import OpenedBlock
from consilium.kernel.transactions import GrantBody, Kind, Payload, RevealBody, RevokeBody

STANDING_KINDS = (Kind.BALLOT, Kind.REVEAL, Kind.EVIDENCE)
"""What may change a member's standing."""


def mask(kinds: Sequence[Kind]) -> int:
    """Kinds as bits of a number."""
    bits = 0
    for kind in kinds:
        bits |= 1 << kind
    return bits


STANDING_MASK = mask(STANDING_KINDS)
_NOTED_MASK = mask((*STANDING_KINDS, Kind.GRANT, Kind.REVOKE))


class BlockIndex:
    """The index up to the last block it was given."""

    def __init__(self) -> None:
        self._kinds = array("L")
        self._revealed: dict[bytes, None] = {}
        self._grants: dict[bytes, list[bytes]] = {}

    @property
    def height(self) -> int:
        """The height of the last block it was given, 0 for none."""
        return len(self._kinds)

    def kinds_at(self, height: int) -> int:
        """The kinds of a block's transactions, as `mask` writes them."""
        return self._kinds[height - 1]

    def first_with(self, wanted: int, height: int, last: int) -> int:
        """The first height, of these up to the last, whose block holds one of the kinds; the one after the last for none."""
        return next((each for each in range(height, last + 1) if self._kinds[each - 1] & wanted), last + 1)

    def has_revealed(self, member_key: bytes) -> bool:
        """Whether the holder of this key has revealed in the present epoch."""
        return member_key in self._revealed

    def grants_of_key(self, delegating_pk: bytes) -> tuple[bytes, ...]:
        """The ids of the grants under a delegating key, oldest first."""
        return tuple(self._grants.get(delegating_pk, ()))

    def add(self, opened: OpenedBlock, codes: Sequence[Code], epoch_after: int) -> None:
        """Take in the next block, its codes, and the epoch of the block after it."""
        payloads = [each.payload for batch in opened.batches for each in batch.transactions]
        bits = 0
        for payload in payloads:
            bits |= 1 << payload.body.KIND
        self._kinds.append(bits)
        if bits & _NOTED_MASK:
            for payload, code in zip(payloads, codes, strict=True):
                if code is Code.APPLIED:
                    self._note(payload)
        if epoch_after != opened.header.epoch:
            self._revealed.clear()

    def _note(self, payload: Payload) -> None:
        match payload.body:
            case RevealBody():
                self._revealed[payload.author] = None
            case GrantBody() as grant:
                self._note_grant(grant)
            case RevokeBody(regrants=regrants):
                for grant in regrants:
                    self._note_grant(grant)
            case _:
                pass

    def _note_grant(self, grant: GrantBody) -> None:
        self._grants.setdefault(grant.terms.delegating_pk, []).append(grant.terms.grant_id)
