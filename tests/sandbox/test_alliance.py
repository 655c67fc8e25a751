from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.kernel.codes import Code
from consilium.kernel.opening import open_block
from consilium.kernel.transactions import RevealBody
from tests.sandbox.running import play, running, until, until_certified

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.kernel.transactions import MemberProfile
    from consilium.ledger.core.chain import Chain


def test_all_members_get_the_same_blocks_the_follower_among_them(tmp_path: Path) -> None:
    """L8: the member without a vote verifies and executes what the four decide."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until_certified(alliance, 4)
            chains = [member.ledger.chain for member in alliance.up]
            committee = chains[0].committee_of(0)
            assert sum(committee.index_of(member.member_id) is None for member in alliance.up) == 1
            for height in range(1, 5):
                assert len({chain.outcome(height).result for chain in chains}) == 1

    play(story())


def test_epochs_go_by_and_every_one_has_a_proven_hop(tmp_path: Path) -> None:
    """C7, L5: each boundary carries the alliance's certificate."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until(alliance, "3A", lambda chain: chain.tip.outlook.epoch >= 2)
            chain = alliance.member("3A").ledger.chain
            await until_certified(alliance, chain.tip.outlook.epoch_start)
            for epoch in (0, 1):
                assert len(chain.epoch_hop(epoch).alliance.signatures) >= 4

    play(story())


def test_a_stopped_delegate_is_not_missed_and_catches_up(tmp_path: Path) -> None:
    """C2, C5: three of four go on; the fourth comes back under a new incarnation, to the same chain."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until_certified(alliance, 2)
            primary = alliance.member("3A").ledger.chain.committee_of(0).primary(0)
            stopped = alliance.member(primary)
            await stopped.stop()
            height = max(member.ledger.chain.height for member in alliance.up)
            await until_certified(alliance, height + 4)
            await stopped.start()
            assert stopped.replica.identity.incarnation == 2
            await until_certified(alliance, height + 6)
            other = next(member for member in alliance.up if member is not stopped)
            assert stopped.ledger.chain.outcome(height + 6) == other.ledger.chain.outcome(height + 6)

    play(story())


def test_a_delegate_whose_vote_log_is_gone_stays_silent_while_blocks_go_on(tmp_path: Path) -> None:
    """C5: beside a chain a missing log is a lost one, whatever the folder looks like; it follows and says nothing."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until_certified(alliance, 2)
            forgetful = alliance.member(alliance.member("3A").ledger.chain.committee_of(0).delegates[1].member_id)
            await forgetful.stop()
            for path in forgetful.folder.glob("votes*"):
                path.unlink()
            await forgetful.start()
            assert forgetful.replica.replica.state.silence is not None
            assert forgetful.replica.identity.incarnation > 1_000_000
            await until_certified(alliance, forgetful.ledger.chain.height + 4)

    play(story())


def test_a_restarted_delegate_does_not_reveal_the_next_preimage(tmp_path: Path) -> None:
    """C6: one reveal a member and epoch, or the next draw could be worked out beforehand."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            name = alliance.member("3A").ledger.chain.committee_of(0).delegates[1].member_id
            await until(alliance, "3A", lambda chain: reveals_of(chain, alliance.genesis.members, name) != [])
            epoch = alliance.member("3A").ledger.chain.tip.outlook.epoch
            await until_certified(alliance, alliance.member("3A").ledger.chain.height)
            await alliance.member(name).stop()
            await alliance.member(name).start()
            await until(alliance, "3A", lambda chain: chain.tip.outlook.epoch >= epoch + 2)
            codes = reveals_of(alliance.member("3A").ledger.chain, alliance.genesis.members, name)
            assert Code.REVEAL_REPEATED not in codes

    play(story())


def reveals_of(chain: Chain, members: tuple[MemberProfile, ...], name: str) -> list[Code]:
    """The outcomes of a member's reveals, in the order of the ledger."""
    key = next(each.member_key for each in members if each.member_id == name)
    found = []
    for height in range(1, chain.height + 1):
        opened = open_block(chain.block(height), chain.chain_id)
        transactions = [each for batch in opened.batches for each in batch.transactions]
        for each, code in zip(transactions, chain.outcome(height).codes, strict=True):
            if isinstance(each.payload.body, RevealBody) and each.payload.author == key:
                found.append(code)
    return found


def test_an_isolated_delegate_comes_back_by_block_sync(tmp_path: Path) -> None:
    """L8, C2: cut off while running, it fetches what it missed, each block verified against its own tip."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until_certified(alliance, 2)
            name = alliance.member("3A").ledger.chain.committee_of(0).delegates[2].member_id
            alliance.board.isolate(name)
            others = [member for member in alliance.up if member.member_id != name]
            height = alliance.member(name).ledger.chain.height
            for member in others:
                await until(alliance, member.member_id, lambda chain: chain.certified_height >= height + 5)
            assert alliance.member(name).ledger.chain.height < height + 5
            alliance.board.rejoin(name)
            await until_certified(alliance, height + 7)
            assert alliance.member(name).ledger.banned == {}

    play(story())


def test_all_members_stopped_at_once_go_on_where_their_disks_end(tmp_path: Path) -> None:
    """C5, promise 5: nothing is written to say goodbye, and nothing that was final is lost."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until_certified(alliance, 5)
            results = [alliance.member("2B").ledger.chain.outcome(height).result for height in range(1, 6)]
            await alliance.stop()
            assert alliance.up == []
            await alliance.start()
            await until_certified(alliance, 9)
            chain = alliance.member("1A").ledger.chain
            assert [chain.outcome(height).result for height in range(1, 6)] == results

    play(story())
