"""Founding an alliance on disk, and coming back to one (rules L5, C6; design sections 7 and 8).

Every member's identity is founded, then every member's files are published, in one process and in that order, so that all
services start with all authorities. What is written last makes it a sandbox; a folder that holds anything else is refused,
and so is one whose genesis file is of another chain than the state beside it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consilium.ceremony.founding import AUTHORITIES
from consilium.ceremony.keys import Founder
from consilium.consensus.settings import ConsensusSettings
from consilium.consensus.store import FileVoteLog
from consilium.identity import founding
from consilium.identity.settings import IdentitySettings
from consilium.kernel.errors import Conflict, FailedPrecondition
from consilium.kernel.membership import SERVICES
from consilium.kernel.parameters import Parameters
from consilium.runtime.clock import wall_ms
from consilium.runtime.disk import OsDisk
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.settings import FILE_VARIABLE, load
from consilium.runtime.whole_files import write_atomically
from consilium.sandbox.founders import found
from consilium.sandbox.layout import Layout, Tables, ports_for, to_toml
from consilium.sandbox.ports import drawn_ports, kept_ports
from consilium.sandbox.settings import SandboxSettings

MARK, LOCK = "sandbox.toml", "lock"


@contextmanager
def open_sandbox(folder: Path, founders: tuple[Founder, ...], parameters: Parameters, changed: Tables) -> Iterator[Layout]:
    """The sandbox in a folder, founded when there is none yet, with settings files for where it lies now.

    Its ports are kept for it within. `changed` are settings by service that differ. Raises Conflict: NOT_EMPTY;
    FailedPrecondition: FOREIGN_CHAIN or TOO_FEW_MEMBERS; InvalidArgument: BAD_GENESIS, BAD_SETTING or BAD_SETTINGS_FILE;
    ResourceExhausted: NO_PORTS.
    """
    folder = folder.resolve()
    if (folder / MARK).exists():
        layout = _come_back(folder)
        with kept_ports(layout.first_port, ports_for(len(layout.member_ids))):
            write_settings(layout, changed)
            yield layout
        return
    if folder.exists() and any(each.name != LOCK for each in folder.iterdir()):
        raise Conflict("NOT_EMPTY", f"{folder} holds no whole sandbox but other things; name a folder that is empty or new.")
    with drawn_ports(ports_for(len(founders))) as first_port:
        layout = Layout(folder, found(folder, parameters, wall_ms(), founders), first_port)
        _found(layout, changed)
        yield layout


def _found(layout: Layout, changed: Tables) -> None:
    write_settings(layout, changed)
    for name in layout.member_ids:
        shutil.copytree(layout.folder / AUTHORITIES, layout.authorities(name))
    identities = [_identity(layout, each) for each in layout.member_ids]
    for make in (founding.found, founding.publish):
        for each in identities:
            make(each)
    for member_id in layout.member_ids:
        _create_votes(layout, member_id)
    mark = {"sandbox": {"chain": layout.genesis.chain_id.hex(), "first_port": layout.first_port}}
    write_atomically(layout.folder / MARK, to_toml(mark, "What makes this folder a sandbox."))


def _come_back(folder: Path) -> Layout:
    settings = load(SandboxSettings, {FILE_VARIABLE: str(folder / MARK)})
    genesis = read_genesis(folder / "genesis")
    if genesis.chain_id.hex() != settings.chain:
        raise FailedPrecondition(
            "FOREIGN_CHAIN",
            f"The genesis file in {folder} is of another chain than the state beside it; put its own back, "
            "or found another sandbox in an empty folder.",
            "L5",
        )
    return Layout(folder, genesis, settings.first_port)


def _create_votes(layout: Layout, member_id: str) -> None:
    """A founder's vote log, ahead of its first start: however late that comes, nobody takes the log for a lost one (C5)."""
    path = load(ConsensusSettings, {FILE_VARIABLE: str(layout.settings_path(member_id))}).votes
    path.parent.mkdir(mode=0o700)
    FileVoteLog.create(OsDisk(), path, incarnation=0).close()


def _identity(layout: Layout, member_id: str) -> IdentitySettings:
    return load(IdentitySettings, {FILE_VARIABLE: str(layout.settings_path(member_id))})


def write_settings(layout: Layout, changed: Tables) -> None:
    """Every member's two files of settings, and the folders that nobody else makes."""
    says = "Written at every start of the sandbox; changes made here do not stay."
    for member_id in layout.member_ids:
        tables = layout.service_tables(member_id)
        written = {service: {**tables[service], **changed.get(service, {})} for service in SERVICES}
        write_atomically(layout.settings_path(member_id), to_toml(written, says))
        write_atomically(layout.client_path(member_id), to_toml(layout.client_tables(member_id), says))
        for name in ("logs", "client"):
            (layout.member(member_id) / name).mkdir(mode=0o700, exist_ok=True)
