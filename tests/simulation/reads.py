"""S10: what a client reads under proof is the state at that height, and never older than what any client was told before.

Clients ask some member what became of a grant, and take no answer below the highest height that anybody has been shown. A
model that is kept from the blocks alone says what each answer must be; so reads, the acts before them and the acts after
them stand in one order, which is the order of the chain.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from consilium.kernel.codes import is_refusal
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.light_client import verify_state
from consilium.kernel.state_values import GrantState, grant_entry
from consilium.kernel.transactions import GrantBody, RevokeBody
from tests.simulation.checkers import Checker
from tests.simulation.observed import Reading, Violation
from tests.simulation.schedule import stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.member import Member
    from tests.simulation.observed import Execution
    from tests.simulation.world import World

READ_AFTER_MS = 400
"""Within how long after a block that grants or revokes somebody looks."""


class Readers:
    """Clients that read."""

    def __init__(self, world: World, members: Mapping[str, Member]) -> None:
        self._world = world
        self._members = members
        self._chance = stream(world.options.seed, "readers")
        self._shown = 0

    def first_executed(self, execution: Execution) -> None:
        """What was just granted or revoked is looked at soon, by one who heard of it and by one who did not."""
        for _, transaction, _ in execution.outcomes():
            body = transaction.payload.body
            grant_id = body.terms.grant_id if isinstance(body, GrantBody) else None
            grant_id = body.grant_id if isinstance(body, RevokeBody) else grant_id
            if grant_id is not None:
                self._world.clock.after(self._chance.randrange(READ_AFTER_MS), partial(self._read, grant_id))

    def _read(self, grant_id: bytes) -> None:
        names = [name for name, each in self._members.items() if each.honest and each.up]
        member = self._members[self._chance.choice(names)] if names else None
        if member is None or member.ledger.chain.certified_height < self._shown:
            self._world.hits["read refused"] += 1
            return
        try:
            reading = self._proven(member, grant_id)
        except ConsiliumError as refusal:
            self._world.hits[f"read refused {refusal.reason}"] += 1
            return
        self._shown = max(self._shown, reading.height)
        self._world.hits["read"] += 1
        for hear in self._world.watchers.read:
            hear(reading)

    def _proven(self, member: Member, grant_id: bytes) -> Reading:
        """What the proof says, checked as a light client does."""
        world, chain = self._world, member.ledger.chain
        proof = chain.prove_state(grant_entry(grant_id))
        committee = chain.committee_of(proof.certificate.result.epoch)
        verified = verify_state(committee, world.chain_id, proof, world.verifier)
        state = None if verified.value is None else decode(GrantState, verified.value, world.chain_id)
        return Reading(
            endpoint=member.endpoint,
            grant_id=grant_id,
            height=proof.certificate.result.height,
            least_height=self._shown,
            granted_height=None if state is None else state.granted_height,
            revoked_height=None if state is None else state.revoked_height,
        )


class LinearReads(Checker):
    """S10, from the blocks alone."""

    def __init__(self) -> None:
        self._granted: dict[bytes, int] = {}
        self._keys: dict[bytes, bytes] = {}
        self._revoked: dict[bytes, int] = {}

    def first_executed(self, execution: Execution) -> None:
        for _, transaction, code in execution.outcomes():
            body = transaction.payload.body
            if is_refusal(code):
                continue
            if isinstance(body, GrantBody):
                self._grant(body, execution.height)
            if isinstance(body, RevokeBody):
                self._revoke(body, execution.height)

    def _grant(self, body: GrantBody, height: int) -> None:
        self._granted[body.terms.grant_id] = height
        self._keys[body.terms.grant_id] = body.terms.delegating_pk

    def _revoke(self, body: RevokeBody, height: int) -> None:
        """A successor closes the key, and with it every grant under it."""
        closed = self._keys[body.grant_id] if body.successor_pk is not None else None
        for grant_id, key in self._keys.items():
            if grant_id == body.grant_id or key == closed:
                self._revoked.setdefault(grant_id, height)
        for each in body.regrants:
            self._grant(each, height)

    def read(self, reading: Reading) -> None:
        if reading.height < reading.least_height:
            raise Violation("S10 reads", f"{reading.endpoint} answers at {reading.height}, behind what was shown before.")
        granted = self._at(self._granted, reading)
        if granted != reading.granted_height or self._at(self._revoked, reading) != reading.revoked_height:
            raise Violation("S10 reads", f"{reading.endpoint} shows another grant at {reading.height} than the chain holds.")

    @staticmethod
    def _at(heights: Mapping[bytes, int], reading: Reading) -> int | None:
        """When it happened, as far as the height of the answer."""
        height = heights.get(reading.grant_id)
        return height if height is not None and height <= reading.height else None
