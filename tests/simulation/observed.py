"""What the checkers get to see: executed blocks and messages sent, with the endpoint they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilium.consensus.core.messages import Message
    from consilium.kernel.certificates import Committee, Result
    from consilium.kernel.codes import Code
    from consilium.kernel.opening import OpenedBlock, OpenedTransaction


class Violation(Exception):
    """A promise that was broken, with the checker that noticed."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(f"{rule}: {sentence}")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Speech:
    """A message that an endpoint is about to send, under the identity it speaks for."""

    endpoint: str
    member_id: str
    honest: bool
    message: Message


@dataclass(frozen=True, slots=True)
class Execution:
    """A block that an honest endpoint's ledger executed and made durable. `committee` orders the next height."""

    endpoint: str
    opened: OpenedBlock
    codes: Sequence[Code]
    result: Result
    committee: Committee

    @property
    def height(self) -> int:
        """The block's height."""
        return self.result.height

    def outcomes(self) -> list[tuple[str, OpenedTransaction, Code]]:
        """Every transaction with the member whose batch carried it and its code, in order."""
        carried = [(batch.batch.member_id, each) for batch in self.opened.batches for each in batch.transactions]
        return [(member, each, code) for (member, each), code in zip(carried, self.codes, strict=True)]


@dataclass(frozen=True, slots=True)
class Released:
    """A fragment that an honest proxy released at its own height, `now_ms` on the simulated clock."""

    holder: str
    grant_id: bytes
    request_hash: bytes
    request_height: int
    released_height: int
    now_ms: int
