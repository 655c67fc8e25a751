"""What a Byzantine delegate says that nobody has asked for: floods, stale proofs, votes without a seat, forged evidence.

Everything is well formed and, where its own key can do it, well signed. It must be refused or forgotten within bounds (R6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.consensus.core.forming import own_transaction
from consilium.consensus.core.messages import Commit, NewView, Prepare, ResultProof, SignedViewChange
from consilium.kernel.certificates import Phase, SignedVote, ViewChange, Vote, call_of
from consilium.kernel.encoding import encode
from consilium.kernel.transactions import Equivocation, EvidenceBody
from tests.simulation.schedule import stream

if TYPE_CHECKING:
    from consilium.consensus.core.messages import Message
    from tests.simulation.member import Member

EVERY_MS = 600
"""How often it has a fit."""
FLOOD = 20
"""How many messages a fit of flooding makes."""
FAR = 1_000
"""How far in the future a flood goes, in views and heights."""


class Mischief:
    """One delegate's fits, for the whole run."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._chance = stream(member.world.options.seed, f"mischief {member.endpoint}")
        self._old_view: NewView | None = None
        self._fits = (self._flood_views, self._flood_heights, self._old_proofs, self._forge_evidence)
        self._again()

    def _again(self) -> None:
        self._member.world.clock.after(self._chance.randrange(EVERY_MS // 2, 2 * EVERY_MS), self._act)

    def _act(self) -> None:
        if self._member.up:
            self._chance.choice(self._fits)()
        self._again()

    def _say(self, kind: str, message: Message) -> None:
        member = self._member
        member.world.hits[kind] += 1
        data = member.utter(message)
        for other in member.world.genesis.members:
            if other.member_id != member.founder.member_id:
                member.send(other.member_id, data)

    def _flood_views(self) -> None:
        """Calls for views that are far away."""
        state = self._member.replica.state
        for _ in range(FLOOD if state.index is not None else 0):
            change = ViewChange(state.outlook.epoch, state.view + self._chance.randrange(1, FAR), None, ())
            signature = self._sign(call_of(change, state.identity.chain_id))
            self._say("flood of views", SignedViewChange(change, state.index or 0, signature))

    def _flood_heights(self) -> None:
        """Votes for heights far above; without a seat, votes of one that has none."""
        state = self._member.replica.state
        kind = "flood of heights" if state.index is not None else "vote without a seat"
        for _ in range(FLOOD):
            height = state.tip.height + self._chance.randrange(1, FAR)
            phase = self._chance.choice((Phase.PREPARE, Phase.COMMIT))
            vote = self._vote(phase, state.outlook.epoch, state.view, height)
            self._say(kind, Prepare(vote) if phase is Phase.PREPARE else Commit(vote))

    def _old_proofs(self) -> None:
        """A valid certificate of long ago, and a view that was left long ago."""
        state, chain = self._member.replica.state, self._member.ledger.chain
        height = self._chance.randint(0, chain.certified_height)
        certificate = chain.result_certificate(height) if height else None
        if certificate is not None:
            self._say("stale proof", ResultProof(certificate))
        if self._old_view is not None and self._old_view.epoch == state.outlook.epoch:
            self._say("stale proof", self._old_view)
        self._old_view = state.new_view or self._old_view

    def _forge_evidence(self) -> None:
        """Two votes that the accused never signed."""
        member = self._member
        state, name = member.replica.state, self._chance.choice(member.world.genesis.members).member_id
        first, second = (self._vote(Phase.PREPARE, state.outlook.epoch, 0, state.tip.height + 1) for _ in range(2))
        expiry = state.tip.height + member.world.genesis.parameters.expiry_blocks_max // 2
        body = EvidenceBody(Equivocation(name, first, second))
        member.world.hits["forged evidence"] += 1
        member.submit((own_transaction(body, member.founder.member_signer, expiry, member.world.chain_id),))

    def _vote(self, phase: Phase, epoch: int, view: int, height: int) -> SignedVote:
        vote = Vote(phase, epoch, view, height, self._chance.randbytes(32))
        return SignedVote(vote, self._sign(encode(vote, self._member.world.chain_id)))

    def _sign(self, data: bytes) -> bytes:
        return self._member.founder.consensus_signer.sign(data)
