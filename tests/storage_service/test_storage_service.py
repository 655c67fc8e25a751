"""The storage service over real gRPC and mutual TLS: each method, resuming, bounded memory, and every kind of refusal."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace
from hashlib import shake_128
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import encode
from consilium.kernel.errors import (
    BadSignature,
    ConsiliumError,
    FailedPrecondition,
    InvalidArgument,
    Malformed,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from consilium.kernel.manifest import Manifest, StorageReceipt, StorageStatement
from consilium.kernel.membership import revocation_list
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import CHUNK_BYTES, SealHeader, chunk_count, sealed_chunk_bytes, size_class_of
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import member_entry
from consilium.kernel.umbral import CAPSULE_BYTES, Sealed
from consilium.runtime.channels import Channel, Peer, typed
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.proven_ledger import ProvenLedger
from consilium.runtime.tls import Tls
from consilium.storage import wire
from tests.alliance import record_body
from tests.client.local_member import named_key
from tests.runtime.authority import ALLIANCE
from tests.storage_service.chain_ledger import serving_chain
from tests.storage_service.world import (
    HOME,
    KEEPER,
    RECIPIENT,
    STRANGER,
    WHY,
    Station,
    World,
    chunk,
    finish,
    frames,
    start,
)
from tests.stores.objects import TWO_CHUNKS, make_chunks, make_manifest, record_id

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

SECRET = b"x" * 32
SCAN = b"a computed tomography, as bytes" * 10_000
MIB = 1_048_576


def play(path: Path, scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Runs a scene."""

    async def told() -> None:
        async with World(path) as world:
            await scene(world)

    asyncio.run(told())


def chain_of(world: World) -> bytes:
    return world.local.scribe.alliance.chain_id


async def put(world: World, stub: Any, name: str = "scan", size_class: int = TWO_CHUNKS) -> Manifest:
    """A made-up object, stored."""
    chunks = make_chunks(name, size_class)
    manifest = make_manifest(name, size_class, chunks)
    with typed():
        await stub.PutObject(frames(manifest, chunks, SECRET, chain_of(world)))
    return manifest


async def refused(call: Any, kind: type[ConsiliumError], reason: str) -> None:
    """The call is refused with this class and for this reason."""
    with pytest.raises(kind) as found:
        await ended(call)
    assert (type(found.value), found.value.reason) == (kind, reason)


async def ended(call: Any) -> None:
    """Waits for the end of a call of any form."""
    with typed():
        if hasattr(call, "__aiter__"):
            assert [each async for each in call] == []
        else:
            await call


def test_put_object_get_manifest_get_object(tmp_path: Path) -> None:
    """S2, promise 3: what the patient wrote is what the recipient reads, through storage that can open none of it."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            assert await sharing.read(reference, grant) == SCAN

    play(tmp_path, scene)


def test_g3_a_home_says_what_it_holds_under_the_key_that_the_ledger_names(tmp_path: Path) -> None:
    """G3, S2: the same service, which holds both keys, before and after the term that brings the next one."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            stub = world.application(station)

            async def key_of_receipt_is(key: bytes, name: str) -> None:
                chunks = make_chunks(name, TWO_CHUNKS)
                sent = frames(make_manifest(name, TWO_CHUNKS, chunks), chunks, SECRET, chain_of(world))
                with typed():
                    receipt = wire.receipt((await stub.PutObject(sent)).receipt, chain_of(world))
                said = encode(receipt.statement, chain_of(world))
                Ed25519Verifier().verify(key, said, receipt.signature)

            await key_of_receipt_is(world.local.scribe.alliance.keys[HOME].profile.member_key, "before")
            following = world.local.adopt_next_key(HOME)
            while named_key(station.standing, HOME) != following:  # noqa: ASYNC110  it follows the ledger, and tells nobody
                await asyncio.sleep(0)
            await key_of_receipt_is(following, "after")

    play(tmp_path, scene)


def test_get_object_widens_a_range_to_chunks(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            asked = await sharing.request(reference, grant)
            reader = world.application(station, RECIPIENT)
            for offset, length, offsets in (
                (1, 1, [0]),
                (CHUNK_BYTES - 1, 2, [0, CHUNK_BYTES]),
                (CHUNK_BYTES, 0, [CHUNK_BYTES]),
            ):
                request = pb.GetObjectRequest(
                    record_id=reference.record_id, access_request_hash=asked, offset=offset, length=length
                )
                assert [each.chunk.offset async for each in reader.GetObject(request)] == offsets
            beyond = pb.GetObjectRequest(record_id=reference.record_id, access_request_hash=asked, offset=MIB)
            await refused(reader.GetObject(beyond), InvalidArgument, "BAD_RANGE")

    play(tmp_path, scene)


def test_s2_any_range_of_a_record_is_read_alone_and_verified(tmp_path: Path) -> None:
    """Exactly the bytes asked for, at every edge; where a chunk of it is damaged at home, from the copy."""
    data = bytes(range(256)) * 3_000  # three chunks
    full = 262_128

    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(data)
            opened = await sharing.recipient.open(grant.terms.grant_id, reference, WHY)

            async def read(offset: int, length: int) -> bytes:
                return b"".join([piece async for piece in sharing.recipient.read_range(opened, offset, length)])

            edges = (0, 1, full - 9, full - 8, full - 7, 2 * full - 8, len(data) - 1)
            for offset in edges:
                for length in (1, 7, full, full + 1, len(data)):
                    assert await read(offset, length) == data[offset : offset + length]
            with (tmp_path / f"state-{HOME}" / "chunks" / reference.record_id.hex()).open("r+b") as file:
                file.seek(CHUNK_BYTES + 5)
                file.write(b"damaged")
            assert await read(full, 10) == data[full : full + 10]
            for offset, length in ((len(data), 1), (-1, 5), (0, 0)):
                with pytest.raises(InvalidArgument, match="BAD_RANGE"):
                    await read(offset, length)
            assert b"".join([piece async for piece in sharing.recipient.read(opened)]) == data

    play(tmp_path, scene)


def test_reads_need_a_standing_grant_and_its_recipient(tmp_path: Path) -> None:
    """S2, S5: no verdict, another record, another member, or a revocation since: nothing is handed out."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            asked = await sharing.request(reference, grant)
            reader, stranger = world.application(station, RECIPIENT), world.application(station, STRANGER)

            def manifest(record: bytes, request: bytes) -> pb.GetManifestRequest:
                return pb.GetManifestRequest(record_id=record, access_request_hash=request)

            granted = manifest(reference.record_id, asked)
            await refused(stranger.GetManifest(granted), PermissionDenied, "NOT_THE_RECIPIENT")
            await refused(reader.GetManifest(manifest(record_id("another"), asked)), PermissionDenied, "OTHER_RECORD")
            unknown = manifest(reference.record_id, b"?" * 32)
            await refused(reader.GetManifest(unknown), FailedPrecondition, "NOT_FINAL")
            registration = world.local.scribe.chain.record(reference.record_id)
            assert registration is not None
            other = manifest(reference.record_id, registration.transaction_hash)
            await refused(reader.GetManifest(other), PermissionDenied, "NOT_GRANTED")
            without = pb.GetObjectRequest(record_id=reference.record_id)
            await refused(reader.GetObject(without), PermissionDenied, "NOT_GRANTED")
            await sharing.patient.close(grant)
            await refused(reader.GetManifest(granted), PermissionDenied, "REVOKED")
            wanted = pb.GetObjectRequest(record_id=reference.record_id, access_request_hash=asked)
            await refused(reader.GetObject(wanted), PermissionDenied, "REVOKED")

    play(tmp_path, scene)


def test_get_put_state_lets_a_cut_put_go_on(tmp_path: Path) -> None:
    """S2: the end of a stream proves nothing; what came is told and need not be sent again."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            stub, chunks = world.application(station), make_chunks("scan", TWO_CHUNKS)
            manifest = make_manifest("scan", TWO_CHUNKS, chunks)
            begun = [start(manifest.record_id, TWO_CHUNKS), chunk(0, chunks[0])]
            await refused(stub.PutObject(iter(begun)), FailedPrecondition, "PUT_NOT_FINISHED")
            state = await stub.GetPutState(pb.GetPutStateRequest(record_id=manifest.record_id))
            assert (state.state, list(state.chunk_hashes)) == (pb.PUT_STATE_OPEN, [leaf_hash(chunks[0])])
            last = finish(manifest, SECRET, chain_of(world))
            early = [begun[0], last]
            await refused(stub.PutObject(iter(early)), FailedPrecondition, "CHUNKS_MISSING")
            rest = [begun[0], chunk(1, chunks[1]), last]
            receipt = (await stub.PutObject(iter(rest))).receipt
            state = await stub.GetPutState(pb.GetPutStateRequest(record_id=manifest.record_id))
            assert (state.state, state.receipt) == (pb.PUT_STATE_COMPLETE, receipt)
            found = wire.receipt(receipt, chain_of(world)).statement
            assert found == StorageStatement(HOME, manifest.record_id, manifest.ciphertext_root)

    play(tmp_path, scene)


def test_a_broken_connection_leaves_no_object(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            stub, chunks = world.application(station), make_chunks("scan", TWO_CHUNKS)
            call = stub.PutObject()
            await call.write(start(record_id("scan"), TWO_CHUNKS))
            await call.write(chunk(0, chunks[0]))
            call.cancel()
            manifest = await put(world, stub)
            state = await stub.GetPutState(pb.GetPutStateRequest(record_id=manifest.record_id))
            assert state.state == pb.PUT_STATE_COMPLETE

    play(tmp_path, scene)


def test_sixteen_mebibytes_stream_in_bounded_memory(tmp_path: Path) -> None:
    """A stream holds a few chunks at a time, on both sides together, however large the object is."""
    size_class = size_class_of(16 * MIB - 8)
    count = chunk_count(size_class)

    def made() -> Iterator[bytes]:
        for index in range(count):
            yield shake_128(b"%d" % index).digest(sealed_chunk_bytes(size_class, index))

    hashes = tuple(leaf_hash(each) for each in made())
    sealed = Sealed(b"p" * CAPSULE_BYTES, b"sealed")
    manifest = Manifest(record_id("large"), 0, 1, size_class, SealHeader(b"s" * 24, b"k" * 32), sealed, hashes)

    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            stub = world.application(station)
            tracemalloc.start()
            try:
                response = await stub.PutObject(frames(manifest, made(), SECRET, chain_of(world)))
                assert response.replica_member_ids == [KEEPER]
                fetcher = world.stub(station, world.authorities[KEEPER].service("storage"))
                received = fetcher.GetObject(pb.GetObjectRequest(record_id=manifest.record_id))
                assert [leaf_hash(each.chunk.data) async for each in received] == list(hashes)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 8 * MIB, peak

    play(tmp_path, scene)


def test_replicate_object_and_repair_from_the_copy(tmp_path: Path) -> None:
    """S2: a copy at another member; a chunk damaged at home is healed from it while it is read."""

    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            path = tmp_path / f"state-{HOME}" / "chunks" / reference.record_id.hex()
            with path.open("r+b") as file:
                file.seek(5)
                file.write(b"damaged")
            assert await sharing.read(reference, grant) == SCAN
            assert b"damaged" not in path.read_bytes()[:20]

    play(tmp_path, scene)


def test_replicate_object_is_for_its_home_within_quota(tmp_path: Path) -> None:
    """S2: a copy needs the home's own signature, and room in the home's quota."""

    async def scene(world: World) -> None:
        chain_id, keys = chain_of(world), world.local.scribe.alliance.keys
        async with world.storage(KEEPER, foreign_bytes_max=MIB // 2) as keeper:
            stub = world.stub(keeper, world.authorities[HOME].service("storage"))

            def copy(name: str, signed_by: str = HOME) -> list[pb.ReplicateObjectRequest]:
                chunks = make_chunks(name, TWO_CHUNKS)
                manifest = make_manifest(name, TWO_CHUNKS, chunks)
                statement = StorageStatement(HOME, manifest.record_id, manifest.ciphertext_root)
                receipt = StorageReceipt(statement, keys[signed_by].member.sign(encode(statement, chain_id)))
                begin = pb.ReplicationStart(
                    manifest=encode(manifest, chain_id), home_receipt=wire.receipt_message(receipt, chain_id)
                )
                sent = [pb.ReplicateObjectRequest(chunk=chunk(i, each).chunk) for i, each in enumerate(chunks)]
                last = pb.ReplicateObjectRequest(finish=pb.ReplicationFinish())
                return [pb.ReplicateObjectRequest(start=begin), *sent, last]

            await refused(stub.ReplicateObject(iter(copy("one", STRANGER))), BadSignature, "BAD_SIGNATURE")
            await refused(stub.ReplicateObject(iter(copy("one")[:2])), FailedPrecondition, "PUT_NOT_FINISHED")
            response = await stub.ReplicateObject(iter(copy("one")))
            word = wire.receipt(response.receipt, chain_id).statement
            assert (word.member_id, word.is_copy) == (KEEPER, True)
            state = await stub.GetPutState(pb.GetPutStateRequest(record_id=word.record_id))
            assert wire.receipt(state.receipt, chain_id).statement == word
            await refused(stub.ReplicateObject(iter(copy("two"))), ResourceExhausted, "QUOTA")
            own = world.application(keeper, KEEPER)
            await refused(own.ReplicateObject(iter(copy("one"))), PermissionDenied, "WRONG_ROLE")

    play(tmp_path, scene)


def test_put_without_its_copies_is_not_acknowledged(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME, {KEEPER: "127.0.0.1:1"}) as station:
            chunks = make_chunks("scan", TWO_CHUNKS)
            manifest = make_manifest("scan", TWO_CHUNKS, chunks)
            sent = frames(manifest, chunks, SECRET, chain_of(world))
            await refused(world.application(station).PutObject(sent), ResourceExhausted, "NO_COPY")

    play(tmp_path, scene)


def test_get_scrub_state_counts_damage_and_orphans(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            stub = world.application(station)
            manifest = await put(world, stub)
            path = tmp_path / f"state-{HOME}" / "chunks" / manifest.record_id.hex()
            path.write_bytes(b"")
            await station.parts.scrub.round()
            state = await stub.GetScrubState(pb.GetScrubStateRequest())
            assert (state.chunks_read, state.chunks_damaged, state.chunks_healed, state.orphans) == (2, 2, 2, 1)
            assert state.last_round_ms > 0

    play(tmp_path, scene)


def test_damage_in_both_copies_is_said_and_not_healed(tmp_path: Path) -> None:
    """S2: a bad chunk is never taken for a good one, wherever it comes from."""

    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            stub = world.application(station)
            manifest = await put(world, stub)
            paths = [tmp_path / f"state-{name}" / "chunks" / manifest.record_id.hex() for name in (HOME, KEEPER)]
            good = paths[1].read_bytes()
            for path in paths:
                with path.open("r+b") as file:
                    file.write(b"damaged")
            await station.parts.scrub.round()
            state = await stub.GetScrubState(pb.GetScrubStateRequest())
            assert (state.chunks_damaged, state.chunks_healed, state.chunks_unhealed) == (1, 0, 1)
            paths[1].write_bytes(good)
            await station.parts.scrub.round()
            state = await stub.GetScrubState(pb.GetScrubStateRequest())
            assert (state.chunks_damaged, state.chunks_healed, state.chunks_unhealed) == (2, 1, 0), "found twice, whole now"

    play(tmp_path, scene)


def test_a_revoked_serial_number_is_refused_at_once(tmp_path: Path) -> None:
    """Design section 8: the list beside the TLS files is read again when it changes; a damaged one changes nothing."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            method, revoked = "/consilium.api.storage.v1.StorageService/GetScrubState", tmp_path / "tls-1" / "revoked"
            peer = PeerIdentity(HOME, Role.SERVICE, "application.ehr", 77, 2**40)
            station.standing.authorise(method, peer)
            for content in (revocation_list([77]), b"damaged"):
                revoked.write_bytes(content)
                with pytest.raises(PermissionDenied, match="REVOKED"):
                    station.standing.authorise(method, peer)
            with pytest.raises(PermissionDenied, match="NOT_A_MEMBER"):
                station.standing.authorise(method, replace(peer, member_id="nobody"))

    play(tmp_path, scene)


Case = tuple[str, "Callable[[World, Station], Any]", type[ConsiliumError], str]


REFUSALS: list[Case] = [
    (
        "malformed",
        lambda world, station: world.application(station).PutObject(iter([start(b"short", 0)])),
        Malformed,
        "BAD_FIELD",
    ),
    (
        "no start",
        lambda world, station: world.application(station).PutObject(iter([chunk(0, b"x")])),
        Malformed,
        "BAD_FRAME",
    ),
    (
        "size class",
        lambda world, station: world.application(station).PutObject(iter([start(record_id("x"), 999)])),
        InvalidArgument,
        "BAD_SIZE_CLASS",
    ),
    (
        "object too large",
        lambda world, station: world.application(station).PutObject(iter([start(record_id("x"), 200)])),
        InvalidArgument,
        "OBJECT_TOO_LARGE",
    ),
    (
        "chunk too large",
        lambda world, station: world.application(station).PutObject(
            iter([start(record_id("x"), TWO_CHUNKS), chunk(0, bytes(CHUNK_BYTES + 1))])
        ),
        Malformed,
        "BAD_FIELD",
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=[each[0] for each in REFUSALS])
def test_refusals(tmp_path: Path, case: Case) -> None:
    """Every refusal is typed, with its reason; none is INTERNAL or UNKNOWN."""
    _, call, kind, reason = case

    async def scene(world: World) -> None:
        async with world.storage(HOME, message_bytes_max=2 * MIB) as station:
            await refused(call(world, station), kind, reason)

    play(tmp_path, scene)


def test_another_writer_may_not_go_on(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            begun = [start(record_id("scan"), TWO_CHUNKS)]
            await refused(world.application(station).PutObject(iter(begun)), FailedPrecondition, "PUT_NOT_FINISHED")
            other = world.person(station, Role.STAFF)
            await refused(other.PutObject(iter(begun)), PermissionDenied, "OTHER_WRITER")
            asked = pb.GetPutStateRequest(record_id=record_id("scan"))
            await refused(other.GetPutState(asked), PermissionDenied, "OTHER_WRITER")

    play(tmp_path, scene)


def test_the_ledger_service_is_read_under_proof(tmp_path: Path) -> None:
    """L3, L5: the member's own ledger over gRPC, across an epoch, every answer verified from genesis."""

    async def scene(world: World) -> None:
        scribe = world.local.scribe
        genesis: Genesis = scribe.alliance.genesis
        scribe.write(scribe.record("scan"))
        scribe.cross_epoch()
        scribe.write()
        directory = world.directory(world.authorities[HOME].service("ledger"))
        async with serving_chain(scribe, HOME, directory) as address:
            tls = Tls(world.directory(world.authorities[HOME].service("storage")), ALLIANCE)
            async with Channel(Peer(HOME, "ledger", address), tls) as channel:
                ledger = ProvenLedger(channel, genesis, Ed25519Verifier())
                state = await ledger.read_state(member_entry(HOME))
                assert (state.height, state.value is not None) == (scribe.chain.height, True)
                entry = scribe.chain.record(record_body("scan").record_id)
                assert entry is not None
                assert await ledger.read_record(entry.body.record_id) == entry.body
                assert await ledger.read_record(b"?" * 16) is None
                found = await ledger.read_transaction(entry.transaction_hash)
                assert found.transaction_hash == entry.transaction_hash
                with pytest.raises(NotFound):
                    await ledger.read_transaction(b"?" * 32)

    play(tmp_path, scene)


def test_a_committee_that_cannot_be_proven_yet_does_not_pass_for_an_answer(tmp_path: Path) -> None:
    """L5: just after a term's end the hop is missing, not the record, the member or the transaction asked for."""

    async def scene(world: World) -> None:
        scribe = world.local.scribe
        scribe.write(scribe.record("scan"))
        scribe.cross_epoch()
        scribe.write()
        entry = scribe.chain.record(record_body("scan").record_id)
        assert entry is not None
        directory = world.directory(world.authorities[HOME].service("ledger"))
        async with serving_chain(scribe, HOME, directory, has_hops=False) as address:
            tls = Tls(world.directory(world.authorities[HOME].service("storage")), ALLIANCE)
            async with Channel(Peer(HOME, "ledger", address), tls) as channel:
                ledger = ProvenLedger(channel, scribe.alliance.genesis, Ed25519Verifier())
                await ledger.read_transaction(entry.transaction_hash)
                for call in (ledger.read_state(member_entry(HOME)), ledger.read_tip()):
                    await refused(call, Unavailable, "COMMITTEE_UNKNOWN")

    play(tmp_path, scene)
