"""The re-encryption service's own metrics (rules S5, S6); read when Prometheus asks. Refusals are in the RPC metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.reencryption.driver import Driver
from consilium.reencryption.workers import Workers


class ReencryptionCounters(Collector):
    """What is held, released and deleted, what was offered and is wrong, and the receipts on their way."""

    def __init__(self, driver: Driver, workers: Workers) -> None:
        self._driver, self._workers = driver, workers

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        driver = self._driver
        yield GaugeMetricFamily("consilium_reencryption_fragments", "Key fragments held.", driver.held)
        yield CounterMetricFamily("consilium_reencryption_released", "Fragments released.", driver.counts["released"])
        yield CounterMetricFamily("consilium_reencryption_deleted", "Key fragments given up.", driver.counts["deleted"])
        wrong = driver.counts["wrong"]
        yield CounterMetricFamily("consilium_reencryption_wrong_fragments", "Offered, and not of their grant.", wrong)
        unsettled = len(driver.receipts.unsettled())
        yield GaugeMetricFamily("consilium_reencryption_receipts_unsettled", "Receipts not final yet.", unsettled)
        yield GaugeMetricFamily("consilium_reencryption_jobs", "Jobs with the workers.", self._workers.waiting)
