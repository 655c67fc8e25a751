"""Keys, numbers and version: what is adopted takes effect where all switch together (G3 to G5)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.codes import Code
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.parameters import PROTOCOL_VERSION
from consilium.kernel.transactions import (
    Grade,
    KeysAct,
    MemberAct,
    MemberAction,
    NewKeys,
    ParametersAct,
    UpgradeAct,
)
from consilium.ledger.core.acts import reach_upgrade
from consilium.ledger.core.state import LedgerState
from consilium.ledger.core.sync import BlockSync, PeerTip
from tests.alliance import GRADES, PARAMETERS, Alliance, MemberKeys, Scribe, id_of, make_block, record_body

if TYPE_CHECKING:
    from consilium.kernel.state_values import MemberState

FRESH = MemberKeys.of("fushun anew", Grade.A1).profile
KEYS = NewKeys(FRESH.member_key, FRESH.consensus_key, FRESH.reveal_anchor)


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def member(scribe: Scribe, name: str) -> MemberState:
    state = scribe.chain.member(name)
    assert state is not None
    return state


def rotate(scribe: Scribe, name: str, keys: NewKeys = KEYS) -> object:
    return scribe.govern(KeysAct(member(scribe, name).profile, keys))


# --- keys ---


def test_keys_change_with_the_next_epochs_first_block(scribe: Scribe) -> None:
    """G3: until then everything is signed and judged by the old ones; the old key speaks for nobody afterwards."""
    scribe.write_until(scribe.chain.tip.outlook.election_height)
    following = scribe.chain.tip.outlook.next_committee
    assert following is not None
    name = next(each for each in GRADES if following.index_of(each) is None)
    old = member(scribe, name).profile
    assert rotate(scribe, name) == Code.APPLIED
    assert (member(scribe, name).profile, member(scribe, name).next_keys) == (old, KEYS)
    assert scribe.write(scribe.record("r", name), member=name).codes == (Code.APPLIED,)
    scribe.cross_epoch()
    after = member(scribe, name)
    assert (after.profile.member_key, after.profile.consensus_key, after.next_keys) == (
        KEYS.member_key,
        KEYS.consensus_key,
        None,
    )
    assert after.reveal_anchor == KEYS.reveal_anchor
    elector = next(each for each in scribe.chain.tip.outlook.electorate.electors if each.member_id == name)
    assert elector.member_key == KEYS.member_key
    assert scribe.write(scribe.record("late", name), member=name).codes == (Code.FOREIGN_VOUCHER,)


def test_a_delegate_drawn_under_the_old_key_keeps_it_for_that_epoch(scribe: Scribe) -> None:
    """G3, C8: or it could contradict itself under a key nobody can be blamed for; then it is drawn under the new one."""
    scribe.write_until(scribe.chain.tip.outlook.election_height)
    following = scribe.chain.tip.outlook.next_committee
    assert following is not None
    name = following.delegates[0].member_id
    old = member(scribe, name).profile
    assert rotate(scribe, name) == Code.APPLIED
    scribe.cross_epoch()
    assert (member(scribe, name).profile.consensus_key, member(scribe, name).next_keys) == (old.consensus_key, KEYS)
    scribe.cross_epoch()
    assert (member(scribe, name).profile.consensus_key, member(scribe, name).next_keys) == (KEYS.consensus_key, None)
    committee = scribe.chain.tip.outlook.committee
    index = committee.index_of(name)
    assert index is None or committee.delegates[index].consensus_key == KEYS.consensus_key


def test_a_suspended_members_keys_change_at_once(scribe: Scribe) -> None:
    """G3: a stolen key is stopped within a block; the member comes back under its new one, and nobody under the old."""
    profile = scribe.alliance.keys["fushun"].profile
    assert scribe.govern(MemberAct(MemberAction.SUSPEND, profile)) == Code.APPLIED
    assert rotate(scribe, "fushun") == Code.APPLIED
    assert member(scribe, "fushun").profile.member_key == KEYS.member_key
    assert scribe.govern(MemberAct(MemberAction.REINSTATE, profile)) == Code.MEMBER_KEYS
    assert scribe.govern(MemberAct(MemberAction.REINSTATE, member(scribe, "fushun").profile)) == Code.APPLIED
    assert scribe.write(scribe.record("r", "fushun"), member="fushun").codes == (Code.FOREIGN_VOUCHER,)


def test_its_own_signature_does_not_change_a_members_keys(scribe: Scribe) -> None:
    """G3: a thief has it too; and nobody takes another's keys, adopted ones included."""
    profile = scribe.alliance.keys["fushun"].profile
    assert not isinstance(scribe.govern(KeysAct(profile, KEYS), ["fushun"]), Code)
    scribe.cross_epoch()
    assert member(scribe, "fushun").profile == profile
    assert scribe.govern(KeysAct(replace(profile, member_key=bytes(32)), KEYS)) == Code.MEMBER_KEYS
    taken = scribe.alliance.keys["anshan"].profile
    for wrong in (replace(KEYS, member_key=taken.member_key), replace(KEYS, consensus_key=KEYS.member_key)):
        assert scribe.govern(KeysAct(profile, wrong)) == Code.MEMBER_KEYS
    assert rotate(scribe, "fushun") == Code.APPLIED
    assert rotate(scribe, "dalian") == Code.MEMBER_KEYS
    assert scribe.govern(KeysAct(replace(profile, member_id="nobody"), KEYS)) == Code.MEMBER_UNKNOWN


# --- numbers ---


def test_numbers_change_with_an_epoch_for_everybody(scribe: Scribe) -> None:
    """G4: the outlook names those in force, which replicas go by; the next term has the new length."""
    after = replace(PARAMETERS, term_blocks=16, expiry_blocks_max=200)
    assert scribe.govern(ParametersAct(PARAMETERS, after)) == Code.APPLIED
    assert scribe.chain.tip.outlook.parameters == PARAMETERS
    assert (scribe.chain.alliance.parameters, scribe.chain.alliance.next_parameters) == (PARAMETERS, after)
    scribe.cross_epoch()
    outlook = scribe.chain.tip.outlook
    assert (outlook.parameters, outlook.term_end - outlook.epoch_start + 1) == (after, 16)
    assert (scribe.chain.alliance.parameters, scribe.chain.alliance.next_parameters) == (after, None)
    late = scribe.alliance.registration("anshan", record_body("late"), id_of("late"), scribe.chain.height + 250)
    assert scribe.write(late).codes == (Code.EXPIRES_TOO_LATE,)


def test_two_changes_side_by_side_do_not_undo_one_another(scribe: Scribe) -> None:
    """G4: the second names numbers that are not the newest any more, adopted ones included."""
    first, second = replace(PARAMETERS, term_blocks=20), replace(PARAMETERS, heartbeat_ms=2_000)
    assert scribe.govern(ParametersAct(PARAMETERS, first)) == Code.APPLIED
    assert scribe.govern(ParametersAct(PARAMETERS, second)) == Code.BAD_PARAMETERS
    assert scribe.govern(ParametersAct(first, replace(first, heartbeat_ms=2_000))) == Code.APPLIED
    scribe.cross_epoch()
    assert scribe.chain.tip.outlook.parameters == replace(PARAMETERS, term_blocks=20, heartbeat_ms=2_000)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"window_blocks": 64},
        {"term_blocks": 1},
        {"committee_target": 3},
        {"committee_target": 64},
        {"seat_shares": (1, 2, 3)},
        {"seat_shares": (0, 0, 0, 0)},
        {"pipeline_blocks": 33},
        {"view_timeout_ms": 0},
        {"view_timeout_max_ms": 3_600_001},
        {"heartbeat_ms": 15_000},
        {"batch_bytes_max": 0},
        {"batch_bytes_max": 4_000_001},
        {"ingress_batches_max": 0},
        {"expiry_blocks_max": 0},
        {"expiry_blocks_max": 63},
        {"proposals_max": 0},
        {"proposals_max": 65},
        {"proposal_blocks_max": 0},
    ],
)
def test_numbers_nobody_can_live_by_are_no_proposal(scribe: Scribe, changed: dict[str, int]) -> None:
    """G4, C5: the window never changes, for a replica that lost its log counts in windows."""
    act = ParametersAct(PARAMETERS, replace(PARAMETERS, **changed))  # type: ignore[arg-type]
    assert scribe.govern(act) == Code.BAD_PARAMETERS


# --- version ---


def upgraded(scribe: Scribe, version: int = PROTOCOL_VERSION + 1, height: int = 60) -> object:
    return scribe.govern(UpgradeAct(version, height), within=9)


def test_an_upgrade_lies_behind_all_that_may_be_under_way(scribe: Scribe) -> None:
    """G5: a window behind the last height it may be decided at; and never to a version in force."""
    assert upgraded(scribe, height=scribe.chain.height + 9 + 32) == Code.BAD_UPGRADE
    assert upgraded(scribe, version=1) == Code.BAD_UPGRADE
    assert upgraded(scribe, height=scribe.chain.height + 9 + 33) == Code.APPLIED
    assert scribe.chain.alliance.upgrade == UpgradeAct(2, 44)


def test_a_build_that_does_not_know_the_version_stops_at_its_height(scribe: Scribe) -> None:
    """G5: everything below is executed and proven, nothing from there on; the refusal says what to do."""
    assert upgraded(scribe) == Code.APPLIED
    assert scribe.chain.tip.outlook.stops_at == 60
    while scribe.chain.height < 59:
        scribe.write_until(min(59, scribe.chain.tip.outlook.term_end))
        if scribe.chain.height < 59:
            scribe.write(scribe.handover())
    block = make_block(scribe.alliance, scribe.chain.tip, [])
    with pytest.raises(FailedPrecondition, match="UPGRADE_NEEDED"):
        scribe.chain.append_block(block)
    assert scribe.chain.height == 59
    assert scribe.chain.prove_state(b"alliance").certificate.result.height == 59


def test_block_sync_asks_nobody_for_what_it_cannot_execute(scribe: Scribe) -> None:
    """G5: and bans nobody for having it."""
    tip = replace(scribe.chain.tip, height=59, outlook=replace(scribe.chain.tip.outlook, upgrade=UpgradeAct(2, 60)))
    assert BlockSync(tip, scribe.chain.chain_id, scribe.verifier).step(PeerTip("benxi", 90)) == []
    below = replace(tip, height=58)
    assert BlockSync(below, scribe.chain.chain_id, scribe.verifier).step(PeerTip("benxi", 90)) != []


def test_a_known_version_is_in_force_from_its_height_on(scribe: Scribe) -> None:
    """G5: so that a build that knows both goes by the right one."""
    state = LedgerState(scribe.alliance.genesis)
    state.put_alliance(replace(state.alliance, upgrade=UpgradeAct(2, 60)))
    reach_upgrade(state, 59)
    assert (state.alliance.protocol_version, state.alliance.upgrade) == (1, UpgradeAct(2, 60))
    reach_upgrade(state, 60)
    assert (state.alliance.protocol_version, state.alliance.upgrade) == (2, None)
