"""The contract's methods: decode, call the driver, encode. Who may call at all is judged before (`core.admission`)."""

from typing import Any

import grpc

from consilium.api.reencryption.v1 import reencryption_pb2 as pb
from consilium.api.reencryption.v1.reencryption_pb2_grpc import ReencryptionServiceServicer
from consilium.kernel.encoding import encode
from consilium.reencryption import wire
from consilium.reencryption.driver import Driver
from consilium.runtime import calls
from consilium.runtime.threads import run_to_end

Context = grpc.aio.ServicerContext[Any, Any]


class ReencryptionServicer(ReencryptionServiceServicer):
    """The re-encryption service of one member."""

    def __init__(self, driver: Driver, chain_id: bytes) -> None:
        self._driver, self._chain_id = driver, chain_id

    async def GrantAccess(self, request: pb.GrantAccessRequest, _: Context) -> pb.GrantAccessResponse:
        """Keep a key fragment."""
        await self._driver.grant_access(wire.grant_id(request.grant_id), wire.key_fragment(request.key_fragment))
        return pb.GrantAccessResponse()

    async def RevokeAccess(self, request: pb.RevokeAccessRequest, _: Context) -> pb.RevokeAccessResponse:
        """Delete a key fragment."""
        kept = await self._driver.revoke_access(wire.grant_id(request.grant_id))
        return pb.RevokeAccessResponse(receipt=wire.receipt_message(kept))

    async def ReencryptCapsule(self, request: pb.ReencryptCapsuleRequest, _: Context) -> pb.ReencryptCapsuleResponse:
        """Release a capsule fragment."""
        request_hash, capsule = wire.request_hash(request.access_request_hash), wire.capsule(request.capsule)
        release = await self._driver.reencrypt_capsule(request_hash, capsule, calls.peer().member_id)
        return pb.ReencryptCapsuleResponse(encoded=encode(release, self._chain_id))

    async def ListReceipts(self, request: pb.ListReceiptsRequest, _: Context) -> pb.ListReceiptsResponse:
        """A page of receipts, oldest first."""
        grant_id = request.grant_id and wire.grant_id(request.grant_id)
        after, size = wire.page(request.page_size, request.page_token)
        kind = wire.kind(request.kind)
        found = await run_to_end(self._driver.receipts.page, after, size + 1, grant_id, kind)
        token = str(found[size - 1].number) if len(found) > size else ""
        messages = [wire.receipt_message(each) for each in found[:size]]
        return pb.ListReceiptsResponse(receipts=messages, next_page_token=token)
