"""Invalid proposals and fragments that do not fit cost score, once each, and frame nobody (C6, S5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.certificates import Phase, SignedVote, Vote
from consilium.kernel.codes import Code
from consilium.kernel.consent import Release, ReleaseStatement, fragment_digest
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.transactions import BadFragment, EvidenceBody, InvalidProposal
from consilium.kernel.umbral import ReceivingKey, Sealed, derive_signing_key, generate_kfrags, reencrypt, seal, verify_kfrag
from tests.alliance import Alliance, Scribe, id_of, make_header, seed_of
from tests.ledger.patient import HOLDERS, Patient, grant
from tests.ledger.test_conduct import jail_one, long_terms

if TYPE_CHECKING:
    from consilium.kernel.chain import Header
    from consilium.kernel.state_values import MemberState

HOLDER = HOLDERS[0]


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def member(scribe: Scribe, name: str) -> MemberState:
    state = scribe.chain.member(name)
    assert state is not None
    return state


def submit(scribe: Scribe, proof: BadFragment | InvalidProposal) -> Code:
    return scribe.write(scribe.signed(scribe.alliance.keys["fushun"].member, EvidenceBody(proof))).codes[0]


# --- proposals ---


def primary(scribe: Scribe, view: int = 0) -> str:
    return scribe.chain.tip.outlook.committee.primary(view)


def proposed(scribe: Scribe, header: Header | bytes, view: int = 0, height: int | None = None) -> InvalidProposal:
    """A header, or other bytes, under its primary's signature."""
    chain_id, name = scribe.alliance.chain_id, primary(scribe, view)
    data = header if isinstance(header, bytes) else encode(header, chain_id)
    at = scribe.chain.height + 1 if height is None else height
    vote = Vote(Phase.PRE_PREPARE, scribe.chain.tip.outlook.epoch, view, at, sha256(data))
    signature = scribe.alliance.keys[name].consensus.sign(encode(vote, chain_id))
    return InvalidProposal(name, SignedVote(vote, signature), data)


def next_header(scribe: Scribe) -> Header:
    return make_header(scribe.alliance, scribe.chain.tip, [])


@pytest.mark.parametrize("field", ["committee_hash", "next_committee_hash", "election_mix"])
def test_a_false_header_halves_the_score_and_jails(scribe: Scribe, field: str) -> None:
    """C6: whatever its parent is, it contradicts the chain; ten draws, from the first that is not made yet."""
    scribe.write()
    false = replace(next_header(scribe), **{field: seed_of("other")})  # type: ignore[arg-type]
    name = primary(scribe)
    assert submit(scribe, proposed(scribe, false)) == Code.APPLIED
    state = member(scribe, name)
    assert (state.score, state.conduct.jailed_until, state.evidence_count, state.tombstoned) == (350, 12, 1, False)
    assert submit(scribe, proposed(scribe, replace(false, time_ms=1))) == Code.OFFENDER_KNOWN
    assert member(scribe, name).score == 350


def test_a_shorter_jail_does_not_end_a_longer_one() -> None:
    """C6: who is jailed for ten draws cannot shorten it to five by missing its duties as well."""
    scribe = long_terms()
    scribe.write()
    name = primary(scribe)
    false = replace(next_header(scribe), committee_hash=seed_of("other"))
    assert submit(scribe, proposed(scribe, false)) == Code.APPLIED
    assert jail_one(scribe, name, 40).conduct.jailed_until == 12


def test_other_faces_of_a_false_proposal(scribe: Scribe) -> None:
    """C6: no header at all, another height or epoch than it was proposed for, strangers in its bitmap."""
    good = next_header(scribe)
    for proof in (
        proposed(scribe, b"no header"),
        proposed(scribe, good, height=7),
        proposed(scribe, replace(good, epoch=1)),
        proposed(scribe, replace(good, parent_commits=1 << 4)),
        proposed(scribe, replace(good, batch_digests=(bytes(32), bytes(32)))),
    ):
        fresh = Scribe(scribe.alliance)
        assert submit(fresh, proof) == Code.APPLIED


def test_an_honest_primary_is_not_framed(scribe: Scribe) -> None:
    """C6: good headers before and after the draw, of ended epochs, under forged or others' signatures."""
    for _ in range(14):
        assert submit(scribe, proposed(scribe, next_header(scribe))) == Code.BAD_EVIDENCE
        if scribe.chain.height == 12:
            scribe.write(scribe.handover())
    assert scribe.chain.tip.outlook.epoch == 1
    false = proposed(scribe, replace(next_header(scribe), committee_hash=ZERO_DIGEST))
    vote = false.proposal.vote
    for framed in (
        replace(false, proposal=replace(false.proposal, signature=bytes(64))),
        replace(false, member_id=primary(scribe, 1)),
        replace(false, header=false.header + b"x"),
        replace(false, proposal=SignedVote(replace(vote, phase=Phase.PREPARE), false.proposal.signature)),
        replace(false, proposal=SignedVote(replace(vote, epoch=9), false.proposal.signature)),
    ):
        assert submit(scribe, framed) == Code.BAD_EVIDENCE
    assert {each.score for each in scribe.chain.active_members()} == {700}


# --- fragments ---


def released(scribe: Scribe, patient: Patient, *, good: bool, request: bytes = bytes(32)) -> tuple[Release, Sealed]:
    """A grant on the ledger, and what its first holder released for a request: this capsule's fragment, or another's."""
    if scribe.chain.grant(id_of("g")) is None:
        receiving = ReceivingKey.from_secret_bytes(seed_of("receives"))
        signing = derive_signing_key(seed_of(patient.name), "all", 0)
        granted = grant(scribe, patient, receiving_pk=receiving.public_key, verifying_pk=signing.public_key)
        assert scribe.write(granted).codes == (Code.APPLIED,)
    terms = scribe.chain.grant(id_of("g")).terms  # type: ignore[union-attr]
    signing = derive_signing_key(seed_of(patient.name), "all", 0)
    sealed, other = (seal(terms.delegating_pk, what) for what in (b"a" * 32, b"b" * 32))
    kfrags = generate_kfrags(patient.key(), terms.receiving_pk, signing, terms.threshold, len(terms.holders))
    kfrag = verify_kfrag(kfrags[0].to_secret_bytes(), terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
    cfrag = reencrypt(sealed if good else other, kfrag).to_bytes()
    statement = ReleaseStatement(HOLDER, terms.grant_id, request, sealed.digest, fragment_digest(cfrag), 1, 1)
    return Release(cfrag, statement, sign(scribe, statement)), sealed


def sign(scribe: Scribe, statement: ReleaseStatement) -> bytes:
    return scribe.alliance.keys[HOLDER].member.sign(encode(statement, scribe.alliance.chain_id))


def test_a_fragment_that_does_not_fit_costs_its_holder_once(scribe: Scribe) -> None:
    """C6, S5: a hundred of a thousand, for each request once."""
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    release, sealed = released(scribe, patient, good=False)
    assert submit(scribe, BadFragment(HOLDER, release, sealed.capsule)) == Code.APPLIED
    assert submit(scribe, BadFragment(HOLDER, release, sealed.capsule)) == Code.OFFENDER_KNOWN
    assert (member(scribe, HOLDER).score, member(scribe, HOLDER).evidence_count) == (600, 1)
    again, sealed = released(scribe, patient, good=False, request=seed_of("another"))
    assert submit(scribe, BadFragment(HOLDER, again, sealed.capsule)) == Code.APPLIED
    assert member(scribe, HOLDER).score == 500


def test_an_honest_holder_is_not_framed(scribe: Scribe) -> None:
    """S5: its good fragment, with another capsule, another's signature or statement, is proof of nothing."""
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    release, sealed = released(scribe, patient, good=True)
    said = release.statement
    bad, _ = released(scribe, patient, good=False)
    elsewhere = replace(bad.statement, grant_id=id_of("other grant"))
    for framed in (
        BadFragment(HOLDER, release, sealed.capsule),
        BadFragment(HOLDER, release, seal(patient.key().public_key, b"c" * 32).capsule),
        BadFragment(HOLDER, replace(release, cfrag=bytes(len(release.cfrag))), sealed.capsule),
        BadFragment(HOLDER, replace(release, statement=replace(said, request_hash=seed_of("x"))), sealed.capsule),
        BadFragment("fushun", bad, sealed.capsule),
        BadFragment(HOLDER, replace(bad, statement=elsewhere, signature=sign(scribe, elsewhere)), sealed.capsule),
        BadFragment(HOLDER, replace(bad, signature=bytes(64)), sealed.capsule),
    ):
        assert submit(scribe, framed) == Code.BAD_EVIDENCE
    assert member(scribe, HOLDER).score == 700
