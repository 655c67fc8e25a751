"""How a service reaches its member's own consensus: to submit, and to recover a lost quorum (design section 8)."""

import grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.runtime.channels import typed


class OwnConsensus:
    """The consensus service behind a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ConsensusServiceStub(channel)

    async def submit(self, transaction: bytes) -> None:
        """Hand over a transaction to be ordered; again is no fault. Raises Unavailable while it cannot be reached."""
        carried = chain_pb2.Transaction(encoded=transaction)
        with typed():
            await self._stub.SubmitTransaction(consensus_pb2.SubmitTransactionRequest(transaction=carried))

    async def replica_state(self) -> consensus_pb2.GetReplicaStateResponse:
        """How the member's replica stands. Raises Unavailable while it cannot be reached."""
        with typed():
            return await self._stub.GetReplicaState(consensus_pb2.GetReplicaStateRequest())

    async def stop_epoch(self, epoch: int) -> bytes:
        """Have the member's replica say nothing more in an epoch; its encoded report (C10). Raises what it refuses."""
        with typed():
            response = await self._stub.StopReplica(consensus_pb2.StopReplicaRequest(epoch=epoch))
        return response.report

    async def apply_recovery(self, certificate: bytes) -> None:
        """Hand over an encoded recovery certificate (C10); again is no fault. Raises what it refuses."""
        with typed():
            await self._stub.EndEpoch(consensus_pb2.EndEpochRequest(certificate=certificate))
