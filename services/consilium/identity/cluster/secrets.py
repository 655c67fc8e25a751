"""The Secrets that the member's pods mount: a copy of each folder of TLS files, and the administrator's credential.

Where another issues the services' certificates (cert-manager), there is one more that no pod mounts: the authority that
issues now, so that the other goes over to the next one on the day on which identity does.

The folders on identity's own volume stay what counts (`tls_folders`); a Secret is made when its folder is whole, patched
when the folder has changed, and made again when somebody has deleted it. So rotation, revocation and a lost Secret are one
thing.
The kubelet swaps a mounted Secret as a whole, within a minute or so, and services take the files up by themselves
(`runtime.tls`).
"""

from collections.abc import Mapping
from pathlib import Path

from consilium.identity.authority import Authority
from consilium.identity.founding import ADMINISTRATOR_FOLDER
from consilium.identity.settings import IdentitySettings
from consilium.runtime.cluster import Cluster
from consilium.runtime.revocations import REVOKED
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY, SIGNING_KEY

WHOLE = (CERTIFICATE, KEY, AUTHORITIES)
"""Without one of these no service starts: a folder that lacks one is not handed out yet."""
FILES = (*WHOLE, REVOKED, SIGNING_KEY)


def secrets_of(settings: IdentitySettings) -> dict[str, dict[str, bytes]]:
    """The Secrets as they should be, by name, out of the folders that are whole. May raise OSError."""
    name, root = settings.kubernetes_secrets, settings.services_directory
    folders = {f"{name}-tls-{each}": root / each for each in settings.services}
    folders[f"{name}-administrator"] = settings.state_directory / ADMINISTRATOR_FOLDER
    read = {name: _read(folder) for name, folder in folders.items()}
    return {name: files for name, files in read.items() if set(WHOLE) <= files.keys()}


def authority_secret(settings: IdentitySettings, issuing: Authority) -> dict[str, dict[str, bytes]]:
    """The Secret of the authority that issues now, by its name, as an Issuer of kind CA reads it; none where nobody asks."""
    if not settings.kubernetes_issuer:
        return {}
    return {f"{settings.kubernetes_secrets}-authority": {CERTIFICATE: issuing.pem, KEY: issuing.key_pem}}


def put_secrets(cluster: Cluster, wanted: Mapping[str, Mapping[str, bytes]]) -> list[str]:
    """Have the Secrets be so; the names of those that had to be written. Raises as `Cluster`."""
    return [name for name, files in wanted.items() if cluster.put_secret(name, files)]


def _read(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
