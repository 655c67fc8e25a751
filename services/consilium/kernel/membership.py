"""Who may call what, judged on every call (design section 8: a connection outlives certificates and memberships).

A certificate says who calls, and its member's authority vouches for it. Four things are judged here besides, always in this
order: the certificate's time, whether its own member has revoked it, what the method admits, and where the caller's member
stands on the ledger.

Where a revocation is known. A member's standing is on the ledger and counts everywhere at once. A revoked certificate is the
issuing member's own affair: its services read the list that its identity service writes beside their TLS files. Other
members accept the certificate until it ends, which is why certificates are short, and why what a person asks the alliance
for (a request, a grant) goes in through the person's own member.

The member's own callers are not held against the ledger: its services must reach one another before it is admitted, and
while it is suspended, or it could never follow the chain to its reinstatement. The others judge what it does.
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from consilium.kernel.errors import Malformed, PermissionDenied
from consilium.kernel.state_values import MemberState, MemberStatus

SERVICES = ("consensus", "identity", "ledger", "reencryption", "storage")
"""The names of a member's five services in their certificates."""
MONITORING = "monitoring"
"""The name in the certificate that Prometheus reads the metrics ports with. It is no service: no method admits it."""
APPLICATION_PREFIX = "application."
"""Begins the names of a member's applications, which stand among its services in certificates; no service has a dot."""
_SERIAL_LINE = re.compile(r"[0-9a-f]{32}")


class CallerRole(StrEnum):
    """What a caller is to its member."""

    SERVICE = "service"
    APPLICATION = "application"
    STAFF = "staff"
    PATIENT = "patient"


class Caller(Protocol):
    """Who calls, as a verified certificate says; `not_after` in seconds since 1970-01-01 UTC."""

    @property
    def member_id(self) -> str:
        """The member whose authority vouches."""

    @property
    def role(self) -> str:
        """`service`, `staff` or `patient`."""

    @property
    def name(self) -> str:
        """A service's name, or a pseudonym."""

    @property
    def serial(self) -> int:
        """The certificate's serial number, the issuing member's own."""

    @property
    def not_after(self) -> int:
        """The certificate's end."""


@dataclass(frozen=True, slots=True)
class Admits:
    """Some callers that a method admits: of one role, of the own member unless `foreign`, with one of `names` if any.

    `suspended` lets in callers of suspended members too: for reading the chain, which they have to follow.
    """

    role: CallerRole
    foreign: bool = False
    names: tuple[str, ...] = ()
    suspended: bool = False


def judge_caller(
    caller: Caller,
    admitted: Iterable[Admits],
    home: str,
    member: MemberState | None,
    revoked: Container[int],
    now_ms: int,
) -> None:
    """Raise PermissionDenied unless the method admits this caller, now.

    `home` is the member that is called, `member` what the ledger says of the caller's (not asked for the own), `revoked` the
    serial numbers that `home` itself has revoked. Reasons: EXPIRED, REVOKED, NOT_A_MEMBER, WRONG_ROLE, SUSPENDED.
    """
    if now_ms > caller.not_after * 1_000:
        raise PermissionDenied("EXPIRED", "The caller's certificate has expired; fetch a new one.")
    own = caller.member_id == home
    if own and caller.serial in revoked:
        raise PermissionDenied("REVOKED", "The caller's credential was revoked by its member.")
    if not own and (member is None or member.status is MemberStatus.EXPELLED):
        raise PermissionDenied("NOT_A_MEMBER", f"{caller.member_id} is no member of this alliance.")
    fitting = [each for each in admitted if _admits(each, caller, own=own)]
    if not fitting:
        whose = "this member's own" if own else "another member's"
        raise PermissionDenied("WRONG_ROLE", f"This method is not for {whose} {role_of(caller)}.")
    active = own or (member is not None and member.is_active)
    if not active and not any(each.suspended for each in fitting):
        raise PermissionDenied("SUSPENDED", f"{caller.member_id} is suspended: it may follow the chain and no more.")


def role_of(caller: Caller) -> CallerRole:
    """What the caller is to its member."""
    if caller.role == CallerRole.SERVICE and caller.name.startswith(APPLICATION_PREFIX):
        return CallerRole.APPLICATION
    return CallerRole(caller.role)


def revocation_list(serials: Iterable[int]) -> bytes:
    """The list of revoked serial numbers as the services of their member read it: one of 32 hexadecimal digits a line."""
    return "".join(f"{each:032x}\n" for each in sorted(serials)).encode()


def read_revocation_list(data: bytes) -> tuple[int, ...]:
    """The serial numbers of a list. Raises Malformed: BAD_REVOCATION_LIST."""
    lines = data.decode("ascii", "replace").splitlines()
    if not all(_SERIAL_LINE.fullmatch(each) for each in lines) or (data and not data.endswith(b"\n")):
        raise Malformed("BAD_REVOCATION_LIST", "A list of revoked serial numbers has 32 hexadecimal digits a line.", "L1")
    return tuple(int(each, 16) for each in lines)


def _admits(admits: Admits, caller: Caller, *, own: bool) -> bool:
    if admits.role is not role_of(caller) or not (own or admits.foreign):
        return False
    return caller.name in (admits.names or SERVICES) or (not admits.names and admits.role is not CallerRole.SERVICE)
