"""The slots between the watermarks: proposals, votes, and the certificates they make (paper, section 4.2).

Per delegate, height and phase only the vote of the highest view is kept, so a flood is bounded (C8). Two different votes in
one slot are noticed on the way in: they are evidence.
"""

from dataclasses import dataclass

from consilium.kernel.certificates import (
    CommitCertificate,
    Committee,
    Phase,
    PreparedCertificate,
    QuorumSignature,
    SignedVote,
)
from consilium.kernel.chain import Header


@dataclass(slots=True)
class Slot:
    """A proposal of one view at one height, and how far it is.

    `heard_at`: when it was heard or made, 0 for one proposed again or from before the start, in milliseconds.
    """

    view: int
    header: Header
    header_bytes: bytes
    digest: bytes
    primary_signature: bytes
    proposed_again: bool
    heard_at: int = 0
    accepted: bool = False
    prepare_sent: bool = False
    prepared: PreparedCertificate | None = None
    commit: CommitCertificate | None = None
    has_handover: bool = False
    stepped_at: int | None = None
    """When its last stage ended (`measures`), None where this replica did not see that."""


class MessageLog:
    """All this replica has heard for the heights above its stable checkpoint, in one epoch."""

    def __init__(self, committee: Committee) -> None:
        self._size, self._quorum = len(committee.delegates), committee.quorum
        self._votes: dict[tuple[int, Phase], dict[int, SignedVote]] = {}
        self.slots: dict[int, Slot] = {}
        self.prepared: dict[int, PreparedCertificate] = {}

    def record(self, index: int, signed: SignedVote) -> SignedVote | None:
        """Keep a vote; the earlier one is returned when both fill one slot differently (C8)."""
        vote = signed.vote
        votes = self._votes.setdefault((vote.height, vote.phase), {})
        known = votes.get(index)
        if known is not None and known.vote.view == vote.view and known.vote.digest != vote.digest:
            return known
        if known is None or known.vote.view < vote.view:
            votes[index] = signed
        return None

    @property
    def count(self) -> int:
        """How many votes are kept."""
        return sum(map(len, self._votes.values()))

    def vote_of(self, index: int, height: int, phase: Phase) -> SignedVote | None:
        """The latest vote heard from a delegate for a height and phase."""
        return self._votes.get((height, phase), {}).get(index)

    def signatures(self, slot: Slot, phase: Phase) -> tuple[QuorumSignature, ...]:
        """The votes that match a slot's view and digest, by rising index; prepares never count the primary's."""
        votes = self._votes.get((slot.header.height, phase), {})
        primary = slot.view % self._size
        return tuple(
            QuorumSignature(index, votes[index].signature)
            for index in sorted(votes)
            if votes[index].vote.view == slot.view
            and votes[index].vote.digest == slot.digest
            and not (phase is Phase.PREPARE and index == primary)
        )

    def prepared_certificate(self, slot: Slot) -> PreparedCertificate | None:
        """The pre-prepare with 2f matching prepares, once they are here (predicate `prepared` of the paper)."""
        needed = self._quorum - 1
        if len(self._votes.get((slot.header.height, Phase.PREPARE), ())) < needed:
            return None
        signatures = self.signatures(slot, Phase.PREPARE)
        if len(signatures) < needed:
            return None
        return PreparedCertificate(slot.view, slot.header_bytes, slot.primary_signature, signatures)

    def commit_certificate(self, slot: Slot) -> CommitCertificate | None:
        """A quorum of matching commits, once they are here."""
        needed = self._quorum
        if len(self._votes.get((slot.header.height, Phase.COMMIT), ())) < needed:
            return None
        signatures = self.signatures(slot, Phase.COMMIT)
        if len(signatures) < needed:
            return None
        return CommitCertificate(slot.header.epoch, slot.view, slot.header.height, slot.digest, signatures)

    def slot(self, height: int, view: int) -> Slot | None:
        """The proposal of this view at this height."""
        slot = self.slots.get(height)
        return slot if slot is not None and slot.view == view else None

    def top(self, view: int) -> int:
        """The highest height with a proposal of this view, or 0."""
        top = 0
        for height, slot in self.slots.items():
            if height > top and slot.view == view:
                top = height
        return top

    def voters(self, height: int, digest: bytes) -> int:
        """The delegates that voted for a block in any phase and view, as bits of a number."""
        found = 0
        for phase in Phase:
            for index, signed in self._votes.get((height, phase), {}).items():
                if signed.vote.digest == digest:
                    found |= 1 << index
        return found

    def truncate(self, height: int) -> None:
        """Forget all at or below a stable checkpoint (paper, section 4.3)."""
        self.slots = {each: slot for each, slot in self.slots.items() if each > height}
        self.prepared = {each: proof for each, proof in self.prepared.items() if each > height}
        self._votes = {key: votes for key, votes in self._votes.items() if key[0] > height}
