"""A whole alliance in one process: its members, the links between them, and who is up (design section 3).

Every member keeps all its state under one folder of its own and shares nothing with the others but bytes.
"""

import asyncio
from pathlib import Path

from consilium.kernel.chain import Genesis, Parameters
from consilium.kernel.errors import FailedPrecondition
from consilium.ledger.core.sync import RequestBlocks, SentBlock
from consilium.sandbox.member import Member
from consilium.sandbox.transport import Switchboard

DEMO_PARAMETERS = Parameters(
    term_blocks=20,
    heartbeat_ms=250,
    view_timeout_ms=1_000,
    view_timeout_max_ms=8_000,
    tip_age_max_ms=5_000,
)
"""Terms of 20 blocks and a heartbeat of a quarter of a second, so that a demo crosses epochs while one watches."""


class Alliance:
    """Five members, or as many as the genesis names."""

    def __init__(self, folder: Path, genesis: Genesis) -> None:
        self.folder = folder
        self.genesis = genesis
        self.board = Switchboard()
        self.failure: tuple[str, BaseException] | None = None
        """The first member that ended by an error of its own, and the error."""
        self._failed = asyncio.Event()
        self.members = {
            each.member_id: Member(each.member_id, folder / each.member_id, genesis, self.board, self)
            for each in genesis.members
        }

    def member(self, member_id: str) -> Member:
        """A member, up or down."""
        return self.members[member_id]

    @property
    def up(self) -> list[Member]:
        """The members that run, sorted by id."""
        return [each for each in self.members.values() if each.is_up]

    async def start(self) -> None:
        """Start every member."""
        for each in self.members.values():
            await each.start()

    async def stop(self) -> None:
        """Stop every member that runs."""
        for each in self.up:
            await each.stop()

    # --- the members' way to one another (`member.Around`) ---

    def reachable(self, member_id: str) -> list[Member]:
        """The members up and joined with this one, itself not among them."""
        board = self.board
        return [each for each in self.up if each.member_id != member_id and board.joins(member_id, each.member_id)]

    def failed(self, member_id: str, error: BaseException) -> None:
        """Remember the first member that ended by an error, and wake who watches."""
        self.failure = self.failure or (member_id, error)
        self._failed.set()

    async def watch(self) -> None:
        """Wait for a member to end by an error."""
        await self._failed.wait()

    def announce(self, member_id: str, height: int) -> None:
        """Tell the other ledgers how far this one is certified."""
        for other in self.reachable(member_id):
            asyncio.get_running_loop().call_soon(other.ledger.heard, member_id, height)

    async def fetch(self, member_id: str, wanted: RequestBlocks) -> tuple[SentBlock, ...]:
        """Ask another ledger for blocks."""
        for peer in self.reachable(member_id):
            if peer.member_id == wanted.peer:
                return await peer.ledger.blocks(wanted)
        raise FailedPrecondition("UNREACHABLE", f"{wanted.peer} cannot be reached.")
