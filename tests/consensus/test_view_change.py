"""What a new view must propose, from its view changes alone (paper, section 4.4; rules C2, C3; ADR 7)."""

from dataclasses import replace
from itertools import permutations

import pytest

from consilium.consensus.core.messages import SignedViewChange
from consilium.consensus.core.proposals import Parent
from consilium.consensus.core.view_change import ViewChanges, plan_new_view
from consilium.kernel.certificates import PreparedCertificate, ResultCertificate
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import GENESIS, certify, make_call, make_header_bytes, make_result, prepared
from tests.consensus.cluster import CHAIN_ID, GENESIS_MS, make_outlook

OUTLOOK = make_outlook(4)
COMMITTEE = OUTLOOK.committee
FORK = 500
"""Added to a header's time, so that it becomes another block."""


def chain(length: int, start: Parent = GENESIS, fork: int = 0) -> list[bytes]:
    """Headers that stand on one another."""
    headers, parent = [], start
    for _ in range(length):
        time_ms = parent.time_ms + 1 + fork
        headers.append(make_header_bytes(OUTLOOK, parent, now_ms=time_ms))
        parent = Parent(parent.height + 1, sha256(headers[-1]), time_ms)
    return headers


def height_of(header: bytes) -> int:
    """The height a header claims."""
    return decode(Header, header, CHAIN_ID).height


def proofs(headers: list[bytes], view: int = 0) -> list[PreparedCertificate]:
    """A prepared certificate for each header."""
    return [prepared(COMMITTEE, view, height_of(header), header) for header in headers]


def checkpoint(header: bytes) -> ResultCertificate:
    """A stable checkpoint at this block."""
    return certify(COMMITTEE, make_result(height_of(header), sha256(header)))


def planned(*changes: SignedViewChange) -> list[bytes]:
    """The headers a new view proposes again."""
    plan = plan_new_view(changes, OUTLOOK.epoch_start, CHAIN_ID)
    assert [each.digest for each in plan.reproposals] == [sha256(each.header_bytes) for each in plan.reproposals]
    assert [each.header.height for each in plan.reproposals] == [height_of(each.header_bytes) for each in plan.reproposals]
    return [each.header_bytes for each in plan.reproposals]


def call(index: int, stable: bytes | None = None, *shown: PreparedCertificate, view: int = 5) -> SignedViewChange:
    """A delegate's call: its stable block and what it shows as prepared."""
    return make_call(COMMITTEE, index, view, checkpoint(stable) if stable is not None else None, shown)


def test_nothing_prepared_means_nothing_to_propose_again() -> None:
    """Paper 4.4: O is empty; the stable checkpoint is the highest shown."""
    blocks = chain(3)
    plan = plan_new_view([call(0), call(1, blocks[2]), call(2, blocks[0])], 1, CHAIN_ID)
    assert plan.reproposals == ()
    assert plan.stable == checkpoint(blocks[2])


def test_what_one_shows_is_proposed_again() -> None:
    """Paper 4.4: a certificate in one of 2f+1 view changes is enough: it may have been committed."""
    blocks = chain(3)
    assert planned(call(0), call(1, None, *proofs(blocks)), call(3)) == blocks


def test_certificates_of_different_callers_make_one_chain() -> None:
    """C3: each may have prepared only part of the pipeline; together they are the unbroken chain."""
    blocks = chain(3)
    shown = proofs(blocks)
    assert planned(call(0, None, shown[2]), call(1, None, shown[0]), call(3, None, shown[1])) == blocks


def test_the_first_gap_ends_the_chain() -> None:
    """C3, ADR 7: nothing above a gap can have been committed, so no fillers are needed and nothing above is kept."""
    blocks = chain(4)
    shown = proofs(blocks)
    assert planned(call(0, None, shown[0], shown[2], shown[3]), call(1), call(3)) == blocks[:1]
    assert planned(call(0, None, shown[1], shown[2]), call(1), call(3)) == []


def test_a_header_with_another_parent_ends_the_chain() -> None:
    """C3: a child prepared on a block that lost its height in a later view was never committed."""
    old, new = chain(2), chain(1, fork=FORK)
    first = call(0, None, *proofs(old, view=0))
    second = call(1, None, *proofs(new, view=1))
    assert planned(first, second, call(3)) == new


def test_the_first_block_must_stand_on_the_checkpoint() -> None:
    """C3: a certificate above the checkpoint that does not continue it is of a chain nobody finished."""
    blocks, other = chain(3), chain(3, fork=FORK)
    assert planned(call(0, blocks[1]), call(1, None, *proofs(other)[2:]), call(3)) == []
    assert planned(call(0, blocks[1]), call(1, None, *proofs(blocks)[2:]), call(3)) == blocks[2:]


def test_the_highest_view_wins_a_height() -> None:
    """Paper 4.4: for each number the certificate with the highest view; an older one was overtaken."""
    old, new = chain(1), chain(1, fork=FORK)
    calls = [call(0, None, *proofs(old, view=0)), call(1, None, *proofs(new, view=2)), call(3, None, *proofs(old, view=1))]
    for order in permutations(calls):
        assert planned(*order) == new


def test_mixed_views_make_one_chain() -> None:
    """Paper 4.4: a block proposed again in a later view is still the parent of its children of the earlier one."""
    blocks = chain(2)
    shown = [*proofs(blocks[:1], view=3), *proofs(blocks[1:], view=0)]
    assert planned(call(0, None, *shown), call(1, None, *proofs(blocks[:1], view=0)), call(3)) == blocks


@pytest.mark.parametrize("lag", [0, 1, 2, 3])
def test_lagging_low_watermarks_do_not_matter(lag: int) -> None:
    """R2 (Fabric 0.6's PBFT never completed this): callers with different checkpoints; the highest counts."""
    blocks = chain(6)
    shown = proofs(blocks)
    leading = call(0, blocks[3], *shown[4:])
    trailing = call(1, blocks[3 - lag] if lag < 3 else None, *shown[4 - lag :])
    plan = plan_new_view([leading, trailing, call(3)], 1, CHAIN_ID)
    assert plan.stable == checkpoint(blocks[3])
    assert [each.header_bytes for each in plan.reproposals] == blocks[4:]


def test_what_lies_below_the_highest_checkpoint_is_not_proposed_again() -> None:
    """Paper 4.4: O begins above min-s, the highest stable checkpoint in V."""
    blocks = chain(4)
    assert planned(call(0, None, *proofs(blocks)), call(1, blocks[3]), call(2)) == []


def test_without_a_checkpoint_the_epochs_start_is_the_floor() -> None:
    """C8: sequence numbers go on over epochs; a new epoch's first block is its `epoch_start`."""
    later = replace(OUTLOOK, epoch_start=8)
    start = Parent(7, sha256(b"the last epoch's end"), GENESIS_MS)
    headers = chain(2, start)
    plan = plan_new_view([call(0, None, *proofs(headers)), call(1), call(2)], later.epoch_start, CHAIN_ID)
    assert [each.header_bytes for each in plan.reproposals] == headers
    assert plan_new_view([call(0, None, *proofs(chain(2))), call(1), call(2)], 8, CHAIN_ID).reproposals == ()


def test_a_checkpoint_below_the_epochs_start_says_nothing() -> None:
    """C10: after a recovery this committee certifies earlier heights too; shown in a call, they hide nothing here."""
    start = Parent(7, sha256(b"the last epoch's end"), GENESIS_MS)
    headers, earlier = chain(2, start), chain(3)
    calls = [call(0, earlier[2]), call(1, None, *proofs(headers)), call(2)]
    plan = plan_new_view(calls, 8, CHAIN_ID)
    assert plan.stable is None
    assert [each.header_bytes for each in plan.reproposals] == headers


def test_the_order_of_the_calls_changes_nothing() -> None:
    """C2: every replica works the plan out again and must find the same."""
    blocks, other = chain(4), chain(3, fork=FORK)
    calls = [
        call(0, blocks[0], *proofs(blocks, view=1)[1:3]),
        call(1, None, *proofs(other, view=0)),
        call(2, blocks[1], *proofs(blocks, view=0)[2:]),
    ]
    plans = {tuple(planned(*order)) for order in permutations(calls)}
    assert plans == {tuple(blocks[2:])}


# --- collecting calls ---


def test_a_quorum_is_2f_plus_1_calls_for_one_view() -> None:
    """Paper 4.4: calls for other views do not add up to a quorum."""
    calls = ViewChanges(COMMITTEE)
    for index, view in ((0, 5), (1, 6), (2, 5)):
        calls.add(call(index, view=view))
    assert calls.quorum_for(5) is None
    calls.add(call(3, view=5))
    quorum = calls.quorum_for(5)
    assert quorum is not None
    assert [each.index for each in quorum] == [0, 2, 3]


def test_the_latest_call_of_a_delegate_counts() -> None:
    """Paper 4.4: who has moved on to a later view supports the earlier one no longer; old calls take nothing back."""
    calls = ViewChanges(COMMITTEE)
    for index in (0, 1, 2):
        calls.add(call(index, view=5))
    calls.add(call(2, view=6))
    calls.add(call(2, view=4))
    assert calls.quorum_for(5) is None
    assert calls.view_to_join(5) is None
    calls.add(call(1, view=7))
    assert calls.view_to_join(5) == 6


def test_f_plus_1_different_delegates_are_needed_to_be_joined() -> None:
    """Paper 4.5.2: with f calls none may be honest; one delegate's many calls are one."""
    calls = ViewChanges(make_outlook(7).committee)
    seven = make_outlook(7).committee
    for index, view in ((0, 1), (0, 2), (0, 3), (1, 9)):
        calls.add(make_call(seven, index, view))
    assert calls.view_to_join(0) is None
    calls.add(make_call(seven, 2, 4))
    assert calls.view_to_join(0) == 3
    assert calls.view_to_join(3) is None
