"""Block sync, driven by hand: no peers, no clock (C2, L8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.kernel.encoding import encode
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.sync import (
    CERTIFIED_BELOW,
    REQUEST_BLOCKS_MAX,
    Append,
    Appended,
    Ban,
    Blocks,
    BlockSync,
    Effect,
    Input,
    PeerTip,
    RequestBlocks,
    RequestFailed,
    RequestSlow,
    SentBlock,
)
from tests.alliance import Alliance, Scribe


@pytest.fixture(scope="module")
def ahead() -> Scribe:
    """A chain of 24 blocks over two epochs, each height certified."""
    scribe = Scribe(Alliance.founded())
    scribe.write(scribe.record("a"), scribe.record("b"))
    scribe.cross_epoch()
    scribe.cross_epoch()
    scribe.write_until(24)
    return scribe


class Laggard:
    """A chain at genesis with its sync machine; obeys `Append` and gathers the other effects."""

    def __init__(self, ahead: Scribe) -> None:
        self.ahead = ahead
        self.chain = Chain(ahead.alliance.genesis, ahead.verifier)
        self.sync = BlockSync(self.chain.tip, self.chain.chain_id, ahead.verifier)

    def step(self, event: Input) -> list[Effect]:
        """Feed one input; appends are obeyed until something else is asked."""
        others: list[Effect] = []
        waiting = self.sync.step(event)
        while waiting:
            effect = waiting.pop(0)
            if isinstance(effect, Append):
                self.chain.append_verified(effect.block)
                if effect.certificate is not None:
                    self.chain.add_result_certificate(effect.certificate)
                waiting += self.sync.step(Appended(self.chain.tip))
            else:
                others.append(effect)
        return others

    def sent(self, first: int, count: int, *, certified: bool = True) -> tuple[SentBlock, ...]:
        """What an honest peer sends."""
        chain = self.ahead.chain
        return tuple(
            SentBlock(
                encode(chain.block(height), chain.chain_id),
                encode(certificate, chain.chain_id)
                if certified and (certificate := chain.result_certificate(height)) is not None
                else None,
            )
            for height in range(first, first + count)
        )


@pytest.fixture
def laggard(ahead: Scribe) -> Laggard:
    return Laggard(ahead)


def test_a_laggard_catches_up_across_epochs(laggard: Laggard) -> None:
    """L8: every block is verified and executed; the committee changes on the way."""
    assert laggard.step(PeerTip("benxi", 24)) == [RequestBlocks("benxi", 1, 24)]
    assert laggard.step(Blocks("benxi", laggard.sent(1, 15))) == [RequestBlocks("benxi", 16, 9)]
    assert laggard.step(Blocks("benxi", laggard.sent(16, 9))) == []
    assert laggard.chain.tip == laggard.ahead.chain.tip
    assert laggard.chain.certified_height == 24
    assert not laggard.sync.is_behind


def test_one_peer_is_asked_at_a_time_the_one_that_claims_most(laggard: Laggard) -> None:
    laggard.step(PeerTip("dalian", 3))
    assert laggard.step(PeerTip("benxi", 24)) == []
    assert laggard.step(RequestFailed("dalian")) == [RequestBlocks("benxi", 1, 24)]
    assert laggard.sync.is_behind


def test_a_request_is_bounded(laggard: Laggard) -> None:
    """Habit 8: whatever a peer claims."""
    assert laggard.step(PeerTip("benxi", 10**15)) == [RequestBlocks("benxi", 1, REQUEST_BLOCKS_MAX)]


def test_a_peer_that_fails_is_asked_again_when_it_shows_a_tip(laggard: Laggard) -> None:
    laggard.step(PeerTip("benxi", 24))
    assert laggard.step(RequestFailed("benxi")) == []
    assert laggard.step(PeerTip("benxi", 24)) == [RequestBlocks("benxi", 1, 24)]
    assert laggard.step(Blocks("benxi", ())) == []
    assert laggard.step(PeerTip("benxi", 24)) == [RequestBlocks("benxi", 1, 24)]


def test_a_tip_that_was_shown_earlier_and_comes_later_changes_nothing(laggard: Laggard) -> None:
    """R7: or the newest block is never asked for, if no newer one follows."""
    laggard.step(PeerTip("dalian", 3))
    laggard.step(PeerTip("benxi", 24))
    laggard.step(PeerTip("benxi", 23))
    assert laggard.step(RequestFailed("dalian")) == [RequestBlocks("benxi", 1, 24)]


def test_another_peer_is_asked_beside_one_that_is_slow(laggard: Laggard) -> None:
    """C2: one member that stands still holds nobody up; once each is asked, all are waited for."""
    laggard.step(PeerTip("benxi", 24))
    laggard.step(PeerTip("dalian", 20))
    assert laggard.step(RequestSlow("benxi")) == [RequestBlocks("dalian", 1, 20)]
    assert laggard.step(RequestSlow("dalian")) == []
    assert laggard.step(PeerTip("benxi", 24)) == []
    assert laggard.step(Blocks("dalian", laggard.sent(1, 20))) == []
    assert laggard.step(RequestFailed("benxi")) == []
    assert laggard.step(PeerTip("benxi", 24)) == [RequestBlocks("benxi", 21, 4)]


def test_a_slow_answer_counts_when_it_comes_first(laggard: Laggard) -> None:
    """Where all are slow, blocks come all the same; what the other sends later is passed over."""
    laggard.step(PeerTip("benxi", 24))
    laggard.step(PeerTip("dalian", 20))
    laggard.step(RequestSlow("benxi"))
    assert laggard.step(Blocks("benxi", laggard.sent(1, 24))) == []
    assert laggard.chain.height == 24
    assert laggard.step(Blocks("dalian", laggard.sent(1, 20))) == []
    assert laggard.chain.height == 24


def test_a_slow_peer_is_asked_after_the_others(laggard: Laggard) -> None:
    """C2: until it answers in time, whatever it claims."""
    laggard.step(PeerTip("benxi", 24))
    laggard.step(PeerTip("dalian", 20))
    assert laggard.step(RequestSlow("benxi")) == [RequestBlocks("dalian", 1, 20)]
    assert laggard.step(Blocks("benxi", laggard.sent(1, 1))) == []
    assert laggard.step(Blocks("dalian", laggard.sent(1, 2))) == [RequestBlocks("dalian", 3, 18)]
    assert laggard.step(RequestFailed("dalian")) == [RequestBlocks("benxi", 3, 22)]
    laggard.step(PeerTip("dalian", 20))
    assert laggard.step(Blocks("benxi", laggard.sent(3, 1))) == [RequestBlocks("benxi", 4, 21)]


def test_an_answer_that_was_not_awaited_leaves_the_other_awaited(laggard: Laggard) -> None:
    """Or a third is asked beside a second that is in time."""
    laggard.step(PeerTip("benxi", 24))
    laggard.step(PeerTip("chaoyang", 3))
    laggard.step(PeerTip("dalian", 20))
    assert laggard.step(RequestSlow("benxi")) == [RequestBlocks("dalian", 1, 20)]
    assert laggard.step(Blocks("benxi", laggard.sent(1, 1))) == []


def test_a_certificate_that_is_left_out_is_got_from_others(laggard: Laggard) -> None:
    """L3, L5: a peer that is far ahead has it, or another; where nobody has it, the block does without."""
    far = 1 + CERTIFIED_BELOW
    bare = laggard.sent(1, 2, certified=False)
    laggard.step(PeerTip("benxi", far + 1))
    laggard.step(PeerTip("dalian", far))
    assert laggard.step(Blocks("benxi", bare)) == [RequestBlocks("dalian", 1, REQUEST_BLOCKS_MAX)]
    laggard.step(PeerTip("benxi", far + 2))
    assert laggard.chain.height == 0
    laggard.step(Blocks("dalian", laggard.sent(1, 1)))
    assert (laggard.chain.height, laggard.chain.certified_height) == (1, 1)


def test_a_certificate_that_nobody_has_holds_nobody_up(laggard: Laggard) -> None:
    """Each peer is passed over once in a run of blocks, although another claims all the time that it is ahead."""
    far = 1_000
    laggard.step(PeerTip("benxi", far))
    laggard.step(PeerTip("dalian", far))
    bare = laggard.sent(1, 3, certified=False)
    assert laggard.step(Blocks("benxi", bare)) == [RequestBlocks("dalian", 1, REQUEST_BLOCKS_MAX)]
    assert laggard.step(RequestFailed("dalian")) == [RequestBlocks("benxi", 1, REQUEST_BLOCKS_MAX)]
    laggard.step(PeerTip("dalian", far))
    assert laggard.step(Blocks("benxi", bare)) == [RequestBlocks("dalian", 4, REQUEST_BLOCKS_MAX)]
    assert (laggard.chain.height, laggard.chain.certified_height) == (3, 0)
    laggard.step(Blocks("dalian", laggard.sent(4, 2, certified=False)))
    assert laggard.chain.height == 5


def test_a_late_word_of_slowness_changes_nothing(laggard: Laggard) -> None:
    laggard.step(PeerTip("benxi", 24))
    laggard.step(PeerTip("dalian", 20))
    laggard.step(RequestFailed("benxi"))
    assert laggard.step(RequestSlow("benxi")) == []


def liars(laggard: Laggard) -> dict[str, tuple[SentBlock, ...]]:
    """Answers no honest peer gives to a request for blocks 1 to 5."""
    chain, alliance = laggard.ahead.chain, laggard.ahead.alliance
    honest = laggard.sent(1, 5)
    block, certificate = chain.block(1), chain.result_certificate(1)
    assert certificate is not None
    short = replace(block, commit=replace(block.commit, signatures=block.commit.signatures[1:]))
    other_result = replace(certificate, result=replace(certificate.result, state_root=ZERO_DIGEST))
    return {
        "noise": (SentBlock(b"\x00noise", None),),
        "cut": (SentBlock(honest[0].block[:-1], None),),
        "a gap": laggard.sent(2, 3),
        "too many": laggard.sent(1, 6),
        "short quorum": (SentBlock(encode(short, chain.chain_id), None),),
        "no batches": (SentBlock(encode(replace(block, batches=()), chain.chain_id), None),),
        "another block's result": (SentBlock(honest[0].block, honest[1].certificate),),
        "a forged result": (SentBlock(honest[0].block, encode(other_result, alliance.chain_id)),),
        "a torn result": (SentBlock(honest[0].block, b"\x80"),),
    }


@pytest.mark.parametrize("lie", list(range(9)))
def test_a_liar_is_banned_for_good(laggard: Laggard, lie: int) -> None:
    """R7, C2: and nothing of what it sent is appended; the next peer is asked."""
    laggard.step(PeerTip("benxi", 5))
    laggard.step(PeerTip("dalian", 4))
    ban, following = laggard.step(Blocks("benxi", list(liars(laggard).values())[lie]))
    assert isinstance(ban, Ban)
    assert ban.peer == "benxi"
    assert following == RequestBlocks("dalian", 1, 4)
    assert laggard.chain.height == 0
    assert laggard.step(PeerTip("benxi", 24)) == []
    assert laggard.step(Blocks("dalian", laggard.sent(1, 4))) == []
    assert laggard.chain.height == 4


def test_what_was_not_asked_for_is_not_looked_at(laggard: Laggard) -> None:
    assert laggard.step(Blocks("benxi", laggard.sent(1, 1))) == []
    laggard.step(PeerTip("dalian", 24))
    assert laggard.step(Blocks("benxi", (SentBlock(b"noise", None),))) == []
    assert laggard.chain.height == 0


def test_blocks_that_consensus_delivered_meanwhile_are_passed_over(laggard: Laggard) -> None:
    laggard.step(PeerTip("benxi", 5))
    for height in (1, 2, 3):
        laggard.chain.append_block(laggard.ahead.chain.block(height))
        assert laggard.step(Appended(laggard.chain.tip)) == []
    assert laggard.step(Blocks("benxi", laggard.sent(1, 5))) == []
    assert laggard.chain.height == 5


def test_a_block_may_come_without_its_result(laggard: Laggard) -> None:
    """L3: it is executed then, and not final."""
    laggard.step(PeerTip("benxi", 2))
    assert laggard.step(Blocks("benxi", laggard.sent(1, 2, certified=False))) == []
    assert (laggard.chain.height, laggard.chain.certified_height) == (2, 0)


def test_nothing_is_asked_while_a_block_is_being_appended(ahead: Scribe) -> None:
    """The machine waits for the tip to move: only then is it known who certifies the next block."""
    laggard = Laggard(ahead)
    laggard.sync.step(PeerTip("benxi", 2))
    (append,) = laggard.sync.step(Blocks("benxi", laggard.sent(1, 2)))
    assert isinstance(append, Append)
    assert laggard.sync.step(PeerTip("dalian", 9)) == []
    laggard.chain.append_verified(append.block)
    (following,) = laggard.sync.step(Appended(laggard.chain.tip))
    assert isinstance(following, Append)
