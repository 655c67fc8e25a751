"""The working parts of one member's storage, each made with those below it; the border and the metrics see them together."""

from dataclasses import dataclass
from typing import Self

from consilium.storage.driver import Driver
from consilium.storage.erasing import Erasing
from consilium.storage.healing import Healing
from consilium.storage.putting import Putting
from consilium.storage.reading import Reading
from consilium.storage.scrubbing import Scrub


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service consists of."""

    driver: Driver
    putting: Putting
    reading: Reading
    erasing: Erasing
    healing: Healing
    scrub: Scrub

    @classmethod
    def of(cls, driver: Driver, scrub_chunks_per_s: int) -> Self:
        """All of them, over one driver."""
        putting, reading, erasing = Putting(driver), Reading(driver), Erasing(driver)
        healing = Healing(driver, putting, reading)
        return cls(driver, putting, reading, erasing, healing, Scrub(driver, reading, erasing, healing, scrub_chunks_per_s))
