"""What holds for every test: Hypothesis draws the same examples each time; a whole run leaves nothing out."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import configuration, settings

from consilium.storage.cassandra.session import Database
from tests.ring.shared import shared_ring
from tests.stores.objects import CHAIN_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.ring.ring import Ring

configuration.set_hypothesis_home_dir("build/hypothesis")
# Derandomised, so that `make test` on one commit always says the same; no deadlines, because machines differ.
settings.register_profile("house", derandomize=True, deadline=None, database=None)
settings.load_profile("house")
# Who starts the tests in the background has them ignore Ctrl-C, and every child of theirs with them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = Path(__file__).parent
OTHER_RUNS = ("cluster", "pages")
"""Folders that are collected only when the option of their name is given."""
RING_S = 900
"""How many seconds a test may take that uses the ring, its start included."""


class LeftOut:
    """Collects what a run did not run: skipped, expected to fail, or deselected tests."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Notes tests left out by -m, -k or --deselect."""
        self.names += [f"{item.nodeid} (deselected)" for item in items]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notes modules that skipped themselves while being collected."""
        if report.skipped:
            self.names.append(f"{report.nodeid} (skipped)")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes tests that skipped themselves or are marked as expected to fail."""
        if report.skipped or hasattr(report, "wasxfail"):
            self.names.append(f"{report.nodeid} ({'xfail' if hasattr(report, 'wasxfail') else 'skipped'})")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails a run that passed by leaving tests out; a worker hands its list to the controller."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["left_out"] = [name for name in self.names if name.endswith("(deselected)")]
        elif self.names and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Takes a worker's list of deselected tests (only workers collect)."""
        self.names += getattr(node, "workeroutput", {}).get("left_out", [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Names what was left out."""
        for name in dict.fromkeys(self.names):
            terminalreporter.line(f"left out of a whole run: {name}", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --whole, which `make test` passes, and what `make pages-test` and `make cluster-test` pass."""
    parser.addoption("--whole", action="store_true", help="fail when any test is skipped, xfailed or deselected")
    parser.addoption("--pages", action="store_true", help="collect tests/pages, which `make pages-test` runs")
    parser.addoption("--cluster", action="store_true", help="collect tests/cluster, which needs root and built tools")
    parser.addoption("--reschedules", type=int, default=5, help="how often tests/cluster moves a consensus pod by force")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves the real cluster and the typed pages to targets of their own: not as tests left out, but as other runs."""
    other = collection_path.parent == TESTS and collection_path.name in OTHER_RUNS
    return True if other and not config.getoption(f"--{collection_path.name}") else None


def pytest_configure(config: pytest.Config) -> None:
    """Watches for what is left out when the run is meant to be whole."""
    if config.getoption("--whole"):
        config.pluginmanager.register(LeftOut(), "left-out")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Gives time to whoever may be the first to want the ring: pytest-timeout counts what fixtures take."""
    for each in items:
        if "ring" in getattr(each, "fixturenames", ()):
            each.add_marker(pytest.mark.timeout(RING_S))


@pytest.fixture(scope="session")
def ring(request: pytest.FixtureRequest) -> Ring:
    """Three Cassandras, the same for all tests and workers of a session; started when a test first asks for them."""
    return shared_ring(os.getppid() if hasattr(request.config, "workerinput") else os.getpid())


@pytest.fixture(scope="session")
def keyspace(ring: Ring, worker_id: str) -> Iterator[Database]:
    """A keyspace of this worker's own, of the chain that the stores' tests are about."""
    settings = ring.migrated(f"contract_{worker_id}", CHAIN_ID)
    database = Database.open(settings)
    database.enter(settings.cassandra_keyspace)
    yield database
    database.close()
