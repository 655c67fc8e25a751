"""A sandbox's folder: what is founded in it, what it is refused for, and how one service starts, fails and ends."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from consilium.client.settings import client_settings, services_of
from consilium.consensus.settings import ConsensusSettings
from consilium.identity.settings import IdentitySettings
from consilium.kernel.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.founding import first_committee
from consilium.kernel.membership import SERVICES
from consilium.ledger.settings import LedgerSettings
from consilium.reencryption.settings import ReencryptionSettings
from consilium.runtime.settings import FILE_VARIABLE, load
from consilium.sandbox import processes
from consilium.sandbox.founders import FIVE, founders_of
from consilium.sandbox.layout import ports_for
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, opened
from consilium.sandbox.ports import drawn_ports, is_free, kept_ports, loopback
from consilium.sandbox.processes import SandboxService
from consilium.storage.settings import StorageSettings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

WAIT_MS = 60_000
"""How long a test waits for what must come."""


def founded(folder: Path, count: int = 4) -> AbstractContextManager[SandboxAlliance]:
    """An alliance with nothing started."""
    return opened(folder, founders_of(count), SANDBOX_PARAMETERS, NOTHING)


# --- the folder ---


def test_everything_is_its_owners_alone(tmp_path: Path) -> None:
    """Folders 0700, files 0600; authorities are for the members to exchange (design section 7)."""
    with founded(tmp_path / "alliance") as alliance:
        folders = [each for each in (alliance.folder, *alliance.folder.rglob("*")) if each.is_dir()]
        files = [each for each in alliance.folder.rglob("*") if each.is_file() and each.suffix != ".authority"]
        assert {stat.filemode(each.stat().st_mode) for each in folders} == {"drwx------"}
        assert {stat.filemode(each.stat().st_mode) for each in files} == {"-rw-------"}


def test_every_service_and_client_can_read_its_settings(tmp_path: Path) -> None:
    with founded(tmp_path) as alliance:
        for member in alliance.members.values():
            settings = {FILE_VARIABLE: str(alliance.layout.settings_path(member.member_id))}
            ports = (
                load(ConsensusSettings, settings).port,
                load(IdentitySettings, settings).port,
                load(LedgerSettings, settings).port,
                load(ReencryptionSettings, settings).port,
                load(StorageSettings, settings).port,
            )
            assert ports == tuple(member.services[name].port for name in SERVICES)
            client = client_settings(member.client_settings)
            ways = services_of(client.services)
            assert {name: sorted(each) for name, each in ways.items()} == dict.fromkeys(alliance.members, sorted(SERVICES))
            assert (client.credential / "signing.key").exists()


def test_a_folder_keeps_its_chain_and_its_ports(tmp_path: Path) -> None:
    with founded(tmp_path) as first:
        known = first.genesis.chain_id, first.service("2A", "ledger").port
    with founded(tmp_path, count=7) as again:
        assert (again.genesis.chain_id, again.service("2A", "ledger").port) == known
        assert len(again.members) == 4


def test_a_folder_can_be_moved(tmp_path: Path) -> None:
    with founded(tmp_path / "here"):
        pass
    (tmp_path / "here").rename(tmp_path / "there")
    with founded(tmp_path / "there") as alliance:
        for path in (alliance.layout.settings_path("2A"), alliance.member("2A").client_settings):
            assert str(tmp_path / "here") not in path.read_text()


def test_a_folder_of_another_chain_is_refused(tmp_path: Path) -> None:
    """L5: the state beside a genesis file is of that chain, or it is not used."""
    for name in ("one", "other"):
        with founded(tmp_path / name):
            pass
    shutil.copy(tmp_path / "other" / "genesis", tmp_path / "one" / "genesis")
    with pytest.raises(FailedPrecondition, match="FOREIGN_CHAIN"), founded(tmp_path / "one"):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(Conflict, match="NOT_EMPTY"), founded(tmp_path):
        pass


def test_a_half_founded_folder_is_refused(tmp_path: Path) -> None:
    with founded(tmp_path) as alliance:
        (alliance.folder / "sandbox.toml").unlink()
    with pytest.raises(Conflict, match="NOT_EMPTY"), founded(tmp_path):
        pass


def test_a_folder_runs_once(tmp_path: Path) -> None:
    with founded(tmp_path), pytest.raises(FailedPrecondition, match="LOCKED"), founded(tmp_path):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("count", range(4, 11))
def test_alliances_of_four_to_ten_can_be_founded(tmp_path: Path, count: int) -> None:
    """C6: each has a first committee."""
    with founded(tmp_path, count) as alliance:
        assert len(alliance.members) == count
        assert len(first_committee(alliance.genesis).delegates) == 1 + 3 * ((count - 1) // 3)


@pytest.mark.parametrize("count", [3, 11])
def test_smaller_and_larger_alliances_are_refused(count: int) -> None:
    with pytest.raises(InvalidArgument, match="BAD_FOUNDERS"):
        founders_of(count)


def test_the_five_are_those_of_the_demo() -> None:
    assert founders_of(5) == FIVE


def test_who_is_not_there_is_named(tmp_path: Path) -> None:
    with founded(tmp_path) as alliance:
        with pytest.raises(NotFound, match="NO_MEMBER"):
            alliance.kill("9Z")
        with pytest.raises(NotFound, match="NO_SERVICE"):
            alliance.service("2A", "billing")


# --- one service ---


def test_a_start_that_fails_says_which_service_and_why(tmp_path: Path) -> None:
    wrong = {"ledger": {"tips_interval_ms": -1}}
    with opened(tmp_path, founders_of(4), SANDBOX_PARAMETERS, wrong) as alliance:
        with pytest.raises(FailedPrecondition, match="START_FAILED") as refused:
            asyncio.run(alliance.start("2A", "ledger"))
        for word in ("ledger service of 2A", "exit code 2", "tips_interval_ms", "BAD_SETTING", "2A/logs/ledger.log"):
            assert word in refused.value.sentence
        assert [(each.member_id, each.name) for each in alliance.ended()] == [("2A", "ledger")]


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_a_port_that_is_taken_is_named(tmp_path: Path, offset: int) -> None:
    """Its calls, health and metrics: nobody else's answers are taken for the service's."""
    with founded(tmp_path) as alliance, socket.socket() as other:
        port = alliance.service("2A", "ledger").port + offset
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # nor drawn nor kept: it goes where it is told to
        other.bind((loopback(), port))
        other.listen()
        with pytest.raises(FailedPrecondition, match=f"Port {port} .*ledger service's of 2A.*PORT_TAKEN"):
            asyncio.run(alliance.start("2A", "ledger"))


def is_drawn(port: int) -> bool:
    """Whether who looks for a port of its own may take it."""
    with socket.socket(socket.AF_INET6 if ":" in loopback() else socket.AF_INET) as own:
        try:
            own.bind((loopback(), port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def test_ports_are_kept_while_their_services_are_down(tmp_path: Path) -> None:
    """From founding on and after coming back, and no longer than the sandbox is open."""
    for _ in range(2):
        with founded(tmp_path) as alliance:
            ports = range(alliance.layout.first_port, alliance.layout.first_port + ports_for(4))
            assert not [each for each in ports if is_drawn(each)]
        assert [each for each in ports if is_drawn(each)] == list(ports)


def test_ports_that_are_drawn_are_nobody_elses() -> None:
    with drawn_ports(3) as first:
        assert not [port for port in range(first, first + 3) if is_drawn(port)]
        with socket.socket() as service:
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            service.bind((loopback(), first))
            service.listen()
    assert is_drawn(first + 1)


def test_a_look_that_cannot_be_had_finds_nobody() -> None:
    """Without a file descriptor left nobody is told that another process holds a port."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        for look in (lambda: is_free(1), lambda: kept_ports(1, 1).__enter__(), lambda: drawn_ports(1).__enter__()):
            with pytest.raises(OSError) as refused:  # noqa: PT011  by its number, whatever the language of its words
                look()
            assert refused.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_up(service: SandboxService) -> bool:
    """Asked anew each time."""
    return service.pid is not None


@pytest.mark.slow
def test_a_service_starts_stops_and_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping lets it say goodbye, here however long that takes; killing does not."""
    monkeypatch.setattr(processes, "STOP_S_MAX", 120)

    async def scene(alliance: SandboxAlliance, service: SandboxService) -> None:
        await alliance.start("2A", "ledger")
        assert is_up(service)
        await alliance.stop("2A", "ledger")
        assert not is_up(service)
        assert '"event":"stopped"' in service.last_line()
        await alliance.start("2A", "ledger")
        alliance.pause("2A", "ledger")
        await alliance.stop("2A", "ledger")
        assert '"event":"stopped"' in service.last_line()
        await alliance.start("2A", "ledger")
        alliance.kill("2A", "ledger")
        assert '"event":"stopped"' not in service.last_line()
        assert (service.pid, alliance.ended()) == (None, [])

    with founded(tmp_path) as alliance:
        asyncio.run(scene(alliance, alliance.service("2A", "ledger")))


@pytest.mark.slow
def test_who_ended_unasked_is_known(tmp_path: Path) -> None:
    async def scene(alliance: SandboxAlliance, service: SandboxService) -> None:
        await alliance.start("2A", "ledger")
        assert service.pid is not None
        os.kill(service.pid, signal.SIGKILL)
        await service.until_ended()
        assert alliance.ended() == [service]

    with founded(tmp_path) as alliance:
        asyncio.run(scene(alliance, alliance.service("2A", "ledger")))


PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
from consilium.sandbox.founders import FIVE
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, opened

async def main():
    with opened(Path(sys.argv[1]), FIVE, SANDBOX_PARAMETERS, NOTHING) as alliance:
        for name in ("ledger", "consensus"):
            await alliance.start("2A", name)
        alliance.pause("2A", "consensus")
        print(*(each.pid for each in alliance.services("2A") if each.is_up), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_killed_parent_leaves_nobody_behind(tmp_path: Path) -> None:
    """Not even a service that stands still."""
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:  # noqa: S603  the test itself
        assert parent.stdout is not None
        descriptors = [os.pidfd_open(int(each)) for each in parent.stdout.readline().split()]
        assert len(descriptors) == 2
        parent.kill()
    for each in descriptors:
        ending = select.poll()
        ending.register(each, select.POLLIN)
        assert ending.poll(WAIT_MS)
        os.close(each)
