"""A member's consensus service as a process that is malicious while a file is there, and honest otherwise (rule C9).

`two_faced.py PARENT FILE`: while the file is there nothing true leaves the process. Its votes and proposals go out under
its own key, other ones to every member, and whatever else it would say is kept back. Where the file holds a word, the truth
goes out as well: two votes in one slot, which is evidence against it (C8). Its own replica and vote log stay honest, so
that it can take part again when the file is gone.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.consensus import __main__ as consensus
from consilium.consensus.core.messages import Checkpoint, Commit, Envelope, Prepare, PrePrepare
from consilium.consensus.keys import read_keys
from consilium.consensus.settings import ConsensusSettings
from consilium.consensus.streams import Links
from consilium.kernel.certificates import SignedVote
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.hashing import sha256
from consilium.runtime.process import run
from consilium.sandbox.child import bind

if TYPE_CHECKING:
    from consilium.consensus.core.messages import Message
    from consilium.kernel.signing import Signer


def two_faced_links(file: Path, signer: Signer) -> type[Links]:
    """Links that lie while `file` is there; it is looked for at every message, so a lie begins and ends at once."""

    class TwoFacedLinks(Links):
        def post(self, to: str, envelope: bytes) -> None:
            try:
                is_both = bool(file.read_text())
            except FileNotFoundError:
                super().post(to, envelope)
                return
            if is_both:
                super().post(to, envelope)
            chain_id = self.own.chain_id
            said = decode(Envelope, envelope, chain_id)
            told = lie(said.message, to, signer, chain_id)
            if told is not None:
                super().post(to, encode(replace(said, message=told), chain_id))

    return TwoFacedLinks


def lie(message: Message, to: str, signer: Signer, chain_id: bytes) -> Message | None:
    """What one member is told in place of a message, another thing than every other member; None for nothing."""
    match message:
        case Prepare(signed=signed) | Commit(signed=signed):
            return replace(message, signed=_signed(signed, _odd(signed.vote.digest, to), signer, chain_id))
        case PrePrepare(signed=signed, header=header):
            later = 1 + _odd(signed.vote.digest, to)[0]
            whole = decode(Header, header, chain_id)
            other = encode(replace(whole, time_ms=whole.time_ms + later), chain_id)
            return replace(message, signed=_signed(signed, sha256(other), signer, chain_id), header=other)
        case Checkpoint(result=result):
            other_result = replace(result, state_root=_odd(result.state_root, to))
            return Checkpoint(other_result, signer.sign(encode(other_result, chain_id)))
        case _:
            return None


def _signed(signed: SignedVote, digest: bytes, signer: Signer, chain_id: bytes) -> SignedVote:
    vote = replace(signed.vote, digest=digest)
    return SignedVote(vote, signer.sign(encode(vote, chain_id)))


def _odd(digest: bytes, to: str) -> bytes:
    """The same lie to the same member whenever it is told again."""
    return sha256(digest + to.encode())


async def serve(settings: ConsensusSettings) -> None:
    """The service as always, but for its links."""
    consensus.Links = two_faced_links(Path(sys.argv[1]), read_keys(settings.keys_directory).consensus)  # type: ignore[attr-defined]
    await consensus.serve(settings)


def main() -> int:
    """Bind to the parent and serve."""
    parent, file = sys.argv[1:]
    bind(int(parent))
    sys.argv = [sys.argv[0], file]
    return run(ConsensusSettings, serve)


if __name__ == "__main__":
    sys.exit(main())
