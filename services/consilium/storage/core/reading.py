"""Who may read an object: the ledger's verdict says so, for the recipient's member (rules S2, S3, promise 2). Pure."""

from collections.abc import Sequence

from consilium.kernel.codes import Code
from consilium.kernel.errors import PermissionDenied
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import RequestBody


def granted_body(request: VerifiedTransaction, record_id: bytes) -> RequestBody:
    """What a final transaction asks for. Raises PermissionDenied: NOT_GRANTED, OTHER_RECORD."""
    body = request.payload.body
    if request.code is not Code.GRANTED or not isinstance(body, RequestBody):
        raise PermissionDenied("NOT_GRANTED", "The ledger's verdict on this request is not GRANTED.", "S2")
    if body.record_id != record_id:
        raise PermissionDenied("OTHER_RECORD", "The request was granted for another record.", "S2")
    return body


def judge_read(request: VerifiedTransaction, grant: GrantState, caller: str) -> None:
    """Raise PermissionDenied unless the grant stands still, and the caller is of its recipient's member.

    A member hands out no more than a holder would: nothing after a revocation (REVOKED), nothing to others
    (NOT_THE_RECIPIENT).
    """
    if grant.revoked_height is not None and grant.revoked_height >= request.height:
        raise PermissionDenied("REVOKED", f"The grant was revoked at height {grant.revoked_height}.", "S5")
    if caller != grant.terms.recipient_member:
        raise PermissionDenied("NOT_THE_RECIPIENT", "The request was granted to another member's recipient.", "S3")


def judge_repair(caller: str, home: str, keepers: Sequence[str]) -> None:
    """Raise PermissionDenied (NOT_A_KEEPER) unless the caller is the record's home, or keeps a copy for it."""
    if caller != home and caller not in keepers:
        raise PermissionDenied("NOT_A_KEEPER", f"{caller} keeps no copy of this object that it could repair.", "S2")
