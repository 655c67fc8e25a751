"""What the identity service can be told; the fields of every server are in `runtime.server`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consilium.identity.core.credentials import VALIDITY_S_MAX, VALIDITY_S_MIN, CredentialKind, Policy
from consilium.kernel.membership import MONITORING, SERVICES
from consilium.runtime.server import ServerSettings
from consilium.runtime.settings import setting

DAY_S = 86_400
ROLES = ("physician", "nurse", "pharmacist", "records")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings(ServerSettings):
    """The settings of the identity service."""

    SECTION: ClassVar[str] = "identity"

    genesis: Path = setting(Path("genesis"), "The alliance's genesis file.")
    member_key: Path = setting(
        Path("keys/member"), "The member's Ed25519 key, 32 bytes, mode 0600; next/ beside it for a new one."
    )
    state_directory: Path = setting(Path("identity"), "Where the authority and the store of credentials lie.")
    tls_directory: Path = setting(Path("tls/identity"), "Where this service's own TLS files lie.")
    services_directory: Path = setting(Path("tls"), "Below which each service has a folder of TLS files, kept current.")
    services: tuple[str, ...] = setting(
        (*SERVICES, MONITORING), "Whose TLS files are kept current, those of monitoring included; none for other means."
    )
    authorities_directory: Path = setting(Path("authorities"), "Where members exchange the files of their authorities.")
    ledger_address: str = setting("127.0.0.1:0", "The member's own ledger, host:port.")
    consensus_address: str = setting("127.0.0.1:0", "The member's own consensus, host:port.")
    roles: tuple[str, ...] = setting(ROLES, "The words for roles, besides administrator and registrar.")
    authority_validity_days: int = setting(365, "The validity of an authority in days.", least=120, most=3_650)
    service_validity_s: int = setting(
        VALIDITY_S_MAX, "Of a service's certificate, in seconds.", least=VALIDITY_S_MIN, most=VALIDITY_S_MAX
    )
    staff_validity_s_max: int = setting(
        7 * DAY_S, "The longest of a staff credential.", least=VALIDITY_S_MIN, most=VALIDITY_S_MAX
    )
    patient_validity_s_max: int = setting(
        VALIDITY_S_MAX, "The longest of a patient's.", least=VALIDITY_S_MIN, most=VALIDITY_S_MAX
    )
    application_validity_s_max: int = setting(
        VALIDITY_S_MAX, "Of an application's.", least=VALIDITY_S_MIN, most=VALIDITY_S_MAX
    )
    kubernetes_secrets: str = setting(
        "", "The release whose Secrets, Lease and conditions are kept in this pod's namespace; empty outside Kubernetes."
    )
    kubernetes_issuer: bool = setting(
        default=False,
        says="Whether the authority that issues is kept in Secret <release>-authority, for an Issuer.",
    )
    interval_s: int = setting(10, "How often, in seconds, files and proposals are looked after.", least=1, most=3_600)


def policy_of(settings: IdentitySettings) -> Policy:
    """What the member allows."""
    longest = {
        CredentialKind.STAFF: settings.staff_validity_s_max,
        CredentialKind.PATIENT: settings.patient_validity_s_max,
        CredentialKind.APPLICATION: settings.application_validity_s_max,
    }
    return Policy(settings.member_id, settings.roles, longest)
