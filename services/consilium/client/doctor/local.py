"""What lies on this machine: the credential, and the room that state has left."""

import shutil
from pathlib import Path

from cryptography import x509

from consilium.client.doctor.certificates import judge_certificate
from consilium.client.doctor.findings import Finding, odd, well, wrong
from consilium.client.settings import ClientSettings
from consilium.runtime.tls import CERTIFICATE, TlsMaterial

MIB = 1_048_576
FULL_PERCENT, NEARLY_PERCENT = 5, 15
"""With less of a volume free, services stop soon, or will."""
FULL_BYTES = 256 * MIB
"""With less free, whatever the volume's size, they stop soon."""


def judge_credential(settings: ClientSettings, material: TlsMaterial, now_ms: int) -> list[Finding]:
    """The certificate that this command itself shows."""
    chain = x509.load_pem_x509_certificates((settings.credential / CERTIFICATE).read_bytes())
    expected = settings.alliance, settings.member_id, ""
    authorities = material.authorities.get(settings.member_id, ())
    return judge_certificate(chain[0], str(settings.credential), expected, authorities, now_ms)


def judge_room(folder: Path) -> Finding:
    """How much of a folder's volume is free."""
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError as error:
        return wrong(
            "disk", str(folder), f"It cannot be looked at: {error.strerror}.", "Name a folder of state that is here."
        )
    return judge_free(str(folder), total, free)


def judge_free(subject: str, total: int, free: int) -> Finding:
    """Whether so many bytes of a volume are enough."""
    percent = 100 * free // total
    told = f"{free // MIB} MiB of {total // MIB} are free, {percent} %."
    if percent < FULL_PERCENT or free < FULL_BYTES:
        advice = "Grow the volume now: a ledger or vote log that cannot write stops, so that it breaks no promise."
        return wrong("disk", subject, told, advice)
    if percent < NEARLY_PERCENT:
        return odd("disk", subject, told, "Grow the volume before it is full.")
    return well("disk", subject, told)
