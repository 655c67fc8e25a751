"""Every method once: what is answered can be checked from the genesis file alone (promise 8)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from consilium.api.chain.v1 import chain_pb2
from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Unavailable
from consilium.kernel.executions import Execution, GrantHistoryQuery, Standings
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.light_client import EpochHop, StateProof, TransactionProof, TrustedHistory
from consilium.kernel.merkle import ConsistencyProof, leaf_hash, verify_consistency
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_values import MemberState, member_entry
from consilium.kernel.transactions import Kind, ReceiptKind
from consilium.ledger import grant_history, servicer
from consilium.ledger.authorities import Authorities
from consilium.ledger.block_index import mask
from consilium.runtime import calls
from consilium.runtime.names import PeerIdentity, Role
from tests.alliance import id_of, now_ms, seed_of
from tests.ledger.patient import Patient, grant, receipt, request, revoke
from tests.ledger_service.serving import OTHER, WAIT_S, Ledgers, read_all, refusal, until_waiting
from tests.runtime.authority import ALLIANCE


def query(ledgers: Ledgers, patient: Patient, nonce: str, signer: Ed25519Signer | None = None) -> pb.ListGrantHistoryRequest:
    """The owner's signed question for a report."""
    signer = signer or patient.signer
    asked = GrantHistoryQuery(patient.key().public_key, id_of(nonce), ledgers.scribe.chain.height + 50)
    signature = signer.sign(encode(asked, ledgers.scribe.alliance.chain_id))
    return pb.ListGrantHistoryRequest(
        delegating_public_key=asked.delegating_pk,
        owner_signature=chain_pb2.Signature(public_key=signer.public_key, signature=signature),
        nonce=asked.nonce,
        expiry_height=asked.expiry_height,
    )


def test_the_chain_is_read_and_its_blocks_stream(tmp_path: Path) -> None:
    """L3: GetTip, StreamTips, GetBlock, StreamBlocks; a stream without a last height goes on."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        chain_id = ledgers.scribe.alliance.chain_id
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            empty = await stub.GetTip(pb.GetTipRequest())
            assert (empty.header, empty.executed_height) == (b"", 0)
            for each in range(3):
                ledgers.scribe.write(time_ms=now_ms() + each)
            tips = stub.StreamTips(pb.StreamTipsRequest())
            assert (await anext(aiter(tips))).certified_height == 0
            blocks = aiter(stub.StreamBlocks(pb.StreamBlocksRequest(first_height=2)))
            await ledgers.give(running)
            for height in (2, 3):
                async with asyncio.timeout(WAIT_S):
                    got = (await anext(blocks)).certified_block
                assert decode(CertifiedBlock, got.encoded, chain_id) == ledgers.scribe.blocks[height - 1]
                assert decode(ResultCertificate, got.result_certificate, chain_id) == ledgers.certificate(height)
            assert (await anext(aiter(tips))).certified_height > 0
            tip = await stub.GetTip(pb.GetTipRequest())
            assert decode(Header, tip.header, chain_id).height == tip.executed_height == 3
            assert tip.age_ms < WAIT_S * 1_000
            block = await stub.GetBlock(pb.GetBlockRequest(height=3))
            assert decode(CertifiedBlock, block.certified_block.encoded, chain_id) == ledgers.scribe.blocks[2]

    asyncio.run(scene())


def test_what_is_proven_holds_for_a_light_client(tmp_path: Path) -> None:
    """L4, L5: GetEpochHop, GetRecord, GetTransactionProof, GetStateProof, GetConsistencyProof."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe, chain_id = ledgers.scribe, ledgers.scribe.alliance.chain_id
        record = scribe.record("r")
        scribe.write(record)
        scribe.cross_epoch()
        history = TrustedHistory(scribe.alliance.genesis)
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await ledgers.give(running)
            state = await stub.GetStateProof(pb.GetStateProofRequest(key=member_entry(OTHER)))
            hop = await stub.GetEpochHop(pb.GetEpochHopRequest(epoch=1))
            history.hop(decode(EpochHop, hop.encoded, chain_id), scribe.verifier)
            found = history.verify_state(decode(StateProof, state.proof.encoded, chain_id), scribe.verifier)
            assert found.value is not None
            assert decode(MemberState, found.value, chain_id).profile.member_id == OTHER
            registered = await stub.GetRecord(pb.GetRecordRequest(record_id=id_of("r record")))
            transaction = await stub.GetTransactionProof(pb.GetTransactionProofRequest(transaction_hash=leaf_hash(record)))
            assert registered.registration == transaction.proof
            proof = decode(TransactionProof, transaction.proof.encoded, chain_id)
            assert history.verify_transaction(proof, scribe.verifier).code is Code.APPLIED
            assert not transaction.HasField("verdict")
            log = await stub.GetConsistencyProof(pb.GetConsistencyProofRequest(first_height=1, second_height=11))
            first, second = (
                decode(ResultCertificate, each, chain_id).result
                for each in (log.first_result_certificate, log.second_result_certificate)
            )
            verify_consistency(first.log_root, second.log_root, decode(ConsistencyProof, log.encoded, chain_id))

    asyncio.run(scene())


def test_answers_say_how_final_they_are(tmp_path: Path) -> None:
    """L3, C7: by the committee, and by the alliance once a term's end above was handed over; a caller may wait for that."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        record = scribe.record("r")
        scribe.write(record)
        wanted = pb.GetTransactionProofRequest(
            transaction_hash=leaf_hash(record), wait_ms=WAIT_S * 1_000, finality=chain_pb2.FINALITY_ALLIANCE
        )
        at_once = pb.GetTransactionProofRequest(transaction_hash=leaf_hash(record), finality=chain_pb2.FINALITY_ALLIANCE)
        odd = pb.GetTransactionProofRequest(transaction_hash=leaf_hash(record), finality=cast("Any", 3))
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await ledgers.give(running)
            proof = await stub.GetTransactionProof(pb.GetTransactionProofRequest(transaction_hash=leaf_hash(record)))
            assert proof.finality == chain_pb2.FINALITY_COMMITTEE
            assert (await refusal(stub.GetTransactionProof(at_once))).reason == "NOT_ALLIANCE_FINAL"
            assert (await refusal(stub.GetTransactionProof(odd))).reason == "BAD_FINALITY"
            waiting = asyncio.ensure_future(stub.GetTransactionProof(wanted))
            scribe.cross_epoch()
            scribe.write()
            await ledgers.give(running)
            assert (await waiting).finality == chain_pb2.FINALITY_ALLIANCE
            tip = await stub.GetTip(pb.GetTipRequest())
            assert (tip.finality, tip.alliance_height) == (chain_pb2.FINALITY_COMMITTEE, 10)
            blocks = [await stub.GetBlock(pb.GetBlockRequest(height=height)) for height in (10, 11)]
            assert [each.finality for each in blocks] == [chain_pb2.FINALITY_ALLIANCE, chain_pb2.FINALITY_COMMITTEE]
            found = await stub.GetRecord(pb.GetRecordRequest(record_id=id_of("r record")))
            state = await stub.GetStateProof(pb.GetStateProofRequest(key=member_entry(OTHER)))
            assert (found.finality, state.finality) == (chain_pb2.FINALITY_ALLIANCE, chain_pb2.FINALITY_COMMITTEE)

    asyncio.run(scene())


def test_list_grant_history(tmp_path: Path) -> None:
    """Promise 8: all that names a key's grants, refused too, in pages, to the author of the grants alone, once a query."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe, chain_id = ledgers.scribe, ledgers.scribe.alliance.chain_id
        patient = Patient("p", chain_id)
        granted = grant(scribe, patient)
        scribe.write(scribe.record("r", owner_commitment=patient.commitment()))
        scribe.write(granted)
        asked = [request(scribe, patient), request(scribe, patient, salt=ZERO_DIGEST)]
        scribe.write(*asked)
        leaf, height = leaf_hash(asked[0]), scribe.chain.height
        released = receipt(scribe, "anshan", ReceiptKind.RELEASE, request_hash=leaf, height=height)
        scribe.write(released, grant(scribe, Patient("q", chain_id), "another's"))
        revoked = revoke(scribe, patient)
        scribe.write(revoked)
        deleted = receipt(scribe, "anshan")
        scribe.write(deleted)
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await ledgers.give(running, range(1, 6))
            await ledgers.give(running, [6], certified=False)
            first = query(ledgers, patient, "first")
            first.page_size = 2
            page = await stub.ListGrantHistory(first)
            assert [proof_leaf(each, chain_id) for each in page.transactions] == [leaf_hash(granted), leaf]
            assert (await refusal(stub.ListGrantHistory(first))).reason == "REPLAYED"
            second = query(ledgers, patient, "second")
            second.page_token = page.next_page_token
            rest = await stub.ListGrantHistory(second)
            assert [proof_leaf(each, chain_id) for each in rest.transactions] == [
                leaf_hash(each) for each in (asked[1], released, revoked)
            ], "what is not certified yet is not told"
            assert rest.next_page_token == ""
            scribe.write()
            await ledgers.give(running)
            third = query(ledgers, patient, "third")
            missing = await refusal(stub.ListGrantHistory(third))
            assert (type(missing), missing.reason) == (Unavailable, "CERTIFICATE_MISSING"), "no line is left out silently"
            await running.keeper.certify(ledgers.certificate(6))
            assert proof_leaf((await stub.ListGrantHistory(third)).transactions[-1], chain_id) == leaf_hash(deleted)
            foreign = query(ledgers, patient, "fourth", patient.recipient)
            assert (await refusal(stub.ListGrantHistory(foreign))).reason == "NOT_THE_OWNER"
            forged = query(ledgers, patient, "fifth")
            forged.nonce = id_of("another")
            assert (await refusal(stub.ListGrantHistory(forged))).reason == "BAD_SIGNATURE"

    asyncio.run(scene())


def test_made_up_keys_keep_no_owner_from_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 8: only owners' queries are remembered, until they would count no more; and a page ends by bytes too."""
    monkeypatch.setattr(grant_history, "QUERIES_KEPT_MAX", 2)
    monkeypatch.setattr(servicer, "PAGE_BYTES_MAX", 1)

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe, chain_id = ledgers.scribe, ledgers.scribe.alliance.chain_id
        patient = Patient("p", chain_id)
        scribe.write(scribe.record("r", owner_commitment=patient.commitment()))
        granted = grant(scribe, patient)
        scribe.write(granted)
        asked = request(scribe, patient)
        scribe.write(asked)
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await ledgers.give(running)
            for name in ("one", "two", "three"):
                made_up = query(ledgers, patient, name, Ed25519Signer.from_seed(seed_of(name)))
                assert (await refusal(stub.ListGrantHistory(made_up))).reason == "NOT_THE_OWNER"
            first = await stub.ListGrantHistory(query(ledgers, patient, "first"))
            assert [proof_leaf(each, chain_id) for each in first.transactions] == [leaf_hash(granted)]
            second = query(ledgers, patient, "second")
            second.page_token = first.next_page_token
            rest = await stub.ListGrantHistory(second)
            assert [proof_leaf(each, chain_id) for each in rest.transactions] == [leaf_hash(asked)]
            assert rest.next_page_token == ""
            third = query(ledgers, patient, "third")
            assert (await refusal(stub.ListGrantHistory(third))).reason == "TOO_MANY_QUERIES"
            while scribe.chain.height <= third.expiry_height:
                scribe.cross_epoch()
            await ledgers.give(running)
            assert len((await stub.ListGrantHistory(query(ledgers, patient, "third"))).transactions) == 1

    asyncio.run(scene())


def test_get_transaction_proof_tells_the_verdict(tmp_path: Path) -> None:
    """S3: granted, or why not."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        patient = Patient("p", scribe.alliance.chain_id)
        scribe.write(scribe.record("r", owner_commitment=patient.commitment()), grant(scribe, patient))
        asked = [request(scribe, patient), request(scribe, patient, salt=ZERO_DIGEST)]
        scribe.write(*asked)
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await ledgers.give(running)
            wanted = [pb.GetTransactionProofRequest(transaction_hash=leaf_hash(each)) for each in asked]
            verdicts = [(await stub.GetTransactionProof(each)).verdict for each in wanted]
            assert [(each.outcome, each.reason) for each in verdicts] == [
                (chain_pb2.VERDICT_OUTCOME_GRANTED, ""),
                (chain_pb2.VERDICT_OUTCOME_DENIED, "FOREIGN_SALT"),
            ]

    asyncio.run(scene())


def test_a_proof_is_waited_for_and_comes_with_the_certificate(tmp_path: Path) -> None:
    """L3: asked for before the block is there, or before its certificate; who gives up leaves nothing behind."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        record = scribe.record("r")
        leaf = leaf_hash(record)
        scribe.write(record)
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            transaction = pb.GetTransactionProofRequest(transaction_hash=leaf, wait_ms=WAIT_S * 1_000)
            state = pb.GetStateProofRequest(key=member_entry(OTHER), wait_ms=WAIT_S * 1_000)

            async def ask() -> None:
                await asyncio.gather(stub.GetTransactionProof(transaction), stub.GetStateProof(state))

            brief = pb.GetTransactionProofRequest(transaction_hash=leaf, wait_ms=1)
            assert (await refusal(stub.GetTransactionProof(brief))).reason == "NO_SUCH_TRANSACTION"
            assert running.keeper.waiting.count == 0
            early = asyncio.create_task(ask())
            await until_waiting(running, 2)
            await ledgers.give(running, certified=False)
            late = asyncio.create_task(ask())
            await until_waiting(running, 4)
            assert (await refusal(stub.GetTransactionProof(brief))).reason == "NOT_FINAL"
            assert running.keeper.waiting.count == 4
            assert not early.done()
            await running.keeper.certify(ledgers.certificate(1))
            await asyncio.gather(early, late)
            assert running.keeper.waiting.count == 0

    asyncio.run(scene())


def test_the_certificate_of_the_height_asked_for_is_waited_for(tmp_path: Path) -> None:
    """L4, L5: a later height may be final first; so it is with the last block of an epoch, whose hop is asked for."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        scribe.cross_epoch()
        boundary = scribe.chain.height
        scribe.write()
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await ledgers.give(running, range(1, boundary))
            await ledgers.give(running, [boundary], certified=False)
            await ledgers.give(running, [boundary + 1])
            state = pb.GetStateProofRequest(key=member_entry(OTHER), height=boundary, wait_ms=WAIT_S * 1_000)
            asked = stub.GetStateProof(state), stub.GetEpochHop(pb.GetEpochHopRequest(epoch=1))
            await until_waiting(running, 2)
            await running.keeper.certify(ledgers.certificate(boundary))
            for each in asked:
                await each

    asyncio.run(scene())


def proof_leaf(message: chain_pb2.TransactionProof, chain_id: bytes) -> bytes:
    """The hash of the transaction a proof is about."""
    return leaf_hash(decode(TransactionProof, message.encoded, chain_id).transaction)


def test_execute_block(tmp_path: Path) -> None:
    """L8: one sync a block, certificates ride along; the same block again is answered again; a restart has all."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe, chain_id = ledgers.scribe, ledgers.scribe.alliance.chain_id
        for i in range(3):
            scribe.write(scribe.record(str(i)))
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.consensus()) as stub:
            before = running.store.syncs
            for height, block in enumerate(scribe.blocks, 1):
                answer = await stub.ExecuteBlock(ledgers.block_request(block), timeout=WAIT_S)
                execution = decode(Execution, answer.execution, chain_id)
                assert execution.result == scribe.chain.outcome(height).result
                assert execution.outlook == scribe.chain.outcome(height).outlook
                assert not (await stub.ExecuteBlock(ledgers.certificate_request(height), timeout=WAIT_S)).execution
            assert running.store.syncs - before == running.keeper.blocks_kept == len(scribe.blocks)
            again = await stub.ExecuteBlock(ledgers.block_request(scribe.blocks[0]), timeout=WAIT_S)
            assert decode(Execution, again.execution, chain_id).result.height == 1
            scribe.write()
            scribe.write()
            gap = await refusal(stub.ExecuteBlock(ledgers.block_request(scribe.blocks[4]), timeout=WAIT_S))
            assert gap.reason == "HEIGHT_GAP"
            early = await refusal(stub.ExecuteBlock(ledgers.certificate_request(4), timeout=WAIT_S))
            assert early.reason == "NOT_EXECUTED"
        async with ledgers.serve() as running:
            assert (running.keeper.chain.height, running.keeper.chain.certified_height) == (3, 3)

    asyncio.run(scene())


def test_stream_executions(tmp_path: Path) -> None:
    """C6: standings first and after they changed, then every execution in order, certificates behind them."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe, chain_id = ledgers.scribe, ledgers.scribe.alliance.chain_id
        delegate = scribe.chain.tip.outlook.committee.delegates[0].member_id
        scribe.write()
        scribe.write(scribe.reveal(delegate), member=delegate)
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.consensus()) as stub:
            await ledgers.give(running, [1])
            stream = aiter(stub.StreamExecutions(pb.StreamExecutionsRequest(first_height=1)))
            items = [await anext(stream) for _ in range(3)]
            await ledgers.give(running, [2], certified=False)
            items += [await anext(stream) for _ in range(2)]
        assert [each.WhichOneof("item") for each in items] == [
            "standings", "execution", "result_certificate", "execution", "standings",
        ]  # fmt: skip
        standings = [decode(Standings, items[i].standings, chain_id) for i in (0, 4)]
        assert [each.revealed for each in standings] == [(), (delegate,)]
        assert [each.profile.member_id for each in standings[0].members] == sorted(scribe.alliance.keys)
        heights = [decode(Execution, items[i].execution, chain_id).result.height for i in (1, 3)]
        assert heights == [1, 2]

    asyncio.run(scene())


@pytest.mark.parametrize("kinds", [(), ("RECORD",), ("REVEAL",)])
def test_stream_events_resumes_after_any_event(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """Each event comes at least once: whatever the last cursor seen, all behind it come, in order, and then new ones."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        delegate, other = (each.member_id for each in scribe.chain.tip.outlook.committee.delegates[:2])
        scribe.write(scribe.record("a"), scribe.record("b"))
        scribe.write()
        scribe.write(scribe.reveal(delegate), scribe.record("c", delegate), member=delegate)
        count = {(): 4, ("RECORD",): 3, ("REVEAL",): 1}[kinds]
        async with (
            ledgers.serve() as running,
            ledgers.stub(running, ledgers.authorities["anshan"].service("identity")) as stub,
        ):
            await ledgers.give(running)

            async def take(cursor: bytes, number: int) -> list[pb.StreamEventsResponse]:
                call = stub.StreamEvents(pb.StreamEventsRequest(cursor=cursor, kinds=kinds))
                async with asyncio.timeout(WAIT_S):
                    stream = aiter(call)
                    found = [await anext(stream) for _ in range(number)]
                call.cancel()
                return found

            events = await take(b"", count)
            whole = [each async for each in stub.StreamEvents(pb.StreamEventsRequest(kinds=kinds, last_height=3))]
            assert whole == events  # it ends by itself
            first = [each async for each in stub.StreamEvents(pb.StreamEventsRequest(kinds=kinds, last_height=1))]
            assert first == [each for each in events if each.height == 1]
            assert all(leaf_hash(each.transaction.encoded) == each.transaction_hash for each in events)
            assert [each.code for each in events] == ["APPLIED"] * count
            for seen in range(count - 1):
                assert await take(events[seen].cursor, count - 1 - seen) == events[seen + 1 :]
            waiting = asyncio.create_task(take(events[-1].cursor, 1))
            scribe.write(scribe.record("d"), scribe.reveal(other), member="anshan")
            await ledgers.give(running)
            assert (await waiting)[0].height == 4

    asyncio.run(scene())


def test_blocks_without_events_are_passed_over_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or one stream for a rare kind holds up everybody, the own consensus included, for as long as the chain is."""
    monkeypatch.setattr(servicer, "STEP_BLOCKS", 2)

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        delegate = scribe.chain.tip.outlook.committee.delegates[0].member_id
        scribe.write_until(8)
        scribe.write(scribe.reveal(delegate), member=delegate)
        async with ledgers.serve() as running:
            await ledgers.give(running)
            index = running.keeper.index
            wanted = mask([Kind.REVEAL])
            assert [index.first_with(wanted, first, 8) for first in (1, 8, 9)] == [9, 9, 9]
            assert index.first_with(wanted, 1, 9) == 9
            authorities = Authorities(running.keeper.chain, ALLIANCE, scribe.verifier)
            serving = servicer.LedgerServicer(running.keeper, authorities, scribe.verifier, ledgers.settings())
            peer = PeerIdentity("anshan", Role.SERVICE, "identity", 1, 2**40)
            calls.enter(calls.Scope("a request", None, peer))
            request = pb.StreamEventsRequest(kinds=["REVEAL"], last_height=8)
            ended = asyncio.ensure_future(read_all(serving.StreamEvents(request, cast("Any", None))))
            turns = 0
            while not ended.done():
                await asyncio.sleep(0)
                turns += 1
            assert await ended == []
            assert turns > 8 // servicer.STEP_BLOCKS
            request.last_height = 9
            assert [each.height for each in await read_all(serving.StreamEvents(request, cast("Any", None)))] == [9]

    asyncio.run(scene())
