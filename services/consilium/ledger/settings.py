"""What the ledger service can be told; the fields of every server are in `runtime.server`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from consilium.kernel.errors import InvalidArgument
from consilium.runtime.server import ServerSettings
from consilium.runtime.settings import setting

_DIGEST = re.compile(r"[0-9a-f]{64}")
BLOCK_MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""A block orders at most 32 MiB of batches and one more, and travels whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings(ServerSettings):
    """The settings of the ledger service."""

    SECTION: ClassVar[str] = "ledger"

    genesis: Path = setting(Path("genesis"), "The alliance's genesis file.")
    blocks: Path = setting(Path("ledger/blocks"), "The journal of blocks; made at the first start.")
    begin_again: bool = setting(
        default=False, says="Whether a lost or damaged journal is replaced by an empty one, filled from other members."
    )
    checkpoint: str = setting(
        "", "Of a member that joined: a height and the hash of its result, HEIGHT:HEX, which the chain has to pass."
    )
    tls_directory: Path = setting(Path("tls/ledger"), "Where this service's TLS files lie.")
    peers: tuple[str, ...] = setting((), "The other members' ledgers, each member=host:port.")
    tips_interval_ms: int = setting(20, "The least milliseconds between two tips told on a stream.", least=0, most=10_000)
    patience_ms: int = setting(
        1_000,
        "The milliseconds a delegate's tip may stand still below another's before blocks are fetched; its own consensus "
        "usually brings them.",
        most=60_000,
        least=0,
    )
    fetch_s: int = setting(30, "The seconds another member has to send the blocks asked for.", least=1, most=600)
    message_bytes_max: int = setting(
        BLOCK_MESSAGE_BYTES_MAX, "The largest message in bytes; a block is one.", least=65_536, most=BLOCK_MESSAGE_BYTES_MAX
    )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A height, and the hash that its result must have."""

    height: int
    digest: bytes


def checkpoint_of(written: str) -> Checkpoint | None:
    """The checkpoint in the settings, None for none. Raises InvalidArgument: BAD_SETTING."""
    if not written:
        return None
    height, _, digits = written.partition(":")
    if not height.isascii() or not height.isdecimal() or not _DIGEST.fullmatch(digits):
        raise InvalidArgument(
            "BAD_SETTING", f"checkpoint is {written[:80]!r}; allowed: HEIGHT:HEX with 64 digits, as an invitation."
        )
    return Checkpoint(int(height), bytes.fromhex(digits))
