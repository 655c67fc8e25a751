"""The judge of histories over histories made by hand: it sees what fits no order, and lets pass what does."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from consilium.kernel.codes import Code
from tests.nemesis.linearizable import AFTER, UNHEARD, Act, Call, Standing, check_linearizable, order_of
from tests.simulation.observed import Violation

GRANT, REVOKE, ASK = Act.GRANT, Act.REVOKE, Act.ASK


def call(act: Act, started_s: float, ended_s: float, code: Code | None) -> Call:
    return Call("somebody", act, started_s, ended_s, code)


GOOD = {
    "one after the other": [
        call(ASK, 0, 1, Code.GRANT_UNKNOWN),
        call(GRANT, 2, 3, Code.APPLIED),
        call(ASK, 4, 5, Code.GRANTED),
        call(REVOKE, 6, 7, Code.APPLIED),
        call(ASK, 8, 9, Code.GRANT_REVOKED),
    ],
    "a request beside a grant may come before it or after": [
        call(GRANT, 0, 9, Code.APPLIED),
        call(ASK, 1, 2, Code.GRANT_UNKNOWN),
        call(ASK, 3, 4, Code.GRANTED),
    ],
    "one of two revocations takes effect": [
        call(GRANT, 0, 1, Code.APPLIED),
        call(REVOKE, 2, 5, Code.ALREADY_REVOKED),
        call(REVOKE, 3, 6, Code.APPLIED),
    ],
    "a revocation that was not heard of took effect late": [
        call(GRANT, 0, 1, Code.APPLIED),
        call(REVOKE, 2, UNHEARD, None),
        call(ASK, 3, 4, Code.GRANTED),
        call(ASK, 5, 6, Code.GRANT_REVOKED),
    ],
    "or never": [call(GRANT, 0, 1, Code.APPLIED), call(REVOKE, 2, UNHEARD, None), call(ASK, 3, 4, Code.GRANTED)],
    "what expired did nothing": [call(GRANT, 0, 1, Code.EXPIRED), call(ASK, 2, 3, Code.GRANT_UNKNOWN)],
    "nothing": [],
}
BAD = {
    "a grant that was final is unknown later": [call(GRANT, 0, 1, Code.APPLIED), call(ASK, 2, 3, Code.GRANT_UNKNOWN)],
    "a revocation that was final lets a request through": [
        call(GRANT, 0, 1, Code.APPLIED),
        call(REVOKE, 2, 3, Code.APPLIED),
        call(ASK, 4, 5, Code.GRANTED),
    ],
    "time runs backwards between two requests": [
        call(GRANT, 0, 1, Code.APPLIED),
        call(REVOKE, 2, 9, Code.APPLIED),
        call(ASK, 3, 4, Code.GRANT_REVOKED),
        call(ASK, 5, 6, Code.GRANTED),
    ],
    "both of two revocations take effect": [
        call(GRANT, 0, 1, Code.APPLIED),
        call(REVOKE, 2, 5, Code.APPLIED),
        call(REVOKE, 3, 6, Code.APPLIED),
    ],
    "a grant takes effect twice": [call(GRANT, 0, 5, Code.APPLIED), call(GRANT, 1, 6, Code.APPLIED)],
    "an answer before anybody asked for the grant": [call(ASK, 0, 1, Code.GRANTED), call(GRANT, 2, 3, Code.APPLIED)],
    "nobody can have revoked it": [call(GRANT, 0, 1, Code.APPLIED), call(ASK, 2, 3, Code.GRANT_REVOKED)],
    "a revocation acts before it was called": [
        call(GRANT, 0, 1, Code.APPLIED),
        call(ASK, 2, 3, Code.GRANT_REVOKED),
        call(REVOKE, 4, UNHEARD, None),
    ],
    "an answer that no state gives": [call(ASK, 0, 1, Code.FOREIGN_SALT)],
}


@pytest.mark.parametrize("calls", GOOD.values(), ids=GOOD)
def test_a_history_that_an_order_explains(calls: list[Call]) -> None:
    assert check_linearizable({b"a grant": calls}) == len(calls)


@pytest.mark.parametrize("calls", BAD.values(), ids=BAD)
def test_a_history_that_no_order_explains(calls: list[Call]) -> None:
    with pytest.raises(Violation, match="linearizability: No order explains the answers about grant"):
        check_linearizable({b"another": GOOD["one after the other"], b"a grant": calls})


def test_the_search_finds_what_trying_all_orders_finds() -> None:
    """Against the definition itself, on small histories of any kind."""
    chance = random.Random(7)  # noqa: S311  made-up histories
    verdicts = set()
    for _ in range(400):
        calls = [_any(chance) for _ in range(5)]
        verdicts.add(found := order_of(calls) is not None)
        assert found == any(_explains(order) for order in permutations(calls)), calls
    assert verdicts == {True, False}


def _any(chance: random.Random) -> Call:
    act, started_s = chance.choice(list(Act)), chance.randrange(6)
    codes = sorted({code for (_, each), (_, code) in AFTER.items() if each is act})
    return call(act, started_s, started_s + chance.randrange(1, 5), chance.choice(codes))


def _explains(order: tuple[Call, ...]) -> bool:
    standing = Standing.ABSENT
    for place, each in enumerate(order):
        if any(later.ended_s < each.started_s for later in order[place:]):
            return False
        standing, code = AFTER[standing, each.act]
        if code is not each.code:
            return False
    return True
