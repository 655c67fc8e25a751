"""What travels between endpoints: envelopes of the consensus, as bytes, and the ledger's block sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consilium.ledger.core.sync import SentBlock


class TipSaid(NamedTuple):
    """How far the sender's ledger is, and how far it is final there."""

    height: int
    certified: int


class BlocksAsked(NamedTuple):
    """A request of block sync."""

    ticket: int
    from_height: int
    blocks: int


class BlocksSent(NamedTuple):
    """The answer to the request with this ticket; a late or doubled one is nobody's business."""

    ticket: int
    blocks: tuple[SentBlock, ...]


Parcel = bytes | TipSaid | BlocksAsked | BlocksSent
