"""What one instance says to the others and hears from them: links, lies, and admission as the driver judges it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from consilium.consensus.core.admission import Directory, admit
from consilium.consensus.core.messages import Commit, Envelope, Prepare, PrePrepare
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import ConsiliumError, Malformed
from tests.simulation.liar import Liar
from tests.simulation.machine import Machine
from tests.simulation.observed import Speech, Violation
from tests.simulation.twin import member_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consilium.consensus.core.events import Input, Received
    from consilium.consensus.core.identity import Identity
    from consilium.consensus.core.messages import Message
    from consilium.consensus.core.replica import Replica
    from tests.simulation.alliance import Founder
    from tests.simulation.parcels import Parcel
    from tests.simulation.twin import Dropper
    from tests.simulation.world import World

HEARD = (PrePrepare, Prepare, Commit)
"""What checkers hear of when it arrives."""


class Endpoint(Machine):
    """Mouth and ears of one instance; `Member` says what it does with what it hears."""

    def __init__(self, endpoint: str, founder: Founder, world: World, dropper: Dropper | None) -> None:
        super().__init__(endpoint, world)
        self.founder = founder
        self.is_byzantine = member_of(endpoint) in world.faulty
        self.honest = not self.is_byzantine
        self.identity: Identity
        self.replica: Replica
        self._dropper = dropper
        self._directory: Directory

    def step(self, event: Input) -> None:
        """Let the replica take an input, and obey what it asks for."""
        raise NotImplementedError

    def take(self, source: str, parcel: Parcel) -> None:
        """Something about blocks arrived, which is no message of the protocol's."""
        raise NotImplementedError

    # --- saying ---

    def _post(self, to: Iterable[str], message: Message) -> None:
        data, dropper = self.utter(message), self._dropper
        if dropper is None:
            for member_id in to:
                self.send(member_id, data)
            return
        late_ms = dropper.delay_ms(message)
        for member_id in to:
            if dropper.drops(member_id, message):
                self._world.hits["kept back"] += 1
            elif late_ms:
                self._world.hits["slow primary"] += 1
                self._after(late_ms, partial(self.send, member_id, data))
            else:
                self.send(member_id, self._lie(message) or data)

    def _lie(self, message: Message) -> bytes | None:
        """What a liar tells one member instead, or None where it tells the truth."""
        if not isinstance(self._dropper, Liar):
            return None
        told = self._dropper.alter(self.identity, message)
        if told is message:
            return None
        self._dropper.stand_by(told, self.replica.state)
        self._world.hits["lie"] += 1
        return self.utter(told)

    def utter(self, message: Message) -> bytes:
        """The envelope with a message, true or not, as it leaves; the checkers are told what it says."""
        me = self.identity
        speech = Speech(self.endpoint, me.member_id, self.honest, message)
        for hear in self._world.watchers.sent:
            hear(speech)
        return encode(Envelope(me.member_id, me.incarnation, me.session, message), me.chain_id)

    def send(self, member_id: str, parcel: Parcel) -> None:
        """Hand a parcel to the link to a member."""
        target, certificates = self._world.views.endpoint(self.endpoint, member_id), self._world.certificates
        if certificates.endings and certificates.refuses_called(member_id, self.founder.member_id, self.wall_ms):
            self._world.hits["refused to connect"] += 1
        elif target is not None:
            self._world.network.send(self.endpoint, target, parcel)

    # --- hearing ---

    def receive(self, source: str, parcel: Parcel) -> None:
        """Something arrived from an endpoint."""
        certificates = self._world.certificates
        if certificates.endings and self.up and certificates.refuses_caller(member_of(source), self.wall_ms):
            self._world.hits["refused CERTIFICATE_EXPIRED"] += 1
        elif self.up:
            self._enter(self._admit if isinstance(parcel, bytes) else self.take, source, parcel)

    def _admit(self, source: str, data: bytes) -> None:
        """Judge an envelope as the driver does, and hand it to the replica.

        What admission says is a pure function of bytes and epoch, worked out once for all who get them. So is the input: it
        lives for one step, and the next member gets it with its own time.
        """
        world, key = self._world, (data, self._directory.outlook.epoch)
        world.story.mix(data[-16:])
        received = world.admitted.get(key)
        if received is None:
            received = world.admitted[key] = self._admission(data)
        if isinstance(received, ConsiliumError):
            self._refuse(source, received)
            return
        assert received.sender == member_of(source), "the link knows its peer"
        received.now_ms = self.wall_ms()
        if isinstance(received.message, HEARD):
            for hear in world.watchers.received:
                hear(self, received)
        self.step(received)

    def _refuse(self, source: str, refusal: ConsiliumError) -> None:
        self._world.hits[f"refused {refusal.reason}"] += 1
        if self.honest and isinstance(refusal, Malformed):
            raise Violation("codec", f"{source} sent {self.endpoint} what it refuses: {refusal}")

    def _admission(self, data: bytes) -> Received | ConsiliumError:
        world = self._world
        try:
            envelope = decode(Envelope, data, world.chain_id)
            return admit(envelope, self._directory, world.chain_id, world.verifier, 0)
        except ConsiliumError as refusal:
            return refusal.with_traceback(None)
