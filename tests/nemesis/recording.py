"""A member's consensus service as a process that writes down all it says before it says it (rule C5).

`recording.py PARENT FOLDER [forgetful]`: every envelope is written to a file of this start's own before any link gets it.
What is written outlives SIGKILL, so nothing can have been said that is not in the file. With `forgetful` a fault is
planted: a vote log that keeps nothing, which is what the checkers must notice.
"""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from consilium.consensus import __main__ as consensus
from consilium.consensus.settings import ConsensusSettings
from consilium.consensus.store import FileVoteLog
from consilium.consensus.streams import Links
from consilium.runtime.process import run
from consilium.sandbox.child import bind

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH = struct.Struct(">I")
FORGETFUL = "forgetful"


def recording_links(file: BinaryIO) -> type[Links]:
    """Links that write into `file`, which must not buffer; an envelope for several members is written once."""

    class RecordingLinks(Links):
        written = b""

        def post(self, to: str, envelope: bytes) -> None:
            if envelope is not self.written:
                file.write(LENGTH.pack(len(envelope)) + envelope)
                self.written = envelope
            super().post(to, envelope)

    return RecordingLinks


class ForgetfulVoteLog(FileVoteLog):
    """The planted fault: nothing is ever written, and every sync says that it was."""

    def append(self, records: Sequence[bytes]) -> None:
        pass

    def sync(self) -> None:
        pass

    def prune(self, keep: Sequence[bytes]) -> None:
        pass


def main() -> int:
    """Bind to the parent and serve."""
    parent, folder, *fault = sys.argv[1:]
    bind(int(parent))
    Path(folder).mkdir(parents=True, exist_ok=True)
    with (Path(folder) / f"{time.time_ns()}").open("xb", buffering=0) as file:
        # The service is made as always but for these names.
        consensus.Links = recording_links(file)  # type: ignore[attr-defined]
        if fault == [FORGETFUL]:
            consensus.FileVoteLog = ForgetfulVoteLog  # type: ignore[attr-defined]
        sys.argv = sys.argv[:1]
        return run(ConsensusSettings, consensus.serve)


if __name__ == "__main__":
    sys.exit(main())
