"""Envelopes that wait to be judged, each member's in a queue of its own (rules C1, C4).

Whoever floods this replica fills its own queue and loses its own envelopes, the newest first; the others are heard in turn,
one envelope of each, so a flood costs them one place and not their word. Both bounds hold for each member.
"""

import asyncio
from collections import deque

from consilium.kernel.errors import ResourceExhausted

ENVELOPES_MAX = 4_096
"""How many envelopes of one member may wait."""
BYTES_MAX = 32 * 1024 * 1024
"""How many bytes of one member may wait: what a link may hold at the other end."""


class Inbox:
    """What has come from every member and was not looked at yet. For one event loop."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[bytes]] = {}
        self._bytes: dict[str, int] = {}
        self._turns: deque[str] = deque()
        self._filled = asyncio.Event()

    def put(self, member_id: str, envelope: bytes) -> None:
        """Add one. Raises ResourceExhausted: INBOX_FULL, and it is lost."""
        queue, waiting = self._queues.setdefault(member_id, deque()), self._bytes.get(member_id, 0)
        if len(queue) >= ENVELOPES_MAX or waiting + len(envelope) > BYTES_MAX:
            raise ResourceExhausted("INBOX_FULL", f"Too much from {member_id} waits to be judged.", "C1")
        if not queue:
            self._turns.append(member_id)
        queue.append(envelope)
        self._bytes[member_id] = waiting + len(envelope)
        self._filled.set()

    async def take(self) -> tuple[str, bytes]:
        """The oldest of the member whose turn it is, once there is one, and whose it is."""
        await self._filled.wait()
        member_id = self._turns.popleft()
        queue = self._queues[member_id]
        envelope = queue.popleft()
        self._bytes[member_id] -= len(envelope)
        if queue:
            self._turns.append(member_id)
        if not self._turns:
            self._filled.clear()
        return member_id, envelope

    def waiting_bytes(self, member_id: str) -> int:
        """How many bytes of a member wait."""
        return self._bytes.get(member_id, 0)
