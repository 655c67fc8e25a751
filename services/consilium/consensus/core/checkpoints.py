"""Results of executed blocks, and the certificates that quorums of equal ones make (rule L3; paper, section 4.3)."""

from consilium.consensus.core.messages import Checkpoint
from consilium.kernel.certificates import Committee, QuorumSignature, Result, ResultCertificate


class Checkpoints:
    """The results heard for the heights above the stable checkpoint."""

    def __init__(self) -> None:
        self._votes: dict[int, dict[int, Checkpoint]] = {}

    def add(self, committee: Committee, index: int, checkpoint: Checkpoint) -> None:
        """Keep a delegate's result, the first it gave for a height."""
        if index < len(committee.delegates):
            self._votes.setdefault(checkpoint.result.height, {}).setdefault(index, checkpoint)

    def certificate(self, committee: Committee, own: Result) -> ResultCertificate | None:
        """The certificate of this replica's own result, once a quorum of equal ones is here."""
        votes = self._votes.get(own.height, {})
        equal = [QuorumSignature(index, votes[index].signature) for index in sorted(votes) if votes[index].result == own]
        return ResultCertificate(own, tuple(equal)) if len(equal) >= committee.quorum else None

    def truncate(self, height: int) -> None:
        """Forget all at or below a stable checkpoint."""
        self._votes = {each: votes for each, votes in self._votes.items() if each > height}
