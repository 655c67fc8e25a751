"""One member of a sandbox alliance: its parts started and stopped together, its state under one folder.

    keys/   secrets, one file each      blocks         the block store     storage/   objects and shred secrets
    votes   the vote log                fragments.db   key fragments, sealed

Starting reads everything back from there, so a member that was cut off goes on where its disk ends.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from consilium.kernel.chain import Genesis
from consilium.kernel.signing import Ed25519Verifier
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.disk import OsDisk
from consilium.sandbox.founders import read_keys
from consilium.sandbox.histories import GrantHistories
from consilium.sandbox.holders import RunningHolder
from consilium.sandbox.ledgers import Neighbours, RunningLedger
from consilium.sandbox.objects import RunningStorage
from consilium.sandbox.replicas import RunningReplica
from consilium.sandbox.transport import Switchboard


class Around(Neighbours, Protocol):
    """The other members, as far as they can be reached."""

    def reachable(self, member_id: str) -> list["Member"]:
        """The members up and joined with this one."""

    def failed(self, member_id: str, error: BaseException) -> None:
        """Hear that a member ended by an error of its own."""


class Member:
    """An institution: down at first, up between `start` and `stop`, which is no gentler than a kill."""

    def __init__(self, member_id: str, folder: Path, genesis: Genesis, board: Switchboard, around: Around) -> None:
        self.member_id = member_id
        self.folder = folder
        self._genesis = genesis
        self._board = board
        self._around = around
        self._serving: asyncio.Task[None] | None = None
        self._blocks: JournalBlockStore
        self.ledger: RunningLedger
        self.replica: RunningReplica
        self.holder: RunningHolder
        self.storage: RunningStorage
        self.histories: GrantHistories

    @property
    def is_up(self) -> bool:
        """Whether the member runs."""
        return self._serving is not None and not self._serving.done()

    async def start(self) -> None:
        """Come up from what the folder holds."""
        await asyncio.to_thread(self._open)
        self._serving = asyncio.create_task(self._serve())
        self._serving.add_done_callback(self._ended)

    def _open(self) -> None:
        verifier, disk, path = Ed25519Verifier(), OsDisk(), self.folder / "blocks"
        keys = read_keys(self.folder / "keys")
        self._blocks = (JournalBlockStore.open if path.exists() else JournalBlockStore.create)(disk, path)
        self.ledger = RunningLedger(self.member_id, self._genesis, self._blocks, self._around, verifier)
        self.replica = RunningReplica(self.member_id, keys, self.ledger, self.folder / "votes", self._board, verifier)
        self.holder = RunningHolder(self.member_id, keys, self.ledger, self.replica, self.folder / "fragments.db", verifier)
        self.storage = RunningStorage(
            self.member_id, keys.member, self.ledger, self.folder / "storage", self._other_storages
        )
        self.histories = GrantHistories(self.ledger.chain)
        self.ledger.follow(self.histories)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ledger.run())
            tasks.create_task(self.replica.run())
            tasks.create_task(self.holder.run())

    def _ended(self, serving: asyncio.Task[None]) -> None:
        error = None if serving.cancelled() else serving.exception()
        if error is not None:
            self._around.failed(self.member_id, error)

    async def stop(self) -> None:
        """End at once, whatever is going on, and let go of all files; nothing is written to say goodbye."""
        assert self._serving is not None, "only a member that was started can be stopped"
        self._board.detach(self.member_id)
        serving, self._serving = self._serving, None
        serving.cancel()
        await asyncio.wait([serving])
        for each in (self.holder, self.storage, self.replica, self._blocks):
            each.close()

    def _other_storages(self) -> dict[str, RunningStorage]:
        return {each.member_id: each.storage for each in self._around.reachable(self.member_id)}
