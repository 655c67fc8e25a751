"""A credential's successor, in the place of the one that ends: at most 30 days go by before (design section 8).

The fresh one has its own keys and the same pseudonym, kind and role, so the member's books go on. It is written beside the
old folder and put in its place when it is whole; the old one ends by itself.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.client.enrolment import draft, issue, write_credential
from consilium.client.remote import Alliance
from consilium.kernel.errors import InvalidArgument
from consilium.runtime.channels import typed
from consilium.runtime.tls import CERTIFICATE

Days = Annotated[int, typer.Option(help="How long the credential is valid; 0 for the longest.", min=0)]
DAY_S = 86_400
ID_BYTES = 16
"""A credential's id as the contract has it; as a number it is the certificate's serial."""


async def renew(alliance: Alliance, folder: Path, validity_s: int) -> None:
    """Replace the credential in the folder by its successor; needs the administrator's credential in the settings.

    Raises InvalidArgument: BAD_TLS_FILES; NotFound: NO_SUCH_CREDENTIAL; what the home member refuses with.
    """
    _restore(folder)
    with typed():
        known = await alliance.identity.GetCredential(pb.GetCredentialRequest(credential_id=_id(folder)))
    old, fresh, session = known.credential, _beside(folder, "new"), alliance.session
    asked = draft(session.home_id, old.kind, session.chain_id, role=old.role, validity_s=validity_s, pseudonym=old.pseudonym)
    shutil.rmtree(fresh, ignore_errors=True)
    write_credential(fresh, asked, await issue(alliance.identity, asked), session.chain_id)
    _put_in_place(fresh, folder)


def is_there(folder: Path) -> bool:
    """Whether there is something to renew, also in the middle of the two renames."""
    return folder.exists() or _beside(folder, "old").exists()


def _put_in_place(fresh: Path, folder: Path) -> None:
    old = _beside(folder, "old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old)


def _restore(folder: Path) -> None:
    """Take back what was interrupted between the two renames."""
    if not folder.exists() and _beside(folder, "old").exists():
        _beside(folder, "old").rename(folder)


def _id(folder: Path) -> bytes:
    """The id of the credential in a folder. Raises InvalidArgument: BAD_TLS_FILES."""
    try:
        leaf = x509.load_pem_x509_certificates((folder / CERTIFICATE).read_bytes())[0]
        return leaf.serial_number.to_bytes(ID_BYTES)
    except (OSError, ValueError, OverflowError) as error:
        raise InvalidArgument("BAD_TLS_FILES", f"{folder} holds no credential to renew: {error}.") from error


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f"{folder.name}.{what}")
