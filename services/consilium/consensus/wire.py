"""Where the contract's fields become values, and values fields; refusals name the field (rules L1, L2, C5)."""

from collections.abc import Sequence
from dataclasses import dataclass

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1 import replica_pb2
from consilium.kernel.certificates import Committee
from consilium.kernel.chain import BATCH_TRANSACTIONS_MAX
from consilium.kernel.encoding import decode
from consilium.kernel.errors import BadSignature, Conflict, InvalidArgument, Malformed
from consilium.kernel.manifest import StorageReceipt, verify_receipt_of_record
from consilium.kernel.opening import OpenedTransaction, open_transaction
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import RecordBody

SESSION_BYTES = 16


@dataclass(frozen=True, slots=True)
class Greeting:
    """Who speaks on a stream, from which vote log (C5)."""

    chain_id: bytes
    member_id: str
    incarnation: int
    session: bytes


def greeting_message(greeting: Greeting) -> replica_pb2.Greeting:
    """The greeting as it is sent."""
    return replica_pb2.Greeting(
        chain_id=greeting.chain_id,
        member_id=greeting.member_id,
        incarnation=greeting.incarnation,
        session=greeting.session,
    )


def greeting(message: replica_pb2.Greeting, chain_id: bytes, member_id: str) -> Greeting:
    """The greeting of the member that a certificate names, on this chain.

    Raises Conflict: FOREIGN_CHAIN; BadSignature: FOREIGN_NAME; InvalidArgument: BAD_SESSION.
    """
    if message.chain_id != chain_id:
        raise Conflict("FOREIGN_CHAIN", "The greeting is for another chain: the genesis files differ.", "L5")
    if message.member_id != member_id:
        raise BadSignature("FOREIGN_NAME", f"{member_id} greets in the name of another member.", "C5")
    if len(message.session) != SESSION_BYTES or not 1 <= message.incarnation < 1 << 63:
        raise InvalidArgument("BAD_SESSION", f"An incarnation counts from 1, and a session has {SESSION_BYTES} bytes.", "C5")
    return Greeting(chain_id, member_id, message.incarnation, message.session)


def signed_transaction(message: chain_pb2.Transaction, chain_id: bytes) -> OpenedTransaction:
    """A transaction that its author signed. Raises Malformed as `open_transaction`, and UNSIGNED (L2)."""
    opened = open_transaction(message.encoded, chain_id)
    if opened.signature is None:
        raise Malformed("UNSIGNED", "Registrations go in by SubmitRegistrations; all else carries a signature.", "L2")
    return opened


def registrations(
    messages: Sequence[chain_pb2.Transaction], chain_id: bytes, member_key: bytes, bytes_max: int
) -> list[OpenedTransaction]:
    """The member's own registrations, no more than one batch holds.

    Raises InvalidArgument: BAD_COUNT, TOO_LARGE; Malformed: SIGNED, or as `open_transaction`; BadSignature: FOREIGN_VOUCHER.
    """
    if not 1 <= len(messages) <= BATCH_TRANSACTIONS_MAX:
        raise InvalidArgument("BAD_COUNT", f"There are {len(messages)}; a batch holds 1 to {BATCH_TRANSACTIONS_MAX}.", "L2")
    if sum(len(each.encoded) for each in messages) > bytes_max:
        raise InvalidArgument("TOO_LARGE", f"One batch holds {bytes_max} bytes; hand them over in several calls.", "C4")
    opened = [open_transaction(each.encoded, chain_id) for each in messages]
    for each in opened:
        if each.signature is not None:
            raise Malformed("SIGNED", "A registration is a bare payload; signed ones go in by SubmitTransaction.", "L2")
        if each.payload.author != member_key:
            raise BadSignature("FOREIGN_VOUCHER", "A member vouches for its own registrations only.", "L2")
    return opened


def check_receipts(
    opened: Sequence[OpenedTransaction], receipts: Sequence[bytes], member_key: bytes, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise unless this member's storage has signed for the object of every registration (S2).

    Raises InvalidArgument: BAD_COUNT; Malformed; Conflict: OTHER_OBJECT; BadSignature.
    """
    if len(receipts) != len(opened):
        sentence = f"There are {len(receipts)} storage receipts for {len(opened)} registrations; send one for each."
        raise InvalidArgument("BAD_COUNT", sentence, "S2")
    for each, data in zip(opened, receipts, strict=True):
        receipt, body = decode(StorageReceipt, data, chain_id), each.payload.body
        assert isinstance(body, RecordBody), "only records go without a signature"
        verify_receipt_of_record(receipt, body, member_key, chain_id, verifier)


def check_patients_count(opened: Sequence[OpenedTransaction]) -> None:
    """Raise InvalidArgument (BAD_COUNT) unless it is the one registration that a patient may hand in at a time."""
    if len(opened) != 1:
        raise InvalidArgument("BAD_COUNT", f"There are {len(opened)}; a patient hands in one registration a call.", "S2")


def committee_message(committee: Committee, epoch_start: int, chain_id: bytes) -> pb.GetCommitteeResponse:
    """A committee and the first height of its epoch."""
    return pb.GetCommitteeResponse(
        epoch=committee.epoch,
        first_height=epoch_start,
        delegates=[
            pb.Delegate(seat=seat, member_id=each.member_id, public_key=each.consensus_key)
            for seat, each in enumerate(committee.delegates)
        ],
        faults_max=committee.faults_max,
        quorum=committee.quorum,
        committee_hash=committee.hash(chain_id),
    )
