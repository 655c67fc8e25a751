"""Which blocks may follow a tip (L2, L3, L7, C6, C7, C8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.kernel.certificates import CommitCertificate
from consilium.kernel.chain import Batch, CertifiedBlock
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, Conflict, Malformed
from consilium.kernel.transactions import RevealBody
from consilium.ledger.core.chain import Chain
from tests.alliance import Alliance, Scribe, certified, id_of, make_block, make_header, seed_of


@pytest.fixture
def scribe() -> Scribe:
    scribe = Scribe(Alliance.founded())
    scribe.write(scribe.record("first"))
    return scribe


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("height", 3, "WRONG_HEIGHT"),
        ("height", 1, "WRONG_HEIGHT"),
        ("parent_hash", seed_of("x"), "WRONG_PARENT"),
        ("epoch", 1, "WRONG_EPOCH"),
        ("committee_hash", seed_of("x"), "WRONG_COMMITTEE"),
        ("next_committee_hash", seed_of("x"), "WRONG_NEXT_COMMITTEE"),
        ("election_mix", seed_of("x"), "WRONG_MIX"),
        ("time_ms", 1_700_000_001_000, "WRONG_TIME"),
    ],
)
def test_a_header_must_carry_what_follows_from_the_chain(scribe: Scribe, field: str, value: object, reason: str) -> None:
    """L3, L7, C6, C7, C8: even a quorum cannot order another height, parent, epoch, committee, mix or an earlier time."""
    tip = scribe.chain.tip
    header = replace(make_header(scribe.alliance, tip, []), **{field: value})  # type: ignore[arg-type]
    with pytest.raises(Conflict) as refused:
        scribe.chain.append_block(certified(scribe.alliance, tip, header, []))
    assert refused.value.reason == reason
    assert scribe.chain.height == 1


def test_block_1_has_the_chain_id_as_its_parent(scribe: Scribe) -> None:
    assert make_header(scribe.alliance, Chain(scribe.alliance.genesis, scribe.verifier).tip, []).parent_hash == (
        scribe.alliance.chain_id
    )


def test_a_short_quorum_commits_nothing(scribe: Scribe) -> None:
    """L3, C1: three of four commits, not two, and of this block."""
    block = scribe.block()
    short = replace(block.commit, signatures=block.commit.signatures[:2])
    with pytest.raises(BadSignature, match="SHORT_QUORUM"):
        scribe.chain.append_block(replace(block, commit=short))
    other = replace(block.commit, digest=seed_of("other"))
    with pytest.raises(Conflict, match="OTHER_COMMIT"):
        scribe.chain.append_block(replace(block, commit=other))


def test_the_view_stands_in_the_certificate_alone(scribe: Scribe) -> None:
    """L3: committed again in a later view, the block keeps its hash."""
    header = make_header(scribe.alliance, scribe.chain.tip, [])
    later: CommitCertificate = scribe.alliance.commit(scribe.chain.tip.outlook.committee, header, view=7)
    block = CertifiedBlock(encode(header, scribe.alliance.chain_id), (), later)
    assert block.commit.digest == scribe.block().commit.digest
    assert scribe.append(block).result.block_hash == later.digest


def test_a_commit_counts_under_its_own_delegates_key_alone(scribe: Scribe) -> None:
    """L3: a quorum of signatures, each by the delegate at its place, no place twice."""
    block = scribe.block()
    first, second, third = block.commit.signatures
    swapped = (replace(first, signature=second.signature), replace(second, signature=first.signature), third)
    for signatures in (swapped, (first, first, second), (second, first, third), (first, second, replace(third, index=9))):
        with pytest.raises(BadSignature):
            scribe.chain.append_block(replace(block, commit=replace(block.commit, signatures=signatures)))


def test_a_copy_with_a_spoilt_batch_signature_is_refused(scribe: Scribe) -> None:
    """L2: it is not the outcome of a transaction, or two copies would give two results."""
    record = scribe.record("second")
    block = scribe.block(scribe.alliance.batch("anshan", [record]))
    spoilt = encode(Batch("anshan", (record,), bytes(64)), scribe.alliance.chain_id)
    with pytest.raises(BadSignature):
        scribe.chain.append_block(replace(block, batches=(spoilt,)))
    scribe.append(block)


def test_followers_verify_every_signature(scribe: Scribe) -> None:
    """L8: not even a quorum slips a transaction in that its author did not sign."""
    alliance = scribe.alliance
    body = RevealBody(0, alliance.keys["anshan"].preimages[0])
    signed = alliance.sign(alliance.keys["anshan"].member, body, id_of("x"), 50)
    signature = alliance.keys["anshan"].member.sign(b"another message")
    forged = signed[:-64] + signature
    with pytest.raises(BadSignature):
        scribe.chain.append_block(scribe.block(alliance.batch("anshan", [forged])))


def test_a_replay_on_another_chain_is_refused(scribe: Scribe) -> None:
    """L1: the same members on another chain; neither its blocks nor its transactions pass."""
    parameters = replace(scribe.alliance.genesis.parameters, heartbeat_ms=1)
    other = Scribe(Alliance.founded(parameters=parameters))
    with pytest.raises(Malformed, match="FOREIGN_CHAIN"):
        other.chain.append_block(scribe.blocks[0])
    batch = other.alliance.batch("anshan", [scribe.record("second")])
    with pytest.raises(Malformed, match="FOREIGN_CHAIN"):
        make_block(other.alliance, other.chain.tip, [batch])


def test_headers_above_the_election_height_carry_the_next_committee(scribe: Scribe) -> None:
    """L3, C6: and its sealed mix, from the very next height on."""
    scribe.write_until(scribe.chain.tip.outlook.election_height - 1)
    assert make_header(scribe.alliance, scribe.chain.tip, []).next_committee_hash == bytes(32)
    scribe.write()
    following = scribe.chain.tip.outlook.next_committee
    assert following is not None
    header = make_header(scribe.alliance, scribe.chain.tip, [])
    assert header.next_committee_hash == following.hash(scribe.alliance.chain_id)
    wrong = replace(header, next_committee_hash=bytes(32))
    with pytest.raises(Conflict, match="WRONG_NEXT_COMMITTEE"):
        scribe.chain.append_block(certified(scribe.alliance, scribe.chain.tip, wrong, []))
