"""An alliance whose consensus services write down what they say, and reading it back."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.consensus.core.messages import Envelope
from consilium.kernel.encoding import decode
from consilium.sandbox.founders import FIVE
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, opened
from consilium.sandbox.processes import SandboxService
from tests.nemesis import recording
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consilium.kernel.parameters import Parameters


@dataclass(slots=True, kw_only=True)
class RecordedConsensus(SandboxService):
    """A consensus service that writes down what it says; `fault` is one of `recording`, "" for none."""

    records: Path
    fault: str = ""

    def command(self) -> list[str]:
        script = str(Path(recording.__file__))
        return [sys.executable, "-P", script, str(os.getpid()), str(self.records), *([self.fault] if self.fault else [])]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The alliance, and where its members' words are written."""

    alliance: SandboxAlliance
    words: Path

    def envelopes(self, member_id: str) -> list[Envelope]:
        """All that a member said, oldest first. Raises as `words_in`."""
        return words_in(self.words / member_id, self.alliance.genesis.chain_id)


@contextmanager
def recorded(folder: Path, parameters: Parameters = SANDBOX_PARAMETERS, fault: str = "") -> Iterator[Recorded]:
    """A new alliance in a folder, nothing started; whatever runs at the end is killed."""
    with opened(folder / "alliance", FIVE, parameters, NOTHING) as alliance:
        words = folder / "words"
        for name, member in alliance.members.items():
            consensus = RecordedConsensus(alliance.layout, name, "consensus", records=words / name, fault=fault)
            alliance.members[name] = replace(member, services={**member.services, "consensus": consensus})
        yield Recorded(alliance, words)


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
