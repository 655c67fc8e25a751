"""Every method once, and what it refuses besides what every service does (tests/contract)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict
from consilium.kernel.manifest import StorageReceipt, StorageStatement
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import open_transaction
from consilium.kernel.transactions import RecordBody, RevealBody
from consilium.runtime.channels import Channel, Limits
from consilium.runtime.names import Role
from tests.alliance import id_of, seed_of
from tests.consensus_service.serving import Alliances, Member, founded
from tests.ledger_service.serving import refusal

CONSENSUS = "/consilium.api.consensus.v1.ConsensusService"
HOME, OTHER = "anshan", "benxi"


@asynccontextmanager
async def alone(path: Path, **changed: Any) -> AsyncIterator[tuple[Alliances, Member]]:
    """One member's services, the others down."""
    async with founded(path) as alliances, alliances.member(HOME, **changed) as member:
        yield alliances, member


def signed(alliances: Alliances, name: str = "any") -> bytes:
    """A transaction that its author has signed."""
    body = RevealBody(0, seed_of(name))
    return alliances.alliance.sign(alliances.alliance.keys[HOME].member, body, id_of(name), 100)


def transaction(encoded: bytes) -> pb.SubmitTransactionRequest:
    """A request that hands a transaction over."""
    return pb.SubmitTransactionRequest(transaction=chain_pb2.Transaction(encoded=encoded))


def registrations(*encoded: bytes) -> pb.SubmitRegistrationsRequest:
    """A request that hands registrations over."""
    return pb.SubmitRegistrationsRequest(registrations=[chain_pb2.Transaction(encoded=each) for each in encoded])


def test_submit_transaction(tmp_path: Path) -> None:
    """L2: the hash that comes back is the name to ask the ledger for."""

    async def scene() -> None:
        async with alone(tmp_path) as (alliances, _), alliances.application(HOME) as stub:
            data = signed(alliances)
            response = await stub.SubmitTransaction(transaction(data), timeout=10)
            assert (response.transaction_hash, response.height) == (leaf_hash(data), 0)

    asyncio.run(scene())


def test_submit_registrations(tmp_path: Path) -> None:
    """L2: the hashes in the order of the request."""

    async def scene() -> None:
        async with alone(tmp_path) as (alliances, _), alliances.application(HOME) as stub:
            data = [alliances.registration(str(i), HOME) for i in range(3)]
            response = await stub.SubmitRegistrations(registrations(*data), timeout=10)
            assert list(response.transaction_hashes) == [leaf_hash(each) for each in data]

    asyncio.run(scene())


def test_get_committee(tmp_path: Path) -> None:
    """C6."""

    async def scene() -> None:
        async with alone(tmp_path) as (alliances, member), alliances.application(HOME) as stub:
            committee = member.ledger.keeper.chain.tip.outlook.committee
            response = await stub.GetCommittee(pb.GetCommitteeRequest())
            assert [each.member_id for each in response.delegates] == [each.member_id for each in committee.delegates]
            assert (response.first_height, response.faults_max, response.quorum) == (1, 1, 3)
            assert response.committee_hash == committee.hash(alliances.alliance.chain_id)
            error = await refusal(stub.GetCommittee(pb.GetCommitteeRequest(epoch=7)))
            assert error.reason == "UNKNOWN_EPOCH"

    asyncio.run(scene())


def test_get_replica_state_says_who_is_missing(tmp_path: Path) -> None:
    """A stall in one sentence: three of four are down."""

    async def scene() -> None:
        async with alone(tmp_path) as (alliances, _), alliances.application(HOME) as stub, asyncio.timeout(60):
            await stub.SubmitTransaction(transaction(signed(alliances)), timeout=10)
            state = await stub.GetReplicaState(pb.GetReplicaStateRequest())
            while not state.stall_diagnosis:
                await asyncio.sleep(0.1)
                state = await stub.GetReplicaState(pb.GetReplicaStateRequest())
            assert "no stream is open to" in state.stall_diagnosis
            assert "dalian" in state.stall_diagnosis
            assert len(state.peers) == 3
            assert not any(each.connected for each in state.peers)
            assert state.waiting_transactions >= 1

    asyncio.run(scene())


Make = Callable[[Alliances], Any]
UNFIT: dict[str, tuple[str, Make, str]] = {
    "unsigned": ("SubmitTransaction", lambda a: transaction(a.registration("r", HOME)), "UNSIGNED"),
    "garbage": ("SubmitTransaction", lambda _: transaction(b"\xff"), "NOT_DETERMINISTIC"),
    "forged": ("SubmitTransaction", lambda a: transaction(signed(a)[:-1] + b"\x00"), "BAD_SIGNATURE"),
    "other chain": ("SubmitTransaction", lambda a: transaction(other_chain(a)), "FOREIGN_CHAIN"),
    "signed": ("SubmitRegistrations", lambda a: registrations(signed(a)), "SIGNED"),
    "of another member": ("SubmitRegistrations", lambda a: registrations(a.registration("r", OTHER)), "FOREIGN_VOUCHER"),
    "none": ("SubmitRegistrations", lambda _: registrations(), "BAD_COUNT"),
    "too many": ("SubmitRegistrations", lambda _: registrations(*[b""] * 4_097), "BAD_COUNT"),
    "too large": ("SubmitRegistrations", lambda _: registrations(bytes(2_000_000)), "TOO_LARGE"),
    "oversize": ("SubmitTransaction", lambda _: transaction(bytes(9_000_000)), "RESOURCE_EXHAUSTED"),
}


def other_chain(alliances: Alliances) -> bytes:
    """A transaction that is good on another chain."""
    return signed(alliances).replace(alliances.alliance.chain_id, seed_of("another chain"))


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_unfit_is_refused(tmp_path: Path, case: str) -> None:
    """L1, L2."""
    method, make, reason = UNFIT[case]

    async def scene() -> None:
        async with alone(tmp_path, message_bytes_max=8 * 1_048_576) as (alliances, _):
            issued = alliances.authorities[HOME].service("application.ward")
            async with alliances.channel(HOME, "consensus", issued) as channel:
                large = Channel(channel._peer, channel._tls, Limits(message_bytes_max=16 * 1_048_576))  # noqa: SLF001
                async with large:
                    call = getattr(ConsensusServiceStub(large), method)
                    assert (await refusal(call(make(alliances), timeout=20))).reason == reason

    asyncio.run(scene())


def test_a_patients_device_shows_its_homes_receipt(tmp_path: Path) -> None:
    """L2, S2: the member vouches for a patient's registration only where its own storage holds the object."""

    async def scene() -> None:
        async with alone(tmp_path) as (alliances, _):
            patient = alliances.authorities[HOME].person(Role.PATIENT, "p1")
            encoded, other = alliances.registration("r", HOME), alliances.registration("s", HOME)
            async with alliances.channel(HOME, "consensus", patient) as channel:
                stub = ConsensusServiceStub(channel)

                async def refused(*receipts: bytes, handed_in: tuple[bytes, ...] = (encoded,)) -> str:
                    request = registrations(*handed_in)
                    request.storage_receipts.extend(receipts)
                    return (await refusal(stub.SubmitRegistrations(request, timeout=10))).reason

                good = receipt(alliances, encoded)
                assert await refused() == "BAD_COUNT"
                assert await refused(good, good) == "BAD_COUNT"
                assert await refused(receipt(alliances, other)) == "OTHER_OBJECT"
                assert await refused(receipt(alliances, encoded, signed_by=OTHER)) == "BAD_SIGNATURE"
                assert await refused(receipt(alliances, encoded, is_copy=True)) == "OTHER_OBJECT"
                assert await refused(b"") == "NOT_DETERMINISTIC"
                again = alliances.registration("r", HOME, expiry_height=201)
                assert await refused(good, good, handed_in=(encoded, again)) == "BAD_COUNT"
                request = registrations(encoded)
                request.storage_receipts.append(good)
                for _ in range(2):  # a call that is repeated is no fault
                    response = await stub.SubmitRegistrations(request, timeout=10)
                    assert list(response.transaction_hashes) == [leaf_hash(encoded)]
                assert await refused(good, handed_in=(again,)) == "REGISTERED_BEFORE"

    asyncio.run(scene())


def receipt(alliances: Alliances, registration: bytes, signed_by: str = HOME, *, is_copy: bool = False) -> bytes:
    """What the home's storage says when it holds the registered object."""
    chain_id = alliances.alliance.chain_id
    body = open_transaction(registration, chain_id).payload.body
    assert isinstance(body, RecordBody)
    statement = StorageStatement(HOME, body.record_id, body.ciphertext_root, is_copy)
    signature = alliances.alliance.keys[signed_by].member.sign(encode(statement, chain_id))
    return encode(StorageReceipt(statement, signature), chain_id)


def test_a_lost_vote_log_is_not_replaced_without_a_word(tmp_path: Path) -> None:
    """C5: amnesia is a fault; told how far its peers have seen it, the member begins again in silence."""

    async def scene() -> None:
        async with founded(tmp_path) as alliances:
            async with alliances.member(HOME):
                pass
            (tmp_path / HOME / "votes").unlink()
            with pytest.raises(Conflict, match="JOURNAL_EXISTS"):
                async with alliances.member(HOME):
                    pass
            async with alliances.member(HOME, begin_again_above=7) as member, alliances.application(HOME) as stub:
                assert member.consensus.seat.identity.incarnation == 8
                state = await stub.GetReplicaState(pb.GetReplicaStateRequest())
                assert state.state == pb.REPLICA_STATE_SILENT

    asyncio.run(scene())
