"""The ledger's own metrics; read from the keeper when Prometheus asks, so that counting costs nothing."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.ledger.keeper import Keeper
from consilium.ledger.store import JournalBlockStore


class LedgerCounters(Collector):
    """Heights, blocks kept, and what they cost in syncs (performance.md section 3)."""

    def __init__(self, keeper: Keeper, store: JournalBlockStore) -> None:
        self._keeper, self._store = keeper, store

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        chain = self._keeper.chain
        yield GaugeMetricFamily("consilium_ledger_height", "The last block executed here.", chain.height)
        yield GaugeMetricFamily("consilium_ledger_certified_height", "The newest final block.", chain.certified_height)
        yield GaugeMetricFamily("consilium_ledger_tip_age_seconds", "Since it came.", self._keeper.tip_age_ms / 1_000)
        ahead = chain.tip.outlook
        upgrade = 0 if ahead.upgrade is None else ahead.upgrade.height
        yield GaugeMetricFamily("consilium_ledger_upgrade_height", "Where the next version begins, 0 for none.", upgrade)
        unknown = ahead.stops_at is not None
        yield GaugeMetricFamily("consilium_ledger_upgrade_unknown", "1 where a newer release is needed for it.", unknown)
        yield CounterMetricFamily("consilium_ledger_blocks", "Blocks kept since the start.", self._keeper.blocks_kept)
        yield CounterMetricFamily("consilium_ledger_syncs", "Syncs of the block store.", self._store.syncs)
