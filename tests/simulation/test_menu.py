"""What joined the fault menu later bites: a production that does not withstand it is found out by a named promise."""

from __future__ import annotations

import pytest

from consilium.kernel.chain import Outlook
from consilium.runtime.journal import Journal
from tests.simulation.builds import NEWER, OLDER
from tests.simulation.certificates import Certificates, Ending
from tests.simulation.run import Report, Simulation
from tests.simulation.schedule import EXPIRY, FORGOTTEN, UPGRADE, Options


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


def upgraded(seed: int) -> Report:
    """A run in which members come back as another build while others crash."""
    return Simulation(Options(seed=seed, faults=(UPGRADE, "power cut"), fault_gap=400)).run()


def test_builds_of_two_versions_cross_an_upgrade() -> None:
    """G5: a member that does not know the version stands still at its height, and goes on as the newer build."""
    reports = [upgraded(seed) for seed in range(3)]
    assert [each.failure for each in reports] == [""] * 3
    assert any(each.marks["a member stands still at the height of an upgrade"] for each in reports)


@pytest.mark.slow
def test_a_member_may_go_back_below_the_height() -> None:
    """G5: a build that knows more writes nothing that the older one could not read, until the height is reached."""
    reports = [upgraded(seed) for seed in range(12)]
    assert [each.failure for each in reports] == [""] * 12
    assert any(each.hits["downgrade"] for each in reports)


@pytest.mark.slow
def test_a_build_that_does_not_stop_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: one that goes on at the height by rules it does not know."""
    monkeypatch.setattr(Outlook, "stops_at", None)
    assert any(upgraded(seed).failure.startswith("G5 upgrade") for seed in range(3))


def test_an_alliance_of_older_builds_waits_at_the_height_for_newer_ones() -> None:
    """G5: nobody was replaced in time, so all stand still there; once replaced they go on."""
    simulation = Simulation(Options(seed=1, faults=(UPGRADE,)), faults=())
    assert {each.build for each in simulation.members.values()} == {OLDER}
    assert simulation.run().failure == ""
    assert {each.build for each in simulation.members.values()} == {NEWER}


def test_each_peer_judges_a_certificate_by_its_own_clock() -> None:
    """Design section 8: ended for a fast clock, good for a slow one; only a new connection asks who is called."""
    certificates = Certificates()
    certificates.let_end("m1", Ending(1_000, frozenset(["m2"])))
    assert certificates.refuses_caller("m1", lambda: 1_001)
    assert not certificates.refuses_caller("m1", lambda: 1_000)
    assert not certificates.refuses_caller("m2", lambda: 1_001)
    assert certificates.refuses_called("m1", "m2", lambda: 1_001)
    assert not certificates.refuses_called("m1", "m3", lambda: 1_001)
    certificates.renew("m1")
    assert not certificates.refuses_caller("m1", lambda: 1_001)


def expiring(seed: int) -> Report:
    """A run in which certificates end while clocks disagree."""
    return Simulation(Options(seed=seed, faults=(EXPIRY, "clock jump"), fault_gap=400, liveness_ms=60_000)).run()


def test_a_member_whose_certificate_ended_comes_back_with_a_new_one() -> None:
    """L5: nothing but the certificate kept it out."""
    report = expiring(1)
    assert report.failure == ""
    assert report.hits["refused CERTIFICATE_EXPIRED"] > 0


@pytest.mark.slow
def test_a_certificate_that_is_never_renewed_keeps_its_member_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal bites: whose word nobody takes fetches no blocks."""
    monkeypatch.setattr(Certificates, "renew", lambda *_: None)
    monkeypatch.setattr(Certificates, "renew_all", lambda _: None)
    assert expiring(1).failure.startswith("L")
