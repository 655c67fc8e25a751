"""Consensus's own metrics; read when Prometheus asks, so that counting costs nothing on the way."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.consensus.replica_state import waiting
from consilium.consensus.seat import Seat
from consilium.consensus.store import FileVoteLog
from consilium.consensus.streams import Links

_REFUSED = "What was refused, by the member it came from."


class ConsensusCounters(Collector):
    """Where the replica stands, what its links carry, and what the vote log costs in syncs (performance.md section 3)."""

    def __init__(self, seat: Seat, links: Links, log: FileVoteLog) -> None:
        self._seat, self._links, self._log = seat, links, log

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        state, links = self._seat.replica.state, self._links
        yield GaugeMetricFamily("consilium_consensus_epoch", "The present epoch.", state.outlook.epoch)
        yield GaugeMetricFamily("consilium_consensus_view", "The present view.", state.view)
        yield GaugeMetricFamily("consilium_consensus_height", "The last block executed.", state.tip.height)
        yield GaugeMetricFamily("consilium_consensus_stable_height", "The last stable checkpoint.", state.stable_height)
        yield GaugeMetricFamily("consilium_consensus_waiting_transactions", "Not ordered yet.", waiting(state))
        connected = sum(links.is_connected(name) for name in links.peers)
        yield GaugeMetricFamily("consilium_consensus_links_connected", "Streams that are open.", connected)
        disowned = len(links.disowned_by)
        yield GaugeMetricFamily("consilium_consensus_links_disowned", "Members saying this key runs elsewhere.", disowned)
        yield CounterMetricFamily("consilium_consensus_syncs", "Syncs of the vote log.", self._log.syncs)
        yield CounterMetricFamily("consilium_consensus_envelopes_dropped", "Lost to full links.", links.dropped)
        for kind in ("messages", "envelopes"):
            family = CounterMetricFamily(
                f"consilium_consensus_{kind}", f"{kind.capitalize()} on links.", labels=("direction",)
            )
            for direction in ("sent", "received"):
                family.add_metric([direction], links.counts[f"{kind}_{direction}"])
            yield family
        refused = CounterMetricFamily("consilium_consensus_refused", _REFUSED, labels=("member", "reason"))
        for (member, reason), count in sorted((self._seat.driver.refused + links.refused).items()):
            refused.add_metric([member, reason], count)
        yield refused
        said = CounterMetricFamily("consilium_consensus_said", "Messages for other members, by kind.", labels=("kind",))
        for kind, count in sorted(self._seat.driver.said.items()):
            said.add_metric([kind], count)
        yield said
