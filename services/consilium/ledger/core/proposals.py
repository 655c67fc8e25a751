"""The proposals that the map holds, and which of them a block has to look at (rule G1).

Nothing here decides. What is kept besides the states themselves follows from them: whose they are, which are open in the
order of their opening, and at which heights one ends or is let go.
"""

from consilium.kernel.state_values import ProposalState, ProposalStatus


class Proposals:
    """All proposals in the map, by id, in the order in which they were opened."""

    __slots__ = ("_by_author", "_ending", "_leaving", "_open", "_states", "_touched")

    def __init__(self) -> None:
        self._states: dict[bytes, ProposalState] = {}
        self._by_author: dict[str, tuple[bytes, ...]] = {}
        self._open: dict[bytes, None] = {}
        self._touched: dict[bytes, None] = {}
        self._ending: dict[int, list[bytes]] = {}
        self._leaving: dict[int, list[bytes]] = {}

    def get(self, proposal_id: bytes) -> ProposalState | None:
        """The proposal with this id, or None."""
        return self._states.get(proposal_id)

    def of(self, author: str) -> tuple[bytes, ...]:
        """The ids of a member's proposals, oldest first."""
        return self._by_author.get(author, ())

    def put(self, proposal_id: bytes, proposal: ProposalState) -> bool:
        """Set a proposal's state; whether it is new."""
        is_new = proposal_id not in self._states
        if is_new:
            self._by_author[proposal.author] = (*self.of(proposal.author), proposal_id)
            self._ending.setdefault(proposal.body.decide_by, []).append(proposal_id)
        self._states[proposal_id] = proposal
        if proposal.status is ProposalStatus.OPEN:
            self._open[proposal_id] = self._touched[proposal_id] = None
        else:
            self._open.pop(proposal_id, None)
        return is_new

    def drop(self, proposal_id: bytes) -> ProposalState:
        """Forget a proposal that is closed; what it was."""
        gone = self._states.pop(proposal_id)
        self._by_author[gone.author] = tuple([each for each in self.of(gone.author) if each != proposal_id])
        return gone

    def keep_until(self, proposal_id: bytes, height: int) -> None:
        """Have `leaving_at` name a closed proposal at a height."""
        self._leaving.setdefault(height, []).append(proposal_id)

    def leaving_at(self, height: int) -> list[bytes]:
        """The closed proposals that were kept until this height."""
        return self._leaving.pop(height, [])

    def open_ids(self) -> list[bytes]:
        """The open proposals, oldest first."""
        return list(self._open)

    def take_due(self, height: int) -> list[bytes]:
        """The open proposals whose state was set since the last time, or that end at this height; oldest first."""
        for proposal_id in self._ending.pop(height, []):
            self._touched[proposal_id] = None
        found = [each for each in self._open if each in self._touched] if self._touched else []
        self._touched.clear()
        return found
