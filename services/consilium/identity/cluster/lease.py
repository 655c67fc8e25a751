"""The Lease of the consensus seat: an early warning, and nothing else (C5).

It names, by its UID, the consensus pod that identity sees running in the namespace, and is renewed while it runs. Two pods,
or a Lease that somebody else keeps renewing, mean that the member's key may be at work twice: that is told before the peers
refuse the second by its incarnation. Nobody has to hold the Lease to run, and a replica whose Lease is lost goes on.
"""

from dataclasses import dataclass, replace

from consilium.runtime.cluster import Cluster, Lease, Pod

SELECTOR = "app.kubernetes.io/name=consilium,app.kubernetes.io/component=consensus"
"""The labels of consensus pods; a namespace is one member's."""
LEASE_MS = 30_000
"""How long a Lease counts that is not renewed."""
MANY_PODS, HELD_ELSEWHERE = "TwoConsensusPods", "LeaseHeldElsewhere"


@dataclass(frozen=True, slots=True)
class SeatSeen:
    """How the seat looks: whether the Lease is held for the pod that runs; `warning` is "" or an event's reason."""

    lease: Lease | None = None
    is_held: bool = False
    warning: str = ""
    note: str = ""


def keep_lease(cluster: Cluster, name: str, before: SeatSeen, now_ms: int) -> SeatSeen:
    """Look at the pods and the Lease; renew it, or take it over once it has lapsed. Raises as `Cluster`."""
    running = [each for each in cluster.pods(SELECTOR) if each.phase == "Running"]
    lease = cluster.lease(name)
    seen = judge_seat(running, lease, before, now_ms)
    if running and (lease is None or not seen.warning or lease.holder in _uids(running)):
        following = following_lease(running, lease, now_ms)
        if following is not None:
            cluster.put_lease(name, following, now_ms)
            return replace(seen, lease=following, is_held=True)
    return replace(seen, lease=lease, is_held=False)


def judge_seat(running: list[Pod], lease: Lease | None, before: SeatSeen, now_ms: int) -> SeatSeen:
    """What is to be told of the pods and a Lease as they stand."""
    if len(running) > 1:
        names = ", ".join(sorted(each.name for each in running))
        return SeatSeen(warning=MANY_PODS, note=f"Consensus runs in {names}: one key, two replicas. Stop all but one.")
    is_other = lease is not None and lease.until_ms > now_ms and lease.holder not in ("", *_uids(running))
    was = before.lease
    if is_other and lease is not None and was is not None and was.holder == lease.holder and lease.until_ms > was.until_ms:
        told = (
            f"The Lease is renewed for a pod {lease.holder} that is not in this namespace: the member's release runs twice."
        )
        return SeatSeen(warning=HELD_ELSEWHERE, note=f"{told} Stop one of the two.")
    return SeatSeen()


def following_lease(running: list[Pod], lease: Lease | None, now_ms: int) -> Lease | None:
    """The Lease renewed for the pod that has it, or taken over for the one that runs; None while another's still counts."""
    if lease is None:
        return Lease(running[0].uid, now_ms + LEASE_MS, 0)
    if lease.holder in _uids(running):
        return replace(lease, until_ms=now_ms + LEASE_MS)
    if lease.holder and lease.until_ms > now_ms:
        return None
    return Lease(running[0].uid, now_ms + LEASE_MS, lease.transitions + 1, lease.version)


def _uids(pods: list[Pod]) -> list[str]:
    return [each.uid for each in pods]
