"""Every kind of refusal once, and for every method that somebody who may not call it cannot; never INTERNAL or UNKNOWN."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.membership import revocation_list
from consilium.kernel.state_values import MemberStatus
from consilium.kernel.transactions import MemberAction, MemberBody
from consilium.ledger.__main__ import RunningService
from consilium.ledger.access import ADMITTED
from consilium.runtime.names import Role
from consilium.runtime.tls import Tls
from tests.alliance import Scribe, id_of, seed_of
from tests.ledger_service.serving import HOME, LEDGER, OTHER, Ledgers, refusal
from tests.runtime.authority import ALLIANCE, Authority, Issued

UNKNOWN_FIELD = b"\xf8\x7f\x01"
"""Field 2047, which no contract names."""
STRANGERS = {
    "expired": "UNAVAILABLE",  # by the handshake
    "wrong authority": "FOREIGN_AUTHORITY",
    "revoked": "REVOKED",
    "no member": "NOT_A_MEMBER",
}
# Who may not call, by method; a patient of the home member where nobody else is named.
UNWANTED = {
    "GetTip": None,
    "GetRecord": None,
    "GetTransactionProof": None,
    "GetStateProof": None,
    "GetConsistencyProof": None,
    "GetEpochHop": None,
    "ListDisclosures": None,
    "StreamTips": "patient",
    "GetBlock": "patient",
    "StreamBlocks": "patient",
    "StreamEvents": "foreign",
    "ExecuteBlock": "foreign",
    "StreamExecutions": "ledger",
}


@asynccontextmanager
async def given(path: Path, **changed: Any) -> AsyncIterator[tuple[Ledgers, RunningService]]:
    """A service that holds one block."""
    ledgers = Ledgers(path)
    async with ledgers.serve(**changed) as running:
        ledgers.scribe.write()
        await ledgers.give(running)
        yield ledgers, running


def caller(ledgers: Ledgers, kind: str) -> Issued:
    """A certificate of somebody who may not call."""
    home, other = ledgers.authorities[HOME], ledgers.authorities[OTHER]
    made = {
        "patient": lambda: home.person(Role.PATIENT, "p1"),
        "foreign": lambda: other.service("consensus"),
        "ledger": lambda: home.service("ledger"),
        "expired": lambda: other.service("ledger", ends_in=dt.timedelta(seconds=-1)),
        "wrong authority": lambda: home.service("ledger", member_id=OTHER),
        "revoked": lambda: home.person(Role.STAFF, "s1"),
        "no member": lambda: ledgers.authorities["nobody"].person(Role.STAFF, "s1"),
    }
    return made[kind]()


@pytest.mark.parametrize(("method", "kind"), [(method, kind) for method, kind in UNWANTED.items() if kind])
def test_the_wrong_role_is_refused(tmp_path: Path, method: str, kind: str) -> None:
    """Design section 8: edges of the wire."""

    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running), ledgers.stub(running, caller(ledgers, kind)) as stub:
            request = getattr(pb, f"{method}Request")()
            assert (await refusal(getattr(stub, method)(request, timeout=10))).reason == "WRONG_ROLE"

    asyncio.run(scene())


def test_every_method_is_ruled_on() -> None:
    methods = {each.name for each in pb.DESCRIPTOR.services_by_name["LedgerService"].methods}
    assert methods == ADMITTED.keys() == UNWANTED.keys()


@pytest.mark.parametrize("kind", STRANGERS)
def test_strangers_are_refused_by_every_method(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Design section 8: certificate, authority, standing and revocation are judged on every call."""
    # A member's authority numbers its certificates by 16-byte credential ids.
    monkeypatch.setattr(x509, "random_serial_number", lambda: int.from_bytes(id_of("a credential")))

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        ledgers.authorities["nobody"] = Authority("nobody")
        async with ledgers.serve() as running:
            issued = caller(ledgers, kind)
            if kind == "revoked":
                path = ledgers.settings().tls_directory / "revoked"
                path.write_bytes(revocation_list([issued.serial]))
            async with ledgers.stub(running, issued) as stub:
                for method in ADMITTED:
                    error = await refusal(getattr(stub, method)(getattr(pb, f"{method}Request")(), timeout=10))
                    assert error.reason == STRANGERS[kind]

    asyncio.run(scene())


def test_a_caller_without_a_certificate_gets_no_connection(tmp_path: Path) -> None:
    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running):
            roots = b"".join(each.pem for each in ledgers.authorities.values())
            credentials = grpc.ssl_channel_credentials(roots)
            options = [("grpc.ssl_target_name_override", f"ledger.{HOME}.{ALLIANCE}")]
            address = f"127.0.0.1:{running.server.port}"
            async with grpc.aio.secure_channel(address, credentials, options) as channel:
                error = await refusal(call_of(channel, "GetTip")(b"", timeout=10))
                assert error.reason == "UNAVAILABLE"

    asyncio.run(scene())


def test_an_expelled_member_is_refused_on_its_open_connection(tmp_path: Path) -> None:
    """Design section 8: a connection outlives a membership."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await stub.GetTip(pb.GetTipRequest())
            profile = scribe.alliance.keys[OTHER].profile
            scribe.write(scribe.governance(MemberBody(MemberAction.EXPEL, profile, seed_of("why"))))
            await ledgers.give(running)
            member = running.keeper.chain.member(OTHER)
            assert member is not None
            assert member.status is MemberStatus.EXPELLED
            assert (await refusal(stub.GetTip(pb.GetTipRequest()))).reason == "NOT_A_MEMBER"

    asyncio.run(scene())


async def raw(ledgers: Ledgers, running: RunningService, method: str, data: bytes) -> ConsiliumError:
    """The refusal of bytes by a unary method."""
    tls = Tls(ledgers.tls_folder("raw", ledgers.consensus()), ALLIANCE)
    async with ledgers.channel(running, tls) as channel:
        return await refusal(call_of(channel, method)(data, timeout=10))


def call_of(channel: grpc.aio.Channel, method: str) -> Any:
    """A unary method that takes bytes as they are."""
    return channel.unary_unary(f"{LEDGER}/{method}")


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\x08", "MALFORMED_MESSAGE"), (UNKNOWN_FIELD, "UNKNOWN_FIELD"), (b"\x0a" + bytes(1), "NOT_DETERMINISTIC")],
)
def test_what_is_not_in_form_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    """L1: no message, a field nobody knows, a value that is not one."""

    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running):
            assert (await raw(ledgers, running, "ExecuteBlock", data)).reason == reason

    asyncio.run(scene())


def test_oversize_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with given(tmp_path, message_bytes_max=65_536) as (ledgers, running):
            request = pb.ExecuteBlockRequest(block=bytes(100_000))
            assert (await raw(ledgers, running, "ExecuteBlock", request.SerializeToString())).reason == "RESOURCE_EXHAUSTED"

    asyncio.run(scene())


def test_deadlines_are_demanded_and_kept(tmp_path: Path) -> None:
    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running), ledgers.stub(running, ledgers.consensus()) as stub:
            over = stub.StreamEvents(pb.StreamEventsRequest(), timeout=0.2)
            assert (await refusal(over)).reason == "DEADLINE_EXCEEDED"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("GetBlock", pb.GetBlockRequest(), "BAD_HEIGHT"),
        ("GetBlock", pb.GetBlockRequest(height=9), "NO_SUCH_HEIGHT"),
        ("StreamBlocks", pb.StreamBlocksRequest(first_height=3, last_height=2), "BAD_HEIGHT"),
        ("StreamEvents", pb.StreamEventsRequest(cursor=b"no"), "BAD_CURSOR"),
        ("StreamEvents", pb.StreamEventsRequest(kinds=["SONNET"]), "UNKNOWN_KIND"),
        ("GetRecord", pb.GetRecordRequest(record_id=b"short"), "BAD_LENGTH"),
        ("GetRecord", pb.GetRecordRequest(record_id=bytes(16)), "UNKNOWN_RECORD"),
        ("GetTransactionProof", pb.GetTransactionProofRequest(transaction_hash=bytes(32)), "NO_SUCH_TRANSACTION"),
        ("GetStateProof", pb.GetStateProofRequest(), "BAD_LENGTH"),
        ("GetStateProof", pb.GetStateProofRequest(key=b"k", height=9), "NO_SUCH_HEIGHT"),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest(first_height=2, second_height=1), "BAD_HEIGHT"),
        ("GetEpochHop", pb.GetEpochHopRequest(), "BAD_EPOCH"),
        ("GetEpochHop", pb.GetEpochHopRequest(epoch=1), "NO_SUCH_HOP"),
        ("ListDisclosures", pb.ListDisclosuresRequest(nonce=bytes(16)), "BAD_LENGTH"),
        ("ListDisclosures", pb.ListDisclosuresRequest(page_token="x"), "BAD_LENGTH"),
        ("ExecuteBlock", pb.ExecuteBlockRequest(), "NO_ITEM"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(tmp_path: Path, method: str, request_: Any, reason: str) -> None:
    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running), ledgers.stub(running, ledgers.consensus()) as stub:
            assert (await refusal(getattr(stub, method)(request_, timeout=10))).reason == reason

    asyncio.run(scene())


def test_another_block_at_a_height_is_refused(tmp_path: Path) -> None:
    """L3: whoever may call."""

    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running), ledgers.stub(running, ledgers.consensus()) as stub:
            other = Scribe(ledgers.scribe.alliance)
            other.write(time_ms=1_700_000_009_999)
            error = await refusal(stub.ExecuteBlock(ledgers.block_request(other.blocks[0]), timeout=10))
            assert error.reason == "OTHER_BLOCK"

    asyncio.run(scene())
