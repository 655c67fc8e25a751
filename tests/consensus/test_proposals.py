"""Making a header, and judging one that was proposed (rules L3, L6, L7, C3, C6, C7)."""

from dataclasses import replace
from typing import Any

import pytest

from consilium.consensus.core.proposals import Parent, judge_header, judge_time, make_header
from consilium.kernel.certificates import Committee
from consilium.kernel.chain import Header, Outlook
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.opening import transaction_root
from tests.consensus.by_hand import GENESIS, make_batch
from tests.consensus.cluster import CHAIN_ID, GENESIS_MS, PARAMETERS, delegates, make_outlook

OUTLOOK = make_outlook(4, parameters=replace(PARAMETERS, term_blocks=10))
PARENT = Parent(4, sha256(b"parent"), GENESIS_MS + 100)
NOW = GENESIS_MS + 200


def make(parent: Parent = PARENT, outlook: Outlook = OUTLOOK, now_ms: int = NOW) -> Header:
    """An honest header."""
    return make_header(outlook, parent, [make_batch("member-1", 1), make_batch("member-2", 2)], now_ms, 0b111, CHAIN_ID)


def test_an_honest_header_is_accepted() -> None:
    """L3: what a primary makes its backups accept, the first block included."""
    judge_header(OUTLOOK, PARENT, make(), CHAIN_ID)
    first = make(GENESIS)
    judge_header(OUTLOOK, GENESIS, first, CHAIN_ID)
    assert (first.height, first.parent_hash) == (1, CHAIN_ID)


def test_a_header_names_its_batches_and_their_root() -> None:
    """L3: batches by digest, and one root over all their transactions in order."""
    batches = [make_batch("member-1", 1), make_batch("member-2", 2)]
    header = make()
    assert header.batch_digests == tuple(each.digest for each in batches)
    assert header.transaction_root == transaction_root(batches)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"epoch": 1}, "WRONG_EPOCH", "C7"),
    ({"height": 6}, "WRONG_HEIGHT", "L3"),
    ({"height": 4}, "WRONG_HEIGHT", "L3"),
    ({"parent_hash": sha256(b"another")}, "WRONG_PARENT", "L3"),
    ({"time_ms": PARENT.time_ms}, "TIME_BACKWARDS", "L7"),
    ({"time_ms": PARENT.time_ms - 1}, "TIME_BACKWARDS", "L7"),
    ({"committee_hash": sha256(b"another")}, "WRONG_COMMITTEE", "C6"),
    ({"next_committee_hash": sha256(b"too early")}, "WRONG_ELECTION", "C6"),
    ({"election_mix": sha256(b"another")}, "WRONG_MIX", "C6"),
    ({"parent_commits": 0b10000}, "BAD_BITMAP", "L3"),
    ({"batch_digests": (bytes(32), bytes(32))}, "BATCH_TWICE", "L6"),
]


@pytest.mark.parametrize(("fields", "reason", "rule"), WRONG)
def test_each_wrong_field_is_refused_by_its_rule(fields: dict[str, Any], reason: str, rule: str) -> None:
    """L3, L6, L7, C6, C7: one field changed, one reason."""
    with pytest.raises(InvalidArgument) as refusal:
        judge_header(OUTLOOK, PARENT, replace(make(), **fields), CHAIN_ID)
    assert (refusal.value.reason, refusal.value.rule) == (reason, rule)


def test_the_smallest_step_in_time_is_enough() -> None:
    """L7: above the parent's, by as little as a millisecond."""
    judge_header(OUTLOOK, PARENT, replace(make(), time_ms=PARENT.time_ms + 1), CHAIN_ID)


@pytest.mark.parametrize(("now_ms", "time_ms"), [(NOW, NOW), (PARENT.time_ms, PARENT.time_ms + 1), (0, PARENT.time_ms + 1)])
def test_block_time_is_the_primarys_clock_where_it_can_be(now_ms: int, time_ms: int) -> None:
    """L7: the clock, or a millisecond above the parent when the clock is behind."""
    assert make(now_ms=now_ms).time_ms == time_ms


def drawn() -> Outlook:
    """The outlook after the draw at the election height."""
    following = Committee(1, delegates(["member-3", "member-2", "member-1", "member-0"]))
    return replace(OUTLOOK, next_committee=following, election_mix=sha256(b"sealed"))


def at(height: int) -> Parent:
    """A parent such that the next block has this height."""
    return replace(PARENT, height=height - 1)


def test_headers_up_to_the_election_height_name_no_next_committee() -> None:
    """C6: nine tenths into the term the draw is made; the block of that height itself still knows nothing of it."""
    assert OUTLOOK.election_height == 9
    for height in (1, 8, 9):
        header = make(at(height))
        assert (header.next_committee_hash, header.election_mix) == (ZERO_DIGEST, bytes(32))
        judge_header(OUTLOOK, at(height), header, CHAIN_ID)


def test_headers_above_the_election_height_name_it_and_the_sealed_mix() -> None:
    """C6: every header from there on carries the next committee's hash and the mix it was drawn with."""
    outlook = drawn()
    assert outlook.next_committee is not None
    for height in (10, 11, 25):
        header = make(at(height), outlook)
        assert header.next_committee_hash == outlook.next_committee.hash(CHAIN_ID)
        assert header.election_mix == sha256(b"sealed")
        judge_header(outlook, at(height), header, CHAIN_ID)
        with pytest.raises(InvalidArgument, match="WRONG_ELECTION"):
            judge_header(outlook, at(height), replace(header, next_committee_hash=ZERO_DIGEST), CHAIN_ID)


@pytest.mark.parametrize(("distance", "far"), [(-1_001, True), (-1_000, False), (0, False), (1_000, False), (1_001, True)])
def test_a_first_proposal_is_compared_with_the_clock(distance: int, *, far: bool) -> None:
    """L7: it may be right later or elsewhere, so it is a failed precondition, not a wrong header."""
    header = replace(make(), time_ms=NOW + distance)
    if not far:
        judge_time(header, NOW, 1_000)
        return
    with pytest.raises(FailedPrecondition) as refusal:
        judge_time(header, NOW, 1_000)
    assert (refusal.value.reason, refusal.value.rule) == ("CLOCK_SKEW", "L7")
