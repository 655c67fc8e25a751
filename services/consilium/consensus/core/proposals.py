"""Making a header, and judging one that was proposed (rules L3, L7, C3, C6)."""

from collections.abc import Sequence
from dataclasses import dataclass

from consilium.kernel.chain import Header, Outlook
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.opening import OpenedBatch, transaction_root


@dataclass(frozen=True, slots=True)
class Parent:
    """The block a header stands on: its height, hash and time (milliseconds)."""

    height: int
    hash: bytes
    time_ms: int


def make_header(
    outlook: Outlook, parent: Parent, batches: Sequence[OpenedBatch], now_ms: int, parent_commits: int, chain_id: bytes
) -> Header:
    """The header of the next block, with the primary's clock as its time, always above the parent's (L7)."""
    height = parent.height + 1
    next_hash, mix = _election_fields(outlook, height, chain_id)
    return Header(
        epoch=outlook.epoch,
        height=height,
        parent_hash=parent.hash,
        batch_digests=tuple(batch.digest for batch in batches),
        transaction_root=transaction_root(batches),
        time_ms=max(now_ms, parent.time_ms + 1),
        committee_hash=outlook.committee.hash(chain_id),
        next_committee_hash=next_hash,
        parent_commits=parent_commits,
        election_mix=mix,
    )


def judge_header(outlook: Outlook, parent: Parent, header: Header, chain_id: bytes) -> None:
    """Raise InvalidArgument unless the header fits its parent and what the chain says about elections (L3, L7, C6)."""
    next_hash, mix = _election_fields(outlook, header.height, chain_id)
    faults = (
        (header.epoch == outlook.epoch, "WRONG_EPOCH", "It names another epoch.", "C7"),
        (header.height == parent.height + 1, "WRONG_HEIGHT", "It does not follow its parent.", "L3"),
        (header.parent_hash == parent.hash, "WRONG_PARENT", "It names another parent.", "L3"),
        (header.time_ms > parent.time_ms, "TIME_BACKWARDS", "Its time is not above its parent's.", "L7"),
        (
            header.committee_hash == outlook.committee.hash(chain_id),
            "WRONG_COMMITTEE",
            "It names another committee.",
            "C6",
        ),
        (header.next_committee_hash == next_hash, "WRONG_ELECTION", "It names another next committee.", "C6"),
        (header.election_mix == mix, "WRONG_MIX", "It names another election mix.", "C6"),
        (header.parent_commits >> len(outlook.committee.delegates) == 0, "BAD_BITMAP", "It counts strangers.", "L3"),
        (len(set(header.batch_digests)) == len(header.batch_digests), "BATCH_TWICE", "It names a batch twice.", "L6"),
    )
    for holds, reason, sentence, rule in faults:
        if not holds:
            raise InvalidArgument(reason, f"The header of block {header.height} is refused. {sentence}", rule)


def judge_time(header: Header, now_ms: int, skew_max_ms: int) -> None:
    """Raise FailedPrecondition when a first proposal's time is too far from this clock (L7)."""
    if abs(header.time_ms - now_ms) > skew_max_ms:
        raise FailedPrecondition(
            "CLOCK_SKEW",
            f"Block {header.height}'s time is over {skew_max_ms} ms from this clock; check both clocks.",
            "L7",
        )


def _election_fields(outlook: Outlook, height: int, chain_id: bytes) -> tuple[bytes, bytes]:
    """What a header at this height must say about the next committee and the mix; the outlook must reach that far."""
    if height <= outlook.election_height or outlook.next_committee is None:
        return ZERO_DIGEST, outlook.election_mix
    return outlook.next_committee.hash(chain_id), outlook.election_mix
