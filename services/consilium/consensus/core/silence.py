"""A replica whose vote log is lost, or ahead of its ledger, says nothing until it can contradict nothing (rule C5, ADR 14).

It may have signed anything up to a window above the highest block that was committed when it last spoke, and it may have
called for any view of that epoch: an old call may yet be shown in a new view, whatever heights lie between. So it asks 2f+1
others for their highest committed block, with proof, and speaks again in the first epoch that begins more than a window
above the highest answer. Views and slots begin anew with an epoch; nothing it signed before can count there.
"""

from consilium.kernel.certificates import CommitCertificate


class Silence:
    """The answers so far, and the height above which an epoch must begin."""

    def __init__(self, quorum: int, window_blocks: int) -> None:
        self._quorum = quorum
        self._window = window_blocks
        self._tips: dict[str, int] = {}

    def answer(self, sender: str, tip: CommitCertificate | None) -> None:
        """One peer's highest committed block; a later answer of the same peer counts no more."""
        self._tips.setdefault(sender, tip.height if tip is not None else 0)

    @property
    def signed_below(self) -> int | None:
        """The height above which it can have signed nothing; None while fewer than 2f+1 peers have answered."""
        if len(self._tips) < self._quorum:
            return None
        return max(self._tips.values()) + self._window

    def ends_with(self, epoch_start: int) -> bool:
        """Whether the replica may speak in an epoch that begins at this height."""
        return self.signed_below is not None and epoch_start - 1 > self.signed_below
