"""How a member's identity begins.

`found` makes what must exist once: the authority, the store, the services' first certificates, and the first administrator's
credential, with which everybody else is enrolled. It refuses where there is a store already. Every member's `found` comes
first, then every member's `publish`, so that all services start with all authorities; nobody has to call anybody for it.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from consilium.identity.authority import private_pem, read_certification_request, to_pem
from consilium.identity.core.credentials import ADMINISTRATOR, CredentialKind, CredentialRequest
from consilium.identity.enrolment import Enrolment
from consilium.identity.generations import Generations
from consilium.identity.keeping import FileKeeper
from consilium.identity.settings import IdentitySettings, policy_of
from consilium.identity.store import DatabaseRows, IdentityStore
from consilium.identity.tls_folders import TlsFolders, is_due
from consilium.identity.trust import TrustedAuthorities
from consilium.kernel.chain import Genesis
from consilium.kernel.errors import Conflict, InvalidArgument
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from consilium.runtime.clock import DAY_MS, wall_ms
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.member_key import read_seeds
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY, SIGNING_KEY
from consilium.runtime.whole_files import write_atomically

STORE, AUTHORITY = "identity.db", "authority"
ADMINISTRATOR_FOLDER = "administrator"
FIRST_KEY, FIRST_CERTIFICATE = "authority.key", "authority.crt"
"""The files, beside the member key, of a first authority that was drawn with it (ADR 22)."""


def found(settings: IdentitySettings) -> None:
    """Make a member's authority and store, its services' certificates, and the first administrator's credential.

    The authority is the one drawn with the member key, where that lies beside it. Raises Conflict: STORE_EXISTS; DataLoss:
    BAD_AUTHORITY; InvalidArgument: BAD_MEMBER_KEY, BAD_GENESIS or BAD_SETTING.
    """
    if (settings.state_directory / STORE).exists():
        raise Conflict("STORE_EXISTS", f"{settings.state_directory} holds a member's identity already.")
    settings.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    genesis = read_genesis(settings.genesis)
    _check_founder(settings, genesis)
    generations, drawn = _generations(settings, genesis), settings.member_key.parent
    generations.begin(drawn / FIRST_KEY, drawn / FIRST_CERTIFICATE)
    generations.renew(wall_ms(), settings.authority_validity_days * DAY_MS)
    DatabaseRows.create(settings.state_directory / STORE).close()
    administer(settings)
    publish(settings)


def publish(settings: IdentitySettings) -> None:
    """Write the services' TLS files as they should be now; raises as `file_keeper`.

    Whom to trust is taken from genesis at a member's beginning, and where the files that tell it are lost; and left as it
    is else.
    """
    with opened(settings) as store:
        genesis = read_genesis(settings.genesis)
        is_told = all((settings.services_directory / each / AUTHORITIES).exists() for each in settings.services)
        keys = (
            None if is_told and store.known().member_ids else {each.member_id: each.member_key for each in genesis.members}
        )
        file_keeper(settings, genesis, store).keep(keys)


def administer(settings: IdentitySettings) -> None:
    """Issue an administrator's credential, for who has lost the last; raises as `file_keeper`."""
    with opened(settings) as store:
        _administer(settings, file_keeper(settings, read_genesis(settings.genesis), store).enrolment)


@contextmanager
def opened(settings: IdentitySettings) -> Iterator[IdentityStore]:
    """The member's store. Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED."""
    store = IdentityStore(DatabaseRows.open(settings.state_directory / STORE), read_genesis(settings.genesis).chain_id)
    try:
        yield store
    finally:
        store.close()


def file_keeper(settings: IdentitySettings, genesis: Genesis, store: IdentityStore) -> FileKeeper:
    """What keeps the member's files, over its open store.

    Raises DataLoss: BAD_AUTHORITY; InvalidArgument: BAD_MEMBER_KEY or BAD_SETTING.
    """
    if not store.known().member_ids:  # later the ledger names the key, and it may have changed (G3)
        _check_founder(settings, genesis)
    return FileKeeper(
        settings.member_id,
        Enrolment(store, _generations(settings, genesis), policy_of(settings), genesis.chain_id),
        TrustedAuthorities(settings.alliance, genesis.chain_id, Ed25519Verifier()),
        TlsFolders(settings.services_directory, settings.services, settings.service_validity_s),
        settings.authorities_directory,
        settings.authority_validity_days * DAY_MS,
    )


def renew_administrator(settings: IdentitySettings, enrolment: Enrolment) -> None:
    """Replace the administrator's credential that lies here when it is missing, revoked, or near its end."""
    if is_due(settings.state_directory / ADMINISTRATOR_FOLDER / CERTIFICATE, enrolment, wall_ms()):
        _administer(settings, enrolment)


def _administer(settings: IdentitySettings, enrolment: Enrolment) -> None:
    """Issue an administrator's credential into `administrator/`."""
    folder = settings.state_directory / ADMINISTRATOR_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    key, signer = ec.generate_private_key(ec.SECP256R1()), Ed25519Signer.from_seed(secrets.token_bytes(32))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    tls_key = read_certification_request(request.public_bytes(Encoding.DER))
    name = _administrator(folder / CERTIFICATE, enrolment)
    asked = CredentialRequest(
        secrets.token_bytes(16), CredentialKind.STAFF, tls_key, signer.public_key, ADMINISTRATOR, 0, name
    )
    credential = enrolment.issue(asked)
    own = enrolment.generations.issuing(wall_ms())
    write_atomically(folder / KEY, private_pem(key))
    write_atomically(folder / SIGNING_KEY, signer.to_secret_bytes())
    write_atomically(folder / CERTIFICATE, to_pem(credential.certificate))
    write_atomically(folder / AUTHORITIES, own.pem)


def _administrator(path: Path, enrolment: Enrolment) -> str:
    """The pseudonym of the certificate that lies here, which the next one follows; "" when there is none to read."""
    try:
        serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
    except (OSError, ValueError):
        return ""
    holder = enrolment.holder(serial)
    return "" if holder is None else holder.terms.name


def _generations(settings: IdentitySettings, genesis: Genesis) -> Generations:
    """The authorities, with the member key and the one that it goes over to, if that lies in `next` beside it (G3)."""
    signers = [Ed25519Signer.from_seed(each) for each in read_seeds(settings.member_key)]
    folder = settings.state_directory / AUTHORITY
    return Generations(folder, settings.alliance, settings.member_id, signers, genesis.chain_id)


def _check_founder(settings: IdentitySettings, genesis: Genesis) -> None:
    """Raise InvalidArgument: BAD_SETTING for a founder's key that genesis does not name; the ledger names later ones."""
    named = [each.member_key for each in genesis.members if each.member_id == settings.member_id]
    if named not in ([], [Ed25519Signer.from_seed(read_seeds(settings.member_key)[0]).public_key]):
        raise InvalidArgument("BAD_SETTING", f"{settings.member_key} is not the key genesis names for {settings.member_id}.")
