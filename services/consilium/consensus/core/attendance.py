"""Who votes, as this replica sees it: what it will report of the term's delegates (rule C6).

For every block it saw a quorum vote on, it notes whose votes came, and whose results: those that are here when the block
becomes stable, and those that come later, for a while. Of blocks it did not see a quorum vote on, having been cut off or
restarted, it says nothing. It lives in memory: after a restart the replica has missed nobody before.

A delegate on a bad link misses proposals, cannot vote, follows by block sync and signs the results late. It is worth less
than one that votes, and its score shows that; but it is there, and not jailed.
"""

from collections.abc import Mapping

from consilium.consensus.core.checkpoints import Checkpoints
from consilium.consensus.core.message_log import MessageLog
from consilium.consensus.core.proposals import Parent
from consilium.kernel.certificates import Committee, Result, Vote
from consilium.kernel.chain import Outlook
from consilium.kernel.state_values import DUTIES_KEPT
from consilium.kernel.transactions import Absence, LeftViewBody


class Attendance:
    """One epoch's votes and results: for each height a bit for every delegate that was heard on its block."""

    def __init__(self) -> None:
        self.is_reported = False
        """Whether this replica has said in this epoch what it has to: what it missed of all, or that it is there."""
        self.left_views: list[LeftViewBody] = []
        """Proofs of views that were left, of those this replica opened the next after; not handed in yet."""
        self._voted: dict[int, int] = {}
        self._followed: dict[int, int] = {}
        self._hashes: dict[int, bytes] = {}

    def harvest(
        self, log: MessageLog, results: Checkpoints, outlook: Outlook, blocks: Mapping[int, Parent], heights: range
    ) -> None:
        """Note the votes and results on the executed blocks of these heights, before the logs forget them.

        Nothing above the election height, which nobody asks for: without a handover an epoch may last for ever.
        """
        epoch = outlook.epoch
        for height in heights:
            block = blocks.get(height)
            if block is not None and height <= outlook.election_height:
                self._voted[height] = log.voters(height, block.hash)
                self._followed[height] = results.signers(height, epoch, block.hash)
                self._hashes[height] = block.hash

    def forget(self, height: int) -> None:
        """Take no more votes on blocks up to a height: who votes so late is of no use."""
        self._hashes = {each: digest for each, digest in self._hashes.items() if each > height}

    def note_vote(self, index: int, vote: Vote) -> None:
        """A vote on a block that is stable already counts while it may."""
        if self._hashes.get(vote.height) == vote.digest:
            self._voted[vote.height] |= 1 << index

    def note_result(self, index: int, result: Result) -> None:
        """The same for a result."""
        if self._hashes.get(result.height) == result.block_hash:
            self._followed[result.height] |= 1 << index

    def absences(self, outlook: Outlook) -> tuple[Absence, ...]:
        """What was missed of every delegate up to the election height, in the committee's order."""
        committee, last = outlook.committee, outlook.election_height
        watched = [each for each, seen in self._voted.items() if each <= last and _is_quorum(committee, seen)]
        return tuple([self._absence(watched, index, last) for index in range(len(committee.delegates))])

    def _absence(self, watched: list[int], index: int, last: int) -> Absence:
        unvoted = [height for height in watched if not self._voted[height] >> index & 1]
        recent = [each for each in unvoted if last - each < DUTIES_KEPT and not self._followed[each] >> index & 1]
        return Absence(len(unvoted), sum(1 << last - height for height in recent))


def _is_quorum(committee: Committee, seen: int) -> bool:
    return seen.bit_count() >= committee.quorum
