"""S5 and S8, the release rule: table-driven at its boundaries, and against a plain model of the sentence in the design."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.kernel.codes import Code
from consilium.kernel.errors import ConsiliumError, FailedPrecondition, InvalidArgument, PermissionDenied
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.parameters import Parameters
from consilium.kernel.state_values import GrantState, RetentionState
from consilium.kernel.transactions import Body, GrantTerms, Payload, Purpose, RequestBody, RevokeBody
from consilium.reencryption.core.release import LedgerView, ReleasePermit, judge_release

W = 100
FRESH_MS = 15_000
ASKED = 1_000
PARAMETERS = Parameters(release_window_blocks=W, tip_age_max_ms=FRESH_MS)
GRANT = bytes(range(16))
CAPSULE = b"c" * 32
TERMS = GrantTerms(
    grant_id=GRANT,
    delegating_pk=b"\2" * 33,
    verifying_pk=b"\3" * 33,
    recipient_member="birch",
    recipient_key=b"r" * 32,
    receiving_pk=b"\2" * 33,
    purpose=Purpose.TREATMENT,
    actor=b"a" * 32,
    not_before_ms=0,
    not_after_ms=10**12,
    holders=("alder", "cedar", "damson"),
    threshold=2,
    kfrag_commitments=(b"1" * 32, b"2" * 32, b"3" * 32),
    weaker_budget=False,
)
REQUEST = RequestBody(GRANT, b"R" * 16, b"s" * 32, Purpose.TREATMENT, b"e" * 32)


def asked(code: int = Code.GRANTED, body: Body = REQUEST, height: int = ASKED) -> VerifiedTransaction:
    payload = Payload(b"r" * 32, b"i" * 16, 5_000, body)
    return VerifiedTransaction(height, b"t" * 32, payload.author, payload, Code(code))


def view(
    height: int = ASKED, tip_age_ms: int = 0, revoked_height: int | None = None, executed_height: int | None = None,
    retention: RetentionState | None = None,
) -> LedgerView:  # fmt: skip
    executed = height if executed_height is None else executed_height
    grant = GrantState(TERMS, b"o" * 32, 10, revoked_height, (), None)
    return LedgerView(height, executed, tip_age_ms, grant, CAPSULE, retention)


def judge(request: VerifiedTransaction, seen: LedgerView, holder: str = "cedar") -> ReleasePermit:
    return judge_release(holder, request, CAPSULE, seen, PARAMETERS)


def test_permit_carries_what_the_holder_will_sign() -> None:
    """S5: capsule, grant, h_a and H."""
    permit = judge(asked(), view(ASKED + 3))
    assert permit == ReleasePermit("cedar", TERMS, b"t" * 32, CAPSULE, ASKED, ASKED + 3)


ALLOWED = [
    ("own height is the request's", view(ASKED)),
    ("H - h_a = W", view(ASKED + W)),
    ("certified beyond what was executed when asked", view(ASKED + 2, executed_height=ASKED + 1)),
    ("tip exactly T_fresh old", view(tip_age_ms=FRESH_MS)),
    ("revoked below h_a: then the verdict counted it", view(revoked_height=ASKED - 1)),
    ("under a legal hold", view(retention=RetentionState(ASKED, None))),
]


@pytest.mark.parametrize(("case", "seen"), ALLOWED, ids=[each[0] for each in ALLOWED])
def test_allowed_at_the_boundary(case: str, seen: LedgerView) -> None:
    """S5: each limit is the last value that passes."""
    assert judge(asked(), seen).released_height == seen.height, case


REFUSED = [
    ("H - h_a = W + 1", view(ASKED + W + 1), PermissionDenied, "WINDOW_PASSED"),
    ("tip T_fresh + 1 ms old", view(tip_age_ms=FRESH_MS + 1), FailedPrecondition, "STALE_TIP"),
    ("revoked at h_a, behind the request in its block", view(ASKED + 9, revoked_height=ASKED), PermissionDenied, "REVOKED"),
    ("revoked at h_a + 1", view(ASKED + 9, revoked_height=ASKED + 1), PermissionDenied, "REVOKED"),
    ("revoked at H", view(ASKED + 9, revoked_height=ASKED + 9), PermissionDenied, "REVOKED"),
    ("revoked at H + 1, already known", view(ASKED + 9, revoked_height=ASKED + 10), PermissionDenied, "REVOKED"),
    (
        "executed H + 1, where a revocation may stand",
        view(ASKED, executed_height=ASKED + 1),
        FailedPrecondition,
        "NOT_FINAL",
    ),
    ("own height below h_a", view(ASKED - 1), FailedPrecondition, "NOT_FINAL"),
]


@pytest.mark.parametrize(("case", "seen", "kind", "reason"), REFUSED, ids=[each[0] for each in REFUSED])
def test_refused_past_the_boundary(case: str, seen: LedgerView, kind: type[ConsiliumError], reason: str) -> None:
    """S5: one step past each limit is refused, with its reason and the rule."""
    with pytest.raises(kind) as refusal:
        judge(asked(), seen)
    assert (refusal.value.reason, refusal.value.rule) == (reason, "S5"), case


@pytest.mark.parametrize("erased_height", [1, ASKED, ASKED + 1, ASKED + 9, ASKED + 10])
def test_nothing_of_an_erased_record_is_released(erased_height: int) -> None:
    """S8: an erasure takes back what was granted before it, at whatever height it came."""
    with pytest.raises(PermissionDenied) as refusal:
        judge(asked(), view(ASKED + 9, retention=RetentionState(None, erased_height)))
    assert (refusal.value.reason, refusal.value.rule) == ("RECORD_ERASED", "S8")


@pytest.mark.parametrize("code", [each for each in Code if each != Code.GRANTED])
def test_every_other_verdict_is_refused(code: Code) -> None:
    """S5, promise 2: no verdict but GRANTED opens anything; APPLIED does not."""
    with pytest.raises(PermissionDenied) as refusal:
        judge(asked(code), view())
    assert refusal.value.reason == "NOT_GRANTED"


def test_another_capsule_is_refused() -> None:
    """S5: the capsule is the one the requested record was registered with."""
    with pytest.raises(PermissionDenied) as refusal:
        judge_release("cedar", asked(), b"d" * 32, view(), PARAMETERS)
    assert refusal.value.reason == "WRONG_CAPSULE"


@pytest.mark.parametrize("member", ["birch", "elm", ""])
def test_a_member_that_holds_nothing_is_refused(member: str) -> None:
    """S4, S5: only a holder named by the grant may release."""
    with pytest.raises(PermissionDenied) as refusal:
        judge(asked(), view(), holder=member)
    assert refusal.value.reason == "NOT_A_HOLDER"


def test_request_under_another_grant_is_refused() -> None:
    foreign = dataclasses.replace(REQUEST, grant_id=b"x" * 16)
    with pytest.raises(InvalidArgument, match="OTHER_GRANT"):
        judge(asked(body=foreign), view())


def test_something_else_than_a_request_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="NOT_A_REQUEST"):
        judge(asked(body=RevokeBody(GRANT, None, ())), view())


def model(request: VerifiedTransaction, seen: LedgerView) -> bool:
    """The design's sentence, read as set arithmetic: nothing here is shared with the rule under test."""
    own, made = seen.height, request.height
    window = range(made, made + W + 1)
    revoked_since = seen.grant.revoked_height not in (None, *range(made))
    return request.code == Code.GRANTED and own in window and not revoked_since and seen.tip_age_ms < FRESH_MS + 1


near = st.integers(ASKED - 3, ASKED + W + 3)


@given(
    st.one_of(st.just(Code.GRANTED), st.sampled_from(list(Code))),
    near,
    near,
    st.one_of(st.integers(0, 2 * FRESH_MS), st.sampled_from([FRESH_MS, FRESH_MS + 1])),
    st.one_of(st.none(), near),
)
def test_rule_agrees_with_a_plain_model(code: Code, made: int, own: int, age_ms: int, revoked: int | None) -> None:
    """S5 and P2, consent monotonicity: the rule says yes exactly where the sentence does."""
    request = asked(code, height=made)
    seen = view(own, age_ms, revoked)
    try:
        judge(request, seen)
    except ConsiliumError:
        assert not model(request, seen)
    else:
        assert model(request, seen)


@given(near, near, st.one_of(st.none(), near), st.integers(1, 50))
def test_time_only_takes_away(made: int, own: int, revoked: int | None, later: int) -> None:
    """P2: once refused for age or revocation, a request stays refused at every later height."""
    request = asked(height=made)
    try:
        judge(request, view(own, 0, revoked))
    except PermissionDenied:
        with pytest.raises(PermissionDenied):
            judge(request, view(own + later, 0, revoked))
    except FailedPrecondition:
        assert own < made
