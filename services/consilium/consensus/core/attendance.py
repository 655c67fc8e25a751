"""Who votes, as this replica sees it: what it will report of the term's delegates (rule C6).

For every block it saw a quorum vote on, it notes whose votes came: those in the message log when the block becomes stable,
and those that come later, for a while. Of blocks it did not see a quorum vote on, having been cut off or restarted, it says
nothing. It lives in memory: after a restart the replica has missed nobody before.
"""

from collections.abc import Mapping

from consilium.consensus.core.message_log import MessageLog
from consilium.consensus.core.proposals import Parent
from consilium.kernel.certificates import Committee, Vote
from consilium.kernel.chain import Outlook
from consilium.kernel.state_values import DUTIES_KEPT
from consilium.kernel.transactions import Absence, LeftViewBody


class Attendance:
    """One epoch's votes: for each height a bit for every delegate that was seen to vote on its block."""

    def __init__(self) -> None:
        self.is_reported = False
        self.left_views: list[LeftViewBody] = []
        """Proofs of views that were left, of those this replica opened the next after; not handed in yet."""
        self._seen: dict[int, int] = {}
        self._hashes: dict[int, bytes] = {}

    def harvest(self, log: MessageLog, blocks: Mapping[int, Parent], first: int, last: int) -> None:
        """Note the votes on the executed blocks of these heights, before the log forgets them."""
        for height in range(first, last + 1):
            block = blocks.get(height)
            if block is not None:
                self._seen[height] = log.voters(height, block.hash)
                self._hashes[height] = block.hash

    def forget(self, height: int) -> None:
        """Take no more votes on blocks up to a height: who votes so late is of no use."""
        self._hashes = {each: digest for each, digest in self._hashes.items() if each > height}

    def note_late(self, index: int, vote: Vote) -> None:
        """A vote on a block that is stable already counts while it may."""
        if self._hashes.get(vote.height) == vote.digest:
            self._seen[vote.height] |= 1 << index

    def absences(self, outlook: Outlook) -> tuple[Absence, ...]:
        """What was missed of every delegate up to the election height, in the committee's order."""
        committee, last = outlook.committee, outlook.election_height
        watched = {height: seen for height, seen in self._seen.items() if height <= last and _is_quorum(committee, seen)}
        return tuple([_absence(watched, index, last) for index in range(len(committee.delegates))])


def _is_quorum(committee: Committee, seen: int) -> bool:
    return seen.bit_count() >= committee.quorum


def _absence(watched: Mapping[int, int], index: int, last: int) -> Absence:
    missed = [height for height, seen in watched.items() if not seen >> index & 1]
    return Absence(len(missed), sum(1 << last - height for height in missed if last - height < DUTIES_KEPT))
