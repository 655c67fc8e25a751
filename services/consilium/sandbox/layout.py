"""Where a sandbox's files lie and its services answer, as the settings files of every member say it.

    genesis  sandbox.toml  authorities/      shared: the chain, the sandbox, and the founders' first authorities
    2A/keys/  2A/tls/<service>/              secrets and TLS files
    2A/authorities/                          the members' authorities, as the ledgers spread them
    2A/identity/  consensus/  ledger/  storage/  reencryption/       each service's state
    2A/settings.toml  2A/logs/<service>.log
    2A/client.toml  2A/client/               a client's settings, and where it keeps its own

Settings are written anew at every start, so a folder can be moved. All is for its owner alone: 0600 in 0700.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consilium.identity.founding import ADMINISTRATOR_FOLDER
from consilium.kernel.chain import Genesis
from consilium.kernel.membership import SERVICES
from consilium.runtime.addresses import join_address
from consilium.sandbox.ports import loopback

PORTS_EACH = 3
"""A service's ports, in this order: calls, health, metrics."""
GRACE_S = 1
"""How long running calls may go on when a service stops; links between replicas never end by themselves."""

Table = Mapping[str, object]
Tables = Mapping[str, Table]


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of one sandbox; `folder` is absolute."""

    folder: Path
    genesis: Genesis
    first_port: int

    @property
    def genesis_path(self) -> Path:
        """The file a client starts from."""
        return self.folder / "genesis"

    def authorities(self, member_id: str) -> Path:
        """Where a member keeps the authorities of all: the founders' at first, others as its ledger is told them."""
        return self.member(member_id) / "authorities"

    @property
    def member_ids(self) -> list[str]:
        """The founders, sorted."""
        return [each.member_id for each in self.genesis.members]

    def member(self, member_id: str) -> Path:
        """A member's folder."""
        return self.folder / member_id

    def administrator(self, member_id: str) -> Path:
        """The credential of the member's first administrator."""
        return self.member(member_id) / "identity" / ADMINISTRATOR_FOLDER

    def port(self, member_id: str, service: str) -> int:
        """The port for calls; those for health and for metrics follow it."""
        place = self.member_ids.index(member_id) * len(SERVICES) + SERVICES.index(service)
        return self.first_port + place * PORTS_EACH

    def host(self, member_id: str) -> str:  # noqa: ARG002  a network of more machines overrides it
        """Where a member's services listen."""
        return loopback()

    def address(self, member_id: str, service: str) -> str:
        """Where a service answers."""
        return join_address(self.host(member_id), self.port(member_id, service))

    def settings_path(self, member_id: str) -> Path:
        """The file with the tables of the member's five services."""
        return self.member(member_id) / "settings.toml"

    def client_path(self, member_id: str) -> Path:
        """The file with the settings of a client of this member."""
        return self.member(member_id) / "client.toml"

    def log_path(self, member_id: str, service: str) -> Path:
        """What a service says."""
        return self.member(member_id) / "logs" / f"{service}.log"

    # --- settings ---

    def service_tables(self, member_id: str) -> Tables:
        """The settings of the member's five services."""
        return {service: {**self._common(member_id, service), **self._own(member_id, service)} for service in SERVICES}

    def client_tables(self, member_id: str) -> Tables:
        """The settings of a client that works for this member."""
        ways = [f"{each}/{service}={self.address(each, service)}" for each in self.member_ids for service in SERVICES]
        client = {
            "genesis": self.genesis_path,
            "member_id": member_id,
            "credential": self.administrator(member_id),
            "keystore": self.member(member_id) / "client" / "keystore",
            "services": ways,
        }
        return {"client": client}

    def _common(self, member_id: str, service: str) -> Table:
        port = self.port(member_id, service)
        return {
            "member_id": member_id,
            "host": self.host(member_id),
            "port": port,
            "health_port": port + 1,
            "metrics_port": port + 2,
            "drain_s": 0,
            "grace_s": GRACE_S,
            "reflection": True,
            "genesis": self.genesis_path,
            "tls_directory": self.member(member_id) / "tls" / service,
        }

    def _own(self, member_id: str, service: str) -> Table:
        folder = self.member(member_id)
        ledger = {"ledger_address": self.address(member_id, "ledger")}
        both = {**ledger, "consensus_address": self.address(member_id, "consensus")}
        state = {"member_key": folder / "keys" / "member", "state_directory": folder / service}
        peers = {"peers": [f"{each}={self.address(each, service)}" for each in self.member_ids if each != member_id]}
        match service:
            case "ledger":
                return {"blocks": folder / "ledger" / "blocks", **peers}
            case "consensus":
                return {"keys_directory": folder / "keys", "votes": folder / "consensus" / "votes", **ledger, **peers}
            case "storage":
                return {**state, **ledger, **peers}
            case "reencryption":
                return {"sealing_key": folder / "keys" / "sealing", **state, **both}
            case "identity":
                exchange = {"services_directory": folder / "tls", "authorities_directory": self.authorities(member_id)}
                return {**exchange, **state, **both}
        raise AssertionError(f"{service} is no service")


def ports_for(members: int) -> int:
    """How many ports so many members need."""
    return members * len(SERVICES) * PORTS_EACH


def to_toml(tables: Tables, says: str) -> bytes:
    """Tables of numbers, booleans, texts, paths and lists of texts as TOML, below a comment."""
    lines = [f"# {says}"]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_written(value)}" for key, value in table.items())]
    return ("\n".join(lines) + "\n").encode()


def _written(value: object) -> str:
    """JSON's way of writing such values is TOML's too."""
    return json.dumps(value, ensure_ascii=False, default=str)
