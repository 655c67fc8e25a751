"""Collecting the alliance's signatures on the end of a term (rule C7)."""

import pytest

from consilium.consensus.core.messages import AllianceVote
from consilium.consensus.core.turnover import Turnover
from consilium.kernel.certificates import (
    AllianceStatement,
    Elector,
    Electorate,
    MemberSignature,
    Result,
    verify_alliance_certificate,
)
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import make_result
from tests.consensus.cluster import CHAIN_ID, VERIFIER, signer

RESULT = make_result(10, sha256(b"the term's last block"))


def electorate(count: int) -> Electorate:
    """This many members that were active when the term began."""
    names = sorted(f"member-{index}" for index in range(count))
    return Electorate(0, tuple(Elector(name, signer(name).public_key) for name in names))


def vote(index: int, result: Result = RESULT) -> AllianceVote:
    """An elector's signature."""
    name = f"member-{index}"
    signature = signer(name).sign(encode(AllianceStatement(result), CHAIN_ID))
    return AllianceVote(result, MemberSignature(name, signature))


def collected(count: int, votes: list[AllianceVote], own: Result | None = RESULT) -> Turnover:
    """What a replica of this alliance has heard."""
    turnover = Turnover(electorate(count))
    turnover.own = own
    for each in votes:
        turnover.add(each)
    return turnover


@pytest.mark.parametrize(("count", "needed"), [(4, 3), (5, 4), (6, 5), (7, 5), (9, 7), (10, 7)])
def test_more_than_two_thirds_are_needed(count: int, needed: int) -> None:
    """C7: *more* than two thirds of the members active at the term's start: exactly two thirds are too few."""
    assert 3 * needed > 2 * count >= 3 * (needed - 1)
    votes = [vote(index) for index in range(needed)]
    assert collected(count, votes[:-1]).certificate() is None
    certificate = collected(count, votes).certificate()
    assert certificate is not None
    verify_alliance_certificate(electorate(count), certificate, CHAIN_ID, VERIFIER)


def test_one_elector_is_one_signature() -> None:
    """C7: saying it again adds nothing."""
    assert collected(4, [vote(0), vote(0), vote(1), vote(1)]).certificate() is None


def test_only_signatures_on_the_own_result_count() -> None:
    """C7: nobody hands over on a result it did not get itself; an elector's latest word counts."""
    other = make_result(10, sha256(b"another"))
    votes = [vote(0), vote(1), vote(2, other)]
    assert collected(4, votes).certificate() is None
    assert collected(4, [*votes, vote(2)]).certificate() is not None
    assert collected(4, [vote(index, other) for index in range(4)]).certificate() is None


def test_without_an_own_result_there_is_nothing_to_certify() -> None:
    """C7: signatures may come before this member has executed the term's end; they are kept until then."""
    turnover = collected(4, [vote(index) for index in range(4)], own=None)
    assert turnover.certificate() is None
    turnover.own = RESULT
    assert turnover.certificate() is not None


def test_signatures_stand_in_the_order_of_the_names() -> None:
    """C7: one form for one certificate, whatever the order they came in."""
    certificate = collected(4, [vote(3), vote(0), vote(2)]).certificate()
    assert certificate is not None
    assert [each.member_id for each in certificate.signatures] == ["member-0", "member-2", "member-3"]
