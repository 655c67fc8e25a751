"""Whether a certificate is the right one: its end, its names, its authority (design section 8). Pure but for X.509."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509

from consilium.client.doctor.findings import Finding, odd, well, wrong
from consilium.kernel.errors import Unauthenticated
from consilium.runtime.authorities import NO_CERTIFICATE, is_issued_by, uri_of
from consilium.runtime.names import Role, parse_peer_uri

CHECK = "certificate"
DUE_PARTS = 4
"""A certificate is renewed when a third of its time is left; with less than a quarter left, that has not happened."""
_RENEWAL = "Its member's identity service renews it: see that it runs, and that what it writes reaches the service."


def judge_shown(
    shown: bytes, subject: str, expected: tuple[str, str, str], authorities: Sequence[x509.Certificate], now_ms: int
) -> list[Finding]:
    """The same of what a stranger shows (DER): whatever that is, it is judged."""
    try:
        return judge_certificate(x509.load_der_x509_certificate(shown), subject, expected, authorities, now_ms)
    except NO_CERTIFICATE as error:
        told = f"What is shown as a certificate cannot be read ({error})."
        return [
            wrong(CHECK, subject, told, "Something else answers there: compare the address with the member's own settings.")
        ]


def judge_certificate(
    certificate: x509.Certificate,
    subject: str,
    expected: tuple[str, str, str],
    authorities: Sequence[x509.Certificate],
    now_ms: int,
) -> list[Finding]:
    """What is to be said of the certificate that should name (alliance, member, service); "" for any bearer of the member.

    Of authorities there are none where they could not be learned; then nothing is said of the issuer.
    """
    named = _names(certificate, subject, expected)
    if named is not None:
        return [named]
    if authorities and not any(is_issued_by(certificate, each) for each in authorities):
        told = f"was not issued by an authority that {expected[1]}'s member key stands behind"
        advice = "After a restore or a new founding of that member: consilium member show, and its identity service's log."
        return [wrong(CHECK, subject, f"The certificate {told}.", advice)]
    return [_time(certificate, subject, datetime.fromtimestamp(now_ms / 1_000, UTC))]


def _names(certificate: x509.Certificate, subject: str, expected: tuple[str, str, str]) -> Finding | None:
    alliance, member_id, service = expected
    try:
        found = parse_peer_uri(uri_of(certificate))
    except (Unauthenticated, x509.ExtensionNotFound):
        told = f"The certificate names nobody of the alliance {alliance}."
        return wrong(
            CHECK, subject, told, "Something else answers at this address: compare it with the member's own settings."
        )
    wanted_role = found[2] is Role.SERVICE or not service
    if found[0] == alliance and found[1] == member_id and wanted_role and service in ("", found[3]):
        return None
    told = f"The certificate is of {found[1]}/{found[3]} in the alliance {found[0]}."
    return wrong(CHECK, subject, told, f"The address is not that of {member_id}/{service}: put it right in the settings.")


def _time(certificate: x509.Certificate, subject: str, now: datetime) -> Finding:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    told = f"{ends:%F %T} UTC"
    if now > ends:
        return wrong(CHECK, subject, f"The certificate ended at {told}.", _RENEWAL)
    if now < begins:
        advice = "Compare this machine's clock with the right time; certificates begin ten minutes before their issue."
        return wrong(CHECK, subject, f"The certificate begins only at {begins:%F %T} UTC.", advice)
    if (ends - now) * DUE_PARTS < ends - begins:
        return odd(CHECK, subject, f"The certificate ends at {told} and has not been renewed yet.", _RENEWAL)
    return well(CHECK, subject, f"Right name and authority; valid until {told}.")
