"""Who of the committee is missing, since when, and what to do: what `consilium status` says in an outage. Pure.

A delegate is missing when there is no stream to it, or when nothing has come from it for longer than an idle chain is ever
silent (L7). One whose vote is still on its way is not: it would flicker. Who only counts blocks sees an outage of up to f
delegates not at all, so it is said here while there is time. The member's own delegate is missing while it says nothing: its
own streams are open, and it counts for nobody (C5, C10). What is wrong with the asked member itself (suspended, started
twice, silent) is told apart and first: shut out, it would see the others as missing, who are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.kernel.parameters import Parameters
from consilium.kernel.state_values import MemberStatus

SAY_NOTHING: "Mapping[pb.ReplicaState.ValueType, str]" = {
    pb.REPLICA_STATE_SILENT: "its vote log is new or was restored, and it votes again in an epoch to come (C5)",
    pb.REPLICA_STATE_STOPPED: "it was stopped for a recovery: consilium recovery status (C10)",
}
"""The states in which a delegate has its place and does not vote, and why."""


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


@dataclass(frozen=True, slots=True)
class Standing:
    """How the asked member stands on the ledger, and the height of the last change there; None for one long ago."""

    member_id: str
    status: MemberStatus
    since_height: int | None

    @property
    def is_active(self) -> bool:
        """Whether the others hear it, and speak to it."""
        return self.status is MemberStatus.ACTIVE

    @property
    def sentence(self) -> str:
        """That it takes part no more, since when, and what to do; empty for an active one (G2)."""
        since = "" if self.since_height is None else f" since height {self.since_height}"
        if self.status is MemberStatus.SUSPENDED:
            return (
                f"{self.member_id} is suspended{since}: the others let it follow the chain and no more, so from here "
                "nothing can be said of them. `consilium member proposals --closed` tells who decided it; ask them to adopt "
                f"`consilium member propose reinstate {self.member_id}` (G2)."
            )
        if self.status is MemberStatus.EXPELLED:
            shut = "no other member takes its calls. Save its records, then stop its services (G2)"
            return f"{self.member_id} is expelled{since}: {shut}."
        return ""


def own_seat(replica: pb.GetReplicaStateResponse, committee: pb.GetCommitteeResponse) -> str | None:
    """The delegate of the member that was asked: the one that is no peer of its replica. None where it has no seat."""
    others = {each.member_id for each in replica.peers}
    return next((each.member_id for each in committee.delegates if each.member_id not in others), None)


def absences(replica: pb.GetReplicaStateResponse, own: str | None, parameters: Parameters, now: datetime) -> list[Absence]:
    """The other delegates that are missing as seen from a replica, in the order of their seats.

    To a member without a seat of its `own` delegates say nothing, so there only the stream counts.
    """
    return [
        Absence(each.member_id, now - timedelta(milliseconds=each.silent_ms) if _was_heard(each) else None, each.connected)
        for each in replica.peers
        if not each.connected or (own is not None and (not _was_heard(each) or each.silent_ms > parameters.quiet_ms))
    ]


def own_troubles(
    standing: Standing | None, replica: pb.GetReplicaStateResponse | None, committee: pb.GetCommitteeResponse | None
) -> list[str]:
    """What is wrong with the asked member itself, the gravest first; an argument is None where nobody could say."""
    found = [] if standing is None else [standing.sentence]
    if replica is not None and committee is not None:
        found += [_running_twice(disowners(replica, committee)), own_silence(replica, own_seat(replica, committee))]
    return [each for each in found if each]


def disowners(replica: pb.GetReplicaStateResponse, committee: pb.GetCommitteeResponse) -> list[str]:
    """Who takes the asked process for a second one under its key; none while no more say so than may lie (C5)."""
    names = list(replica.disowned_by_member_ids)
    return names if len(names) > committee.faults_max else []


def _running_twice(names: list[str]) -> str:
    """What the `disowners` say, and what to do; empty for none."""
    if not names:
        return ""
    return (
        f"{', '.join(names)} say that another process runs under this member's consensus key, or has with a newer vote log, "
        "and hear that one: look for a second pod, an old machine or a restored volume, and stop what should not run (C5)."
    )


def own_silence(replica: pb.GetReplicaStateResponse, own: str | None) -> str:
    """What to know of the `own` delegate of the member that was asked while it says nothing; else empty."""
    if own is None or replica.state not in SAY_NOTHING:
        return ""
    until = ""
    if replica.state == pb.REPLICA_STATE_SILENT and replica.HasField("silent_up_to_height"):
        until = f", the first that begins above height {replica.silent_up_to_height}; leave it running"
    return f"{own} itself does not vote: {SAY_NOTHING[replica.state]}{until}."


def outlook(missing: int, size: int, quorum: int, *, is_stalled: bool) -> str:
    """What it comes to that so many are missing: how many more may fail, or how many have to come back. Empty for none."""
    if not missing:
        return ""
    heard, spare = size - missing, size - missing - quorum
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
