"""What the checkers get to see: executed blocks and messages sent, with the endpoint they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilium.consensus.core.messages import Message
    from consilium.kernel.certificates import Committee, Result
    from consilium.kernel.chain import Outlook
    from consilium.kernel.codes import Code
    from consilium.kernel.opening import OpenedBlock, OpenedTransaction


class Violation(Exception):
    """A promise that was broken, with the checker that noticed."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(f"{rule}: {sentence}")
        self.rule = rule


@dataclass(slots=True)
class Speech:
    """A message that an endpoint is about to send, under the identity it speaks for."""

    endpoint: str
    member_id: str
    honest: bool
    message: Message


@dataclass(frozen=True, slots=True)
class Execution:
    """A block that an honest endpoint's ledger executed and made durable. `outlook` says who orders the next height."""

    endpoint: str
    opened: OpenedBlock
    codes: Sequence[Code]
    result: Result
    outlook: Outlook
    synced: bool = False
    """Whether block sync brought it, and not the endpoint's own consensus."""

    @property
    def committee(self) -> Committee:
        """The delegates that order the next height."""
        return self.outlook.committee

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


@dataclass(frozen=True, slots=True)
class Reading:
    """What a client was shown of a grant under proof: the height it was proven at, and the least height it would take."""

    endpoint: str
    grant_id: bytes
    height: int
    least_height: int
    granted_height: int | None
    revoked_height: int | None
