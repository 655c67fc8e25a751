"""The identity service's own metrics; read when Prometheus asks. Labels are states, never members or people."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.identity.driver import Driver
from consilium.runtime.clock import wall_ms

_FIRST_END = "When the first credential of a kind ends that its holder has not had renewed."


class IdentityCounters(Collector):
    """Members by state, certificates revoked that have not ended, members trusted; ends of credentials and authority."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        members = GaugeMetricFamily("consilium_identity_members", "Members as the ledger knows them.", labels=["state"])
        for state, number in self._driver.members.count().items():
            members.add_metric([state], number)
        yield members
        keeper = self._driver.keeper
        yield GaugeMetricFamily("consilium_identity_revoked", "Certificates refused here.", len(keeper.enrolment.revoked))
        yield GaugeMetricFamily("consilium_identity_trusted_members", "Members with an authority.", len(keeper.authorities))
        first = GaugeMetricFamily("consilium_identity_credential_expiry_timestamp_seconds", _FIRST_END, labels=["kind"])
        for kind, ends_ms in keeper.enrolment.endings.first(wall_ms()).items():
            first.add_metric([kind.name.lower()], ends_ms // 1_000)
        yield first
        ends = max((each.not_after_ms for each in keeper.enrolment.generations.valid(wall_ms())), default=0)
        help_text = "When the member's newest authority ends."
        yield GaugeMetricFamily("consilium_identity_authority_expiry_timestamp_seconds", help_text, ends // 1_000)
