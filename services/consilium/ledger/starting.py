"""How far a start has come: the ledger executes all its blocks before it serves, and says so meanwhile.

The health port answers `liveness` from the beginning, so nobody takes a long start for a process that hangs, and readiness
stays away until the end; the log and the metrics port tell how long that will be.
"""

import logging
import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.runtime.logs import Log

LOG_S = 10.0
"""How often the log tells, in seconds."""

_log = Log("consilium.ledger.starting")


class Starting(Collector):
    """The height that was executed again so far, and the one that the store had."""

    def __init__(self) -> None:
        self.height = self.last = 0
        self._told_at = time.monotonic()

    def note(self, height: int, last: int) -> None:
        """One more block was executed again, of so many."""
        self.height, self.last = height, last
        now = time.monotonic()
        if now - self._told_at >= LOG_S:
            self._told_at = now
            _log.write(logging.INFO, "replaying", height=height, count=last)

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        yield GaugeMetricFamily("consilium_ledger_replayed_height", "Executed again at this start.", self.height)
        yield GaugeMetricFamily("consilium_ledger_stored_height", "What the store had at this start.", self.last)
