"""Erasing a record, and legal holds, from the client's side (rule S8; promise 6).

The record's home signs the act, this client hands it in and waits until it is final; then the home destroys, and what it and
the members that kept copies certify is verified here. A member that has not certified is named, never left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consilium.client.session import Session, require
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, ConsiliumError, FailedPrecondition
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.opening import open_transaction
from consilium.kernel.retention import ErasureCertificate, ErasureStatement, SignedErasureOrder, verify_erasure
from consilium.kernel.state_values import RetentionState, retention_entry
from consilium.kernel.transactions import ErasureBody, RetentionAct


@dataclass(frozen=True, slots=True)
class ErasedRecord:
    """An erasure that is final: what the home says, and who else has certified that its copy is gone.

    `copies_left` are the members whose copies are still to be deleted; they are opaque bytes, and the home goes on asking.
    """

    height: int
    statement: ErasureStatement
    copies_deleted: tuple[str, ...]
    copies_left: tuple[str, ...]


async def read_retention(session: Session, record_id: bytes) -> RetentionState | None:
    """Whether the ledger has erased a record or holds it, proven; None for neither."""
    found = await session.state(retention_entry(record_id))
    return None if found.value is None else decode(RetentionState, found.value, session.chain_id)


async def retain(
    session: Session, record_id: bytes, act: RetentionAct, order: SignedErasureOrder | None, evidence: bytes
) -> VerifiedTransaction:
    """Have the home member sign an act, and see it final (S8).

    Raises what the home refuses with, FailedPrecondition with the ledger's code, Conflict OTHER_TRANSACTION when the home
    has signed something else.
    """
    carried = await session.home.sign_retention(record_id, act, order, evidence)
    payload = open_transaction(carried, session.chain_id).payload
    body = payload.body
    if not isinstance(body, ErasureBody) or (body.record_id, body.act) != (record_id, act):
        raise Conflict("OTHER_TRANSACTION", "The home member has signed another act than the one asked for.", "S8")
    return require(await session.hand_in(carried, payload.expiry_height))


async def erase_record(
    session: Session, record_id: bytes, order: SignedErasureOrder | None, evidence: bytes
) -> ErasedRecord:
    """Erase a record on the ledger, have it destroyed, and verify who certifies that; again asks for the certificates anew.

    Raises as `retain`, and BadSignature or Conflict for a certificate of the home's that does not hold.
    """
    retention = await read_retention(session, record_id)
    if retention is None or retention.erased_height is None:
        await retain(session, record_id, RetentionAct.ERASE, order, evidence)
        retention = await read_retention(session, record_id)
    if retention is None or retention.erased_height is None:
        raise FailedPrecondition("NOT_ERASED", "The ledger does not prove the erasure that it has applied.", "S8")
    height = retention.erased_height
    own, copies = await session.home.erase_object(record_id, height)
    await _verify(session, own, session.home_id, record_id)
    deleted = await _verified(session, copies, record_id)
    named = (*own.statement.copies_deleted, *own.statement.copies_left)
    return ErasedRecord(height, own.statement, deleted, tuple(each for each in named if each not in deleted))


async def _verified(session: Session, copies: Sequence[ErasureCertificate], record_id: bytes) -> tuple[str, ...]:
    """The members whose certificates hold; another's word is no word."""
    found = []
    for each in copies:
        name = each.statement.member_id
        try:
            await _verify(session, each, name, record_id)
        except ConsiliumError:
            continue
        found.append(name)
    return tuple(found)


async def _verify(session: Session, certificate: ErasureCertificate, name: str, record_id: bytes) -> None:
    key = (await session.member(name)).profile.member_key
    verify_erasure(certificate, name, record_id, key, session.chain_id, session.verifier)
