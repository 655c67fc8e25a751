"""Every kind of trouble once (promise 5, S2); `make storage-nemesis` goes on for longer."""

from __future__ import annotations

import subprocess

import pytest

from consilium.kernel.errors import DataLoss
from consilium.storage.memory import MemoryObjectStore
from tests.ring.instance import ROOT
from tests.storage_nemesis.__main__ import unshared
from tests.storage_nemesis.work import Book, Violation, judge, put
from tests.stores.objects import ONE_CHUNK, record_id


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_promise_5_three_cassandras_under_trouble_lose_nothing() -> None:
    run = subprocess.run([*unshared(), "--seconds", "0"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert run.returncode == 0, run.stdout + run.stderr
    assert "nothing acknowledged was lost" in run.stdout


def test_a_lost_a_damaged_and_a_revived_object_are_noticed() -> None:
    """The judge can fail."""
    store = MemoryObjectStore()
    put(store, "one", ONE_CHUNK)
    judge(store, Book(stored={"one": ONE_CHUNK}))
    with pytest.raises(Violation, match="is back"):
        judge(store, Book(deleted={"one"}))
    store._chunks[record_id("one")][0] = b"x"  # noqa: SLF001  no other way to damage memory
    with pytest.raises(DataLoss):
        judge(store, Book(stored={"one": ONE_CHUNK}))
