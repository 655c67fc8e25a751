"""Several Cassandras on loopback that are one: for tests, the nemesis and the benches. Nothing of it is simulated.

The roles are as docs/operations/storage.md tells an operator to make them: `migrator` may define tables, `consilium` reads
and writes one keyspace.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from consilium.kernel.errors import ConsiliumError
from consilium.runtime.names import Role
from consilium.storage.cassandra.schema import migrate
from consilium.storage.cassandra.session import Database
from consilium.storage.settings import StorageSettings
from tests.ring.instance import CLOCKED, CQL_PORT, DATACENTER, Instance, compile_clock, listens
from tests.runtime.authority import Authority

MIGRATOR, SERVICE, SUPERUSER = "migrator", "consilium", "cassandra"
ROLES_S_MAX = 60
ROLES = (
    "CREATE ROLE IF NOT EXISTS migrator WITH PASSWORD = 'migrator' AND LOGIN = true",
    "CREATE ROLE IF NOT EXISTS consilium WITH PASSWORD = 'consilium' AND LOGIN = true",
    "GRANT ALL PERMISSIONS ON ALL KEYSPACES TO migrator",
    "GRANT SELECT ON KEYSPACE system_views TO consilium",
)


@dataclass
class Ring:
    """The instances, and where a client's credentials lie."""

    folder: Path
    addresses: tuple[str, ...]
    instances: list[Instance] = field(default_factory=list, repr=False)

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        count: int = 3,
        data: dict[int, Path] | None = None,
        told: Mapping[str, object] | None = None,
        is_bench: bool = False,
        has_clocks: bool = False,
    ) -> Ring:
        """Start so many, and wait until all take clients. `data` says whose data lies elsewhere.

        `told` stands in their cassandra.yaml instead of the usual; None leaves a line out. For a bench the machine code is
        made as for production, and instances wait for one another whatever the load. With `has_clocks` each has a wall clock
        that can be set.
        """
        ring = cls(folder, free_addresses(count))
        authority = Authority("ring", ends_in=dt.timedelta(days=36_500))
        ring.write_credentials(authority)
        for index, address in enumerate(ring.addresses):
            token = -(2**63) + index * 2**64 // count + 1
            place = folder / f"instance-{index}"
            instance = Instance(address, place, ring.addresses, token, authority, (data or {}).get(index), told or {})
            if is_bench:
                instance.jvm, instance.patience = (), "60s"
            instance.jvm = (*instance.jvm, f"-Dcassandra.system_auth.default_rf={count}")
            instance.write_files()
            if has_clocks:
                instance.jvm = (*instance.jvm, CLOCKED)
                compile_clock(place)
                instance.set_clock(0)
            instance.spawn()
            ring.instances.append(instance)
        ring.until_up()
        ring.make_roles()
        return ring

    def until_up(self) -> None:
        """Wait until every instance takes clients."""
        for each in self.instances:
            each.until_listening()

    def write_credentials(self, authority: Authority) -> None:
        """What a client shows, and the passwords."""
        client = authority.person(Role.SERVICE, "storage")
        client.write(self.folder / "client", authority)
        for role in (MIGRATOR, SERVICE, SUPERUSER):
            (self.folder / f"{role}.password").write_text(role)

    def make_roles(self) -> None:
        """The roles, once the superuser is there: the instances make it when they have seen one another."""
        deadline, database = time.monotonic() + ROLES_S_MAX, None
        while database is None:
            try:
                database = Database.open(self.settings("none", SUPERUSER))
            except ConsiliumError:
                assert time.monotonic() < deadline, "no superuser appears in the ring"
        for each in ROLES:
            database.say(each)
        database.close()

    def settings(self, keyspace: str, role: str = SERVICE) -> StorageSettings:
        """The settings of a service on this ring."""
        return StorageSettings(
            member_id="home",
            objects="cassandra",
            cassandra_hosts=self.addresses,
            cassandra_datacenter=DATACENTER,
            cassandra_keyspace=keyspace,
            cassandra_replication=len(self.addresses),
            cassandra_user=role,
            cassandra_password_file=self.folder / f"{role}.password",
            cassandra_tls_directory=self.folder / "client",
        )

    def migrated(self, keyspace: str, chain_id: bytes, **changed: object) -> StorageSettings:
        """The settings of a service whose keyspace is made, and may be used by it."""
        settings = replace(self.settings(keyspace, MIGRATOR), cassandra_grant_to=SERVICE, **changed)  # type: ignore[arg-type]
        database = Database.open(settings)
        migrate(database, settings, chain_id)
        database.close()
        return replace(self.settings(keyspace), **changed)  # type: ignore[arg-type]

    def home_of(self, member_id: str, chain_id: bytes) -> dict[str, Any]:
        """The settings, by name, that put a member's objects into a new keyspace of this ring."""
        made = self.migrated(f"home_{secrets.token_hex(6)}", chain_id, member_id=member_id)
        names = [each.name for each in fields(made) if each.name == "objects" or each.name.startswith("cassandra_")]
        return {name: getattr(made, name) for name in names}

    def kill(self) -> None:
        """End all of it, as a power cut does."""
        for each in self.instances:
            each.kill()


def free_addresses(count: int) -> tuple[str, ...]:
    """Addresses of loopback where nobody has a Cassandra."""
    while True:
        network = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
        found = tuple(f"{network}.{index + 1}" for index in range(count))
        if not any(listens(each, port) for each in found for port in (CQL_PORT, 7000)):
            return found
