"""The storage service's own metrics (rules S8, S9); read when Prometheus asks, so that counting costs nothing."""

from collections.abc import Iterator
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.storage.holdings import Backup
from consilium.storage.parts import Parts


class StorageCounters(Collector):
    """What is kept, what was found damaged and had again, what is missing, what was erased."""

    def __init__(self, parts: Parts, database_certificate: Path | None = None) -> None:
        """The certificate is the one shown to the database, where there is one to show."""
        self._database_certificate = database_certificate
        self._driver, self._erasing, self._healing, self._scrub = parts.driver, parts.erasing, parts.healing, parts.scrub

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        holdings, scrub, healing = self._driver.stores.holdings, self._scrub.state, self._healing
        puts, size = holdings.staged()
        yield GaugeMetricFamily("consilium_storage_objects", "Objects that are complete.", holdings.count())
        yield GaugeMetricFamily("consilium_storage_staged_puts", "Puts that are unfinished.", puts)
        yield GaugeMetricFamily("consilium_storage_staged_bytes", "The bytes they are to have.", size)
        yield CounterMetricFamily("consilium_storage_scrubbed_chunks", "Chunks read back.", scrub.chunks_scrubbed)
        yield CounterMetricFamily("consilium_storage_damaged_chunks", "Of those, damaged.", scrub.chunks_damaged)
        yield CounterMetricFamily("consilium_storage_healed_chunks", "Of those, healed.", scrub.chunks_healed)
        yield GaugeMetricFamily("consilium_storage_unhealed_chunks", "Damaged in the last round.", scrub.chunks_unhealed)
        yield CounterMetricFamily("consilium_storage_healed_objects", "Had again whole.", healing.objects_healed)
        yield CounterMetricFamily("consilium_storage_healed_bytes", "The bytes of these.", healing.bytes_healed)
        yield from self._last_heal()
        yield from self._last_backup()
        yield from self._database_papers()
        yield GaugeMetricFamily("consilium_storage_copies_missing", "Due at others and not there.", healing.copies_missing)
        yield CounterMetricFamily("consilium_storage_copies_restored", "Brought to others anew.", healing.copies_restored)
        yield GaugeMetricFamily("consilium_storage_orphans", "Objects that no record names.", scrub.orphans)
        yield CounterMetricFamily("consilium_storage_erased_objects", "Destroyed since the start.", self._erasing.erased)
        ended_s = (scrub.last_round_ms or 0) / 1_000
        yield GaugeMetricFamily("consilium_storage_scrub_timestamp_seconds", "When the last round ended, or 0.", ended_s)

    def _last_heal(self) -> Iterator[Metric]:
        """Whether a heal runs, and how the last one ended."""
        healing, last = self._healing, self._healing.last
        yield GaugeMetricFamily("consilium_storage_heal_running", "1 while a heal runs.", float(healing.is_running))
        ended_s = (healing.last_ended_ms or 0) / 1_000
        yield GaugeMetricFamily("consilium_storage_heal_timestamp_seconds", "When the last heal ended, or 0.", ended_s)
        failed = len(last.lost) + last.objects_failed
        yield GaugeMetricFamily("consilium_storage_heal_objects_left", "Those the last heal could not have again.", failed)

    def _database_papers(self) -> Iterator[Metric]:
        """When the certificate for the database ends, 0 where its file cannot be read; nothing without a database."""
        if self._database_certificate is None:
            return
        try:
            ends_s = load_pem_x509_certificate(self._database_certificate.read_bytes()).not_valid_after_utc.timestamp()
        except (OSError, ValueError):
            ends_s = 0.0
        name = "consilium_storage_database_certificate_expiry_timestamp_seconds"
        yield GaugeMetricFamily(name, "When the certificate shown to the database ends.", ends_s)

    def _last_backup(self) -> Iterator[Metric]:
        """When it was taken, how far it reaches, what it added and what it left out; all 0 before the first."""
        last = self._driver.stores.holdings.last_backup() or Backup(0, 0, 0, 0, 0)
        taken_s = last.taken_ms / 1_000
        yield GaugeMetricFamily("consilium_storage_backup_timestamp_seconds", "When the last backup began, or 0.", taken_s)
        yield GaugeMetricFamily("consilium_storage_backup_height", "The height up to which it holds blocks.", last.height)
        yield GaugeMetricFamily("consilium_storage_backup_bytes", "The bytes it has added.", last.bytes_added)
        yield GaugeMetricFamily("consilium_storage_backup_objects", "The objects it holds.", last.objects)
        yield GaugeMetricFamily("consilium_storage_backup_objects_damaged", "Those it left out as damaged.", last.damaged)
