"""Results of executed blocks, and the certificates that quorums of equal ones make (rule L3; paper, section 4.3)."""

from consilium.consensus.core.messages import Checkpoint
from consilium.kernel.certificates import Committee, QuorumSignature, Result, ResultCertificate


class Checkpoints:
    """The results heard for the heights above the stable checkpoint.

    Kept by height and epoch: a place in one committee says nothing about that place in the next, and a delegate of the old
    one must not fill it (C7).
    """

    def __init__(self) -> None:
        self._votes: dict[tuple[int, int], dict[int, Checkpoint]] = {}

    def add(self, committee: Committee, index: int, checkpoint: Checkpoint) -> None:
        """Keep a delegate's result, the first it gave for a height in this committee's epoch."""
        if index < len(committee.delegates):
            place = checkpoint.result.height, checkpoint.result.epoch
            self._votes.setdefault(place, {}).setdefault(index, checkpoint)

    @property
    def count(self) -> int:
        """How many results are kept."""
        return sum(map(len, self._votes.values()))

    def certificate(self, committee: Committee, own: Result) -> ResultCertificate | None:
        """The certificate of this replica's own result, once a quorum of equal ones is here."""
        votes = self._votes.get((own.height, own.epoch), {})
        if len(votes) < committee.quorum:
            return None
        equal = [QuorumSignature(index, votes[index].signature) for index in sorted(votes) if votes[index].result == own]
        return ResultCertificate(own, tuple(equal)) if len(equal) >= committee.quorum else None

    def signers(self, height: int, epoch: int, block_hash: bytes) -> int:
        """The delegates that gave a result for this block, as bits of a number."""
        votes = self._votes.get((height, epoch), {})
        return sum(1 << index for index, each in votes.items() if each.result.block_hash == block_hash)

    def ahead_of(self, height: int, epoch: int) -> int:
        """How many delegates have given a result above a height in this committee's epoch."""
        above = [votes for (each, of_epoch), votes in self._votes.items() if each > height and of_epoch == epoch]
        return len({index for votes in above for index in votes})

    def truncate(self, height: int) -> None:
        """Forget all at or below a stable checkpoint."""
        self._votes = {place: votes for place, votes in self._votes.items() if place[0] > height}
