"""A replica whose vote log is lost, restored or cloned says nothing until it can contradict nothing (rule C5).

It may have signed anything up to a window above the highest block that was committed when it last spoke. So it asks 2f+1
others for their highest committed block, with proof, and waits for a stable checkpoint a window above the highest answer.
"""

from consilium.kernel.certificates import CommitCertificate


class Silence:
    """The answers so far, and the height the replica waits for."""

    def __init__(self, quorum: int, window_blocks: int) -> None:
        self._quorum = quorum
        self._window = window_blocks
        self._tips: dict[str, int] = {}

    def answer(self, sender: str, tip: CommitCertificate | None) -> None:
        """One peer's highest committed block; a later answer of the same peer counts no more."""
        self._tips.setdefault(sender, tip.height if tip is not None else 0)

    @property
    def ends_at(self) -> int | None:
        """The stable height at which the replica may speak again; None while fewer than 2f+1 peers have answered."""
        if len(self._tips) < self._quorum:
            return None
        return max(self._tips.values()) + self._window
