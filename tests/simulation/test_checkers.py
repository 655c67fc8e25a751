"""Every checker fires when its promise is broken, and stays quiet when it is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.consensus.core.forming import form_batch
from consilium.consensus.core.messages import Commit, Prepare, SignedViewChange
from consilium.kernel.authoring import sign_payload
from consilium.kernel.certificates import (
    CommitCertificate,
    Phase,
    Result,
    ResultCertificate,
    SignedVote,
    ViewChange,
    Vote,
)
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.codes import Code
from consilium.kernel.consent import owner_commitment
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.merkle import merkle_root
from consilium.kernel.opening import OpenedBlock, open_batch
from consilium.kernel.transactions import (
    Equivocation,
    EvidenceBody,
    GrantBody,
    GrantTerms,
    Payload,
    Purpose,
    RecordBody,
    RequestBody,
    RevokeBody,
)
from consilium.ledger.core.acceptance import genesis_tip
from tests.simulation.alliance import GENESIS_MS, founders, genesis_of
from tests.simulation.checkers import (
    Agreement,
    Ballots,
    Determinism,
    Durability,
    ExactlyOnce,
    NoAmnesia,
    Order,
    Validity,
)
from tests.simulation.clock import Clock
from tests.simulation.conflicts import Evidence
from tests.simulation.consent import Consent
from tests.simulation.observed import Execution, Released, Speech, Violation
from tests.simulation.schedule import Options
from tests.simulation.signing import KeyedHashSigner, KeyedHashVerifier

if TYPE_CHECKING:
    from consilium.consensus.core.messages import Message
    from consilium.kernel.transactions import Body

GENESIS = genesis_of(Options(seed=0))
CHAIN = GENESIS.chain_id
FOUNDERS = founders(5)
OUTLOOK = genesis_tip(GENESIS).outlook
COMMITTEE = OUTLOOK.committee
SIGNATURE = bytes(64)
OWNER, RECIPIENT = KeyedHashSigner("owner"), KeyedHashSigner("recipient")
SALT, KEY = b"s" * 32, b"k" * 33


def transaction(body: Body, signer: KeyedHashSigner = OWNER, request: bytes = b"r" * 16, expiry: int = 50) -> bytes:
    return sign_payload(Payload(signer.public_key, request, expiry, body), signer, CHAIN)


def record(record_id: bytes = b"1" * 16) -> RecordBody:
    return RecordBody(record_id, "m0", owner_commitment(SALT, KEY), ZERO_DIGEST, ZERO_DIGEST, 1)


def block(
    height: int,
    *carried: bytes,
    parent: bytes = CHAIN,
    endpoint: str = "m0",
    codes: tuple[Code, ...] = (),
    state: bytes = b"s",
) -> Execution:
    """A block of these transactions in one batch of m0, executed at an endpoint; all applied unless said otherwise."""
    signer = FOUNDERS[0].member_signer
    batches = (open_batch(form_batch("m0", signer, carried, CHAIN), CHAIN),) if carried else ()
    leaves = [leaf for batch in batches for leaf in batch.leaves]
    digests = tuple(batch.digest for batch in batches)
    header = Header(
        0, height, parent, digests, merkle_root(leaves), GENESIS_MS + height, ZERO_DIGEST, ZERO_DIGEST, 0, ZERO_DIGEST
    )
    data = encode(header, CHAIN)
    digest = sha256(data)
    certified = CertifiedBlock(data, (), CommitCertificate(0, 0, height, digest, ()))
    result = Result(0, height, digest, 0, ZERO_DIGEST, sha256(state), ZERO_DIGEST)
    outcome = codes or (Code.APPLIED,) * len(carried)
    return Execution(endpoint, OpenedBlock(certified, header, digest, batches), outcome, result, OUTLOOK)


def vote(phase: Phase, digest: bytes, view: int = 0, height: int = 1) -> SignedVote:
    return SignedVote(Vote(phase, 0, view, height, digest), SIGNATURE)


def says(place: int, message: Message) -> Speech:
    """An honest delegate, by its place in the committee, says something."""
    name = COMMITTEE.delegates[place].member_id
    return Speech(name, name, honest=True, message=message)


def fires(rule: str) -> pytest.RaisesExc[Violation]:
    return pytest.raises(Violation, match=rule)


def test_agreement() -> None:
    """S1."""
    checker = Agreement()
    checker.executed(block(1))
    checker.executed(block(1, endpoint="m1"))
    with fires("S1"):
        checker.executed(block(1, transaction(record()), endpoint="m2"))


def test_order() -> None:
    """S2: a gap, and another parent."""
    checker, first = Order(CHAIN), block(1)
    checker.executed(first)
    with fires("S2"):
        checker.executed(block(3, parent=first.opened.block_hash))
    with fires("S2"):
        checker.executed(block(2, parent=ZERO_DIGEST))
    checker.executed(block(2, parent=first.opened.block_hash))


def test_order_of_times() -> None:
    """S2, L7: a block no later than its parent."""
    checker, first = Order(CHAIN), block(1)
    checker.executed(first)
    late = block(2, parent=first.opened.block_hash)
    opened = replace(late.opened, header=replace(late.opened.header, time_ms=first.opened.header.time_ms))
    with fires("S2"):
        checker.executed(replace(late, opened=opened))


def test_validity() -> None:
    """S3: a batch under a foreign signature, and a stranger's record that took effect."""
    checker = Validity(GENESIS, KeyedHashVerifier())
    checker.first_executed(block(1, transaction(record(), FOUNDERS[0].member_signer)))
    with fires("S3"):
        checker.first_executed(block(1, transaction(record())))
    checker = Validity(GENESIS, KeyedHashVerifier())
    carried = transaction(record(), FOUNDERS[0].member_signer)
    forged = carried[:-1] + bytes([carried[-1] ^ 1])
    with fires("S3"):
        checker.first_executed(block(1, forged))


def test_one_certificate() -> None:
    """S4: a quorum for each of two blocks, in different views, though nobody collected the certificates."""
    checker = Ballots(COMMITTEE)
    for place in (0, 1, 2):
        checker.sent(says(place, Commit(vote(Phase.COMMIT, b"a" * 32))))
    for place in (3, 1):
        checker.sent(says(place, Commit(vote(Phase.COMMIT, b"b" * 32, view=1))))
    with fires("S4"):
        checker.sent(says(2, Commit(vote(Phase.COMMIT, b"b" * 32, view=1))))


@pytest.mark.parametrize("prepared_first", [True, False])
def test_lock(prepared_first: bool) -> None:  # noqa: FBT001  a parameter of the test
    """S5: what a quorum committed in view 0 is prepared otherwise in view 1, seen in either order."""
    checker = Ballots(COMMITTEE)
    speeches = [says(place, Commit(vote(Phase.COMMIT, b"a" * 32))) for place in (0, 1, 2)]
    other = says(3, Prepare(vote(Phase.PREPARE, b"b" * 32, view=1)))
    checker.sent(says(3, Prepare(vote(Phase.PREPARE, b"a" * 32, view=1))))
    *most, last = [other, *speeches] if prepared_first else [*speeches, other]
    for speech in most:
        checker.sent(speech)
    with fires("S5"):
        checker.sent(last)


def test_no_amnesia() -> None:
    """S6: two messages in one slot; the same twice is fine."""
    checker = NoAmnesia(CHAIN)
    checker.sent(says(1, Prepare(vote(Phase.PREPARE, b"a" * 32))))
    checker.sent(says(1, Prepare(vote(Phase.PREPARE, b"a" * 32))))
    checker.sent(says(1, Prepare(vote(Phase.PREPARE, b"b" * 32, view=1))))
    with fires("S6"):
        checker.sent(says(1, Prepare(vote(Phase.PREPARE, b"b" * 32))))


def test_no_amnesia_in_a_view_change() -> None:
    """S6: a commit, then a view change that does not show it."""
    checker = NoAmnesia(CHAIN)
    checker.sent(says(1, Commit(vote(Phase.COMMIT, b"a" * 32))))
    with fires("S6"):
        checker.sent(says(1, SignedViewChange(ViewChange(0, 1, None, ()), 1, SIGNATURE)))


def test_no_amnesia_of_a_call() -> None:
    """S6: a vote in a view that this member has left; one in the view it called for is fine."""
    checker = NoAmnesia(CHAIN)
    checker.sent(says(1, SignedViewChange(ViewChange(0, 2, None, ()), 1, SIGNATURE)))
    checker.sent(says(1, Prepare(vote(Phase.PREPARE, b"a" * 32, view=2))))
    with fires("S6"):
        checker.sent(says(1, Prepare(vote(Phase.PREPARE, b"a" * 32, view=1))))


def test_exactly_once() -> None:
    """S7: one request id, two effects; a refused repetition is fine, an expired request is not."""
    checker = ExactlyOnce()
    checker.first_executed(block(1, transaction(record())))
    checker.first_executed(block(2, transaction(record()), codes=(Code.DUPLICATE,)))
    with fires("S7"):
        checker.first_executed(block(3, transaction(record(b"2" * 16))))
    with fires("S7"):
        checker.first_executed(block(51, transaction(record(), request=b"q" * 16)))


def test_determinism() -> None:
    """S8: another result, at execution, after a restart, and under a certificate."""
    checker, other = Determinism(), block(1, state=b"t").result
    checker.executed(block(1))
    with fires("S8"):
        checker.executed(block(1, endpoint="m1", state=b"t"))
    with fires("S8"):
        checker.restarted("m0", 1, other.block_hash, other)
    with fires("S8"):
        checker.certified("m0", ResultCertificate(other, ()))


def test_durability() -> None:
    """S9: an executed block lost at a crash, and a final block replaced."""
    checker, first = Durability(), block(1)
    checker.executed(first)
    checker.restarted("m0", 1, first.opened.block_hash, first.result)
    with fires("S9"):
        checker.restarted("m0", 0, CHAIN, None)
    checker.certified("m0", ResultCertificate(first.result, ()))
    with fires("S9"):
        checker.executed(block(1, transaction(record()), endpoint="m1"))


def test_evidence_is_sound() -> None:
    """S11: evidence that took effect against a member that is not faulty."""
    proof = Equivocation("m1", vote(Phase.PREPARE, b"a" * 32), vote(Phase.PREPARE, b"b" * 32))
    evidence = block(1, transaction(EvidenceBody(proof)))
    Evidence(["m1"]).first_executed(evidence)
    with fires("S11"):
        Evidence(["m2"]).first_executed(evidence)


TERMS = GrantTerms(
    b"g" * 16,
    KEY,
    KEY,
    "m1",
    RECIPIENT.public_key,
    KEY,
    Purpose.TREATMENT,
    ZERO_DIGEST,
    GENESIS_MS,
    GENESIS_MS + 10_000,
    ("m2", "m3", "m4"),
    2,
    (ZERO_DIGEST,) * 3,
    weaker_budget=False,
)
GRANT = transaction(GrantBody(TERMS, b""), request=b"2" * 16)
REQUEST = transaction(
    RequestBody(TERMS.grant_id, b"1" * 16, SALT, Purpose.TREATMENT, ZERO_DIGEST), RECIPIENT, request=b"3" * 16
)
REVOKE = transaction(RevokeBody(TERMS.grant_id, None, ()), request=b"4" * 16)
GRANTED = (Code.APPLIED, Code.APPLIED, Code.GRANTED)


def granted() -> tuple[Consent, bytes]:
    """A checker that has seen record, grant and granted request at height 1, and the request's hash."""
    checker = Consent(GENESIS.parameters, Clock())
    seen = block(1, transaction(record()), GRANT, REQUEST, codes=GRANTED)
    checker.first_executed(seen)
    return checker, seen.opened.batches[0].leaves[2]


def release(request_hash: bytes, height: int, *, now_ms: int = 0, holder: str = "m2") -> Released:
    return Released(holder, TERMS.grant_id, request_hash, 1, height, now_ms)


def test_consent_that_stands() -> None:
    """P2, P3: a release inside the window."""
    checker, request = granted()
    checker.released(release(request, 31))


def test_release_without_audit_entry() -> None:
    """P3: no granted request, and a holder the grant does not name."""
    checker, request = granted()
    with fires("P3"):
        checker.released(release(ZERO_DIGEST, 2))
    with fires("P3"):
        checker.released(release(request, 2, holder="m0"))


def test_holders_that_collude() -> None:
    """P3: t faulty holders give their fragments away; t - 1 open nothing, nor do strangers."""
    checker, _ = granted()
    for holder in ("m2", "m2", "m0"):
        checker.leaked(holder, TERMS.grant_id, b"1" * 16)
    checker.leaked("m3", TERMS.grant_id, b"2" * 16)
    with fires("P3"):
        checker.leaked("m3", TERMS.grant_id, b"1" * 16)


def test_release_outside_the_window() -> None:
    """P2: H - h_a > W."""
    checker, request = granted()
    with fires("P2"):
        checker.released(release(request, 32))


def test_release_after_revocation() -> None:
    """P2: at or above the revocation's height, and long after it became final though the holder did not know."""
    checker, request = granted()
    revoked = block(3, REVOKE)
    checker.first_executed(revoked)
    checker.certified("m0", ResultCertificate(revoked.result, ()))
    checker.released(release(request, 2, now_ms=GENESIS.parameters.tip_age_max_ms))
    with fires("P2"):
        checker.released(release(request, 3))
    with fires("P2"):
        checker.released(release(request, 2, now_ms=GENESIS.parameters.tip_age_max_ms + 501))


def test_verdict_under_a_revoked_grant() -> None:
    """P2: GRANTED though the grant was revoked before."""
    checker = Consent(GENESIS.parameters, Clock())
    carried = (transaction(record()), GRANT, REVOKE, REQUEST)
    with fires("P2"):
        checker.first_executed(block(1, *carried, codes=(*GRANTED[:2], Code.APPLIED, Code.GRANTED)))


def test_grant_under_a_closed_key() -> None:
    """P2, S6: a revocation names a successor; nothing is granted under the key it closes."""
    checker, _ = granted()
    closing = transaction(RevokeBody(TERMS.grant_id, b"n" * 33, ()), request=b"5" * 16)
    checker.first_executed(block(2, closing))
    with fires("P2"):
        checker.first_executed(block(3, transaction(GrantBody(replace(TERMS, grant_id=b"h" * 16), b""), request=b"6" * 16)))


def test_verdict_for_another_recipient() -> None:
    """P2: GRANTED though somebody else asked."""
    body = RequestBody(TERMS.grant_id, b"1" * 16, SALT, Purpose.TREATMENT, ZERO_DIGEST)
    checker = Consent(GENESIS.parameters, Clock())
    with fires("P2"):
        checker.first_executed(block(1, transaction(record()), GRANT, transaction(body), codes=GRANTED))
