"""Grants and revocations, and who may hold their fragments (S3, S4, S6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consilium.kernel.codes import RULES, Code
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_map import StateMap
from consilium.kernel.state_values import GrantState, closed_entry, grant_entry
from consilium.kernel.transactions import Grade, GrantBody, MemberAct, MemberAction, RevokeBody
from consilium.ledger.core.consent import GRANTS_PER_KEY_MAX
from tests.alliance import GRADES, Alliance, Scribe, id_of, seed_of
from tests.ledger.patient import FROM_MS, HOLDERS, UNTIL_MS, Patient, grant, revoke

SEVEN = {**GRADES, "yingkou": Grade.A2, "jinzhou": Grade.B3}
FIVE_HOLDERS = ("anshan", "chaoyang", "dalian", "fushun", "jinzhou")


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


@pytest.fixture
def patient(scribe: Scribe) -> Patient:
    return Patient("mrs wang", scribe.alliance.chain_id)


def state_of(scribe: Scribe, name: str = "g") -> GrantState:
    state = scribe.chain.grant(id_of(name))
    assert state is not None
    return state


def code_of(scribe: Scribe, *transactions: bytes) -> Code:
    return scribe.write(*transactions).codes[-1]


# --- S3: who grants ---


def test_an_owner_grants(scribe: Scribe, patient: Patient) -> None:
    """S3."""
    assert code_of(scribe, grant(scribe, patient)) == Code.APPLIED
    assert state_of(scribe) == GrantState(patient.terms("g"), patient.signer.public_key, 1, None, (), None)


def test_a_self_made_grant_is_refused(scribe: Scribe, patient: Patient) -> None:
    """S3: a recipient that names the patient's key but cannot sign with it; nor does another's proof help."""
    thief = Ed25519Signer.from_seed(seed_of("thief"))
    own = Patient("thief", scribe.alliance.chain_id)
    terms = patient.terms("g")
    unproven = GrantBody(terms, own.grant(terms).ownership)
    stolen = patient.grant(terms)
    assert code_of(scribe, scribe.signed(own.signer, unproven)) == Code.NOT_THE_OWNER
    assert code_of(scribe, scribe.signed(thief, stolen)) == Code.NOT_THE_OWNER
    assert code_of(scribe, scribe.signed(thief, GrantBody(terms, b""))) == Code.NOT_THE_OWNER
    assert RULES[Code.NOT_THE_OWNER] == "S3"
    assert scribe.chain.grant(id_of("g")) is None


def test_a_proof_is_for_these_terms_on_this_chain(scribe: Scribe, patient: Patient) -> None:
    """S3: neither other terms nor another chain's proof."""
    other = Patient("mrs wang", seed_of("another chain"))
    terms = patient.terms("g")
    for body in (replace(patient.grant(terms), terms=replace(terms, threshold=1)), other.grant(terms)):
        budget = Code.WRONG_BUDGET if body.terms.threshold == 1 else Code.NOT_THE_OWNER
        assert code_of(scribe, scribe.signed(patient.signer, body)) == budget
    longer = replace(terms, not_after_ms=terms.not_after_ms + 1)
    body = replace(patient.grant(terms), terms=longer)
    assert code_of(scribe, scribe.signed(patient.signer, body)) == Code.NOT_THE_OWNER


def test_a_grant_id_is_taken_once(scribe: Scribe, patient: Patient) -> None:
    """S3."""
    other = Patient("mr li", scribe.alliance.chain_id)
    assert code_of(scribe, grant(scribe, patient), grant(scribe, other)) == Code.GRANT_EXISTS


def test_the_recipient_is_an_active_member(scribe: Scribe, patient: Patient) -> None:
    """S3."""
    assert code_of(scribe, grant(scribe, patient, recipient_member="nobody")) == Code.RECIPIENT_UNKNOWN
    profile = scribe.alliance.keys["benxi"].profile
    scribe.govern(MemberAct(MemberAction.SUSPEND, profile))
    assert code_of(scribe, grant(scribe, patient)) == Code.RECIPIENT_UNKNOWN


@pytest.mark.parametrize(
    ("not_before_ms", "not_after_ms"), [(UNTIL_MS, UNTIL_MS), (UNTIL_MS + 1, UNTIL_MS), (1, FROM_MS + 1_000)]
)
def test_a_period_must_have_a_future(scribe: Scribe, patient: Patient, not_before_ms: int, not_after_ms: int) -> None:
    """L7: by the block's certified time."""
    transaction = grant(scribe, patient, not_before_ms=not_before_ms, not_after_ms=not_after_ms)
    assert code_of(scribe, transaction) == Code.BAD_PERIOD


def test_grants_under_one_key_are_bounded(scribe: Scribe, patient: Patient) -> None:
    """Habit 8: closing a key changes no more than so many grants."""
    made = [grant(scribe, patient, f"g{number}") for number in range(GRANTS_PER_KEY_MAX + 1)]
    codes = scribe.write(*made).codes
    assert codes[-2:] == (Code.APPLIED, Code.KEY_FULL)
    full = [grant(scribe, patient, f"h{number}", 1) for number in range(GRANTS_PER_KEY_MAX - 1)]
    assert set(scribe.write(*full).codes) == {Code.APPLIED}
    one, two = (patient.grant(patient.terms(name, 1), 1) for name in ("i", "j"))
    assert code_of(scribe, revoke(scribe, patient, "g0", one, two, epoch=1)) == Code.BAD_REGRANT
    assert code_of(scribe, revoke(scribe, patient, "g0", one, epoch=1)) == Code.APPLIED
    assert state_of(scribe, "g255").revoked_height == 4


# --- S4: who holds ---


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"holders": ("anshan", "chaoyang")}, Code.WRONG_BUDGET),
        ({"threshold": 1}, Code.WRONG_BUDGET),
        ({"threshold": 3}, Code.WRONG_BUDGET),
        ({"holders": ("anshan", "chaoyang", "dalian", "fushun")}, Code.WRONG_BUDGET),
        ({"threshold": 0}, Code.BAD_HOLDERS),
        ({"threshold": 4}, Code.BAD_HOLDERS),
        ({"holders": ("anshan", "anshan", "dalian")}, Code.BAD_HOLDERS),
        ({"holders": ("anshan", "nobody", "dalian")}, Code.BAD_HOLDERS),
        ({"holders": (), "weaker_budget": True}, Code.BAD_HOLDERS),
        ({"kfrag_commitments": (bytes(32),) * 2}, Code.BAD_HOLDERS),
        ({"holders": ("anshan", "benxi", "dalian")}, Code.HOLDER_OF_RECIPIENT),
        ({"holders": ("anshan", "benxi"), "threshold": 1, "weaker_budget": True}, Code.HOLDER_OF_RECIPIENT),
        ({"holders": ("anshan",), "threshold": 1, "weaker_budget": True}, Code.APPLIED),
        ({"holders": ("anshan", "dalian"), "threshold": 3, "weaker_budget": True}, Code.BAD_HOLDERS),
    ],
)
def test_holders_keep_the_collusion_budget(scribe: Scribe, patient: Patient, changes: dict[str, Any], code: Code) -> None:
    """S4: two of three below seven members, never the recipient's; less only under the owner's name for it."""
    assert code_of(scribe, grant(scribe, patient, **changes)) == code


def test_seven_members_hold_three_of_five(patient: Patient) -> None:
    """S4."""
    scribe = Scribe(Alliance.founded(SEVEN))
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    assert code_of(scribe, grant(scribe, patient)) == Code.WRONG_BUDGET
    assert code_of(scribe, grant(scribe, patient, holders=FIVE_HOLDERS, threshold=2)) == Code.WRONG_BUDGET
    assert code_of(scribe, grant(scribe, patient, holders=FIVE_HOLDERS, threshold=3)) == Code.APPLIED


def test_the_size_that_counts_is_that_of_the_active_members() -> None:
    """S4: seven, of which one is suspended, are six."""
    scribe = Scribe(Alliance.founded(SEVEN))
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    profile = scribe.alliance.keys["yingkou"].profile
    scribe.govern(MemberAct(MemberAction.SUSPEND, profile))
    assert code_of(scribe, grant(scribe, patient)) == Code.APPLIED


def test_no_two_holders_belong_to_one_owner_nor_any_to_the_recipients() -> None:
    """S4: whole owner groups, not just members."""
    groups = {"anshan": "group", "chaoyang": "group", "dalian": "other", "benxi": "other"}
    scribe = Scribe(Alliance.founded({**GRADES, "jinzhou": Grade.A1}, owner_groups=groups))
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    assert code_of(scribe, grant(scribe, patient, holders=("anshan", "dalian", "fushun"))) == Code.HOLDER_OF_RECIPIENT
    assert code_of(scribe, grant(scribe, patient, holders=("anshan", "chaoyang", "fushun"))) == Code.HOLDERS_NOT_SPREAD
    assert code_of(scribe, grant(scribe, patient, holders=("anshan", "fushun", "jinzhou"))) == Code.APPLIED


def test_holders_are_spread_over_strata_where_they_can_be() -> None:
    """S4: three of level one will not do while others could hold; they will when there is nobody else."""
    low = dict.fromkeys(("anshan", "chaoyang", "dalian"), Grade.A1)
    for others, of_one_stratum in (
        ({"benxi": Grade.A3, "fushun": Grade.A2}, Code.HOLDERS_NOT_SPREAD),
        ({"benxi": Grade.A3, "fushun": Grade.C1}, Code.APPLIED),
    ):
        scribe = Scribe(Alliance.founded({**low, **others}))
        patient = Patient("mrs wang", scribe.alliance.chain_id)
        assert code_of(scribe, grant(scribe, patient)) == of_one_stratum
        assert code_of(scribe, grant(scribe, patient, "h", holders=("anshan", "chaoyang", "fushun"))) == Code.APPLIED


# --- S6: taking back ---


def test_the_grantor_revokes(scribe: Scribe, patient: Patient) -> None:
    """S6: at a height, once, and nobody else may."""
    stranger = scribe.signed(Ed25519Signer.from_seed(seed_of("x")), RevokeBody(id_of("g"), None, ()))
    assert code_of(scribe, grant(scribe, patient), stranger) == Code.NOT_THE_GRANTOR
    assert code_of(scribe, revoke(scribe, patient)) == Code.APPLIED
    assert state_of(scribe).revoked_height == 2
    assert code_of(scribe, revoke(scribe, patient)) == Code.ALREADY_REVOKED
    assert code_of(scribe, revoke(scribe, patient, "nothing")) == Code.GRANT_UNKNOWN


def test_a_successor_closes_the_key_and_every_grant_under_it(scribe: Scribe, patient: Patient) -> None:
    """S6: the key directory names the successor; a holder sees it at its own grant."""
    scribe.write(grant(scribe, patient, "g"), grant(scribe, patient, "h"))
    assert code_of(scribe, revoke(scribe, patient, "g", epoch=1)) == Code.APPLIED
    assert (state_of(scribe, "g").revoked_height, state_of(scribe, "h").revoked_height) == (2, 2)
    assert code_of(scribe, grant(scribe, patient, "i")) == Code.KEY_CLOSED
    assert RULES[Code.KEY_CLOSED] == "S6"
    proof = scribe.chain.prove_state(closed_entry(patient.key(0).public_key))
    assert proof.value == patient.key(1).public_key


def test_regrants_go_on_under_the_successor(scribe: Scribe, patient: Patient) -> None:
    """S6: in the same transaction."""
    scribe.write(grant(scribe, patient, "g"), grant(scribe, patient, "h"))
    regrant = patient.grant(patient.terms("h2", 1), 1)
    assert code_of(scribe, revoke(scribe, patient, "g", regrant, epoch=1)) == Code.APPLIED
    assert state_of(scribe, "h2").granted_height == 2
    assert state_of(scribe, "h2").revoked_height is None
    assert state_of(scribe, "h").revoked_height == 2


def test_one_bad_regrant_and_nothing_happens(scribe: Scribe, patient: Patient) -> None:
    """S6: all or nothing; the key stays open and the grant in force."""
    scribe.write(grant(scribe, patient, "g"))
    good = patient.grant(patient.terms("h", 1), 1)
    under_the_old_key = patient.grant(patient.terms("i", 0), 0)
    unproven = patient.grant(patient.terms("j", 1), 0)
    weak = patient.grant(patient.terms("k", 1, threshold=1), 1)
    taken = patient.grant(patient.terms("g", 1), 1)
    for bad in (under_the_old_key, unproven, weak, taken, good):
        assert code_of(scribe, revoke(scribe, patient, "g", good, bad, epoch=1)) == Code.BAD_REGRANT
    assert code_of(scribe, revoke(scribe, patient, "g", under_the_old_key)) == Code.BAD_REGRANT
    assert state_of(scribe).revoked_height is None
    assert scribe.chain.grant(id_of("h")) is None
    assert code_of(scribe, grant(scribe, patient, "still open")) == Code.APPLIED


def test_no_way_back_to_a_closed_key(scribe: Scribe, patient: Patient) -> None:
    """S6: neither as its own successor nor as another's, and no key is closed twice."""
    scribe.write(grant(scribe, patient, "g"))
    assert code_of(scribe, revoke(scribe, patient, "g", epoch=0)) == Code.BAD_SUCCESSOR
    scribe.write(revoke(scribe, patient, "g", epoch=1), grant(scribe, patient, "h", 1))
    assert code_of(scribe, revoke(scribe, patient, "h", epoch=0)) == Code.BAD_SUCCESSOR
    assert code_of(scribe, revoke(scribe, patient, "g", epoch=2)) == Code.KEY_CLOSED


def test_a_revoked_grants_key_may_still_be_closed(scribe: Scribe, patient: Patient) -> None:
    """S6: the earlier height stays."""
    scribe.write(grant(scribe, patient, "g"))
    scribe.write(revoke(scribe, patient, "g"))
    assert code_of(scribe, revoke(scribe, patient, "g", epoch=1)) == Code.APPLIED
    assert state_of(scribe).revoked_height == 2


def test_the_grant_stands_in_the_authenticated_map(scribe: Scribe, patient: Patient) -> None:
    """L4: what holders and clients read is the state that was certified."""
    scribe.write(grant(scribe, patient))
    before = scribe.chain.prove_state(grant_entry(id_of("g")))
    scribe.write(revoke(scribe, patient))
    after = scribe.chain.prove_state(grant_entry(id_of("g")))
    assert before.value != after.value
    assert len(HOLDERS) == 3
    assert StateMap().root != after.map_root
