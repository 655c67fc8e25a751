"""What the storage service can be told; the fields of every server are in `runtime.server`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consilium.kernel.errors import InvalidArgument
from consilium.runtime.server import ServerSettings
from consilium.runtime.settings import setting

GIB = 1_073_741_824
OBJECTS = ("embedded", "cassandra")
CONSISTENCIES = ("LOCAL_QUORUM", "QUORUM", "ALL")
"""Those of which any two reads and writes meet at an instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings(ServerSettings):
    """The settings of the storage service."""

    SECTION: ClassVar[str] = "storage"

    genesis: Path = setting(Path("genesis"), "The alliance's genesis file.")
    member_key: Path = setting(
        Path("keys/member"), "The member's Ed25519 key, 32 bytes, mode 0600; next/ beside it for a new one."
    )
    state_directory: Path = setting(Path("storage"), "Where objects, shred secrets and holdings lie; made when missing.")
    tls_directory: Path = setting(Path("tls/storage"), "Where tls.crt, tls.key, authorities.pem and revoked lie.")
    ledger_address: str = setting("127.0.0.1:0", "The member's own ledger, host:port.")
    peers: tuple[str, ...] = setting((), "Other members' storage services, each member=host:port.")
    copies: int = setting(1, "How many other members keep a copy of an object.", least=0, most=8)
    residency: tuple[str, ...] = setting((), "The only other members that may keep copies; all when empty.")
    object_bytes_max: int = setting(16 * GIB, "The largest object in bytes.", least=8_192, most=16 * GIB)
    foreign_bytes_max: int = setting(
        256 * GIB, "The most bytes kept for any one other member.", least=0, most=1_048_576 * GIB
    )
    writer_bytes_max: int = setting(
        1_024 * GIB,
        "The most bytes kept for any one person or application of this member.",
        least=0,
        most=1_048_576 * GIB,
    )
    streams_max: int = setting(64, "The most objects that stream at once; each needs about 3 MiB.", least=1, most=4_096)
    disk_jobs_max: int = setting(8, "The most reads and writes of the disk at once.", least=1, most=64)
    draft_s: int = setting(86_400, "The seconds after which an unfinished put is dropped.", least=60, most=31_536_000)
    wait_s: int = setting(5, "The seconds a read waits for its request to be final here.", least=0, most=60)
    scrub_interval_s: int = setting(86_400, "The seconds between two rounds of the scrub.", least=1, most=31_536_000)
    scrub_chunks_per_s: int = setting(40, "How many chunks of 256 KiB the scrub reads a second.", least=1, most=100_000)
    objects: str = setting("embedded", "Where objects lie: in state_directory, or in Cassandra.", choices=OBJECTS)
    cassandra_hosts: tuple[str, ...] = setting(("127.0.0.1",), "Instances of the member's Cassandra to begin with.")
    cassandra_port: int = setting(9_042, "Their port for CQL over mutual TLS.", least=1, most=65_535)
    cassandra_datacenter: str = setting("datacenter1", "The data centre of the ring that is this service's own.")
    cassandra_keyspace: str = setting("consilium", "The member's keyspace; no other member's service uses it.")
    cassandra_replication: int = setting(3, "On how many instances of it each row lies.", least=1, most=15)
    cassandra_consistency: str = setting("LOCAL_QUORUM", "How many of them answer for a row.", choices=CONSISTENCIES)
    cassandra_user: str = setting("consilium", "The role that reads and writes; migrate takes one that may define tables.")
    cassandra_grant_to: str = setting("", "The role that migrate lets read and write the tables; nobody when empty.")
    cassandra_password_file: Path = setting(Path("keys/cassandra"), "The file with its password, mode 0600.")
    cassandra_tls_directory: Path = setting(
        Path("tls/cassandra"), "Where tls.crt and tls.key for the database, and its own authorities.pem lie."
    )
    cassandra_check_names: bool = setting(default=True, says="Whether its certificates must name the addresses in use.")
    cassandra_chunks_in_flight: int = setting(8, "The most requests to it at once, of 256 KiB each.", least=1, most=64)
    cassandra_request_ms: int = setting(10_000, "The milliseconds one request may take.", least=100, most=600_000)
    cassandra_wait_ms: int = setting(
        30_000, "The milliseconds after which a request is given up that was tried again and again.", least=0, most=600_000
    )


def addresses(peers: tuple[str, ...]) -> dict[str, str]:
    """The addresses by member. Raises InvalidArgument: BAD_SETTING."""
    found: dict[str, str] = {}
    for each in peers:
        member_id, _, address = each.partition("=")
        if not member_id or not address or member_id in found:
            raise InvalidArgument("BAD_SETTING", f"peers holds {each!r}; allowed: member=host:port, each member once.")
        found[member_id] = address
    return found
