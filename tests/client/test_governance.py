"""Proposals from a member's own side: what is signed is what is read, and a wrong file is named (L2)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from consilium.client.governance import Change, Draft, draw_up, read_member_key
from consilium.client.session import Session
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Grade, GradeBody, MemberAction, MemberBody, MemberProfile
from tests.client.local_member import LocalAlliance

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = {
    "owner_group": "county",
    "grade": "B2",
    "member_key": "01" * 32,
    "consensus_key": "02" * 32,
    "reveal_anchor": "03" * 32,
}


@pytest.fixture(scope="module")
def session() -> Session:
    alliance = LocalAlliance()
    return Session(alliance.scribe.alliance.genesis, "anshan", alliance.members, Ed25519Verifier())


def drawn(session: Session, draft: Draft) -> MemberBody | GradeBody:
    return asyncio.run(draw_up(session, draft))


def test_grade_is_drawn_up(session: Session, tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(b"the authority's letter")
    draft = Draft(Change.GRADE, "benxi", "A2", 900, evidence=tmp_path / "letter")
    assert drawn(session, draft) == GradeBody("benxi", Grade.A2, sha256(b"the authority's letter"), 900)


def test_suspension_names_the_member_as_the_ledger_proves_it(session: Session) -> None:
    body = drawn(session, Draft(Change.SUSPEND, "benxi"))
    assert isinstance(body, MemberBody)
    assert (body.action, body.profile.member_id, body.evidence_digest) == (MemberAction.SUSPEND, "benxi", ZERO_DIGEST)
    assert body.profile == asyncio.run(session.member("benxi")).profile


def test_admission_takes_its_profile_from_a_file(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "profile"
    path.write_text(json.dumps(PROFILE))
    body = drawn(session, Draft(Change.ADMIT, "dandong", profile=path))
    assert body == MemberBody(
        MemberAction.ADMIT,
        MemberProfile("dandong", "county", Grade.B2, b"\1" * 32, b"\2" * 32, b"\3" * 32),
        ZERO_DIGEST,
    )


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "[" * 100_000,
        json.dumps({**PROFILE, "grade": "A9"}),
        json.dumps({**PROFILE, "member_key": "01" * 31}),
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
    [Draft(Change.GRADE, "benxi", "A2"), Draft(Change.GRADE, "benxi", "A9", 900), Draft(Change.ADMIT, "dandong")],
)
def test_what_is_missing_is_named(session: Session, draft: Draft) -> None:
    with pytest.raises(InvalidArgument, match="BAD_PROPOSAL"):
        drawn(session, draft)


def test_unknown_member_is_not_suspended(session: Session) -> None:
    with pytest.raises(NotFound, match="UNKNOWN_MEMBER"):
        drawn(session, Draft(Change.SUSPEND, "nobody"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_member_key_has_32_bytes(tmp_path: Path, length: int) -> None:
    (tmp_path / "member").write_bytes(bytes(length))
    (tmp_path / "member").chmod(0o600)
    with pytest.raises(InvalidArgument, match="BAD_MEMBER_KEY"):
        read_member_key(tmp_path / "member")


def test_member_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "member").write_bytes(bytes(32))
    (tmp_path / "member").chmod(0o640)
    with pytest.raises(FailedPrecondition, match="OPEN_TO_OTHERS"):
        read_member_key(tmp_path / "member")
