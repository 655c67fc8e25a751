"""The links to the other members' replicas over gRPC (rules C1, C5; design section 8).

Each member opens a stream to every other and speaks on it; what the other has to say comes on the stream that the other
opens. So each side dials again on its own, with a pause that doubles. What waits for a link leaves in one message. A link
that is down or too slow holds a bounded queue and loses what is newest: PBFT says again what was lost, and nothing waits.

A greeting must name the member of the certificate, this chain, and an incarnation no lower than the last; a second session
of the same incarnation is a cloned vote log, and is refused (C5). So is a higher incarnation while the last one's stream is
open: a process that was started anew has left none behind, one that was started twice has. A later stream of a session takes
the place of an earlier.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consilium.api.consensus.v1 import replica_pb2 as pb
from consilium.api.consensus.v1.replica_pb2_grpc import ReplicaServiceStub
from consilium.consensus.wire import Greeting, greeting, greeting_message
from consilium.kernel.errors import Conflict, ConsiliumError, FailedPrecondition, Malformed, Unavailable
from consilium.runtime.channels import Channel, Limits, Peer, typed
from consilium.runtime.logs import Log
from consilium.runtime.tls import Tls

REDIAL_S_MIN, REDIAL_S_MAX = 0.05, 2.0
"""The pause before a link is opened again, doubled at every failure in a row."""

GREETING_S = 10.0
"""How long another member may take to answer a greeting, in seconds, before the link is opened anew."""

DISOWNED = ("RUNNING_ELSEWHERE", "CLONED", "OLD_INCARNATION")
"""With these another member says that this key is running elsewhere: one of the two has to be stopped (C5)."""

_log = Log("consilium.consensus.streams")

Receive = Callable[[str, bytes], None]
"""Given the member a stream authenticated and an envelope; never waits."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait for one link, in envelopes and bytes, and how many bytes leave in one message."""

    envelopes_max: int
    bytes_max: int
    group_bytes_max: int


class Waiting:
    """The envelopes that wait for one link."""

    def __init__(self, bounds: Bounds) -> None:
        self.dropped = 0
        self._bounds = bounds
        self._envelopes: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def put(self, envelope: bytes) -> None:
        """Add one at the end, or drop it where there is no room."""
        is_full = len(self._envelopes) >= self._bounds.envelopes_max
        if is_full or self._bytes + len(envelope) > self._bounds.bytes_max:
            self.dropped += 1
            return
        self._envelopes.append(envelope)
        self._bytes += len(envelope)
        self._filled.set()

    async def take(self) -> list[bytes]:
        """The oldest ones, as many as one message holds, once there is one."""
        await self._filled.wait()
        group: list[bytes] = []
        size = 0
        while self._envelopes and (not group or size + len(self._envelopes[0]) <= self._bounds.group_bytes_max):
            group.append(self._envelopes.popleft())
            size += len(group[-1])
        self._bytes -= size
        if not self._envelopes:
            self._filled.clear()
        return group


@dataclass(slots=True)
class Link:
    """The way to one other member."""

    peer: Peer
    waiting: Waiting
    connected: bool = False
    channel: Channel | None = None
    disowned: bool = False


@dataclass(slots=True)
class Heard:
    """The last that came from another member; `at_s` on the monotonic clock."""

    greeting: Greeting
    stream: object
    at_s: float
    is_open: bool = True


@dataclass(slots=True)
class Links:
    """All links of this member (`consensus.peers.Transport`). For one event loop."""

    own: Greeting
    peers: Mapping[str, Peer]
    tls: Tls
    bounds: Bounds
    limits: Limits
    receive: Receive
    counts: Counter[str] = field(default_factory=Counter)
    """Envelopes and messages sent and received."""
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Greetings turned away, by member and reason."""
    _links: dict[str, Link] = field(default_factory=dict)
    _heard: dict[str, Heard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A link for every address."""
        self._links = {name: Link(self.peers[name], Waiting(self.bounds)) for name in sorted(self.peers)}

    # --- speaking ---

    def post(self, to: str, envelope: bytes) -> None:
        """Hand encoded bytes to the link to member `to`; never waits, drops what the link cannot take."""
        link = self._links.get(to)
        if link is None:
            self.counts["no_address"] += 1
        else:
            link.waiting.put(envelope)

    async def run(self) -> None:
        """Keep the links up until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for name in self._links:
                    tasks.create_task(self._keep_up(name))
        finally:
            for each in self._links.values():
                if each.channel is not None:
                    await each.channel.close()

    async def _keep_up(self, name: str) -> None:
        link, pause_s = self._links[name], REDIAL_S_MIN
        while True:
            try:
                await self._speak(link)
            except ConsiliumError as error:
                link.disowned = error.reason in DISOWNED
                if link.disowned:
                    _log.write(logging.ERROR, "key_is_running_elsewhere", error, peer_member=name, reason=error.reason)
                else:
                    _log.write(logging.INFO, "link_down", peer_member=name, reason=error.reason)
            pause_s = REDIAL_S_MIN if link.connected else min(2 * pause_s, REDIAL_S_MAX)
            link.connected = False
            await asyncio.sleep(pause_s)

    async def _speak(self, link: Link) -> None:
        """Open a stream, greet, and send what waits until the stream ends; raises what ended it."""
        if link.channel is None:
            link.channel = Channel(link.peer, self.tls, self.limits)
        with typed():
            call: Any = ReplicaServiceStub(link.channel).Exchange()
            try:
                await self._greet(link, call)
                link.connected, link.disowned = True, False
                await self._send_until_over(link, call)
            finally:
                call.cancel()

    async def _greet(self, link: Link, call: Any) -> None:  # noqa: ANN401  a call of grpc.aio
        """Greet and hear the answer. Raises Unavailable: LINK_ENDED or LINK_SILENT; else as `wire.greeting`."""
        try:
            async with asyncio.timeout(GREETING_S):
                await call.write(pb.ExchangeRequest(greeting=greeting_message(self.own)))
                answer = await call.read()
        except TimeoutError as error:
            raise Unavailable("LINK_SILENT", f"{link.peer.member_id} does not answer the greeting.") from error
        if not isinstance(answer, pb.ExchangeResponse):
            raise Unavailable("LINK_ENDED", f"{link.peer.member_id} has ended the stream.")
        greeting(answer.greeting, self.own.chain_id, link.peer.member_id)

    async def _send_until_over(self, link: Link, call: Any) -> None:  # noqa: ANN401  a call of grpc.aio
        """Nothing follows the greeting from there, so reading only tells that the stream is over, and how."""
        over = asyncio.create_task(call.read())
        sending = asyncio.create_task(self._send_for_ever(link, call))
        try:
            await asyncio.wait([over, sending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            sending.cancel()
            await asyncio.wait([over, sending])
        for each in (over, sending):
            if not each.cancelled():
                each.result()

    async def _send_for_ever(self, link: Link, call: Any) -> None:  # noqa: ANN401  as above
        while True:
            group = await link.waiting.take()
            await call.write(pb.ExchangeRequest(group=pb.EnvelopeGroup(envelopes=group)))
            self.counts["messages_sent"] += 1
            self.counts["envelopes_sent"] += len(group)

    # --- listening ---

    async def accept(self, member_id: str, frames: AsyncIterator[pb.ExchangeRequest]) -> AsyncIterator[pb.ExchangeResponse]:
        """Serve a stream that another member has opened.

        Raises what `wire.greeting` does; FailedPrecondition: OLD_INCARNATION or REPLACED; Conflict: CLONED or
        RUNNING_ELSEWHERE; Malformed.
        """
        stream = object()
        first = await anext(frames, None)
        if first is None or first.WhichOneof("frame") != "greeting":
            raise Malformed("NO_GREETING", "A stream begins with a greeting.", "C5")
        heard = self._welcome(greeting(first.greeting, self.own.chain_id, member_id), stream)
        try:
            yield pb.ExchangeResponse(greeting=greeting_message(self.own))
            async for frame in frames:
                if frame.WhichOneof("frame") != "group":
                    raise Malformed("NO_GROUP", "After the greeting every frame carries envelopes.", "C5")
                self._hear(member_id, stream, frame.group)
        finally:
            heard.is_open = False

    def _welcome(self, greeted: Greeting, stream: object) -> Heard:
        try:
            self._judge(greeted)
        except ConsiliumError as refusal:
            self.refused[greeted.member_id, refusal.reason] += 1
            raise
        heard = self._heard[greeted.member_id] = Heard(greeted, stream, time.monotonic())
        return heard

    def _judge(self, greeted: Greeting) -> None:
        """Refuse who is not the one process that speaks for its member now."""
        name, known = greeted.member_id, self._heard.get(greeted.member_id)
        if name == self.own.member_id:
            raise Conflict("CLONED", f"{name} runs here; another process speaks in its name.", "C5")
        if known is not None and greeted.incarnation < known.greeting.incarnation:
            newest = known.greeting.incarnation
            raise FailedPrecondition("OLD_INCARNATION", f"{name} was here with incarnation {newest} already.", "C5")
        if known is not None and greeted.incarnation == known.greeting.incarnation and greeted != known.greeting:
            raise Conflict("CLONED", f"Another process speaks for {name} from a copy of its vote log.", "C5")
        if known is not None and greeted.incarnation > known.greeting.incarnation and known.is_open:
            told = f"The key of {name} is running elsewhere and connected here; stop one of the two."
            raise Conflict("RUNNING_ELSEWHERE", told, "C5")

    def _hear(self, name: str, stream: object, group: pb.EnvelopeGroup) -> None:
        heard = self._heard[name]
        if heard.stream is not stream:
            raise FailedPrecondition("REPLACED", "A later stream has taken the place of this one.", "C5")
        heard.at_s = time.monotonic()
        self.counts["messages_received"] += 1
        self.counts["envelopes_received"] += len(group.envelopes)
        for each in group.envelopes:
            self.receive(name, each)

    # --- how it stands ---

    def is_connected(self, name: str) -> bool:
        """Whether the stream to a member is open."""
        link = self._links.get(name)
        return link is not None and link.connected

    def channel_to(self, name: str) -> Channel | None:
        """The connection to a member, for other calls than the stream; None before the first was tried."""
        link = self._links.get(name)
        return None if link is None else link.channel

    def silent_ms(self, name: str) -> int | None:
        """How long nothing has come from a member; None when nothing ever did."""
        heard = self._heard.get(name)
        return None if heard is None else int((time.monotonic() - heard.at_s) * 1_000)

    def incarnation_of(self, name: str) -> int:
        """The newest incarnation a member has greeted with, 0 for none."""
        heard = self._heard.get(name)
        return 0 if heard is None else heard.greeting.incarnation

    @property
    def disowned_by(self) -> list[str]:
        """The members that say that this member's key is running elsewhere."""
        return [name for name, link in self._links.items() if link.disowned]

    @property
    def dropped(self) -> int:
        """How many envelopes were lost because too many waited."""
        return sum(each.waiting.dropped for each in self._links.values())
