"""Who of the committee is missing, since when, and what to do: what `consilium status` says in an outage. Pure.

A delegate is missing when there is no stream to it, or when nothing has come from it for longer than an idle chain is ever
silent (L7). One whose vote is still on its way is not: it would flicker. Who only counts blocks sees an outage of up to f
delegates not at all, so it is said here while there is time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.kernel.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Absence:
    """A delegate that is missing; `since` is None where it was not heard of since this replica started."""

    member_id: str
    since: datetime | None
    is_connected: bool

    @property
    def sentence(self) -> str:
        """Who, since when, and what to do."""
        when = "since this member's consensus service started" if self.since is None else f"since {self.since:%F %T} UTC"
        how = "its streams are open, so it may stand still" if self.is_connected else "no stream to it opens"
        return (
            f"{self.member_id} has not been heard of {when}; {how}. Ask its operators whether its consensus service and its "
            "ledger run, and whether this member's address is reached from there."
        )


def absences(replica: pb.GetReplicaStateResponse, parameters: Parameters, now: datetime) -> list[Absence]:
    """The delegates that are missing as seen from a replica, in the order of their seats.

    To a member without a seat delegates say nothing, so there only the stream counts.
    """
    is_spoken_to = replica.state != pb.REPLICA_STATE_FOLLOWING
    return [
        Absence(each.member_id, now - timedelta(milliseconds=each.silent_ms) if _was_heard(each) else None, each.connected)
        for each in replica.peers
        if not each.connected or (is_spoken_to and (not _was_heard(each) or each.silent_ms > parameters.quiet_ms))
    ]


def outlook(missing: Sequence[Absence], size: int, quorum: int, *, is_stalled: bool) -> str:
    """What the absences come to: how many more may fail, or how many have to come back. Empty when nobody is missing."""
    if not missing:
        return ""
    heard, spare = size - len(missing), size - len(missing) - quorum
    counted = f"{heard} of {size} delegates are heard, and {quorum} decide"
    if spare < 0:
        return f"{counted}: no block can be decided until {-spare} more {'is' if spare == -1 else 'are'} back."
    if is_stalled:
        return f"{counted}, yet blocks stand still: ask for `consilium status` there; SILENT is one whose vote log was lost."
    return f"{counted}: blocks go on, and stop when {spare + 1} more {'is' if not spare else 'are'} missing."


def _was_heard(peer: pb.PeerState) -> bool:
    return peer.HasField("silent_ms")


def utc_now() -> datetime:
    """The time that `since` counts back from."""
    return datetime.now(UTC)
