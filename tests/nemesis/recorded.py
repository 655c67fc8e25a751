"""An alliance whose consensus services write down what they say, and reading it back."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilium.consensus.core.messages import Envelope
from consilium.kernel.encoding import decode
from consilium.kernel.membership import SERVICES
from consilium.sandbox.foundation import write_settings
from consilium.sandbox.founders import FIVE
from consilium.sandbox.layout import Layout
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, SandboxMember, opened
from consilium.sandbox.processes import SandboxService
from tests.nemesis import recording
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from consilium.kernel.parameters import Parameters
    from tests.nemesis.network import Network


@dataclass(slots=True, kw_only=True)
class StagedService(SandboxService):
    """A service in its member's own network, where there is one; `script` is run in its place, where it is named."""

    network: Network | None
    script: tuple[str, ...] = ()

    def command(self) -> list[str]:
        plain = [sys.executable, "-P", *self.script] if self.script else SandboxService.command(self)
        return plain if self.network is None else self.network.command(self.member_id, plain)


@dataclass(frozen=True, slots=True)
class NetworkedLayout(Layout):
    """A sandbox whose members have an address each."""

    hosts: Mapping[str, str]

    def host(self, member_id: str) -> str:
        return self.hosts[member_id]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The alliance, and where its members' words are written."""

    alliance: SandboxAlliance
    words: Path

    def envelopes(self, member_id: str) -> list[Envelope]:
        """All that a member said, oldest first. Raises as `words_in`."""
        return words_in(self.words / member_id, self.alliance.genesis.chain_id)


@contextmanager
def recorded(
    folder: Path, parameters: Parameters = SANDBOX_PARAMETERS, fault: str = "", network: Network | None = None
) -> Iterator[Recorded]:
    """A new alliance in a folder, nothing started; whatever runs at the end is killed.

    `fault` is one of `recording`, "" for none. Without a network all are on loopback.
    """
    with opened(folder / "alliance", FIVE, parameters, NOTHING) as alliance:
        found = Recorded(alliance, folder / "words")
        if network is not None:
            layout = alliance.layout
            alliance.layout = NetworkedLayout(layout.folder, layout.genesis, layout.first_port, network.hosts)
            write_settings(alliance.layout, NOTHING)
        for name in alliance.members:
            services = {each: _staged(found, name, each, fault, network) for each in SERVICES}
            alliance.members[name] = SandboxMember(alliance.layout, name, services)
        yield found


def _staged(found: Recorded, member_id: str, name: str, fault: str, network: Network | None) -> StagedService:
    spoken = (recording.__file__, str(os.getpid()), str(found.words / member_id), *([fault] if fault else []))
    script = tuple(map(str, spoken)) if name == "consensus" else ()
    return StagedService(found.alliance.layout, member_id, name, network=network, script=script)


def words_in(folder: Path, chain_id: bytes) -> list[Envelope]:
    """The envelopes of all starts of a member; raises Violation for a start that is not above the one before (C5)."""
    found: list[Envelope] = []
    for path in sorted(folder.iterdir(), key=lambda each: int(each.name)) if folder.is_dir() else ():
        said = [decode(Envelope, each, chain_id) for each in _read(path)]
        newest = found[-1].incarnation if found else 0
        starts = {(each.incarnation, each.session) for each in said}
        if len(starts) > 1 or (said and said[0].incarnation <= newest):
            raise Violation("C5 incarnation", f"{folder.name} spoke as {starts} after incarnation {newest}.")
        found += said
    return found


def _read(path: Path) -> Iterator[bytes]:
    """The envelopes of one start; the last may be cut off by its end, and then it never left."""
    data, at, size = path.read_bytes(), 0, recording.LENGTH.size
    while at + size <= len(data):
        (length,) = recording.LENGTH.unpack_from(data, at)
        at += size + length
        if at <= len(data):
            yield data[at - length : at]
