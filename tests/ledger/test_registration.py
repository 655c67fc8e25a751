"""Records and their capsules (S3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.kernel.codes import RULES, Code
from consilium.kernel.transactions import MemberAct, MemberAction
from tests.alliance import Alliance, Scribe, id_of, record_body


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def test_a_record_is_registered_by_its_holder(scribe: Scribe) -> None:
    """S3."""
    assert scribe.write(scribe.record("r")).codes == (Code.APPLIED,)
    entry = scribe.chain.record(id_of("r record"))
    assert entry is not None
    assert (entry.body, entry.height) == (record_body("r"), 1)


def test_a_second_record_on_one_capsule_is_refused(scribe: Scribe) -> None:
    """S3: no second name for one capsule, whoever holds it."""
    scribe.write(scribe.record("r"))
    other = replace(record_body("s", "benxi"), capsule_digest=record_body("r").capsule_digest)
    outcome = scribe.write(scribe.signed(scribe.alliance.keys["benxi"].member, other))
    assert outcome.codes == (Code.CAPSULE_EXISTS,)
    assert RULES[Code.CAPSULE_EXISTS] == "S3"
    assert scribe.chain.record(other.record_id) is None


def test_a_record_id_is_taken_once(scribe: Scribe) -> None:
    """S3."""
    scribe.write(scribe.record("r"))
    other = replace(record_body("s", "benxi"), record_id=record_body("r").record_id)
    assert scribe.write(scribe.signed(scribe.alliance.keys["benxi"].member, other)).codes == (Code.RECORD_EXISTS,)


def test_nobody_registers_for_another_holder(scribe: Scribe) -> None:
    """S3: nor for one that is no member."""
    benxi = scribe.alliance.keys["benxi"].member
    assert scribe.write(scribe.signed(benxi, record_body("r")), scribe.signed(benxi, record_body("r", "nobody"))).codes == (
        Code.AUTHOR_NOT_HOLDER,
        Code.AUTHOR_NOT_HOLDER,
    )


def test_a_suspended_member_registers_nothing(scribe: Scribe) -> None:
    """S3: not under its own signature either."""
    keys = scribe.alliance.keys["benxi"]
    scribe.govern(MemberAct(MemberAction.SUSPEND, keys.profile))
    assert scribe.write(scribe.signed(keys.member, record_body("r", "benxi"))).codes == (Code.AUTHOR_NOT_HOLDER,)


def test_a_refused_record_takes_no_name(scribe: Scribe) -> None:
    """L8: what was refused changed nothing."""
    refused = scribe.signed(scribe.alliance.keys["benxi"].member, record_body("r"))
    assert scribe.write(refused, scribe.record("r")).codes == (Code.AUTHOR_NOT_HOLDER, Code.APPLIED)
