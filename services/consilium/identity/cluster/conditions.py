"""How the member stands, as conditions that an operator reads with kubectl: the ConfigMap `<release>-status`.

`kubectl describe configmap <release>-status` shows one line a condition, with what to do where something is wrong;
`conditions.json` holds the same in the form of Kubernetes' own conditions. Sentences name what is wrong and hold no numbers
that change by themselves, so the object is written only when something has happened.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.kernel.membership import SERVICES
from consilium.runtime.cluster import Pod
from consilium.runtime.proven_ledger import LedgerTip

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
SUMMARY, CONDITIONS = "summary", "conditions.json"
"""The keys of the ConfigMap."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement; `is_well` tells whether its status is the wanted one, `since` when it took it."""

    type: str
    status: str
    reason: str
    message: str
    is_well: bool
    since: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What identity sees; None where it could not be asked."""

    member_id: str
    pods: list[Pod] | None
    tip: LedgerTip | None
    tip_age_ms_max: int
    replica: pb.GetReplicaStateResponse | None
    stale: tuple[str, ...]
    """The certificates that ought to have been renewed and were not."""


def conditions(seen: Observed) -> list[Condition]:
    """All conditions, in the order in which they are shown."""
    judges = (_ready, _in_committee, _caught_up, _peers_reachable, _certificates_fresh, _upgrade_needed)
    return [judge(seen) for judge in judges]


def carried(fresh: Iterable[Condition], before: Mapping[str, str] | None, now: datetime) -> list[Condition]:
    """The conditions, each since when its status is what it is, by what the ConfigMap held before."""
    since = {}
    for each in _read(before):
        since[each.get("type"), each.get("status")] = str(each.get("lastTransitionTime", ""))
    told = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [replace(each, since=since.get((each.type, each.status)) or told) for each in fresh]


def status_data(found: list[Condition]) -> dict[str, str]:
    """What the ConfigMap holds."""
    width = max(len(each.type) for each in found)
    lines = [f"{each.type:<{width}}  {each.status:<7}  since {each.since}  {each.message}" for each in found]
    listed = [
        {"type": each.type, "status": each.status, "reason": each.reason, "message": each.message}
        | {"lastTransitionTime": each.since}
        for each in found
    ]
    return {SUMMARY: "\n".join(lines) + "\n", CONDITIONS: json.dumps(listed)}


def _read(data: Mapping[str, str] | None) -> list[dict[str, object]]:
    """The conditions of before; none out of what somebody else has written there."""
    try:
        found = json.loads((data or {}).get(CONDITIONS, "[]"))
    except ValueError:
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _well(kind: str, reason: str, message: str, status: str = TRUE) -> Condition:
    return Condition(kind, status, reason, message, is_well=True)


def _bad(kind: str, reason: str, message: str, status: str = FALSE) -> Condition:
    return Condition(kind, status, reason, message, is_well=False)


def _unknown(kind: str, whom: str) -> Condition:
    return _bad(kind, "NotAsked", f"{whom} does not answer identity: see its pod and its log.", UNKNOWN)


def _ready(seen: Observed) -> Condition:
    if seen.pods is None:
        return _unknown("Ready", "The Kubernetes API")
    unready = [name for name in SERVICES if not any(each.component == name and each.is_ready for each in seen.pods)]
    if not unready:
        return _well("Ready", "AllReady", "A pod of each of the five services is ready.")
    why = {each.component: each.reason for each in seen.pods if each.reason}
    told = ", ".join(f"{name} ({why[name]})" if name in why else name for name in unready)
    return _bad("Ready", "NotReady", f"No pod is ready of: {told}. Look with kubectl describe pod, and in its log.")


def _in_committee(seen: Observed) -> Condition:
    kind, replica = "InCommittee", seen.replica
    if replica is None:
        return _unknown(kind, "Consensus")
    if replica.state == pb.REPLICA_STATE_FOLLOWING:
        return _well(kind, "NoSeat", "The member has no seat in this term and follows.", FALSE)
    if replica.state == pb.REPLICA_STATE_SILENT:
        told = "The replica's vote log is new or was restored: it votes again once it cannot contradict itself (C5)."
        return _bad(kind, "Silent", told)
    if replica.state == pb.REPLICA_STATE_STOPPED:
        return _bad(kind, "Stopped", "The replica was stopped for a recovery: consilium recovery status (C10).")
    return _well(kind, "Delegate", "The member has a seat in this term and votes.")


def _caught_up(seen: Observed) -> Condition:
    kind = "CaughtUp"
    if seen.tip is None:
        return _unknown(kind, "The ledger")
    if seen.replica is not None and seen.replica.state == pb.REPLICA_STATE_CATCHING_UP:
        return _bad(kind, "Behind", "The ledger fetches blocks that others have.")
    if seen.tip.age_ms > seen.tip_age_ms_max:
        told = "No block has become final for longer than a heartbeat allows: consilium status tells who is missing."
        return _bad(kind, "TipOld", told)
    return _well(kind, "Fresh", "The ledger has the newest final block.")


def _peers_reachable(seen: Observed) -> Condition:
    kind, replica = "PeersReachable", seen.replica
    if replica is None:
        return _unknown(kind, "Consensus")
    gone = [each.member_id for each in replica.peers if not each.connected]
    if not gone:
        return _well(kind, "AllConnected", "A stream to every other delegate is open.")
    told = f"No stream opens to {', '.join(gone)}: ask its operators, and look at addresses and network policies."
    return _bad(kind, "NotConnected", told)


def _certificates_fresh(seen: Observed) -> Condition:
    kind = "CertificatesFresh"
    if not seen.stale:
        return _well(kind, "Fresh", "Every certificate of this member is renewed in time.")
    told = f"Not renewed though it is due: {', '.join(seen.stale)}. See not_tended in identity's log."
    return _bad(kind, "NotRenewed", told)


def _upgrade_needed(seen: Observed) -> Condition:
    kind, tip = "UpgradeNeeded", seen.tip
    if tip is None:
        return _unknown(kind, "The ledger")
    if tip.upgrade_version <= tip.known_version:
        return _well(kind, "Known", "This build knows the version the alliance goes by.", FALSE)
    told = f"From height {tip.upgrade_height} on the alliance goes by version {tip.upgrade_version}, which this build does"
    return _bad(kind, "BuildTooOld", f"{told} not know: install a newer one before that height (G5).", TRUE)
