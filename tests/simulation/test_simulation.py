"""The simulator itself: seeds are clean and repeatable, and broken replicas, lost quorums and too many twins are noticed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from consilium.consensus.core.events import Persist, Timer, TimerExpired
from consilium.consensus.core.replica import Replica
from tests.house.source import ROOT
from tests.simulation.__main__ import regression_seeds
from tests.simulation.run import Simulation
from tests.simulation.schedule import BLOCKS_LEAST, Options, draw_options

if TYPE_CHECKING:
    from consilium.consensus.core.events import Effect, Input


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_seeds_are_clean(seed: int) -> None:
    """S1 to S13, P2, P3, and L1 to L7 after the faults end; with five kinds of faults at least."""
    report = Simulation(draw_options(seed)).run()
    assert report.failure == ""
    assert report.blocks >= BLOCKS_LEAST


@pytest.mark.slow
@pytest.mark.parametrize("seed", regression_seeds())
def test_regression_seeds_are_clean(seed: int) -> None:
    assert Simulation(draw_options(seed)).run().failure == ""


def test_a_quiet_alliance_crosses_epochs_and_releases() -> None:
    """C6, C7: committees change; S5: holders release."""
    report = Simulation(Options(seed=7)).run()
    assert report.failure == ""
    assert report.epochs >= 2
    assert report.releases > 0
    assert report.view_changes == 0


def test_an_idle_alliance_changes_no_view() -> None:
    """C2, L7: its heartbeats are further apart than a time-out, by the default parameters and here."""
    report = Simulation(Options(seed=7, heartbeat_ms=5_000, submit_gap=3_000)).run()
    assert (report.failure, report.view_changes) == ("", 0)
    assert report.marks["an idle heartbeat"] > 0


def test_what_a_start_finds_above_all_that_was_told_is_told_then() -> None:
    """A block may be executed, not synced, and kept all the same, its executor gone before anybody has heard of it (C5)."""
    simulation = Simulation(Options(seed=7, blocks_least=5, safety_ms=1_000))
    assert simulation.run().failure == ""
    world, member = simulation.world, next(iter(simulation.members.values()))
    tips, told, first = list[int](), list[int](), list[int]()
    world.watchers.restarted = [lambda _, tip, *__: tips.append(tip)]
    world.watchers.executed = [lambda execution: told.append(execution.height)]
    world.watchers.first_executed = [lambda execution: first.append(execution.height)]
    world.top = (height := member.ledger.chain.height) - 1
    for fuse in (0, None):  # the first start ends while the replica, which has lost its log, begins to ask
        member.crash()
        member.log.wipe()
        member.damaged, member.fuse = True, fuse
        member.start()
        assert member.up is (fuse is None)
    assert (tips, told, first, world.top) == ([height - 1, height], [height], [height], height)


PLAIN = """
from tests.simulation.run import Simulation
from tests.simulation.schedule import draw_options
print("trace", Simulation(draw_options({seed})).run().trace)
"""
"""A run in which nothing is remembered."""
THAWED = """
import tests.simulation.thawed
import tests.simulation.warm
from tests.simulation.run import run_options
from tests.simulation.schedule import draw_options
options = draw_options({seed})
options.seed = {seed}
print("trace", run_options(options).trace)
"""
"""A run as a long search's worker makes it, after another, with values that are frozen no more."""


def traced(hash_seed: str, *program: str) -> str:
    """The trace hash that a fresh interpreter with this hash seed prints."""
    command = [sys.executable, *program]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}  # noqa: TID251  the child needs ours, and a hash seed
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    found = re.search(r"trace ([0-9a-f]{32})", run.stdout)
    assert found is not None, run.stdout
    return found[1]


@pytest.mark.parametrize("seed", [2, pytest.param(13, marks=pytest.mark.slow), pytest.param(24, marks=pytest.mark.slow)])
def test_a_seed_repeats_under_any_hash_seed(seed: int) -> None:
    """S8: the whole trace, not only the roots; with pure functions remembered or not, and with values frozen or not.

    The second has seven delegates, two of them twins; in the third one lies and floods; both have members suspended.
    """
    remembering = "-m", "tests.simulation", "--seed", str(seed)
    plain, thawed = (traced("3", "-c", each.format(seed=seed)) for each in (PLAIN, THAWED))
    assert traced("1", *remembering) == traced("2", *remembering) == plain == thawed


class Settled(Replica):
    """Looks again after every step."""

    def step(self, event: Input) -> list[Effect]:
        effects, refusals = super().step(event), self.state.refusals
        deadline, refused = self.state.deadline, len(refusals)
        assert self._finish() == []
        assert (self.state.deadline, self.state.refusals, len(refusals)) == (deadline, refusals, refused)
        return effects


@pytest.mark.parametrize("seed", [13, pytest.param(24, marks=pytest.mark.slow)])
def test_a_step_leaves_nothing_undone(seed: int) -> None:
    """C1, C2: whatever a message made possible has been asked for, and the alarm stands where it must."""
    assert Simulation(draw_options(seed), Settled).run().failure == ""


class Forgetful(Replica):
    """Breaks C5: it sends before it writes, and does not write at all."""

    def step(self, event: Input) -> list[Effect]:
        return [effect for effect in super().step(event) if not isinstance(effect, Persist)]


def crashing(seed: int) -> Options:
    faults = ("crash", "power cut", "all killed", "blackout")
    return Options(seed=seed, loss=100, delay_max=50, faults=faults, fault_gap=600)


def found(replica_class: type[Replica], options: list[Options]) -> str:
    """The first failure among these runs."""
    failures = (Simulation(each, replica_class).run().failure for each in options)
    return next((failure for failure in failures if failure), "")


@pytest.mark.slow
def test_amnesia_is_noticed() -> None:
    """C5, S6: a replica that never writes its log breaks its word after a crash, and is found out."""
    assert found(Forgetful, [crashing(seed) for seed in range(40)]).startswith(("S6", "S5", "S1", "S4"))


def test_without_a_quorum_nothing_is_committed() -> None:
    """C1: with f+1 silent delegates the chain stalls; it does not fork."""
    report = Simulation(Options(seed=3, silent=2, safety_ms=5_000, liveness_ms=10_000)).run()
    assert report.failure.startswith("L5")
    assert report.blocks == 0


def too_many_twins(seed: int) -> Simulation:
    return Simulation(Options(seed=seed, twins=2, delay_max=30, submit_gap=100))


@pytest.mark.slow
def test_more_than_f_twins_are_noticed() -> None:
    """S5: with f+1 twins in split views some seed breaks a lock on the way to a fork."""
    failures = (too_many_twins(seed).run().failure for seed in range(50))
    assert any(failure.startswith(("S4", "S5")) for failure in failures)


@pytest.mark.slow
def test_more_than_f_twins_fork() -> None:
    """S1: whoever looks at the blocks alone sees two honest members with different ones at a height."""
    for seed in range(50):
        simulation = too_many_twins(seed)
        simulation.world.watchers.sent.clear()
        if simulation.run().failure.startswith("S1"):
            return
    pytest.fail("no seed forked")


def test_a_liar_is_not_believed() -> None:
    """C1, C2: other digests, older times, hidden locks and forged certificates of one delegate change nothing."""
    report = Simulation(Options(seed=5, droppers=1, lies=True, faults=("crash",))).run()
    assert report.failure == ""
    assert report.hits["lie"] > 50


class Unlocked(Replica):
    """Breaks C2: it forgets what it has prepared before it calls for another view."""

    def step(self, event: Input) -> list[Effect]:
        if isinstance(event, TimerExpired) and event.timer is Timer.PROGRESS:
            self.state.log.prepared.clear()
        return super().step(event)


@pytest.mark.slow
def test_a_hidden_lock_is_noticed() -> None:
    """C2, S6: a view change that hides a prepared certificate is found out at once."""
    assert found(Unlocked, [crashing(seed) for seed in range(20)]).startswith("S6")
