"""How identity gets on with Kubernetes; read when Prometheus asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.identity.cluster.keeping import ClusterKeeper

_HELD = "Whether the Lease of the consensus seat is held for the pod that runs; without it everything runs on (C5)."
_REACHED = "When the Kubernetes API last did what identity asked; 0 for never."


class ClusterCounters(Collector):
    """Failed turns by kind, when one last went well, and whether the Lease is held."""

    def __init__(self, keeper: ClusterKeeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        keeper = self._keeper
        failed = CounterMetricFamily("consilium_identity_kubernetes_failures", "Failed turns.", labels=("kind",))
        for kind in ("secrets", "lease", "conditions"):
            failed.add_metric([kind], keeper.failures[kind])
        yield failed
        yield GaugeMetricFamily(
            "consilium_identity_kubernetes_reached_timestamp_seconds", _REACHED, keeper.reached_ms / 1_000
        )
        yield GaugeMetricFamily("consilium_identity_kubernetes_lease_held", _HELD, int(keeper.seat.is_held))
