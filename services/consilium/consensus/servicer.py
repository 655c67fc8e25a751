"""The contracts' methods: decode, hand in or look, encode; who may call is judged before (`access`)."""

from collections.abc import AsyncIterator, Sequence

import grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1 import replica_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceServicer
from consilium.api.consensus.v1.replica_pb2_grpc import ReplicaServiceServicer
from consilium.consensus import wire
from consilium.consensus.leaving import Leaving, word_message
from consilium.consensus.replica_state import replica_state
from consilium.consensus.seat import Seat
from consilium.consensus.streams import Links
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Conflict
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.recovery import RECOVERY_BYTES_MAX, RecoveryCertificate
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import RecordBody
from consilium.runtime import calls
from consilium.runtime.clock import wall_ms
from consilium.runtime.names import Role
from consilium.runtime.threads import run_to_end

Context = grpc.aio.ServicerContext[object, object]
INLINE_REGISTRATIONS_MAX = 8
"""So many registrations are taken apart on the event loop."""
VOUCHED_MAX = 16_384
"""How many of its patients' registrations the member remembers having vouched for."""


class ConsensusServicer(ConsensusServiceServicer):
    """The consensus service of one member."""

    def __init__(self, seat: Seat, links: Links, leaving: Leaving, verifier: Verifier) -> None:
        self._seat, self._links, self._leaving, self._verifier = seat, links, leaving, verifier
        self._chain_id = seat.identity.chain_id
        self._vouched: dict[bytes, bytes] = {}
        """The registration that the member vouches for, by the record id of a patient's."""

    async def SubmitTransaction(self, request: pb.SubmitTransactionRequest, _: Context) -> pb.SubmitTransactionResponse:
        """Take a signed transaction in."""
        opened = wire.signed_transaction(request.transaction, self._chain_id)
        await self._seat.submit([(opened, request.transaction.encoded)])
        return pb.SubmitTransactionResponse(transaction_hash=opened.leaf, height=self._seat.height)

    async def SubmitRegistrations(
        self, request: pb.SubmitRegistrationsRequest, _: Context
    ) -> pb.SubmitRegistrationsResponse:
        """Take the member's own registrations in."""
        opened = await self._opened(request.registrations)
        is_patient = calls.peer().role is Role.PATIENT
        if is_patient:
            wire.check_patients_count(opened)
        if request.storage_receipts or is_patient:
            await run_to_end(self._check_receipts, opened, request.storage_receipts)
        if is_patient:
            self._vouch_once(opened[0])
        carried = [each.encoded for each in request.registrations]
        await self._seat.submit(list(zip(opened, carried, strict=True)))
        hashes = [each.leaf for each in opened]
        return pb.SubmitRegistrationsResponse(transaction_hashes=hashes, height=self._seat.height)

    async def _opened(self, registrations: Sequence[chain_pb2.Transaction]) -> list[OpenedTransaction]:
        """Taken apart in a thread, unless there are fewer than the way there costs."""
        bytes_max = self._seat.outlook.parameters.batch_bytes_max
        given = registrations, self._chain_id, self._seat.member_signer.public_key, bytes_max
        if len(registrations) <= INLINE_REGISTRATIONS_MAX:
            return wire.registrations(*given)
        return await run_to_end(wire.registrations, *given)

    def _check_receipts(self, opened: Sequence[OpenedTransaction], receipts: Sequence[bytes]) -> None:
        wire.check_receipts(opened, receipts, self._seat.member_signer.public_key, self._chain_id, self._verifier)

    def _vouch_once(self, opened: OpenedTransaction) -> None:
        """Remember a patient's registration. Raises Conflict: REGISTERED_BEFORE for another one by the same receipt."""
        body = opened.payload.body
        assert isinstance(body, RecordBody), "only records go without a signature"
        if self._vouched.setdefault(body.record_id, opened.leaf) != opened.leaf:
            raise Conflict("REGISTERED_BEFORE", "This record was handed in before; one receipt registers one record.", "S2")
        if len(self._vouched) > VOUCHED_MAX:
            del self._vouched[next(iter(self._vouched))]

    async def GetCommittee(self, request: pb.GetCommitteeRequest, _: Context) -> pb.GetCommitteeResponse:
        """Read a committee."""
        committee, start = self._seat.committee(request.epoch if request.HasField("epoch") else None)
        return wire.committee_message(committee, start, self._chain_id)

    async def GetReplicaState(self, _: pb.GetReplicaStateRequest, __: Context) -> pb.GetReplicaStateResponse:
        """Tell how the replica stands."""
        return replica_state(self._seat, self._links, wall_ms())

    async def AskLeave(self, request: pb.AskLeaveRequest, _: Context) -> pb.AskLeaveResponse:
        """Ask the other delegates whether this member may go."""
        return await self._leaving.ask(request.hold_seconds)

    async def MayLeave(self, request: pb.MayLeaveRequest, _: Context) -> pb.MayLeaveResponse:
        """Say whether another member may go."""
        return word_message(self._leaving.answer(calls.peer().member_id, request.hold_seconds, request.incarnation))

    async def StopReplica(self, request: pb.StopReplicaRequest, _: Context) -> pb.StopReplicaResponse:
        """Say nothing more in this epoch."""
        return pb.StopReplicaResponse(report=encode(await self._seat.stop(request.epoch), self._chain_id))

    async def EndEpoch(self, request: pb.EndEpochRequest, _: Context) -> pb.EndEpochResponse:
        """End the epoch as its electors have signed."""
        certificate = decode(RecoveryCertificate, request.certificate, self._chain_id, RECOVERY_BYTES_MAX)
        await self._seat.driver.recover(certificate)
        return pb.EndEpochResponse()


class ReplicaServicer(ReplicaServiceServicer):
    """The end of the other members' links."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def Exchange(
        self, request_iterator: AsyncIterator[replica_pb2.ExchangeRequest], _: Context
    ) -> AsyncIterator[replica_pb2.ExchangeResponse]:
        """Take envelopes from another member for as long as it sends."""
        return self._links.accept(calls.peer().member_id, request_iterator)
