"""What judging a transaction may know of its block, and how every kind's judge looks."""

from dataclasses import dataclass

from consilium.kernel.signing import Verifier


@dataclass(frozen=True, slots=True)
class BlockScope:
    """The block a transaction stands in. Periods are judged by `time_ms`, everything else by `height` (L7)."""

    height: int
    time_ms: int
    verifier: Verifier
