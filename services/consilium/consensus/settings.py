"""What the consensus service can be told; the fields of every server are in `runtime.server`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consilium.runtime.server import ServerSettings
from consilium.runtime.settings import setting

MIB = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusSettings(ServerSettings):
    """The settings of the consensus service."""

    SECTION: ClassVar[str] = "consensus"

    genesis: Path = setting(Path("genesis"), "The alliance's genesis file.")
    keys_directory: Path = setting(
        Path("keys"), "The files member, consensus, reveals, 32 bytes each, 0600; next/ for new ones."
    )
    votes: Path = setting(
        Path("consensus/votes"),
        "The vote log; made at the first start, as a lost one where the ledger has blocks already (C5).",
    )
    begin_again_above: int = setting(
        -1,
        "For a vote log that is lost or damaged: the highest incarnation others have seen of this member; -1 refuses.",
        least=-1,
    )
    tls_directory: Path = setting(Path("tls/consensus"), "Where this service's TLS files lie.")
    ledger_address: str = setting("127.0.0.1:0", "The member's own ledger, host:port.")
    peers: tuple[str, ...] = setting((), "The other members' consensus services, each member=host:port.")
    link_envelopes_max: int = setting(4_096, "Envelopes that may wait for one link; the newest is dropped.", least=64)
    link_bytes_max: int = setting(32 * MIB, "The same in bytes.", least=8 * MIB)
    group_bytes_max: int = setting(MIB, "Waiting envelopes are put into one message up to so many bytes.", least=1)
    execute_s: int = setting(60, "The seconds the own ledger has to execute a block.", least=1, most=3_600)
    message_bytes_max: int = setting(16 * MIB, "The largest message in bytes.", least=8 * MIB, most=64 * MIB)
