"""Links between members of one process (rule C1; `consensus.peers.Transport`).

What travels is what would travel on a wire: bytes of the production encoding, one link for each pair, in
order. A member that is stopped or isolated loses what is sent to it; nobody is told.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

Receive = Callable[[str, bytes], None]


class Switchboard:
    """All links of one alliance. Everything here happens on one event loop."""

    def __init__(self) -> None:
        self._receivers: dict[str, Receive] = {}
        self._isolated: dict[str, None] = {}
        self.counts: Counter[str] = Counter()
        """Messages carried and lost, and bytes carried, since the start."""

    def attach(self, member_id: str, receive: Receive) -> "Link":
        """Bring a member's links up; `receive` is called with the sender and every envelope sent to it."""
        self._receivers[member_id] = receive
        return Link(self, member_id)

    def detach(self, member_id: str) -> None:
        """Take a member's links down, as when its process ends."""
        self._receivers.pop(member_id, None)

    def isolate(self, member_id: str) -> None:
        """Lose everything to and from a member that goes on running."""
        self._isolated[member_id] = None

    def rejoin(self, member_id: str) -> None:
        """Carry a member's messages again."""
        self._isolated.pop(member_id, None)

    def joins(self, one: str, other: str) -> bool:
        """Whether neither of two members is isolated."""
        return one not in self._isolated and other not in self._isolated

    def carry(self, sender: str, to: str, envelope: bytes) -> None:
        """Bring bytes from one member to another, or lose them."""
        receive = self._receivers.get(to)
        if receive is None or not self.joins(sender, to):
            self.counts["lost"] += 1
            return
        self.counts["carried"] += 1
        self.counts["bytes"] += len(envelope)
        asyncio.get_running_loop().call_soon(receive, sender, envelope)


class Link:
    """One member's links to all others."""

    def __init__(self, board: Switchboard, member_id: str) -> None:
        self._board, self._member_id = board, member_id

    def post(self, to: str, envelope: bytes) -> None:
        """Hand encoded bytes to the link to member `to`; never waits."""
        self._board.carry(self._member_id, to, envelope)
