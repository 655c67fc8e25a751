"""Enrolling people, patients' devices and applications at their member, and ending that (design section 8).

Both keys are made here and never leave: P-256 for connections, shown by a signed certification request; Ed25519 for
transactions, shown by a signature over the request. What comes back is written beside them as a credential's folder.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from consilium.api.chain.v1 import chain_pb2
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.kernel.attestations import BoundAuthority, KeyPossession
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Conflict
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import SEED_BYTES, Ed25519Signer
from consilium.runtime.authorities import AUTHORITY_BYTES_MAX
from consilium.runtime.channels import typed
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY, SIGNING_KEY
from consilium.runtime.whole_files import write_atomically

if TYPE_CHECKING:
    from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceAsyncStub

REQUEST_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Draft:
    """A credential asked for: the request, and the secrets that go with it; `signer` is None for an application."""

    request: pb.IssueCredentialRequest
    tls_key: ec.EllipticCurvePrivateKey = field(repr=False)
    signer: Ed25519Signer | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """What the member gave: the credential, and each `consilium.bound-authority` that its certificates come from."""

    credential: pb.Credential
    authorities: tuple[bytes, ...]


def draft(
    member_id: str,
    kind: pb.CredentialKind.ValueType,
    chain_id: bytes,
    *,
    role: str = "",
    validity_s: int = 0,
    pseudonym: str = "",
) -> Draft:
    """A request with fresh keys; validity 0 for as long as the member allows, a pseudonym to follow a credential."""
    tls_key = ec.generate_private_key(ec.SECP256R1())
    certification = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(tls_key, hashes.SHA256())
    csr = certification.public_bytes(Encoding.DER)
    request = pb.IssueCredentialRequest(
        request_id=secrets.token_bytes(REQUEST_ID_BYTES),
        kind=kind,
        certification_request=csr,
        role=role,
        validity_seconds=validity_s,
        pseudonym=pseudonym,
    )
    if kind == pb.CREDENTIAL_KIND_APPLICATION:
        return Draft(request, tls_key, None)
    signer = Ed25519Signer.from_seed(secrets.token_bytes(SEED_BYTES))
    possession = signer.sign(encode(KeyPossession(member_id, signer.public_key, sha256(csr)), chain_id))
    request.signing_key.CopyFrom(chain_pb2.Signature(public_key=signer.public_key, signature=possession))
    return Draft(request, tls_key, signer)


async def issue(identity: "IdentityServiceAsyncStub", drafted: Draft) -> Issued:
    """Have the member issue the credential; again after a failure gives the same. Raises what the service refuses with."""
    with typed():
        credential = (await identity.IssueCredential(drafted.request)).credential
        known = await identity.GetAuthority(pb.GetAuthorityRequest())
    return Issued(credential, tuple(known.authorities))


async def revoke(
    identity: "IdentityServiceAsyncStub", credential_id: bytes, reason: pb.RevocationReason.ValueType
) -> pb.Credential:
    """End a credential for good. Raises NotFound NO_SUCH_CREDENTIAL, and what the service refuses with."""
    with typed():
        response = await identity.RevokeCredential(pb.RevokeCredentialRequest(credential_id=credential_id, reason=reason))
    return response.credential


def write_credential(folder: Path, drafted: Draft, issued: Issued, chain_id: bytes) -> None:
    """Write the folder of a fresh credential, 0700, its files 0600.

    Raises Conflict: CREDENTIAL_EXISTS where one lies.
    """
    refuse_taken(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    bound = [decode(BoundAuthority, each, chain_id, AUTHORITY_BYTES_MAX) for each in issued.authorities]
    write_atomically(folder / CERTIFICATE, _pem(issued.credential.certificate_chain))
    write_atomically(folder / AUTHORITIES, _pem([each.certificate for each in bound]))
    if drafted.signer is not None:
        write_atomically(folder / SIGNING_KEY, drafted.signer.to_secret_bytes())
    write_atomically(folder / KEY, drafted.tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def refuse_taken(folder: Path) -> None:
    """Raise Conflict (CREDENTIAL_EXISTS) where a credential lies in the folder."""
    if (folder / KEY).exists():
        raise Conflict("CREDENTIAL_EXISTS", f"{folder} holds a credential already; name another folder.")


def _pem(certificates: Iterable[bytes]) -> bytes:
    """Certificates from DER to PEM."""
    return b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in certificates)
