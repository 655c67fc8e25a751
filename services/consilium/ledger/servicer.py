"""The contract's methods: decode, one question to the chain, encode; who may call is judged before (`access`)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from functools import partial
from itertools import groupby

import grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceServicer
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from consilium.kernel.executions import Execution
from consilium.kernel.light_client import Finality, StateProof, TransactionProof
from consilium.kernel.opening import open_block, open_transaction
from consilium.kernel.parameters import PROTOCOL_VERSION
from consilium.kernel.recovery import RECOVERY_BYTES_MAX
from consilium.kernel.recovery_reports import SignedReport
from consilium.kernel.signing import Verifier
from consilium.ledger import wire
from consilium.ledger.authorities import Authorities
from consilium.ledger.block_index import STANDING_MASK, mask
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.sync import BLOCK_BYTES_MAX
from consilium.ledger.grant_history import Queries, list_grant_history, verify_query
from consilium.ledger.keeper import Keeper
from consilium.ledger.room import Room
from consilium.ledger.settings import LedgerSettings
from consilium.ledger.wire import Cursor
from consilium.runtime import calls
from consilium.runtime.threads import run_to_end

Context = grpc.aio.ServicerContext[object, object]
SMALL_BYTES_MAX = 65_536
"""The most bytes decoded on the event loop."""
WAIT_S_MAX = 60.0
"""The longest a proof is waited for, in seconds."""
HOP_WAIT_MS = 5_000
"""How long a hop waits for the certificate of an epoch's last block."""
STEP_BLOCKS = 1_024
"""How many blocks without events are passed over before others have their turn."""
PAGE_BYTES_MAX = 2 * 1024 * 1024
"""A page of proofs ends when it has so many bytes."""
LATE_S = 1.0
"""After how long without a new certificate what was executed is told by itself, in seconds."""
KNOWN_MAX = 4_096
"""How many hashes of authorities a caller may have."""
ANSWERING_S = 0.1
"""How long before the caller's deadline waiting ends, so that it gets an answer, in seconds."""


class LedgerServicer(LedgerServiceServicer):
    """The ledger service of one member."""

    def __init__(self, keeper: Keeper, authorities: Authorities, verifier: Verifier, settings: LedgerSettings) -> None:
        self._keeper, self._authorities, self._verifier = keeper, authorities, verifier
        self._chain_id = keeper.chain.chain_id
        self._tips_interval_s = settings.tips_interval_ms / 1_000
        self._waits, self._streams = (Room(settings.member_id, settings.rpcs_max) for _ in range(2))
        self._queries = Queries()
        self._newest = 0, b""

    # --- the chain ---

    async def GetTip(self, _: pb.GetTipRequest, __: Context) -> pb.GetTipResponse:
        """Read the tip."""
        chain, upgrade = self._keeper.chain, self._keeper.chain.tip.outlook.upgrade
        response = pb.GetTipResponse(
            executed_height=chain.height,
            age_ms=self._keeper.tip_age_ms,
            alliance_height=chain.alliance_height,
            known_version=PROTOCOL_VERSION,
            upgrade_version=None if upgrade is None else upgrade.version,
            upgrade_height=None if upgrade is None else upgrade.height,
        )
        if chain.certified_height:
            response.finality = self._finality(chain.certified_height)
            response.header = chain.header(chain.certified_height)
            response.result_certificate = self._certificate(chain, chain.certified_height)
        return response

    async def StreamTips(self, _: pb.StreamTipsRequest, __: Context) -> AsyncIterator[pb.StreamTipsResponse]:
        """Tell the certified height, and again when it has grown; what is executed and stays uncertified too (L8)."""
        told, certified = None, -1
        with self._stream():
            while True:
                await self._certified_or_late(certified + 1)
                certified = self._keeper.chain.certified_height
                tip = pb.StreamTipsResponse(certified_height=certified, executed_height=self._keeper.chain.height)
                if tip != told:
                    yield tip
                told = tip
                await asyncio.sleep(self._tips_interval_s)

    async def _certified_or_late(self, height: int) -> None:
        """Until a height is certified, or should have been long ago."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LATE_S):
                await self._keeper.until_certified(height)

    async def GetBlock(self, request: pb.GetBlockRequest, _: Context) -> pb.GetBlockResponse:
        """Read a block."""
        height = wire.height(request.height, "height")
        sent = await self._keeper.sent_block(height)
        return pb.GetBlockResponse(certified_block=wire.block_message(sent), finality=self._finality(height))

    async def StreamBlocks(self, request: pb.StreamBlocksRequest, _: Context) -> AsyncIterator[pb.StreamBlocksResponse]:
        """Send certified blocks, or decided ones if they are asked for; and new ones unless there is a last."""
        keeper = self._keeper
        height, last = wire.span(request.first_height, request.last_height if request.HasField("last_height") else None)
        with self._stream():
            while last is None or height <= last:
                await (keeper.until_executed if request.decided else keeper.until_certified)(height)
                sent = await keeper.sent_block(height)
                yield pb.StreamBlocksResponse(certified_block=wire.block_message(sent))
                height += 1

    async def StreamEvents(self, request: pb.StreamEventsRequest, _: Context) -> AsyncIterator[pb.StreamEventsResponse]:
        """Send the transactions of final blocks after the cursor, and new ones unless there is a last height."""
        (height, place), wanted = wire.cursor(request.cursor), mask(wire.kinds(request.kinds))
        last = wire.height(request.last_height, "last_height") if request.HasField("last_height") else wire.HEIGHT_MAX
        index, chain = self._keeper.index, self._keeper.chain
        with self._stream():
            while height <= last:
                await self._keeper.until_certified(height)
                most = min(height + STEP_BLOCKS - 1, chain.certified_height, last)
                found = index.first_with(wanted, height, most)
                if found <= most:
                    for event in await run_to_end(self._events, found, place if found == height else -1, wanted):
                        yield event
                else:
                    await asyncio.sleep(0)
                height, place = min(found, most) + 1, -1

    # --- proofs ---

    async def GetRecord(self, request: pb.GetRecordRequest, _: Context) -> pb.GetRecordResponse:
        """Prove a record's registration."""
        record_id = wire.fixed(request.record_id, wire.IDENTIFIER_BYTES, "record_id")
        proof = await self._keeper.read(lambda chain: _prove_record(chain, record_id))
        finality = self._finality(proof.certificate.result.height)
        return pb.GetRecordResponse(registration=wire.proof_message(proof, self._chain_id), finality=finality)

    async def GetTransactionProof(
        self, request: pb.GetTransactionProofRequest, _: Context
    ) -> pb.GetTransactionProofResponse:
        """Prove a transaction and its outcome, waiting until it is final for as long as asked."""
        leaf = wire.fixed(request.transaction_hash, wire.DIGEST_BYTES, "transaction_hash")
        wanted = wire.finality(request.finality)
        await self._wait(self._until_final(leaf, wanted), request.wait_ms)
        proof = await self._keeper.read(lambda chain: chain.prove_transaction(leaf))
        height = proof.certificate.result.height
        if self._keeper.chain.finality_of(height) != Finality.ALLIANCE and wanted is Finality.ALLIANCE:
            raise FailedPrecondition("NOT_ALLIANCE_FINAL", "The alliance has signed no end of a term above it yet.", "C7")
        verdict = wire.verdict_message(open_transaction(proof.transaction, self._chain_id), proof)
        carried = wire.proof_message(proof, self._chain_id)
        return pb.GetTransactionProofResponse(proof=carried, verdict=verdict, finality=self._finality(height))

    async def _until_final(self, leaf: bytes, wanted: Finality) -> None:
        """Wait for a transaction to be final, by the alliance if so wanted."""
        chain = self._keeper.chain
        await self._keeper.waiting.until_final(leaf)
        if wanted is Finality.ALLIANCE:
            height, _ = chain.place_of(leaf)
            await self._keeper.until(lambda: chain.alliance_height >= height)

    async def GetStateProof(self, request: pb.GetStateProofRequest, _: Context) -> pb.GetStateProofResponse:
        """Prove what stands under a key."""
        key = wire.state_key(request.key)
        height, least = wire.state_heights(request)
        waiting = self._keeper.waiting
        await self._wait(waiting.until_proven(height) if height else waiting.until_certified(least), request.wait_ms)
        proof = await self._keeper.read(lambda chain: _prove_state(chain, key, height, least))
        carried = chain_pb2.StateProof(encoded=encode(proof, self._chain_id))
        return pb.GetStateProofResponse(proof=carried, finality=self._finality(proof.certificate.result.height))

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, _: Context
    ) -> pb.GetConsistencyProofResponse:
        """Prove that the log only grew between two heights."""
        first, second = (
            wire.height(request.first_height, "first_height"),
            wire.height(request.second_height, "second_height"),
        )
        if second < first:
            raise InvalidArgument("BAD_HEIGHT", f"second_height is {second}, below first_height {first}.")

        def prove(chain: Chain) -> pb.GetConsistencyProofResponse:
            return pb.GetConsistencyProofResponse(
                encoded=encode(chain.prove_consistency(first, second), self._chain_id),
                first_result_certificate=self._certificate(chain, first),
                second_result_certificate=self._certificate(chain, second),
            )

        return await self._keeper.read(prove)

    async def GetEpochHop(self, request: pb.GetEpochHopRequest, _: Context) -> pb.GetEpochHopResponse:
        """Prove the step into an epoch."""
        if request.epoch == 0:
            raise InvalidArgument("BAD_EPOCH", "Epoch 0 is entered from the genesis file, not by a hop.", "L5")
        boundary = self._keeper.chain.last_height_of(request.epoch - 1)
        if boundary is not None and self._keeper.chain.recovery_of(request.epoch - 1) is None:
            await self._wait(self._keeper.waiting.until_proven(boundary), HOP_WAIT_MS)
        hop = self._keeper.chain.epoch_hop(request.epoch - 1)
        return pb.GetEpochHopResponse(encoded=encode(hop, self._chain_id))

    async def ListGrantHistory(self, request: pb.ListGrantHistoryRequest, _: Context) -> pb.ListGrantHistoryResponse:
        """List what happened under grants, to their owner."""
        query, (size, after) = wire.grant_history_query(request), wire.page(request.page_size, request.page_token)
        author, signature = request.owner_signature.public_key, request.owner_signature.signature
        verify_query(query, author, signature, self._keeper.chain, self._verifier)
        grants = self._keeper.index.grants_of_key(query.delegating_pk)
        found = await self._keeper.read(lambda chain: list_grant_history(chain, grants, author))
        self._queries.use(query, author, self._keeper.chain)
        if after and after not in found:
            raise InvalidArgument("BAD_PAGE", "page_token is not one that this service has sent for this query.")
        leaves = list(found)
        first = leaves.index(after) + 1 if after else 0
        lines = await self._page([found[each] for each in leaves[first : first + size]])
        behind = first + len(lines)
        token = leaves[behind - 1].hex() if behind < len(leaves) else ""
        return pb.ListGrantHistoryResponse(transactions=lines, next_page_token=token)

    # --- authorities ---

    async def GetAuthorities(self, request: pb.GetAuthoritiesRequest, _: Context) -> pb.GetAuthoritiesResponse:
        """List what the caller does not have."""
        if len(request.known_hashes) > KNOWN_MAX:
            raise InvalidArgument("TOO_MANY_HASHES", f"At most {KNOWN_MAX} hashes of known authorities are compared.")
        known = [wire.fixed(each, wire.DIGEST_BYTES, "known_hashes") for each in request.known_hashes]
        return pb.GetAuthoritiesResponse(authorities=self._authorities.told(known))

    async def PutAuthorities(self, request: pb.PutAuthoritiesRequest, _: Context) -> pb.PutAuthoritiesResponse:
        """Hand on what the own member knows."""
        self._authorities.put(request.authorities)
        return pb.PutAuthoritiesResponse()

    # --- the own services ---

    async def GetRecoveryComposition(
        self, request: pb.GetRecoveryCompositionRequest, _: Context
    ) -> pb.GetRecoveryCompositionResponse:
        """Work out what the electors may sign."""
        lost = list(request.lost_member_ids)
        reports = [decode(SignedReport, each, self._chain_id, RECOVERY_BYTES_MAX) for each in request.reports]
        draft = await self._keeper.read(lambda chain: chain.draft_recovery(lost, reports))
        return pb.GetRecoveryCompositionResponse(draft=encode(draft, self._chain_id))

    async def ExecuteBlock(self, request: pb.ExecuteBlockRequest, _: Context) -> pb.ExecuteBlockResponse:
        """Take what consensus decided."""
        item = request.WhichOneof("item")
        if item == "block":
            execution = await self._keeper.execute(await self._block(request.block))
            return pb.ExecuteBlockResponse(execution=self._encoded(execution))
        if item == "result_certificate":
            await self._keeper.certify(decode(ResultCertificate, request.result_certificate, self._chain_id))
            return pb.ExecuteBlockResponse()
        raise InvalidArgument("NO_ITEM", "The request carries neither a block nor a certificate.")

    async def StreamExecutions(
        self, request: pb.StreamExecutionsRequest, _: Context
    ) -> AsyncIterator[pb.StreamExecutionsResponse]:
        """Send what was executed from a height on, certificates as they come, and standings when they change."""
        height, last = wire.span(request.first_height, request.last_height if request.HasField("last_height") else None)
        chain, index, certified = self._keeper.chain, self._keeper.index, 0
        yield self._standings()
        while last is None or height <= last:
            await self._until_more(height, certified)
            if index.height >= height:
                execution = await self._keeper.sent_execution(height)
                yield pb.StreamExecutionsResponse(execution=self._encoded(execution))
                if index.kinds_at(height) & STANDING_MASK or execution.outlook.epoch != execution.result.epoch:
                    yield self._standings()
                height += 1
            elif chain.certified_height > certified:
                # Only once all executions are sent: an older certificate says nothing that a newer one does not.
                certified = chain.certified_height
                yield pb.StreamExecutionsResponse(result_certificate=self._certificate(chain, certified))

    # --- what several methods do ---

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        """A stream that may wait for blocks. Raises ResourceExhausted: TOO_MANY_STREAMS."""
        with self._streams.place(calls.peer()) as free:
            if not free:
                raise ResourceExhausted("TOO_MANY_STREAMS", "Too many streams are open; end one, or open this one later.")
            yield

    async def _wait(self, awaited: Coroutine[None, None, None], wait_ms: int) -> None:
        """Wait for something as long as asked and allowed; whether it came is for what follows to see."""
        remaining_s = calls.remaining_s()
        allowed_s = WAIT_S_MAX if remaining_s is None else max(remaining_s - ANSWERING_S, 0.0)
        with self._waits.place(calls.peer()) as free, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(wait_ms / 1_000, allowed_s, WAIT_S_MAX) if free else 0):
                await awaited

    async def _page(self, places: Sequence[tuple[int, int]]) -> list[chain_pb2.TransactionProof]:
        """The proofs of transactions, fewer than asked for when they grow large; blocks go on between their heights."""
        lines: list[chain_pb2.TransactionProof] = []
        taken = 0
        for height, group in groupby(places, key=lambda each: each[0]):
            here = [place for _, place in group]
            for proof in await self._keeper.read(partial(_prove_places, height=height, places=here)):
                line = wire.proof_message(proof, self._chain_id)
                taken += len(line.encoded)
                if lines and taken > PAGE_BYTES_MAX:
                    return lines
                lines.append(line)
        return lines

    async def _until_more(self, height: int, certified: int) -> None:
        """Wait for a height to be executed, or one above another to be certified."""
        keeper = self._keeper
        await keeper.until(lambda: keeper.index.height >= height or keeper.chain.certified_height > certified)

    def _finality(self, height: int) -> chain_pb2.Finality.ValueType:
        """How final a height is here, as it is sent."""
        return wire.finality_message(self._keeper.chain.finality_of(height))

    def _certificate(self, chain: Chain, height: int) -> bytes:
        """The certificate of a height, encoded. Raises NotFound (NO_SUCH_HEIGHT), FailedPrecondition (NOT_FINAL)."""
        certificate = chain.result_certificate(height)
        if certificate is None:
            raise FailedPrecondition("NOT_FINAL", f"Height {height} is not certified here yet.", "L3")
        return encode(certificate, self._chain_id)

    def _encoded(self, execution: Execution) -> bytes:
        """An execution as it is sent; the newest is sent twice, as the answer to its block and on the stream."""
        height = execution.result.height
        if self._newest[0] != height:
            self._newest = height, encode(execution, self._chain_id)
        return self._newest[1]

    async def _block(self, data: bytes) -> CertifiedBlock:
        """A block out of its bytes, in a thread where that takes longer than the way there. Raises Malformed."""
        if len(data) <= SMALL_BYTES_MAX:
            return decode(CertifiedBlock, data, self._chain_id)
        return await run_to_end(decode, CertifiedBlock, data, self._chain_id, BLOCK_BYTES_MAX)

    def _standings(self) -> pb.StreamExecutionsResponse:
        return pb.StreamExecutionsResponse(standings=encode(self._keeper.standings(), self._chain_id))

    def _events(self, height: int, after: int, wanted: int) -> list[pb.StreamEventsResponse]:
        """The events of one block behind a place."""
        chain = self._keeper.chain
        opened = open_block(chain.block(height), self._chain_id)
        carried = [
            (each, data)
            for batch in opened.batches
            for each, data in zip(batch.transactions, batch.batch.transactions, strict=True)
        ]
        codes = chain.codes(height)
        return [
            pb.StreamEventsResponse(
                cursor=wire.cursor_bytes(Cursor(height, place)),
                height=height,
                transaction=chain_pb2.Transaction(encoded=data),
                code=code.name,
                transaction_hash=each.leaf,
            )
            for place, ((each, data), code) in enumerate(zip(carried, codes, strict=True))
            if place > after and wanted >> each.payload.body.KIND & 1
        ]


def _prove_record(chain: Chain, record_id: bytes) -> TransactionProof:
    """Raises NotFound: UNKNOWN_RECORD."""
    entry = chain.record(record_id)
    if entry is None:
        raise NotFound("UNKNOWN_RECORD", "The ledger knows no such record.", "S3")
    return chain.prove_transaction(entry.transaction_hash)


def _prove_places(chain: Chain, height: int, places: Sequence[int]) -> list[TransactionProof]:
    return chain.prove_places(height, places)


def _prove_state(chain: Chain, key: bytes, height: int | None, least: int) -> StateProof:
    """Raises FailedPrecondition: NOT_FINAL before the least height is certified, and as `Chain.prove_state`."""
    if height is None and chain.certified_height < least:
        raise FailedPrecondition("NOT_FINAL", f"Height {least} is not certified here yet.", "L3")
    return chain.prove_state(key, height)
