"""Who may call what: every refusal with its reason, in one order (design section 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from consilium.kernel.errors import Malformed, PermissionDenied
from consilium.kernel.membership import (
    MONITORING,
    SERVICES,
    Admits,
    CallerRole,
    judge_caller,
    read_revocation_list,
    revocation_list,
    role_of,
)
from consilium.kernel.state_values import MemberState, MemberStatus
from tests.alliance import Alliance

HOME, AWAY = "anshan", "benxi"
ENDS_S = 1_800_000_000
PROFILE = Alliance.founded().keys[AWAY].profile
MEMBER = MemberState(PROFILE, MemberStatus.ACTIVE, None, PROFILE.reveal_anchor, 700, 0, tombstoned=False)
STAFF_HERE = (Admits(CallerRole.STAFF),)
STAFF_ANYWHERE = (Admits(CallerRole.STAFF, foreign=True),)
READING = (Admits(CallerRole.STAFF, foreign=True, suspended=True),)


@dataclass(frozen=True)
class Caller:
    """Who calls."""

    member_id: str = HOME
    role: str = "staff"
    name: str = "ab"
    serial: int = 7
    not_after: int = ENDS_S


def refused(caller: Caller, admitted: tuple[Admits, ...], member: MemberState | None, revoked: tuple[int, ...] = ()) -> str:
    """The reason a caller is refused with, "" for none."""
    try:
        judge_caller(caller, admitted, HOME, member, revoked, ENDS_S * 1_000)
    except PermissionDenied as error:
        return error.reason
    return ""


def standing(status: MemberStatus) -> MemberState:
    """The other member, standing so."""
    return replace(MEMBER, status=status)


ABROAD = Caller(AWAY)


@pytest.mark.parametrize(
    ("caller", "admitted", "member", "reason"),
    [
        (Caller(), STAFF_HERE, None, ""),
        (Caller(), STAFF_ANYWHERE, standing(MemberStatus.EXPELLED), ""),
        (ABROAD, STAFF_ANYWHERE, MEMBER, ""),
        (ABROAD, STAFF_HERE, MEMBER, "WRONG_ROLE"),
        (ABROAD, STAFF_ANYWHERE, None, "NOT_A_MEMBER"),
        (ABROAD, READING, standing(MemberStatus.EXPELLED), "NOT_A_MEMBER"),
        (ABROAD, STAFF_ANYWHERE, standing(MemberStatus.SUSPENDED), "SUSPENDED"),
        (ABROAD, READING, standing(MemberStatus.SUSPENDED), ""),
        (ABROAD, STAFF_HERE, standing(MemberStatus.SUSPENDED), "WRONG_ROLE"),
        (Caller(not_after=ENDS_S - 1), STAFF_HERE, None, "EXPIRED"),
        (Caller(role="patient"), STAFF_HERE, None, "WRONG_ROLE"),
        (Caller(role="service"), STAFF_HERE, None, "WRONG_ROLE"),
        (Caller(), (), None, "WRONG_ROLE"),
    ],
)
def test_judge_caller(caller: Caller, admitted: tuple[Admits, ...], member: MemberState | None, reason: str) -> None:
    assert refused(caller, admitted, member) == reason


def test_a_revoked_serial_number_is_the_issuers_alone() -> None:
    """Two authorities may draw one number; a member's list says nothing about another's certificates."""
    assert refused(Caller(), STAFF_HERE, None, (7,)) == "REVOKED"
    assert refused(Caller(serial=8), STAFF_HERE, None, (7,)) == ""
    assert refused(ABROAD, STAFF_ANYWHERE, MEMBER, (7,)) == ""


def test_services_by_name() -> None:
    only_ledger = (Admits(CallerRole.SERVICE, foreign=True, names=("ledger",)),)
    assert refused(Caller(AWAY, "service", "ledger"), only_ledger, MEMBER) == ""
    assert refused(Caller(AWAY, "service", "storage"), only_ledger, MEMBER) == "WRONG_ROLE"


def test_an_application_is_no_service() -> None:
    """Both stand as `service` in certificates; only the five have names without a dot."""
    application = Caller(role="service", name="application.ledger")
    assert role_of(application) is CallerRole.APPLICATION
    assert refused(application, (Admits(CallerRole.SERVICE),), None) == "WRONG_ROLE"
    assert not any("." in each for each in SERVICES)


def test_revocation_list_there_and_back() -> None:
    serials = (2**128 - 1, 5, 1 << 100)
    assert read_revocation_list(revocation_list(serials)) == tuple(sorted(serials))
    assert read_revocation_list(b"") == ()


@pytest.mark.parametrize("data", [b"5\n", b"0" * 32, b"0" * 31 + b"g\n", b"\n", b"\xff" * 32 + b"\n"])
def test_a_torn_revocation_list_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed, match="BAD_REVOCATION_LIST"):
        read_revocation_list(data)


@pytest.mark.parametrize("role", CallerRole)
def test_monitoring_reads_metrics_and_calls_nothing(role: CallerRole) -> None:
    """Design section 8: its certificate is a service's, and no method is for it, even where all services may call."""
    everybody = (Admits(role), Admits(role, foreign=True, suspended=True))
    assert refused(Caller(role="service", name=MONITORING), everybody, None) == "WRONG_ROLE"
    assert refused(Caller(AWAY, role="service", name=MONITORING), everybody, MEMBER) == "WRONG_ROLE"
    assert refused(Caller(role="service", name="ledger"), (Admits(CallerRole.SERVICE),), None) == ""
