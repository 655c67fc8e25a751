"""The batches a replica holds: what may be ordered, since when, and what is let go (rules C2, C4)."""

from dataclasses import replace

import pytest

from consilium.consensus.core.messages import StoredCertificate
from consilium.consensus.core.pool import BLOCK_BYTES_MAX, INLINE_BYTES_TOTAL_MAX, Pool
from consilium.kernel.certificates import QuorumSignature
from consilium.kernel.chain import BATCHES_MAX
from consilium.kernel.errors import ResourceExhausted
from consilium.kernel.hashing import domain_hash
from consilium.kernel.opening import OpenedBatch
from consilium.kernel.parameters import Parameters
from tests.consensus.by_hand import make_batch

PARAMETERS = Parameters(inline_bytes_max=1_000, ingress_batches_max=2_000)
QUORUM = 3
PLAIN = make_batch("member-1", 1)


def batch(number: int, size: int = 500, member: str = "member-1", *, handover: bool = False) -> OpenedBatch:
    """A batch of this size; the pool looks at nothing inside."""
    return replace(
        PLAIN,
        data=bytes(size),
        digest=domain_hash("batch", number.to_bytes(4, "big")),
        batch=replace(PLAIN.batch, member_id=member),
        has_handover=handover,
    )


def filled(*batches: OpenedBatch, now_ms: int = 10) -> Pool:
    """A pool that holds these."""
    pool = Pool(PARAMETERS)
    for each in batches:
        assert pool.add(each, now_ms, ingress=False)
    return pool


def ready(each: OpenedBatch) -> StoredCertificate:
    """Its answers."""
    return StoredCertificate(each.digest, tuple(QuorumSignature(index, bytes(64)) for index in range(QUORUM)))


def chosen(pool: Pool, excluded: dict[bytes, int] | None = None) -> list[bytes]:
    """What a primary would propose."""
    return [entry.opened.digest for entry in pool.choose(excluded or {})]


def test_a_small_batch_is_eligible_at_once() -> None:
    """C4: it travels inline; its waiting counts from when it came."""
    small = batch(1)
    pool = filled(small, now_ms=10)
    assert (chosen(pool), pool.eligible_since()) == ([small.digest], 10)


def test_a_large_batch_is_eligible_with_its_answers() -> None:
    """C4: from when 2f+1 delegates have answered, each counted once."""
    large = batch(1, size=1_001)
    pool = filled(large)
    assert (chosen(pool), pool.eligible_since()) == ([], None)
    for index in (2, 0, 2):
        assert pool.answer(large.digest, QuorumSignature(index, bytes(64)), QUORUM) is None
    certificate = pool.answer(large.digest, QuorumSignature(1, bytes(64)), QUORUM)
    assert certificate is not None
    assert [each.index for each in certificate.signatures] == [0, 1, 2]
    pool.make_ready(certificate, 77)
    assert (chosen(pool), pool.eligible_since()) == ([large.digest], 77)
    assert pool.answer(large.digest, QuorumSignature(3, bytes(64)), QUORUM) is None, "once is enough"


def test_answers_for_unknown_batches_are_dropped() -> None:
    """C4: nobody fills the memory with answers to nothing."""
    pool = filled()
    assert pool.answer(bytes(32), QuorumSignature(0, bytes(64)), 1) is None
    pool.make_ready(ready(batch(9)), 5)
    assert pool.eligible_since() is None


def test_a_batch_is_known_by_its_digest() -> None:
    """C4: the second copy is nothing new; nor is one that was ordered."""
    first = batch(1)
    pool = filled(first)
    assert not pool.add(first, 20, ingress=False)
    pool.mark_ordered([first.digest], 7)
    assert not pool.add(first, 20, ingress=False)
    assert pool.ordered_at(first.digest) == 7


def test_the_quota_counts_what_waits_by_member() -> None:
    """C4: an ordered batch frees its place; what comes with a proposal is let in over the quota and still counted."""
    pool = Pool(replace(PARAMETERS, ingress_batches_max=2))
    for number in (1, 2):
        pool.add(batch(number), 0, ingress=False)
    with pytest.raises(ResourceExhausted, match="INGRESS_QUOTA"):
        pool.add(batch(3), 0, ingress=False)
    assert not pool.has_room("member-1")
    assert pool.add(batch(4, member="member-2"), 0, ingress=False)
    assert pool.add(batch(5), 0, ingress=False, limited=False)
    pool.mark_ordered([batch(1).digest], 1)
    assert not pool.has_room("member-1")
    pool.mark_ordered([batch(2).digest, batch(2).digest], 1)
    assert pool.has_room("member-1")


def test_the_oldest_come_first_and_none_twice() -> None:
    """C2: in order of arrival, without what is under way."""
    batches = [batch(number) for number in range(5)]
    pool = filled(*batches)
    assert chosen(pool) == [each.digest for each in batches]
    assert chosen(pool, {batches[0].digest: 3}) == [each.digest for each in batches[1:]]


def test_inline_bytes_are_bounded() -> None:
    """C4: a proposal carries so much inline and no more; the rest goes into the next."""
    pool = Pool(replace(PARAMETERS, inline_bytes_max=10_000))
    for number in range(200):
        pool.add(batch(number, size=10_000), 1, ingress=False)
    total = len(chosen(pool)) * 10_000
    assert INLINE_BYTES_TOTAL_MAX - 10_000 < total <= INLINE_BYTES_TOTAL_MAX


def test_block_bytes_are_bounded() -> None:
    """L8: a block stays small enough to be handed over whole, however much waits."""
    batches = [batch(number, size=4_000_000) for number in range(10)]
    pool = filled(*batches)
    for each in batches:
        pool.make_ready(ready(each), 1)
    assert len(chosen(pool)) == BLOCK_BYTES_MAX // 4_000_000


def test_the_number_of_batches_is_bounded() -> None:
    """L3: a header names at most BATCHES_MAX."""
    pool = filled(*[batch(number, size=10) for number in range(BATCHES_MAX + 5)])
    assert len(chosen(pool)) == BATCHES_MAX


def test_a_handover_ends_its_block() -> None:
    """C7: nothing follows a handover in its block; what follows belongs to the next committee."""
    batches = [batch(1), batch(2, handover=True), batch(3)]
    assert chosen(filled(*batches)) == [batches[0].digest, batches[1].digest]


def test_the_longest_waiting_batch_counts() -> None:
    """C2: request ageing is by the oldest, so that ordering all but one helps no censor."""
    pool = filled(batch(1), now_ms=10)
    pool.add(batch(2), 20, ingress=False)
    assert pool.eligible_since() == 10
    pool.mark_ordered([batch(1).digest], 1)
    assert pool.eligible_since() == 20


def test_a_block_orders_what_has_waited_for_longest_give_or_take_a_lost_message() -> None:
    """C2: a quarter of the time-out, for delegates do not hear of a batch at the same time."""
    pool, quarter_ms = filled(batch(1), now_ms=10), PARAMETERS.view_timeout_ms // 4
    pool.add(batch(2), 10 + quarter_ms, ingress=False)
    pool.add(batch(3), 11 + quarter_ms, ingress=False)
    assert [pool.has_oldest([batch(number).digest]) for number in (1, 2, 3, 9)] == [True, True, False, False]


def test_what_another_primary_left_ages_from_when_this_one_was_told() -> None:
    """C2: what comes in its own time ages at once; what is told twice ages from the first time."""
    pool = filled(batch(1), batch(2), now_ms=10)
    assert pool.ages_since() == 10
    pool.begin_view()
    assert (pool.ages_since(), pool.eligible_since()) == (None, 10)
    pool.add(batch(3), 40, ingress=False)
    assert pool.ages_since() == 40
    told = pool.get(batch(2).digest)
    assert told is not None
    pool.told_primary(told, 30)
    pool.told_primary(told, 50)
    assert pool.ages_since() == 30


def test_a_new_epoch_forgets_answers_and_strangers() -> None:
    """C4, L2: the old committee's answers prove nothing to the new one; nor are batches of former members taken any more."""
    large, small, gone = batch(1, size=1_001), batch(2), batch(3, member="member-9")
    pool = filled(large, small)
    pool.add(gone, 3, ingress=False)
    pool.make_ready(ready(large), 5)
    assert pool.eligible_since() == 3
    pool.keep_only({"member-1": bytes(32)})
    assert pool.eligible_since() == 5
    pool.forget_answers()
    assert pool.eligible_since() == 10
    assert chosen(pool) == [small.digest]
    entry = pool.get(large.digest)
    assert entry is not None
    assert (entry.answers, entry.certificate, entry.eligible_since) == ({}, None, None)
    assert pool.get(gone.digest) is None
    assert pool.add(gone, 9, ingress=False), "should it be admitted again, it starts anew"


def test_prune_lets_go_of_what_was_ordered_long_ago() -> None:
    """C4: only ordered batches, and only up to the height."""
    batches = [batch(number) for number in range(4)]
    pool = filled(*batches)
    pool.mark_ordered([batches[0].digest], 5)
    pool.mark_ordered([batches[1].digest], 6)
    pool.prune(5)
    assert pool.get(batches[0].digest) is None
    assert pool.get(batches[1].digest) is not None
    assert [entry.opened.digest for entry in pool.waiting()] == [each.digest for each in batches[2:]]


def test_an_ordered_batch_is_kept_as_bytes_alone() -> None:
    """C4: it is held for whoever missed it, for two windows; taken apart it would fill the memory."""
    pool = filled(PLAIN)
    pool.mark_ordered([PLAIN.digest], 1)
    entry = pool.get(PLAIN.digest)
    assert entry is not None
    assert (entry.opened.data, entry.opened.leaves, entry.opened.root) == (PLAIN.data, PLAIN.leaves, PLAIN.root)
    assert (entry.opened.transactions, entry.opened.batch.transactions) == ((), ())
