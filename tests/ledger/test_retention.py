"""Erasures and legal holds (S8, promise 6)."""

from __future__ import annotations

import pytest

from consilium.kernel.codes import RULES, Code
from consilium.kernel.encoding import decode
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import RetentionState, retention_entry
from consilium.kernel.transactions import ErasureBody, MemberAct, MemberAction, RetentionAct
from consilium.ledger.core.chain import Chain
from tests.alliance import Alliance, Scribe, id_of, record_body
from tests.ledger.patient import Patient, grant, request

RECORD = id_of("r record")


@pytest.fixture
def scribe() -> Scribe:
    scribe = Scribe(Alliance.founded())
    scribe.write(scribe.record("r"))
    return scribe


def act(scribe: Scribe, act: RetentionAct, by: str = "anshan", record_id: bytes = RECORD) -> Code:
    """The code of one act, in a block of its own."""
    body = ErasureBody(record_id, act, bytes(32))
    return scribe.write(scribe.signed(scribe.alliance.keys[by].member, body)).codes[0]


def shown(scribe: Scribe) -> RetentionState | None:
    """What the map proves of the record."""
    proof = scribe.chain.prove_state(retention_entry(RECORD))
    value = proof.value
    return None if value is None else decode(RetentionState, value, scribe.chain.chain_id)


def test_s8_the_home_erases_once_and_for_ever(scribe: Scribe) -> None:
    assert act(scribe, RetentionAct.ERASE) is Code.APPLIED
    assert shown(scribe) == RetentionState(None, scribe.chain.height)
    for again in RetentionAct:
        assert act(scribe, again) is Code.RECORD_ERASED
    assert RULES[Code.RECORD_ERASED] == "S8"


def test_s8_nobody_else_erases_or_holds(scribe: Scribe) -> None:
    for each in RetentionAct:
        assert act(scribe, each, by="benxi") is Code.AUTHOR_NOT_HOLDER
        assert act(scribe, each, record_id=id_of("unknown")) is Code.RECORD_UNKNOWN
    assert shown(scribe) is None


def test_s8_a_hold_forbids_erasing_until_it_is_lifted(scribe: Scribe) -> None:
    assert act(scribe, RetentionAct.LIFT) is Code.RECORD_NOT_HELD
    assert act(scribe, RetentionAct.HOLD) is Code.APPLIED
    assert shown(scribe) == RetentionState(scribe.chain.height, None)
    assert act(scribe, RetentionAct.HOLD) is Code.RECORD_HELD
    assert act(scribe, RetentionAct.ERASE) is Code.RECORD_HELD
    assert act(scribe, RetentionAct.LIFT) is Code.APPLIED
    assert shown(scribe) is None
    assert act(scribe, RetentionAct.ERASE) is Code.APPLIED


def test_s8_a_suspended_home_still_erases(scribe: Scribe) -> None:
    profile = scribe.alliance.keys["anshan"].profile
    scribe.govern(MemberAct(MemberAction.SUSPEND, profile))
    assert act(scribe, RetentionAct.ERASE) is Code.APPLIED


def test_s8_no_request_for_an_erased_record_is_granted() -> None:
    """Under a grant that stands; a hold changes nothing for those who read."""
    scribe = Scribe(Alliance.founded())
    patient = Patient("patient", scribe.chain.chain_id)
    record = record_body("r", owner_commitment=patient.commitment())
    scribe.write(scribe.signed(scribe.alliance.keys["anshan"].member, record), grant(scribe, patient))
    act(scribe, RetentionAct.HOLD)
    assert scribe.write(request(scribe, patient)).codes == (Code.GRANTED,)
    act(scribe, RetentionAct.LIFT)
    act(scribe, RetentionAct.ERASE)
    assert scribe.write(request(scribe, patient)).codes == (Code.RECORD_ERASED,)


def test_s8_every_member_that_replays_the_chain_knows_what_is_erased(scribe: Scribe) -> None:
    act(scribe, RetentionAct.HOLD)
    act(scribe, RetentionAct.LIFT)
    act(scribe, RetentionAct.ERASE)
    again = Chain(scribe.alliance.genesis, Ed25519Verifier())
    for block in scribe.blocks:
        again.append_block(block)
    assert again.outcome(again.height).result == scribe.chain.outcome(again.height).result
