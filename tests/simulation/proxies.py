"""Honest holders under the production release rule, asked early, late, again, and while cut off (rule S5).

A recipient carries the proof of its granted request from whichever member can make it to every holder. The holder judges by
its own ledger at the height it holds a certificate for. Real capsules are left out: what counts here is the permit.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, NotFound
from consilium.kernel.light_client import verify_transaction
from consilium.kernel.state_values import GrantState, RetentionState, grant_entry, retention_entry
from consilium.kernel.transactions import RequestBody
from consilium.reencryption.core.release import LedgerView, judge_release
from tests.simulation.observed import Released
from tests.simulation.schedule import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consilium.kernel.light_client import TransactionProof, VerifiedTransaction
    from tests.simulation.member import Member
    from tests.simulation.observed import Execution
    from tests.simulation.world import World

NEVER_MS = 10**9
"""The age of a tip that nobody has certified since this holder started."""
ASKED_AFTER_MS = ((5, 150), (100, 600), (700, 2_500), (2_600, 9_000))
"""When a recipient asks a holder, and asks again, after the verdict."""
IN_VAIN = 0.2
"""How likely somebody asks who may not be served: after another verdict, or one that holds no fragment."""


class Proxies:
    """All holders of an alliance, and the recipients that ask them."""

    def __init__(self, world: World, members: Mapping[str, Member], told: Callable[[Released], None]) -> None:
        self._world = world
        self._members = members
        self._told = told
        self._chance = stream(world.options.seed, "proxies")
        self._vain = stream(world.options.seed, "asked in vain")
        self._proofs: dict[bytes, TransactionProof] = {}

    def first_executed(self, execution: Execution) -> None:
        """Recipients hear their verdicts."""
        for _, transaction, code in execution.outcomes():
            body = transaction.payload.body
            if type(body) is not RequestBody:
                continue
            self._collude(body, execution.endpoint)
            if code is Code.GRANTED:
                self._ask_all(transaction.leaf, body.grant_id, execution.endpoint)
            if self._vain.random() < IN_VAIN:
                self._ask_in_vain(transaction.leaf, body.grant_id, execution.endpoint)

    def _ask_all(self, leaf: bytes, grant_id: bytes, seen_at: str) -> None:
        grant = self._members[seen_at].ledger.chain.grant(grant_id)
        assert grant is not None
        for holder in grant.terms.holders:
            for earliest, latest in ASKED_AFTER_MS:
                if self._members[holder].honest and self._chance.random() < 0.4:
                    delay = self._chance.randrange(earliest, latest)
                    self._world.clock.after(delay, partial(self._ask, holder, leaf))

    def _collude(self, body: RequestBody, seen_at: str) -> None:
        """Holders that are faulty, fewer than t, keep a fragment back, send a wrong one, or give it away at any verdict."""
        grant = self._members[seen_at].ledger.chain.grant(body.grant_id)
        for holder in [] if grant is None else grant.terms.holders:
            if self._members[holder].honest:
                continue
            habit = self._vain.choice(("fragment withheld", "wrong fragment", "fragment leaked"))
            self._world.hits[habit] += 1
            if habit == "fragment leaked":
                for hear in self._world.watchers.leaked:
                    hear(holder, body.grant_id, body.record_id)

    def _ask_in_vain(self, leaf: bytes, grant_id: bytes, seen_at: str) -> None:
        """Somebody asks a member without a fragment, or shows a holder a verdict that need not be GRANTED."""
        grant = self._members[seen_at].ledger.chain.grant(grant_id)
        names = [name for name, member in self._members.items() if member.honest]
        if grant is not None and self._vain.random() < 0.5:
            names = [name for name in grant.terms.holders if self._members[name].honest] or names
        delay = self._vain.randrange(100, 1_500)
        self._world.clock.after(delay, partial(self._ask, self._vain.choice(names), leaf))

    def _ask(self, holder: str, leaf: bytes) -> None:
        """One recipient asks one holder."""
        member = self._members[holder]
        proof = self._prove(leaf) if member.up else None
        if proof is None:
            self._world.hits["release not asked"] += 1
            return
        try:
            released = self._judge(member, proof)
        except ConsiliumError as refusal:
            self._world.hits[f"release refused {refusal.reason}"] += 1
            return
        self._world.story.note(holder, "releases for", released.request_height, "at", released.released_height)
        for hear in self._world.watchers.released:
            hear(released)
        self._told(released)

    def _prove(self, leaf: bytes) -> TransactionProof | None:
        """The proof from the first member that could make it; a recipient keeps it."""
        if leaf not in self._proofs:
            proof = self._proof(leaf)
            if proof is None:
                return None
            self._proofs[leaf] = proof
        return self._proofs[leaf]

    def _proof(self, leaf: bytes) -> TransactionProof | None:
        for member in self._members.values():
            try:
                return member.ledger.chain.prove_transaction(leaf)
            except ConsiliumError:
                continue
        return None

    def _judge(self, member: Member, proof: TransactionProof) -> Released:
        """What the holder decides; raises what the rule refuses with."""
        world, chain = self._world, member.ledger.chain
        committee = chain.committee_of(proof.certificate.result.epoch)
        request = verify_transaction(committee, world.chain_id, proof, world.verifier)
        view = self._view(member, request)
        permit = judge_release(member.founder.member_id, request, view.capsule_digest, view, world.genesis.parameters)
        return Released(
            permit.holder,
            permit.terms.grant_id,
            permit.request_hash,
            permit.request_height,
            permit.released_height,
            world.clock.now_ms,
        )

    def _view(self, member: Member, request: VerifiedTransaction) -> LedgerView:
        """The holder's ledger at the newest height it holds a certificate for."""
        chain, body = member.ledger.chain, request.payload.body
        assert isinstance(body, RequestBody)
        state = chain.prove_state(grant_entry(body.grant_id))
        record = chain.record(body.record_id)
        if state.value is None or record is None:
            raise NotFound("NOT_HERE", "This holder has not executed the grant and the record yet.", "S5")
        since, now_ms = member.certified_at, self._world.clock.now_ms
        age_ms = NEVER_MS if since is None else now_ms - since
        grant = decode(GrantState, state.value, self._world.chain_id)
        erased = chain.prove_state(retention_entry(body.record_id)).value
        retention = None if erased is None else decode(RetentionState, erased, self._world.chain_id)
        return LedgerView(chain.certified_height, chain.height, age_ms, grant, record.body.capsule_digest, retention)
