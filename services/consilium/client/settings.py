"""What a client can be told: where the alliance begins, who it is itself, and where the members' services answer.

The credential's folder is one as `enrolment` writes it: `tls.crt`, `tls.key`, `authorities.pem` with its own member's
authority, and for a person `signing.key`. Nothing else is trusted: the other members' authorities are learned from the home
member's identity service and verified by the ledger (`remote`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consilium.kernel.errors import InvalidArgument
from consilium.kernel.membership import SERVICES
from consilium.runtime.addresses import is_address
from consilium.runtime.channels import Peer
from consilium.runtime.settings import FILE_VARIABLE, load, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """The settings of the SDK and the command line."""

    SECTION: ClassVar[str] = "client"

    genesis: Path = setting(Path("genesis"), "The alliance's genesis file.")
    alliance: str = setting("consilium", "The name of the alliance in certificates.")
    member_id: str = setting("", "The home member, which this client belongs to and asks first.")
    credential: Path = setting(Path("credential"), "The folder with tls.crt, tls.key, authorities.pem and signing.key.")
    keystore: Path = setting(Path("keystore"), "The sealed file with this client's seeds; the notebooks lie beside it.")
    services: tuple[str, ...] = setting((), "Where services answer, each member/service=host:port.")
    wait_s: int = setting(30, "The seconds a transaction or a height is waited for.", least=1, most=60)
    call_s: int = setting(10, "The seconds any other question has to be answered.", least=1, most=600)
    transfer_s: int = setting(3_600, "The seconds an object has to be written or read.", least=1, most=86_400)


def client_settings(file: Path | None = None) -> ClientSettings:
    """The settings out of the environment and a file, by default the one that CONSILIUM_SETTINGS names; raises as `load`."""
    return load(ClientSettings, os.environ if file is None else {**os.environ, FILE_VARIABLE: str(file)})


def services_of(written: Sequence[str]) -> dict[str, dict[str, Peer]]:
    """The services by member and name. Raises InvalidArgument: BAD_SETTING."""
    found: dict[str, dict[str, Peer]] = {}
    for each in written:
        name, _, address = each.partition("=")
        member_id, _, service = name.partition("/")
        if not member_id or service not in SERVICES or not is_address(address) or service in found.get(member_id, {}):
            raise InvalidArgument(
                "BAD_SETTING",
                f"services holds {each!r}; allowed: member/service=host:port, each once, of {', '.join(SERVICES)}.",
            )
        found.setdefault(member_id, {})[service] = Peer(member_id, service, address)
    return found
