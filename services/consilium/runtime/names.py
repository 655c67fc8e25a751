"""Names in certificates: one URI says which alliance, which member, what role, who (design section 8; SPIFFE ID, section 2).

`spiffe://<alliance>/member/<member>/<service|staff|patient>/<name>` is a bearer; `spiffe://<alliance>/member/<member>` is
that member's authority. A service's certificate also carries the DNS name `<service>.<member>.<alliance>`, wherever it
runs, so that a client checks whom it reached and not where.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from consilium.kernel.errors import InvalidArgument, Unauthenticated

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ALLIANCE = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PEER_URI = re.compile(rf"spiffe://({_ALLIANCE})/member/({_LABEL})/(service|staff|patient)/([A-Za-z0-9._-]{{1,64}})")
_AUTHORITY_URI = re.compile(rf"spiffe://({_ALLIANCE})/member/({_LABEL})")


class Role(StrEnum):
    """What a certificate's bearer is to its member."""

    SERVICE = "service"
    STAFF = "staff"
    PATIENT = "patient"


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who calls, as its certificate says and its member's authority signed; `not_after` in seconds since 1970-01-01 UTC."""

    member_id: str
    role: Role
    name: str
    serial: int
    not_after: int

    def verify_valid_at(self, now: int) -> None:
        """Raise Unauthenticated: CERTIFICATE_EXPIRED when its time is over, which an open connection outlives."""
        if now > self.not_after:
            raise Unauthenticated("CERTIFICATE_EXPIRED", "The caller's certificate has expired; fetch a new one.")


def peer_uri(alliance: str, member_id: str, role: Role, name: str) -> str:
    """The URI for a bearer's certificate. Raises InvalidArgument: BAD_NAME for what could not be read back."""
    uri = f"spiffe://{alliance}/member/{member_id}/{role}/{name}"
    return _well_formed(uri, _PEER_URI)


def authority_uri(alliance: str, member_id: str) -> str:
    """The URI for the certificate of a member's authority. Raises InvalidArgument: BAD_NAME."""
    return _well_formed(f"spiffe://{alliance}/member/{member_id}", _AUTHORITY_URI)


def server_name(alliance: str, member_id: str, service: str) -> str:
    """The DNS name in a service's certificate."""
    return f"{service}.{member_id}.{alliance}"


def parse_peer_uri(uri: str) -> tuple[str, str, Role, str]:
    """Alliance, member, role and name out of a bearer's URI. Raises Unauthenticated: BAD_IDENTITY."""
    match = _PEER_URI.fullmatch(uri)
    if match is None:
        raise Unauthenticated("BAD_IDENTITY", "The caller's certificate names nobody of an alliance in one SPIFFE URI.")
    return match[1], match[2], Role(match[3]), match[4]


def member_of_authority(uri: str, alliance: str) -> str:
    """The member whose authority a URI names. Raises InvalidArgument: BAD_NAME unless it is one of this alliance."""
    match = _AUTHORITY_URI.fullmatch(uri)
    if match is None or match[1] != alliance:
        raise InvalidArgument("BAD_NAME", f"{uri!r} names no member's authority in the alliance {alliance}.")
    return match[2]


def _well_formed(uri: str, form: re.Pattern[str]) -> str:
    if form.fullmatch(uri) is None:
        raise InvalidArgument(
            "BAD_NAME",
            f"{uri!r} cannot stand in a certificate: alliance (lower case) and member are at most 63 letters, digits and "
            "inner dashes; the last part is at most 64 letters, digits, dots, dashes and underscores.",
        )
    return uri
