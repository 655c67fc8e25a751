"""What joined the fault menu later bites: a production that does not withstand it is found out by a named promise."""

from __future__ import annotations

import pytest

from consilium.runtime.journal import Journal
from tests.simulation.run import Simulation
from tests.simulation.schedule import FORGOTTEN, Options


def forgetful_disks(seed: int) -> str:
    """How a run over disks ends whose failed syncs leave their pages clean."""
    return Simulation(Options(seed=seed, faults=(FORGOTTEN,), fault_gap=400, kinds_least=1)).run().failure


def test_what_a_failed_sync_left_clean_is_kept() -> None:
    """C5, S9: a start writes again what it reads back and no sync has confirmed."""
    assert forgetful_disks(1) == ""


@pytest.mark.slow
def test_a_start_that_trusts_the_page_cache_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """C5, S9: the log that a start only syncs again is gone after the next power cut."""
    monkeypatch.setattr(Journal, "_write_anew", lambda *_: None)
    assert any(forgetful_disks(seed).startswith("S9 durability") for seed in range(1, 5))
