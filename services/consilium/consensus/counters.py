"""Consensus's own metrics; read when Prometheus asks, so that counting costs nothing on the way.

The label `peer` names another member, as this one sees it: whose metrics these are, the scrape says.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.consensus.core.measures import Durations, Leaving
from consilium.consensus.core.state import State
from consilium.consensus.replica_state import doing, own_ms, stalled_ms, waiting
from consilium.consensus.seat import Seat
from consilium.consensus.store import FileVoteLog
from consilium.consensus.streams import Links
from consilium.runtime.clock import wall_ms

_REFUSED = "What was refused, by the member it came from."


class ConsensusCounters(Collector):
    """Where the replica stands, whom it misses, what its links carry, and what the vote log costs in syncs."""

    def __init__(self, seat: Seat, links: Links, log: FileVoteLog) -> None:
        self._seat, self._links, self._log = seat, links, log

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        state, links = self._seat.replica.state, self._links
        yield from _place(state)
        yield from _backlog(state)
        yield from _delegates(state, links)
        yield from _pace(state)
        yield from _traffic(links)
        left = self._seat.revealing.left()
        if left is not None:
            yield _gauge("reveals_left", "For how many terms as a delegate the chain of reveals lasts (C6).", left)
        yield CounterMetricFamily("consilium_consensus_syncs", "Syncs of the vote log.", self._log.syncs)
        refused = CounterMetricFamily("consilium_consensus_refused", _REFUSED, labels=("peer", "reason"))
        for (peer, reason), count in sorted((self._seat.driver.refused.copy() + links.refused.copy()).items()):
            refused.add_metric([peer, reason], count)
        yield refused
        yield _counted(
            "consilium_consensus_said", "Messages for other members, by kind.", "kind", self._seat.driver.said.copy()
        )


def _place(state: State) -> Iterator[Metric]:
    """Where the replica stands, and what it is doing."""
    committee, tip = state.committee, state.tip
    yield _gauge("epoch", "The present epoch.", state.outlook.epoch)
    yield _gauge("view", "The present view.", state.view)
    yield _gauge("height", "The last block executed.", tip.height)
    yield _gauge("stable_height", "The last stable checkpoint.", state.stable_height)
    yield _gauge("block_timestamp_seconds", "The time in the last executed block.", tip.time_ms / 1_000)
    yield _gauge("delegates", "Seats of the committee.", len(committee.delegates))
    yield _gauge("quorum", "How many of them decide.", committee.quorum)
    yield _gauge("is_delegate", "1 where this member has a seat.", state.index is not None)
    yield _gauge("is_primary", "1 where this replica proposes now.", state.is_primary)
    yield _gauge("incarnation", "The number of this vote log (C5).", state.identity.incarnation)
    own = doing(state)
    states = GaugeMetricFamily("consilium_consensus_state", "1 for what the replica is doing.", labels=("state",))
    for name, number in pb.ReplicaState.items():
        if number:
            states.add_metric([name.removeprefix("REPLICA_STATE_").lower()], number == own)
    yield states


def _backlog(state: State) -> Iterator[Metric]:
    """What waits to be ordered, and for how long nothing has moved though it should."""
    now_ms, since = own_ms(state, wall_ms()), state.pool.eligible_since()
    oldest_ms = 0 if since is None else max(0, now_ms - since)
    yield _gauge("waiting_transactions", "Not ordered yet.", waiting(state))
    yield _gauge("waiting_bytes", "Bytes of those that are in no batch yet.", state.pending_bytes)
    yield _gauge("waiting_oldest_seconds", "How long the oldest batch has waited.", oldest_ms / 1_000)
    stalled_s = stalled_ms(state, now_ms) / 1_000
    yield _gauge("stalled_seconds", "How long no block has come though one should; 0 while they do.", stalled_s)


def _delegates(state: State, links: Links) -> Iterator[Metric]:
    """Who of the committee is missing, by name, and since when (L7); what `consilium status` says too."""
    connected = GaugeMetricFamily("consilium_consensus_link_connected", "1 where a stream is open.", labels=("peer",))
    for name in links.peers:
        connected.add_metric([name], links.is_connected(name))
    yield connected
    missing = GaugeMetricFamily(
        "consilium_consensus_delegate_missing", "1 for a delegate that is not heard of.", labels=("peer",)
    )
    heard = GaugeMetricFamily(
        "consilium_consensus_delegate_heard_timestamp_seconds", "When a delegate was last heard of.", labels=("peer",)
    )
    others = [each.member_id for each in state.committee.delegates if each.member_id != state.identity.member_id]
    for name in others:
        missing.add_metric([name], is_missing(state, links, name))
        silent_ms = links.silent_ms(name)
        if silent_ms is not None:
            heard.add_metric([name], time.time() - silent_ms / 1_000)
    yield missing
    yield heard
    present = sum(not is_missing(state, links, name) for name in others) + (state.index is not None)
    yield _gauge("delegates_heard", "Delegates that are not missing, this one included.", present)
    primary = GaugeMetricFamily("consilium_consensus_primary", "1 for the primary of the view.", labels=("peer",))
    primary.add_metric([state.committee.primary(state.view)], 1)
    yield primary


def is_missing(state: State, links: Links, name: str) -> bool:
    """Whether a delegate is to be called missing: no stream to it, or nothing from it for longer than may be (L7).

    To a member without a seat delegates say nothing, so there only the stream counts.
    """
    silent_ms, is_spoken_to = links.silent_ms(name), state.index is not None
    is_quiet = silent_ms is None or silent_ms > state.parameters.quiet_ms
    return not links.is_connected(name) or (is_spoken_to and is_quiet)


def _pace(state: State) -> Iterator[Metric]:
    """How fast blocks go, and what it was when they did not."""
    measures, pace = state.measures, state.pace
    stages = HistogramMetricFamily("consilium_consensus_phase_seconds", "How long the phases take.", labels=("phase",))
    for stage, durations in measures.stages.items():
        _fill(stages, [stage], durations)
    yield stages
    help_text = "From when a batch may be ordered to its execution."
    ordering = HistogramMetricFamily("consilium_consensus_ordering_seconds", help_text, labels=())
    _fill(ordering, [], measures.ordering)
    yield ordering
    left = {each.value: measures.views_left[each] for each in Leaving}
    yield _counted("consilium_consensus_view_changes", "Views this replica has left, by why.", "reason", left)
    complaints = pace.complaints_of(state.view)
    yield _gauge("slow_primary_complaints", "Delegates that call the present primary slow (C2).", complaints)
    yield _gauge("slow_primary_views_left", "Views of this epoch left for a slow primary.", pace.left)
    accused = Counter(offence.partition(" ")[0] for offence in list(state.blamed))
    yield _counted("consilium_consensus_accused", "Offences this replica brought proof of.", "peer", accused)


def _traffic(links: Links) -> Iterator[Metric]:
    """What the links carry and lose."""
    yield _gauge("links_connected", "Streams that are open.", sum(links.is_connected(name) for name in links.peers))
    yield _gauge("links_disowned", "Members saying this key runs elsewhere.", len(links.disowned_by))
    yield CounterMetricFamily("consilium_consensus_envelopes_dropped", "Lost to full links.", links.dropped)
    for kind in ("messages", "envelopes"):
        counts = {direction: links.counts[f"{kind}_{direction}"] for direction in ("sent", "received")}
        yield _counted(f"consilium_consensus_{kind}", f"{kind.capitalize()} on links.", "direction", counts)


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"consilium_consensus_{name}", says, value)


def _counted(name: str, says: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, says, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _fill(family: HistogramMetricFamily, labels: list[str], durations: Durations) -> None:
    """The durations as Prometheus wants them: cumulative, in seconds."""
    buckets = [("+Inf" if bound is None else str(bound / 1_000), count) for bound, count in durations.at_most()]
    family.add_metric(labels, buckets, durations.total_ms / 1_000)
