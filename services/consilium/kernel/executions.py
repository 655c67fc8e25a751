"""What a member's ledger and its consensus say to one another, and what an owner signs to read a report (design section 8).

Executions never leave the member: consensus takes its own ledger's word for what a block gave and who orders what follows.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.certificates import HEADER_BYTES_MAX, MEMBERS_MAX, CommitCertificate, Result
from consilium.kernel.chain import Outlook
from consilium.kernel.encoding import AtMost, Identifier, MemberId
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import UmbralPublicKey


@dataclass(frozen=True, slots=True)
class Execution:
    """A block that a ledger has executed and made durable: its place and proof of order, its result, and the outlook."""

    DOMAIN: ClassVar[str] = "consilium.execution"
    header: Annotated[bytes, AtMost(HEADER_BYTES_MAX)]
    commit: CommitCertificate
    result: Result
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Standings:
    """All members there have been as the ledger knows them, sorted by id, and who has revealed in the epoch (C6).

    The epoch is that of the next block.
    """

    DOMAIN: ClassVar[str] = "consilium.standings"
    epoch: int
    members: Annotated[tuple[MemberState, ...], AtMost(MEMBERS_MAX)]
    revealed: Annotated[tuple[MemberId, ...], AtMost(MEMBERS_MAX)]


@dataclass(frozen=True, slots=True)
class GrantHistoryQuery:
    """What the author of grants signs to read what happened under them; it counts up to a height, and once."""

    DOMAIN: ClassVar[str] = "consilium.grant-history-query"
    delegating_pk: UmbralPublicKey
    nonce: Identifier
    expiry_height: int
