"""Which vote log a consensus service starts with (rule C5)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.consensus.__main__ import open_log
from consilium.consensus.own_ledger import OwnLedger
from consilium.consensus.settings import ConsensusSettings
from consilium.consensus.store import FileVoteLog
from consilium.kernel.errors import Conflict
from consilium.runtime.disk import OsDisk
from tests.consensus_service.serving import FOUR, founded

HOME, *OTHERS = FOUR


class LedgerAt(OwnLedger):
    """A ledger that has executed so many blocks."""

    def __init__(self, height: int) -> None:
        self._at = height

    async def height(self) -> int:
        return self._at


def settings(folder: Path, above: int = -1) -> ConsensusSettings:
    return ConsensusSettings(votes=folder / "consensus" / "votes", begin_again_above=above)


def opened(settings: ConsensusSettings, height: int = 0) -> FileVoteLog:
    """The log a service starts with beside a ledger of this height."""
    return asyncio.run(open_log(settings, LedgerAt(height)))


def test_a_first_start_and_the_next(tmp_path: Path) -> None:
    for incarnation in (1, 2):
        log = opened(settings(tmp_path))
        assert (log.incarnation, log.lost) == (incarnation, False)
        log.close()


def test_an_empty_disk_begins_above_what_others_have_seen(tmp_path: Path) -> None:
    """The whole folder is gone, and with it the mark that would tell: silent, and no first log."""
    log = opened(settings(tmp_path, above=6))
    assert (log.incarnation, log.lost) == (7, True)
    log.close()


def test_a_lost_log_whose_mark_is_there_is_refused_until_told_to_begin_again(tmp_path: Path) -> None:
    opened(settings(tmp_path)).close()
    (tmp_path / "consensus" / "votes").unlink()
    with pytest.raises(Conflict, match="is there already"):
        opened(settings(tmp_path))
    log = opened(settings(tmp_path, above=1))
    assert (log.incarnation, log.lost) == (2, True)
    log.close()


def test_a_log_that_is_there_is_opened_whatever_the_setting_says(tmp_path: Path) -> None:
    opened(settings(tmp_path)).close()
    log = opened(settings(tmp_path, above=6))
    assert (log.incarnation, log.lost) == (2, False)
    log.close()


def test_without_a_trace_of_a_log_beside_blocks_it_counts_as_lost(tmp_path: Path) -> None:
    """C5: nobody has set anything; yet the member may have voted on what its ledger holds, under any incarnation so far."""
    before_s = int(time.time())
    first = opened(settings(tmp_path), height=1)
    assert first.lost
    assert first.incarnation > before_s
    first.close()
    again = opened(settings(tmp_path), height=1)
    assert (again.incarnation, again.lost) == (first.incarnation + 1, True)
    again.close()


def test_a_mark_without_its_log_is_refused_beside_blocks_too(tmp_path: Path) -> None:
    opened(settings(tmp_path)).close()
    (tmp_path / "consensus" / "votes").unlink()
    with pytest.raises(Conflict, match="is there already"):
        opened(settings(tmp_path), height=5)


def test_a_founders_log_made_ahead_is_no_lost_one_however_late_it_starts(tmp_path: Path) -> None:
    (tmp_path / "consensus").mkdir()
    FileVoteLog.create(OsDisk(), settings(tmp_path).votes, incarnation=0).close()
    log = opened(settings(tmp_path), height=9)
    assert (log.incarnation, log.lost) == (1, False)
    log.close()


def test_a_delegate_whose_folder_is_gone_comes_back_silent(tmp_path: Path) -> None:
    """C5, the real service: its ledger stands on blocks that it has voted for; peers take its new incarnation."""

    async def scene() -> None:
        async with asyncio.timeout(60), founded(tmp_path) as alliances, alliances.members(*OTHERS) as others:
            async with alliances.member(HOME) as member:
                await member.ledger.keeper.until_executed(2)
            for name in ("votes", "votes.mark", "votes.lock"):
                (tmp_path / HOME / name).unlink()
            async with alliances.member(HOME) as member, alliances.application(HOME) as stub:
                state = await stub.GetReplicaState(pb.GetReplicaStateRequest())
                assert state.state == pb.REPLICA_STATE_SILENT
                told = member.consensus.seat.identity.incarnation
                height = member.ledger.keeper.chain.height
                while {each.consensus.links.incarnation_of(HOME) for each in others.values()} != {told}:
                    height += 1
                    await member.ledger.keeper.until_executed(height)
                await member.ledger.keeper.until_executed(height + 2)
                assert not member.consensus.seat.replica.state.votes

    asyncio.run(scene())
