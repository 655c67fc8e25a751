"""Proposals from a member's own side: what is put together is what was asked for, and a wrong file is named (G1)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.client.governance import Change, Draft, draw_up, motions, named, read_motion
from consilium.client.session import Session
from consilium.kernel.errors import InvalidArgument, NotFound
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import ProposalStatus
from consilium.kernel.transactions import (
    Grade,
    GradeAct,
    KeysAct,
    MemberAct,
    MemberAction,
    MemberProfile,
    NewKeys,
    ParametersAct,
    ProposalBody,
    UpgradeAct,
)
from tests.alliance import PARAMETERS, Alliance, Scribe
from tests.client.local_member import LocalAlliance

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"member_key": "01" * 32, "consensus_key": "02" * 32, "reveal_anchor": "03" * 32}
PROFILE = {"owner_group": "county", **KEYS}


def session_of(alliance: LocalAlliance) -> Session:
    return Session(alliance.scribe.alliance.genesis, "anshan", alliance.members, Ed25519Verifier())


@pytest.fixture(scope="module")
def session() -> Session:
    return session_of(LocalAlliance())


def drawn(session: Session, draft: Draft) -> ProposalBody:
    return asyncio.run(draw_up(session, draft))


def test_grade_is_drawn_up(session: Session, tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(b"the authority's letter")
    draft = Draft(Change.GRADE, "benxi", "A2", 900, evidence=tmp_path / "letter", within=20)
    body = drawn(session, draft)
    assert body == ProposalBody(GradeAct("benxi", Grade.A2, 900), sha256(b"the authority's letter"), session.height + 20)


def test_suspension_names_the_member_as_the_ledger_proves_it(session: Session) -> None:
    body = drawn(session, Draft(Change.SUSPEND, "benxi"))
    assert isinstance(body.act, MemberAct)
    assert (body.act.action, body.evidence_digest) == (MemberAction.SUSPEND, ZERO_DIGEST)
    assert body.act.profile == asyncio.run(session.member("benxi")).profile
    assert body.decide_by == session.height + 100_000


def test_admission_takes_its_profile_from_a_file(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "profile"
    path.write_text(json.dumps(PROFILE))
    profile = MemberProfile("dandong", "county", Grade.UNGRADED, b"\1" * 32, b"\2" * 32, b"\3" * 32)
    assert drawn(session, Draft(Change.ADMIT, "dandong", profile=path)).act == MemberAct(MemberAction.ADMIT, profile)


def test_new_keys_name_those_in_force(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(json.dumps(KEYS))
    profile = asyncio.run(session.member("benxi")).profile
    act = KeysAct(profile, NewKeys(b"\1" * 32, b"\2" * 32, b"\3" * 32))
    assert drawn(session, Draft(Change.KEYS, "benxi", keys=path)).act == act


def test_numbers_are_changed_by_name(session: Session) -> None:
    before = asyncio.run(session.alliance()).parameters
    draft = Draft(Change.PARAMETERS, numbers=("term_blocks=44", "seat_shares=1,2,3,4"))
    after = replace(before, term_blocks=44, seat_shares=(1, 2, 3, 4))
    assert drawn(session, draft).act == ParametersAct(before, after)


def test_an_upgrade_is_decided_a_window_before_its_height(session: Session) -> None:
    """G5: who does not know the version has a window's blocks to hear of it."""
    body = drawn(session, Draft(Change.UPGRADE, version=2, height=500))
    assert (body.act, body.decide_by) == (UpgradeAct(2, 500), 500 - 32 - 1)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "[" * 100_000,
        json.dumps({**PROFILE, "owner_group": 7}),
        json.dumps({**PROFILE, "member_key": "01" * 31}),
        json.dumps({**PROFILE, "consensus_key": "key"}),
        json.dumps({**PROFILE, "consensus_key": 7}),
        json.dumps({name: PROFILE[name] for name in PROFILE if name != "owner_group"}),
    ],
)
def test_nothing_else_passes_for_a_profile(session: Session, tmp_path: Path, data: str) -> None:
    path = tmp_path / "profile"
    path.write_text(data)
    with pytest.raises(InvalidArgument, match="BAD_PROPOSAL"):
        drawn(session, Draft(Change.ADMIT, "dandong", profile=path))


@pytest.mark.parametrize(
    "draft",
    [
        Draft(Change.GRADE, "benxi", "A2"),
        Draft(Change.GRADE, "benxi", "A9", 900),
        Draft(Change.GRADE, "benxi", "A2", 900),
        Draft(Change.ADMIT, "dandong"),
        Draft(Change.SUSPEND),
        Draft(Change.KEYS, "benxi"),
        Draft(Change.UPGRADE, version=2),
        Draft(Change.PARAMETERS),
        Draft(Change.PARAMETERS, numbers=("colour=1",)),
        Draft(Change.PARAMETERS, numbers=("term_blocks=-1",)),
        Draft(Change.PARAMETERS, numbers=("term_blocks",)),
        Draft(Change.PARAMETERS, numbers=("term_blocks=100,200",)),
        Draft(Change.PARAMETERS, numbers=("term_blocks=" + "9" * 5_000,)),
    ],
)
def test_what_is_missing_is_named(session: Session, draft: Draft) -> None:
    with pytest.raises(InvalidArgument, match="BAD_PROPOSAL"):
        drawn(session, draft)


@pytest.mark.parametrize("number", ["term_blocks=1", "committee_target=3", "heartbeat_ms=99999999", "seat_shares=1,2,3"])
def test_numbers_nobody_can_live_by_are_refused(session: Session, number: str) -> None:
    """G4: here already, with the sentence that says why."""
    with pytest.raises(InvalidArgument, match="BAD_PARAMETERS"):
        drawn(session, Draft(Change.PARAMETERS, numbers=(number,)))


def test_what_is_signed_here_lives_no_longer_than_the_alliance_allows() -> None:
    """L6, G4: with the shortest life a majority may set it is half of that, or nobody could vote it longer again."""
    short = replace(PARAMETERS, expiry_blocks_max=64)
    alliance = LocalAlliance(Scribe(Alliance.founded(parameters=short)))
    assert asyncio.run(session_of(alliance).expiry_height()) == alliance.scribe.chain.height + 32


def test_unknown_member_is_not_suspended(session: Session) -> None:
    with pytest.raises(NotFound, match="UNKNOWN_MEMBER"):
        drawn(session, Draft(Change.SUSPEND, "nobody"))


def test_motions_are_read_under_proof_and_named_by_how_they_begin() -> None:
    """G1: counted by the members active now; closed ones are shown on demand."""
    alliance = LocalAlliance()
    scribe, session = alliance.scribe, session_of(alliance)
    profiles = {name: keys.profile for name, keys in scribe.alliance.keys.items()}
    first, *_ = scribe.motion(MemberAct(MemberAction.SUSPEND, profiles["fushun"]), ["benxi"])
    closed = scribe.motion(MemberAct(MemberAction.SUSPEND, profiles["dalian"]), ["anshan", "benxi", "chaoyang", "fushun"])
    scribe.write(first, *closed)

    async def story() -> None:
        (motion,) = await motions(session)
        assert (motion.proposal_id, motion.active, motion.yes, motion.no, motion.yes_needed) == (
            leaf_hash(first),
            4,
            1,
            0,
            3,
        )
        assert len(await motions(session, closed=True)) == 2
        assert (await read_motion(session, leaf_hash(closed[0]))).state.status is ProposalStatus.ADOPTED
        assert await named(session, leaf_hash(first).hex()[:12]) == leaf_hash(first)
        for wrong in (leaf_hash(first).hex()[:7], "00" * 32):
            with pytest.raises(NotFound, match="NO_SUCH_PROPOSAL"):
                await named(session, wrong)
        with pytest.raises(NotFound, match="NO_SUCH_PROPOSAL"):
            await read_motion(session, bytes(32))

    asyncio.run(story())
