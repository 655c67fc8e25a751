"""When a delegate hands in the next preimage of its hash chain: before the draw, until the ledger shows it (rule C6).

What is handed in may get lost: the queue is full, the process ends, it expires. A reveal withheld costs score, and a draw
without reveals can be foretold; so it is handed in anew, ten times a term at the most. The words are the same every time,
and the ledger takes them once.
"""

from consilium.consensus.keys import ReplicaKeys
from consilium.kernel.chain import Outlook
from consilium.kernel.executions import Standings
from consilium.kernel.hashing import domain_hash
from consilium.kernel.signing import Signer
from consilium.kernel.transactions import Payload, RevealBody

TRIES = 10
"""Into how many parts a term is cut; a reveal that is not on the ledger is handed in once in each."""


class Revealing:
    """One member's reveals. Standings tell what was revealed: the preimage after that is the next epoch's."""

    def __init__(self, member_id: str, keys: ReplicaKeys) -> None:
        """Nothing is due before standings have come."""
        self._member_id, self._keys = member_id, keys
        self._standings: Standings | None = None
        self._handed_in = (-1, 0)

    def told(self, standings: Standings) -> None:
        """Take in how the members stand."""
        self._standings = standings

    def left(self) -> int | None:
        """How many reveals the own chain has left; None before standings have come."""
        members = () if self._standings is None else self._standings.members
        anchor = next((each.reveal_anchor for each in members if each.profile.member_id == self._member_id), None)
        return None if anchor is None else self._keys.reveals_left(anchor)

    def due(self, outlook: Outlook, height: int, signer: Signer) -> Payload | None:
        """What is to be handed in at this height. Raises FailedPrecondition: NO_REVEAL, once for every try."""
        anchor, (epoch, last) = self._anchor(outlook), self._handed_in
        if anchor is None or (epoch == outlook.epoch and height < last + max(1, outlook.parameters.term_blocks // TRIES)):
            return None
        self._handed_in = (outlook.epoch, height)
        body = RevealBody(outlook.epoch, self._keys.preimage_of(anchor))
        request_id = domain_hash("consilium.reveal", body.preimage)[:16]
        return Payload(signer.public_key, request_id, _expiry(outlook, height), body)

    def _anchor(self, outlook: Outlook) -> bytes | None:
        """Where the own chain stands; None if nothing is to be revealed now, or is not known to be."""
        standings, me = self._standings, self._member_id
        if outlook.committee.index_of(me) is None or outlook.next_committee is not None:
            return None
        if standings is None or standings.epoch != outlook.epoch or me in standings.revealed:
            return None
        return next((each.reveal_anchor for each in standings.members if each.profile.member_id == me), None)


def _expiry(outlook: Outlook, height: int) -> int:
    """The term's length ahead, and never further than a transaction may live (L6)."""
    parameters = outlook.parameters
    return height + min(parameters.term_blocks, parameters.expiry_blocks_max // 2)
