"""What the re-encryption service can be told; the fields of every server are in `runtime.server`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consilium.runtime.server import ServerSettings
from consilium.runtime.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ReencryptionSettings(ServerSettings):
    """The settings of the re-encryption service."""

    SECTION: ClassVar[str] = "reencryption"

    genesis: Path = setting(Path("genesis"), "The alliance's genesis file.")
    member_key: Path = setting(
        Path("keys/member"), "The member's Ed25519 key, 32 bytes, mode 0600; next/ beside it for a new one."
    )
    sealing_key: Path = setting(
        Path("keys/sealing"), "The file with the key that fragments are sealed under, 32 bytes, mode 0600."
    )
    state_directory: Path = setting(Path("reencryption"), "Where sealed fragments and receipts lie; made when missing.")
    tls_directory: Path = setting(Path("tls/reencryption"), "Where tls.crt, tls.key, authorities.pem and revoked lie.")
    ledger_address: str = setting("127.0.0.1:0", "The member's own ledger, host:port.")
    consensus_address: str = setting("127.0.0.1:0", "The member's own consensus, host:port.")
    workers: int = setting(
        1, "How many processes transform capsules; the library keeps a process to itself.", least=1, most=64
    )
    waiting_max: int = setting(64, "The most jobs that wait for a worker; more are refused.", least=1, most=4_096)
    wait_s: int = setting(5, "The seconds a call waits for this member's ledger to show what it is about.", least=0, most=60)
    interval_s: int = setting(
        5, "How often, in seconds, receipts that are not final yet are looked after.", least=1, most=3_600
    )
