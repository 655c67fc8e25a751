"""What a ledger keeps in memory does not grow with what lies on its disk (habit 8; an idle alliance for years)."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.parameters import Parameters
from consilium.ledger.core.archive import BLOCKS_KEPT, Link
from consilium.ledger.keeper import Keeper
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import OsDisk
from tests.alliance import Alliance, Scribe

if TYPE_CHECKING:
    from pathlib import Path

WARM, MORE = 2 * BLOCKS_KEPT, 512
BLOCK_BYTES_MAX = 250
"""For a heartbeat: its place in the store, its roots, its end in the log, and what arrays take ahead."""
TRANSACTION_BYTES_MAX = 600
EACH = 8
"""Registrations in a block."""
KEPT_FOR_A_BLOCK = (Link, CertifiedBlock, Header)


class Trusting:
    """Verifies nothing: who signed is no matter here."""

    def verify(self, *_: bytes) -> None:
        """Hold whatever it is for good."""


def scribe_with(records: int) -> Scribe:
    """A chain of blocks of so many registrations, in one term."""
    scribe = Scribe(Alliance.founded(parameters=Parameters()), Trusting())
    for height in range(WARM + MORE):
        scribe.write(*[scribe.record(f"{height} {place}") for place in range(records)])
    return scribe


def kept(path: Path, scribe: Scribe, height: int) -> tuple[int, Counter[type]]:
    """The bytes that a ledger over the first blocks takes, and how many objects of the kinds that a block has."""
    store = JournalBlockStore.create(OsDisk(), path / str(height))
    scribe.keep_in(store, height)
    assert len(list(store.certificates())) == store.height
    store.close()
    gc.collect()
    before = Counter(type(each) for each in gc.get_objects() if isinstance(each, KEPT_FOR_A_BLOCK))
    tracemalloc.start()
    try:
        keeper = Keeper(scribe.alliance.genesis, store := JournalBlockStore.open(OsDisk(), path / str(height)), Trusting())
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    after = Counter(type(each) for each in gc.get_objects() if isinstance(each, KEPT_FOR_A_BLOCK))
    assert keeper.chain.height == height
    store.close()
    return taken, after - before


def growth(path: Path, scribe: Scribe) -> float:
    """The bytes that each further block takes; no object is kept for one."""
    few, few_objects = kept(path, scribe, WARM)
    many, many_objects = kept(path, scribe, WARM + MORE)
    assert few_objects == many_objects
    assert few_objects[Link] == BLOCKS_KEPT
    return (many - few) / MORE


def test_a_heartbeat_leaves_a_few_numbers(tmp_path: Path) -> None:
    """An idle day of 17,280 blocks takes a few MB, and a year 1.5 GB at most."""
    assert growth(tmp_path, scribe_with(0)) < BLOCK_BYTES_MAX


def test_a_registration_leaves_its_entries(tmp_path: Path) -> None:
    """What the next blocks are judged by: its ids, and where it stands in the log; not its bytes."""
    assert growth(tmp_path, scribe_with(EACH)) < BLOCK_BYTES_MAX + EACH * TRANSACTION_BYTES_MAX
