"""The numbers an alliance lives by: the founders settle the first, the members may change them (rules G4, L5).

Nobody reads them from the genesis but who stands at genesis: those in force are in the ledger's state, and a change
takes effect with an epoch, so that all replicas switch at one height.
"""

from dataclasses import dataclass
from typing import Annotated

from consilium.kernel.encoding import AtMost

HEARTBEATS_MISSED = 3
"""For how many heartbeats a delegate may say nothing before people are told that it is missing (L7)."""
PROTOCOL_VERSION = 1
"""The newest version of the rules that this build can execute; it knows all below as well (G5)."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Times in milliseconds, spans in blocks."""

    term_blocks: int = 1_000
    terms_extended_max: int = 3
    committee_target: int = 13
    seat_shares: Annotated[tuple[int, ...], AtMost(4)] = (39, 13, 36, 12)
    heartbeat_ms: int = 5_000
    view_timeout_ms: int = 4_000
    view_timeout_max_ms: int = 60_000
    clock_skew_max_ms: int = 10_000
    window_blocks: int = 32
    pipeline_blocks: int = 8
    batch_wait_ms: int = 5
    batch_bytes_max: int = 1_048_576
    inline_bytes_max: int = 16_384
    ingress_batches_max: int = 64
    expiry_blocks_max: int = 10_000
    release_window_blocks: int = 100
    tip_age_max_ms: int = 15_000
    proposal_blocks_max: int = 100_000
    proposals_max: int = 4

    @property
    def quiet_ms(self) -> int:
        """How long a delegate may say nothing before it is missing: longer than an idle chain is ever silent (L7)."""
        return max(HEARTBEATS_MISSED * self.heartbeat_ms, self.view_timeout_ms)
