"""Request ids and consent against plain dictionaries (L6, S3, S6; promise 2)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consilium.kernel.codes import Code
from consilium.kernel.opening import open_transaction
from tests.alliance import PARAMETERS, Alliance, Scribe, id_of, record_body
from tests.ledger.patient import HOLDERS, Patient, grant, receipt, request, revoke
from tests.simulation.signing import KeyedHashSigner, KeyedHashVerifier

AUTHORS = ("anshan", "benxi")
BUCKET = 100


class RequestIdMachine(RuleBasedStateMachine):
    """L6: exactly once per (author, request id), pruned by whole buckets, never early."""

    ALLIANCE: ClassVar[Alliance] = Alliance.founded(
        parameters=replace(PARAMETERS, term_blocks=100_000), signer=lambda seed: KeyedHashSigner(seed.hex())
    )

    def __init__(self) -> None:
        """Begin at genesis, with signatures that cost next to nothing, because many blocks pass."""
        super().__init__()
        self.scribe = Scribe(self.ALLIANCE, KeyedHashVerifier())
        self.used: dict[tuple[str, int], int] = {}
        self.made = 0

    def predicted(self, author: str, number: int, expiry: int) -> Code:
        """What the rule says about a registration in the next block."""
        height = self.scribe.chain.height + 1
        if expiry < height:
            return Code.EXPIRED
        if expiry > height + PARAMETERS.expiry_blocks_max:
            return Code.EXPIRES_TOO_LATE
        kept_until = (self.used.get((author, number), -BUCKET) // BUCKET + 1) * BUCKET
        if height < kept_until:
            return Code.DUPLICATE
        self.used[author, number] = expiry
        return Code.APPLIED

    @rule(author=st.sampled_from(AUTHORS), number=st.integers(0, 3), ahead=st.integers(-3, 310))
    def register(self, author: str, number: int, ahead: int) -> None:
        """A new record under one of few request ids."""
        self.made += 1
        expiry = max(0, self.scribe.chain.height + ahead)
        body = record_body(f"record {self.made}", author)
        data = self.ALLIANCE.registration(author, body, id_of(f"id {number}"), expiry)
        expected = self.predicted(author, number, expiry)
        assert self.scribe.write(data, member=author).codes == (expected,)

    @rule(blocks=st.integers(1, 70))
    def wait(self, blocks: int) -> None:
        """Time passes in blocks."""
        self.scribe.write_until(self.scribe.chain.height + blocks)


class ConsentMachine(RuleBasedStateMachine):
    """S3, S6, promise 2: verdicts follow a plain dictionary of consent, and consent never grows back."""

    ALLIANCE: ClassVar[Alliance] = Alliance.founded()
    NAMES = st.sampled_from(["g0", "g1", "g2", "g3"])
    EPOCHS = st.integers(0, 2)

    def __init__(self) -> None:
        """Register one record for each epoch of the patient's key."""
        super().__init__()
        self.scribe = Scribe(self.ALLIANCE)
        self.patient = Patient("mrs wang", self.ALLIANCE.chain_id)
        self.epochs: dict[str, int] = {}
        self.revoked: dict[str, int] = {}
        self.closed: dict[int, int] = {}
        self.deleted: dict[str, list[str]] = {}
        self.released: list[bytes] = []
        self.scribe.write(*[self.scribe.record(f"r{epoch}", "anshan", self.patient.commitment(epoch)) for epoch in range(3)])

    def write(self, data: bytes, expected: Code) -> None:
        """One transaction in a block of its own."""
        assert self.scribe.write(data).codes == (expected,)

    def grant_code(self, name: str, epoch: int) -> Code:
        """What the rule says about a grant."""
        if name in self.epochs:
            return Code.GRANT_EXISTS
        return Code.KEY_CLOSED if epoch in self.closed else Code.APPLIED

    @rule(name=NAMES, epoch=EPOCHS)
    def grant(self, name: str, epoch: int) -> None:
        """A grant under the key of an epoch."""
        expected = self.grant_code(name, epoch)
        self.write(grant(self.scribe, self.patient, name, epoch), expected)
        if expected == Code.APPLIED:
            self.epochs[name] = epoch

    @rule(name=NAMES)
    def revoke(self, name: str) -> None:
        """A revocation without a successor."""
        expected = Code.APPLIED
        if name not in self.epochs:
            expected = Code.GRANT_UNKNOWN
        elif name in self.revoked:
            expected = Code.ALREADY_REVOKED
        self.write(revoke(self.scribe, self.patient, name), expected)
        if expected == Code.APPLIED:
            self.revoked[name] = self.scribe.chain.height

    @rule(name=NAMES, successor=EPOCHS, regranted=NAMES)
    def close(self, name: str, successor: int, regranted: str) -> None:
        """A revocation that closes the key, with one regrant."""
        expected = self.close_code(name, successor, regranted)
        regrant = self.patient.grant(self.patient.terms(regranted, successor), successor)
        self.write(revoke(self.scribe, self.patient, name, regrant, epoch=successor), expected)
        if expected == Code.APPLIED:
            closing = self.epochs[name]
            self.closed[closing] = successor
            for other, epoch in self.epochs.items():
                if epoch == closing:
                    self.revoked.setdefault(other, self.scribe.chain.height)
            self.epochs[regranted] = successor

    def close_code(self, name: str, successor: int, regranted: str) -> Code:
        """What the rule says about closing a key."""
        if name not in self.epochs:
            return Code.GRANT_UNKNOWN
        if self.epochs[name] in self.closed:
            return Code.KEY_CLOSED
        if successor == self.epochs[name] or successor in self.closed:
            return Code.BAD_SUCCESSOR
        return Code.BAD_REGRANT if regranted in self.epochs else Code.APPLIED

    @rule(name=NAMES, epoch=EPOCHS)
    def request(self, name: str, epoch: int) -> None:
        """A request for the record of one epoch under a grant."""
        data = request(self.scribe, self.patient, f"r{epoch}", name)
        expected = Code.GRANTED
        if name not in self.epochs:
            expected = Code.GRANT_UNKNOWN
        elif self.epochs[name] != epoch:
            expected = Code.FOREIGN_SALT
        elif name in self.revoked:
            expected = Code.GRANT_REVOKED
        self.write(data, expected)
        # Promise 2: a granted request is an audit entry, found by its grant.
        leaf = open_transaction(data, self.ALLIANCE.chain_id).leaf
        assert self.scribe.chain.transactions_about(id_of(name))[-1] == leaf

    @rule(name=NAMES, holder=st.sampled_from(HOLDERS))
    def delete(self, name: str, holder: str) -> None:
        """A holder's deletion receipt."""
        deleted = self.deleted.setdefault(name, [])
        expected = Code.APPLIED
        if name not in self.epochs:
            expected = Code.GRANT_UNKNOWN
        elif name not in self.revoked:
            expected = Code.NOT_REVOKED
        elif holder in deleted:
            expected = Code.RECEIPT_REPEATED
        self.write(receipt(self.scribe, holder, name=name), expected)
        if expected == Code.APPLIED:
            deleted.append(holder)

    @invariant()
    def agree(self) -> None:
        """The ledger's grants are the model's; what is revoked stays so at its first height."""
        for name in self.epochs:
            state = self.scribe.chain.grant(id_of(name))
            assert state is not None
            assert state.revoked_height == self.revoked.get(name)
            assert list(state.deleted_by) == self.deleted.get(name, [])
            assert (state.dead_height is not None) == (len(state.deleted_by) > 1)


TestRequestIds = RequestIdMachine.TestCase
TestRequestIds.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestConsent = ConsentMachine.TestCase
TestConsent.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
