"""The release rule: whether this holder, now, may transform this capsule for this request (rules S5 and S8, promise 2).

A holder decides by the order of the chain, never by a clock of its own: the request's verdict stands under a result
certificate, a revocation counts from its height, an erasure whenever it came, and the one clock used, the age of the
holder's own newest certified result, only guards against a holder that was cut off and does not know it. Left out:
transforming (`proxy`), and keeping key fragments (the store).
"""

from dataclasses import dataclass

from consilium.kernel.codes import Code
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.parameters import Parameters
from consilium.kernel.state_values import GrantState, RetentionState, is_erased
from consilium.kernel.transactions import GrantTerms, RequestBody


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What the holder's own ledger says, all read at one height: the newest it holds a result certificate for.

    `executed_height` is what the ledger had executed when it was asked. `tip_age_ms` is the time since that certificate
    came, on the holder's monotonic clock. `capsule_digest` is the one the requested record was registered with;
    `retention` tells whether that is erased or under a hold, None for neither.
    """

    height: int
    executed_height: int
    tip_age_ms: int
    grant: GrantState
    capsule_digest: bytes
    retention: RetentionState | None


@dataclass(frozen=True, slots=True)
class ReleasePermit:
    """The rule's yes, for one request and one capsule. Only `judge_release` makes one; `reencrypt_capsule` demands one."""

    holder: str
    terms: GrantTerms
    request_hash: bytes
    capsule_digest: bytes
    request_height: int
    released_height: int


def judge_release(
    holder: str, request: VerifiedTransaction, capsule_digest: bytes, view: LedgerView, parameters: Parameters
) -> ReleasePermit:
    """The permit to transform the capsule with this digest for this request, or the refusal with its reason (S5).

    Raises InvalidArgument for something that is no request under this grant, PermissionDenied where the ledger says no
    (NOT_GRANTED, NOT_A_HOLDER, REVOKED, WINDOW_PASSED, RECORD_ERASED, WRONG_CAPSULE), FailedPrecondition where this holder
    must first catch up (NOT_FINAL, STALE_TIP).
    """
    terms = view.grant.terms
    _judge_verdict(request, terms)
    _judge_holder(holder, terms)
    _judge_time(request.height, view, parameters)
    _judge_erasure(view.retention)
    if capsule_digest != view.capsule_digest:
        raise PermissionDenied("WRONG_CAPSULE", "This capsule is not the one the record was registered with.", "S5")
    return ReleasePermit(holder, terms, request.transaction_hash, capsule_digest, request.height, view.height)


def _judge_verdict(request: VerifiedTransaction, terms: GrantTerms) -> None:
    """The transaction is a request under this grant, and executing it gave GRANTED."""
    body = request.payload.body
    if not isinstance(body, RequestBody):
        raise InvalidArgument("NOT_A_REQUEST", "This transaction asks for no record.", "S5")
    if body.grant_id != terms.grant_id:
        raise InvalidArgument("OTHER_GRANT", "The request was made under another grant.", "S5")
    if request.code != Code.GRANTED:
        raise PermissionDenied("NOT_GRANTED", "The ledger's verdict on this request is not GRANTED.", "S5")


def _judge_holder(holder: str, terms: GrantTerms) -> None:
    if holder not in terms.holders:
        raise PermissionDenied("NOT_A_HOLDER", f"{holder} holds no key fragment of this grant.", "S5")


def _judge_time(request_height: int, view: LedgerView, parameters: Parameters) -> None:
    """The tip is fresh, the request not above it, the window not passed, the grant not revoked since.

    What the holder has executed it knows, certified or not, and a revocation it knows of counts: so it waits until the
    certificates have caught up. A member that is catching up gets old certificates late, and they would look fresh. A
    revocation at the request's own height came behind the request in that block, or the verdict would not be GRANTED.
    """
    if view.tip_age_ms > parameters.tip_age_max_ms:
        raise FailedPrecondition(
            "STALE_TIP",
            f"This holder's newest certified block is {view.tip_age_ms} ms old, more than {parameters.tip_age_max_ms}.",
            "S5",
        )
    least = max(request_height, view.executed_height)
    if view.height < least:
        raise FailedPrecondition("NOT_FINAL", f"Height {least} is not final at this holder, but {view.height} is.", "S5")
    if view.height - request_height > parameters.release_window_blocks:
        raise PermissionDenied(
            "WINDOW_PASSED",
            f"The request is {view.height - request_height} blocks old; {parameters.release_window_blocks} are allowed.",
            "S5",
        )
    revoked_height = view.grant.revoked_height
    if revoked_height is not None and revoked_height >= request_height:
        raise PermissionDenied("REVOKED", f"The grant was revoked at height {revoked_height}.", "S5")


def _judge_erasure(retention: RetentionState | None) -> None:
    """The record is not erased, whenever that came: an erasure takes back what was granted before it too (S8)."""
    if is_erased(retention):
        assert retention is not None, "an erased record has an entry"
        raise PermissionDenied("RECORD_ERASED", f"The record was erased at height {retention.erased_height}.", "S8")
