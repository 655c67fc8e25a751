"""The ledger's own metrics; read from the keeper when Prometheus asks, so that counting costs nothing.

The label `peer` names another member, as this one sees it.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.kernel.codes import Code
from consilium.ledger.keeper import Keeper
from consilium.ledger.peers import OtherLedgers
from consilium.ledger.store import JournalBlockStore


class LedgerCounters(Collector):
    """Heights, blocks kept and what they cost in syncs, outcomes, the others' heights, revocations, recoveries."""

    def __init__(self, keeper: Keeper, others: OtherLedgers, store: JournalBlockStore) -> None:
        self._keeper, self._others, self._store = keeper, others, store

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        yield from self._heights()
        yield from self._upgrade()
        yield from self._revocations()
        yield CounterMetricFamily("consilium_ledger_blocks", "Blocks kept since the start.", self._keeper.blocks_kept)
        yield CounterMetricFamily("consilium_ledger_syncs", "Syncs of the block store.", self._store.syncs)
        outcomes = CounterMetricFamily("consilium_ledger_transactions", "How transactions ended.", labels=["code"])
        for code in Code:
            outcomes.add_metric([code.name], self._keeper.outcomes[code])
        yield outcomes

    def _heights(self) -> Iterator[Metric]:
        chain, shown = self._keeper.chain, self._others.shown
        yield GaugeMetricFamily("consilium_ledger_height", "The last block executed here.", chain.height)
        yield GaugeMetricFamily("consilium_ledger_certified_height", "The newest final block.", chain.certified_height)
        yield GaugeMetricFamily("consilium_ledger_tip_age_seconds", "Since it came.", self._keeper.tip_age_ms / 1_000)
        heights = GaugeMetricFamily("consilium_ledger_peer_height", "The greatest height a member showed.", labels=["peer"])
        for peer, height in shown.items():
            heights.add_metric([peer], height)
        yield heights
        behind = max(0, max(shown.values(), default=0) - chain.height)
        yield GaugeMetricFamily("consilium_ledger_behind_blocks", "To the highest of these.", behind)
        banned = GaugeMetricFamily("consilium_ledger_banned", "1 for a member whose blocks did not hold.", labels=["peer"])
        for peer in shown:
            banned.add_metric([peer], peer in self._others.banned)
        yield banned
        yield GaugeMetricFamily("consilium_ledger_recoveries", "Epochs that a recovery has ended (C10).", chain.recoveries)

    def _upgrade(self) -> Iterator[Metric]:
        ahead = self._keeper.chain.tip.outlook
        upgrade = 0 if ahead.upgrade is None else ahead.upgrade.height
        yield GaugeMetricFamily("consilium_ledger_upgrade_height", "Where the next version begins, 0 for none.", upgrade)
        unknown = ahead.stops_at is not None
        yield GaugeMetricFamily("consilium_ledger_upgrade_unknown", "1 where a newer release is needed for it.", unknown)

    def _revocations(self) -> Iterator[Metric]:
        """From the revoking block to the grant's death and to the last holder's deletion, in block times (S6)."""
        revoking, tip_ms = self._keeper.revoking, self._keeper.chain.tip.time_ms
        took = HistogramMetricFamily(
            "consilium_ledger_revocation_seconds", "From revocation until what is named.", labels=["until"]
        )
        for until, seconds in revoking.took.items():
            took.add_metric([until], seconds.buckets(), seconds.total_s)
        yield took
        yield GaugeMetricFamily("consilium_ledger_revocations_open", "Not deleted by all holders.", len(revoking.open))
        oldest_ms = min(list(revoking.open.values()), default=tip_ms)
        age_s = (tip_ms - oldest_ms) / 1_000
        yield GaugeMetricFamily("consilium_ledger_revocation_oldest_seconds", "How old the oldest of those is.", age_s)
