"""When a delegate's reveal is handed in (C6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.consensus.keys import ReplicaKeys
from consilium.consensus.revealing import Revealing
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.executions import Standings
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import RevealBody
from tests.alliance import Alliance, Scribe, seed_of

NAME = "anshan"
KEYS = ReplicaKeys(
    Ed25519Signer.from_seed(seed_of(f"{NAME} member")),
    Ed25519Signer.from_seed(seed_of(f"{NAME} consensus")),
    seed_of(f"{NAME} reveals"),
)
SCRIBE = Scribe(Alliance.founded())
OUTLOOK = replace(SCRIBE.chain.tip.outlook, parameters=replace(SCRIBE.chain.tip.outlook.parameters, term_blocks=1_000))
STANDINGS = Standings(0, tuple(SCRIBE.chain.members()), ())


def revealing(standings: Standings = STANDINGS, keys: ReplicaKeys = KEYS) -> Revealing:
    one = Revealing(NAME, keys)
    one.told(standings)
    return one


def test_it_lives_no_longer_than_a_transaction_may() -> None:
    """C6, L6: or every reveal of a long term would be refused, and the draw could be foretold."""
    payload = revealing().due(OUTLOOK, 7, KEYS.member)
    assert payload is not None
    assert payload.body == RevealBody(0, SCRIBE.alliance.keys[NAME].preimages[0])
    assert payload.expiry_height == 7 + OUTLOOK.parameters.expiry_blocks_max // 2
    short = replace(OUTLOOK, parameters=replace(OUTLOOK.parameters, term_blocks=20))
    brief = revealing().due(short, 7, KEYS.member)
    assert brief is not None
    assert brief.expiry_height == 27


def test_it_is_handed_in_again_until_the_ledger_shows_it() -> None:
    """C6: what a full queue has refused is not lost for the term; a hundred blocks of a thousand lie between two tries."""
    one = revealing()
    first = one.due(OUTLOOK, 7, KEYS.member)
    assert first is not None
    assert one.due(OUTLOOK, 106, KEYS.member) is None
    again = one.due(OUTLOOK, 107, KEYS.member)
    assert again is not None
    assert (again.request_id, again.body) == (first.request_id, first.body)
    one.told(replace(STANDINGS, revealed=(NAME,)))
    assert one.due(OUTLOOK, 500, KEYS.member) is None


def test_nothing_is_due_for_others_too_late_or_while_the_standings_are_of_another_epoch() -> None:
    """C6: a preimage said too early would be known before the draw it belongs to."""
    drawn = replace(OUTLOOK, next_committee=OUTLOOK.committee)
    assert revealing().due(drawn, 7, KEYS.member) is None
    assert revealing(replace(STANDINGS, epoch=1)).due(OUTLOOK, 7, KEYS.member) is None
    assert Revealing(NAME, KEYS).due(OUTLOOK, 7, KEYS.member) is None
    follower = next(name for name in SCRIBE.alliance.keys if OUTLOOK.committee.index_of(name) is None)
    other = Revealing(follower, KEYS)
    other.told(STANDINGS)
    assert other.due(OUTLOOK, 7, KEYS.member) is None


def test_a_chain_of_another_member_is_named_at_every_try_and_not_at_every_block() -> None:
    """C6: an operator sees it in the log, ten times a term."""
    one = revealing(keys=replace(KEYS, reveals=seed_of("another's")))
    with pytest.raises(FailedPrecondition, match="NO_REVEAL"):
        one.due(OUTLOOK, 7, KEYS.member)
    assert one.due(OUTLOOK, 8, KEYS.member) is None
