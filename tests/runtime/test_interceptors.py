"""The interceptor: every form of call, every refusal with its reason, nothing told that should not be (design section 8)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from consilium.api.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from consilium.api.storage.v1 import storage_pb2
from consilium.kernel import errors
from consilium.kernel.errors import Conflict, ConsiliumError, Internal, Malformed, PermissionDenied, Unavailable
from consilium.runtime import calls
from consilium.runtime.channels import Channel, Limits, Peer, typed
from consilium.runtime.logs import JsonLines
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.statuses import to_error
from consilium.runtime.strict import refuse_unknown_fields
from consilium.runtime.tls import Tls
from tests.runtime.authority import ALLIANCE, DAY, Authority, Issued
from tests.runtime.loopback import FORMS, LEDGER, SUBMIT, Lines, Loopback, Scripted, call

SECRET = "Jane Doe, HIV positive"
UNKNOWN_FIELD = b"\xf8\x7f\x01"
"""Field 2047, which no contract has, with the value 1."""


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs a scene in an event loop of its own."""

    async def told() -> None:
        await scene()

    asyncio.run(told())


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines logged within."""
    lines = Lines(JsonLines("ledger", "1A"))
    logger = logging.getLogger()
    logger.addHandler(lines)
    logging.getLogger("consilium").setLevel(logging.INFO)
    try:
        yield lines.lines
    finally:
        logger.removeHandler(lines)


async def refusal(form: str, channel: grpc.aio.Channel, **given: Any) -> ConsiliumError:
    """The typed error a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(form, channel, **given)
    return to_error(caught.value)


async def raw_refusal(channel: grpc.aio.Channel, method: str, sent: bytes) -> ConsiliumError:
    """The typed error for bytes that no stub would send."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(method)(sent)  # type: ignore[arg-type]
    return to_error(caught.value)


def raising(error: BaseException) -> Callable[[], object]:
    """An act that fails."""

    def act() -> object:
        raise error

    return act


@pytest.mark.parametrize("form", FORMS)
def test_every_form_answers(tmp_path: Path, form: str) -> None:
    scripted = Scripted(act=lambda: (calls.peer(), calls.request_id()))

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            answer = await call(form, channel, metadata=[(calls.REQUEST_ID_HEADER, "from-the-caller")])
            assert (
                len(answer) == {"server_stream": 3, "bidi_stream": 2}[form]
                if isinstance(answer, list)
                else answer.ByteSize()
            )

    play(scene)
    ((peer, request_id),) = scripted.seen  # type: ignore[misc]
    assert (peer.member_id, peer.role, peer.name) == ("2B", Role.SERVICE, "consensus")  # type: ignore[has-type]
    assert request_id == "from-the-caller"  # type: ignore[has-type]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type) and each.__module__ == errors.__name__][1:]
)
def test_typed_errors_arrive_as_they_were_raised(tmp_path: Path, form: str, kind: type[ConsiliumError]) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted(act=raising(kind("ODD_REASON", "A sentence with an umlaut: ä.", "S3")))
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            error = await refusal(form, channel)
            assert type(error) is kind
            assert (error.reason, error.sentence, error.rule) == ("ODD_REASON", "A sentence with an umlaut: ä.", "S3")

    play(scene)


def test_the_stock_library_reads_the_error_info(tmp_path: Path) -> None:
    """AIP-193: reason, domain and metadata, read with what every integrator has."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted(act=raising(Conflict("RECORD_EXISTS", "That record is registered.", "S3")))
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            started = ledger_pb2_grpc.LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest())
            with pytest.raises(grpc.aio.AioRpcError):
                await started
            status = await rpc_status.aio.from_call(started)
            assert status is not None
        info = ErrorInfo()
        assert len(status.details) == 1
        assert status.details[0].Unpack(info)
        assert (info.reason, info.domain, dict(info.metadata)) == (
            "RECORD_EXISTS", "consilium", {"rule": "S3", "class": "Conflict"},
        )  # fmt: skip

    play(scene)


@pytest.mark.parametrize("form", FORMS)
def test_what_nobody_foresaw_is_internal_and_tells_nothing(tmp_path: Path, form: str) -> None:
    """Promise 7: neither the caller nor the log gets what an exception was about; the log gets where it was."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted(act=raising(ValueError(SECRET)))
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            error = await refusal(form, channel, metadata=[(calls.REQUEST_ID_HEADER, "find-me")])
        assert isinstance(error, Internal)
        assert "find-me" in error.sentence
        assert "Jane" not in str(error)
        assert "Traceback" not in str(error)

    with logged() as lines:
        play(scene)
    failed = [json.loads(line) for line in lines if '"rpc_failed"' in line]
    assert [each["request_id"] for each in failed] == ["find-me"]
    assert failed[0]["error"][0] == "ValueError"
    assert any("loopback.py" in each for each in failed[0]["error"])
    assert not any("Jane" in line for line in lines)


def test_a_refusal_from_further_on_is_passed_on(tmp_path: Path) -> None:
    """What another service refused keeps its class on the way back."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        far = Scripted(act=raising(Conflict("GRANT_EXISTS", "There is one.", "S3")))
        async with loopback.serve(far) as behind, loopback.channel(behind) as onward:

            class Front(Scripted):
                async def GetTip(self, request: Any, context: Any) -> Any:
                    return await call("unary", onward)

            other = Loopback(tmp_path / "front", loopback.home, loopback.away)
            other.path.mkdir()
            async with other.serve(Front()) as running, other.channel(running) as channel:
                error = await refusal("unary", channel)
        assert isinstance(error, Conflict)
        assert error.reason == "GRANT_EXISTS"

    play(scene)


@pytest.mark.parametrize("form", FORMS)
def test_a_request_id_is_returned_and_made_when_missing_or_odd(tmp_path: Path, form: str) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted(act=calls.request_id)
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            for offered in ("fits", "does not fit", "x" * 65):
                await call(form, channel, metadata=[(calls.REQUEST_ID_HEADER, offered)])
            scripted.act = raising(Conflict("ANY", "Any."))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(form, channel, metadata=[(calls.REQUEST_ID_HEADER, "on-refusal")])
            assert caught.value.trailing_metadata()[calls.REQUEST_ID_HEADER] == "on-refusal"
        first, *made = scripted.seen
        assert first == "fits"
        assert all(isinstance(each, str) and len(each) == 32 for each in made)

    play(scene)


def test_a_request_id_and_the_time_left_follow_into_the_next_service(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        far = Scripted(act=lambda: (calls.request_id(), calls.remaining_s()))
        async with loopback.serve(far) as behind, loopback.channel(behind) as onward:

            class Front(Scripted):
                async def GetTip(self, request: Any, context: Any) -> Any:
                    return await call("unary", onward, timeout=600)

            other = Loopback(tmp_path / "front", loopback.home, loopback.away)
            other.path.mkdir()
            async with other.serve(Front()) as running, other.channel(running) as channel:
                await call("unary", channel, timeout=50, metadata=[(calls.REQUEST_ID_HEADER, "one-story")])
        ((request_id, remaining_s),) = far.seen  # type: ignore[misc]
        assert request_id == "one-story"  # type: ignore[has-type]
        assert remaining_s <= 50  # type: ignore[has-type]

    play(scene)


def test_what_a_call_leaves_running_has_no_call(tmp_path: Path) -> None:
    """A task started in a call and outliving it must not inherit a deadline that is over."""
    after: list[object] = []
    ended = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def later() -> None:
        await ended.wait()
        after.append((calls.request_id(), calls.remaining_s()))

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted(act=lambda: tasks.append(asyncio.get_running_loop().create_task(later())))
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            await call("write", channel)
        ended.set()
        await tasks[0]

    play(scene)
    assert after == [("", None)]


def test_a_write_needs_a_deadline_and_a_read_does_not(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted(act=calls.remaining_s)
        limits = Limits(unary_s=None, stream_s=None)
        async with loopback.serve(scripted) as running, loopback.channel(running, limits=limits) as endless:
            for form in ("write", "client_stream"):
                error = await refusal(form, endless)
                assert (type(error), error.reason) == (errors.InvalidArgument, "DEADLINE_REQUIRED")
            for form in ("unary", "server_stream", "bidi_stream"):
                await call(form, endless)
        assert scripted.seen == [None] * 3

    play(scene)


def test_past_the_deadline_is_deadline_exceeded(tmp_path: Path) -> None:
    """The handler works on past its deadline, so the caller's cancelling cannot come first.

    Called until one is counted: on a busy machine a deadline may be over before the call has left, and the server sees none.
    """

    class Slow(Scripted):
        async def GetTip(self, request: Any, context: Any) -> Any:
            while calls.remaining_s():
                time.sleep(0)  # noqa: ASYNC251  the loop must not hear of the caller's cancelling yet
            await asyncio.Event().wait()

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Slow()) as running, loopback.channel(running) as channel:
            while not handled(running.metrics.registry, "GetTip", "DeadlineExceeded"):
                error = await refusal("unary", channel, timeout=0.05)
                assert isinstance(error, errors.DeadlineExceeded)

    play(scene)


def handled(registry: Any, method: str, code: str) -> float | None:
    """A count of the stock metric."""
    for family in registry.collect():
        for sample in family.samples:
            labels = sample.labels.get("grpc_method"), sample.labels.get("grpc_code")
            if sample.name == "grpc_server_handled_total" and labels == (method, code):
                return float(sample.value)
    return None


async def until(condition: Callable[[], bool]) -> None:
    """Yields to the loop until something holds; the test's own time limit ends it otherwise."""
    while not condition():  # noqa: ASYNC110  a metric has no event to wait for
        await asyncio.sleep(0)


@pytest.mark.parametrize("form", ["server_stream", "bidi_stream", "client_stream", "unary"])
def test_a_caller_that_goes_away_is_counted_as_canceled(tmp_path: Path, form: str) -> None:
    method = {"server_stream": "StreamBlocks", "bidi_stream": "Exchange", "client_stream": "PutObject", "unary": "GetTip"}[
        form
    ]

    async def scene() -> None:
        inside = asyncio.Event()
        loopback = Loopback(tmp_path)

        class Patient(Scripted):
            async def GetTip(self, request: Any, context: Any) -> Any:
                inside.set()
                await asyncio.Event().wait()

            async def PutObject(self, request_iterator: Any, context: Any) -> Any:
                inside.set()
                await asyncio.Event().wait()

            async def StreamBlocks(self, request: Any, context: Any) -> Any:
                inside.set()
                while True:
                    yield ledger_pb2.StreamBlocksResponse()

            async def Exchange(self, request_iterator: Any, context: Any) -> Any:
                inside.set()
                await asyncio.Event().wait()
                yield

        async with loopback.serve(Patient()) as running, loopback.channel(running) as channel:
            calling = asyncio.create_task(call(form, channel))
            await inside.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await until(lambda: handled(running.metrics.registry, method, "Canceled") == 1)

    with logged() as lines:
        play(scene)
    assert not any("rpc_failed" in line for line in lines)


def test_bytes_that_are_no_message_are_refused(tmp_path: Path) -> None:
    """L1."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as running, loopback.channel(running) as channel:
            error = await raw_refusal(channel, f"{LEDGER}/GetBlock", b"\x08")
            assert (type(error), error.reason, error.rule) == (Malformed, "MALFORMED_MESSAGE", "L1")

    play(scene)


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    """L1: also inside an inner message, and in the middle of a stream."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted()
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            error = await raw_refusal(channel, f"{LEDGER}/GetTip", UNKNOWN_FIELD)
            assert (type(error), error.reason, error.rule) == (Malformed, "UNKNOWN_FIELD", "L1")
            frames = [storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(data=b"a")).SerializeToString()]
            frames.append(b"\x12" + bytes([len(UNKNOWN_FIELD)]) + UNKNOWN_FIELD)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.stream_unary("/consilium.api.storage.v1.StorageService/PutObject")(iter(frames))
            assert to_error(caught.value).reason == "UNKNOWN_FIELD"
        assert scripted.frames == [1]

    play(scene)


def test_refusing_unknown_fields_looks_into_every_message() -> None:
    """L1: single, repeated, and in a oneof; known fields pass."""
    inner = b"\x0a" + bytes([len(UNKNOWN_FIELD)]) + UNKNOWN_FIELD
    put = storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(offset=3, data=b"abc"))
    refuse_unknown_fields(put)
    messages: list[Message] = [
        storage_pb2.PutObjectRequest.FromString(put.SerializeToString() + UNKNOWN_FIELD),
        storage_pb2.PutObjectRequest.FromString(inner),
        ledger_pb2.ListGrantHistoryResponse.FromString(inner),
    ]
    for each in messages:
        with pytest.raises(Malformed, match="no field 2047"):
            refuse_unknown_fields(each)


def test_a_method_nobody_serves_is_refused_by_its_name(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as running, loopback.channel(running) as channel:
            assert isinstance(await raw_refusal(channel, f"{LEDGER}/GetNothing", b""), errors.FailedPrecondition)

    play(scene)


def test_an_answer_that_cannot_be_encoded_is_internal(tmp_path: Path) -> None:
    async def scene() -> None:
        class Wrong(Scripted):
            async def GetTip(self, request: Any, context: Any) -> Any:
                return SECRET

        loopback = Loopback(tmp_path)
        async with loopback.serve(Wrong()) as running, loopback.channel(running) as channel:
            error = await refusal("unary", channel)
            assert isinstance(error, Internal)
            assert "Jane" not in str(error)

    play(scene)


@pytest.mark.parametrize("form", FORMS)
def test_the_hook_refuses_at_every_call(tmp_path: Path, form: str) -> None:
    """A member or certificate that was in good standing at the handshake may no longer be (design section 8)."""
    revoked: set[int] = set()

    def authorise(_: str, peer: PeerIdentity) -> None:
        if peer.serial in revoked:
            raise PermissionDenied("CERTIFICATE_REVOKED", "That certificate was revoked.")

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        issued = loopback.away.service("consensus")
        tls = Tls(issued.write(tmp_path / "client", loopback.away, loopback.home), ALLIANCE)
        async with loopback.serve(Scripted(), authorise) as running, loopback.channel(running, tls) as channel:
            await call(form, channel)
            revoked.add(issued.serial)
            error = await refusal(form, channel)
            assert (type(error), error.reason) == (PermissionDenied, "CERTIFICATE_REVOKED")

    play(scene)


@pytest.mark.parametrize("form", ["bidi_stream", "client_stream", "server_stream"])
def test_a_running_stream_ends_at_the_first_message_after_a_revocation(tmp_path: Path, form: str) -> None:
    suspended = asyncio.Event()

    def authorise(_method: str, _peer: PeerIdentity) -> None:
        if suspended.is_set():
            raise PermissionDenied("MEMBER_SUSPENDED", "That member is suspended.")

    async def scene() -> None:
        class Revoking(Scripted):
            async def PutObject(self, request_iterator: Any, context: Any) -> Any:
                async for _ in request_iterator:
                    suspended.set()

            async def StreamBlocks(self, request: Any, context: Any) -> Any:
                yield ledger_pb2.StreamBlocksResponse()
                suspended.set()
                yield ledger_pb2.StreamBlocksResponse()

            async def Exchange(self, request_iterator: Any, context: Any) -> Any:
                async for _ in request_iterator:
                    suspended.set()
                yield

        loopback = Loopback(tmp_path)
        async with loopback.serve(Revoking(), authorise) as running, loopback.channel(running) as channel:
            error = await refusal(form, channel)
            assert (type(error), error.reason) == (PermissionDenied, "MEMBER_SUSPENDED")

    play(scene)


def strangers(loopback: Loopback) -> dict[str, tuple[Issued, str]]:
    """Callers to be refused, each with the reason; "" where the handshake already fails."""
    foreign = Authority("2B")
    other = Authority("2B", alliance="others")
    return {
        "wrong CA": (foreign.service(), ""),
        "expired": (loopback.away.service(ends_in=-DAY), ""),
        "another alliance": (other.service(), ""),
        "wrong member": (loopback.away.service(member_id="1A"), "FOREIGN_AUTHORITY"),
        "unknown member": (loopback.away.service(member_id="3C"), "UNKNOWN_MEMBER"),
        "no name": (loopback.away.issue([x509.DNSName("somebody")], DAY), "BAD_IDENTITY"),
        "two names": (
            loopback.away.issue(
                [x509.UniformResourceIdentifier(f"spiffe://{ALLIANCE}/member/2B/service/{x}") for x in "ab"], DAY
            ),
            "BAD_IDENTITY",
        ),
        "another path": (
            loopback.away.issue([x509.UniformResourceIdentifier(f"spiffe://{ALLIANCE}/member/2B/robot/c3po")], DAY),
            "BAD_IDENTITY",
        ),
        "foreign alliance": (
            loopback.away.issue([x509.UniformResourceIdentifier("spiffe://others/member/2B/service/ledger")], DAY),
            "FOREIGN_ALLIANCE",
        ),
    }


@pytest.mark.parametrize("stranger", list(strangers(Loopback(Path()))))
def test_strangers_are_refused(tmp_path: Path, stranger: str) -> None:
    """Design section 8: no certificate says more than its member's own authority signed."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        issued, reason = strangers(loopback)[stranger]
        async with loopback.serve(scripted := Scripted()) as running:
            credentials = grpc.ssl_channel_credentials(loopback.home.pem, issued.key, issued.certificate)
            async with grpc.aio.secure_channel(f"127.0.0.1:{running.port}", credentials) as channel:
                error = await refusal("unary", channel, timeout=60)
        if reason:
            assert (type(error), error.reason) == (errors.Unauthenticated, reason)
        else:
            assert isinstance(error, Unavailable)
        assert scripted.seen == []

    play(scene)


def test_without_a_certificate_nothing_is_answered(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(scripted := Scripted()) as running:
            credentials = grpc.ssl_channel_credentials(loopback.home.pem)
            async with grpc.aio.secure_channel(f"127.0.0.1:{running.port}", credentials) as channel:
                assert isinstance(await refusal("unary", channel, timeout=60), Unavailable)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
                assert isinstance(await refusal("unary", channel, timeout=60), Unavailable)
        assert scripted.seen == []

    play(scene)


@pytest.mark.parametrize("form", FORMS)
def test_a_certificate_that_ends_during_a_connection_ends_its_calls(tmp_path: Path, form: str) -> None:
    """Design section 8: an open connection outlives its certificate."""

    class Later(Tls):
        """Sees callers as they are when their certificates have just ended."""

        def identify(self, auth_context: Mapping[str, Iterable[bytes]]) -> PeerIdentity:
            return replace(super().identify(auth_context), not_after=int(time.time()) - 1)

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted(), tls=Later) as running, loopback.channel(running) as channel:
            error = await refusal(form, channel)
        assert (type(error), error.reason) == (errors.Unauthenticated, "CERTIFICATE_EXPIRED")

    play(scene)


def test_a_message_too_large_is_resource_exhausted(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted()
        async with loopback.serve(scripted, message_bytes_max=65_536) as running, loopback.channel(running) as channel:
            sent = bytes(65_537)
            error = await raw_refusal(channel, SUBMIT, sent)
            assert isinstance(error, errors.ResourceExhausted)
            small = storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(data=b"abc"))
            large = storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(data=sent))
            put = channel.stream_unary("/consilium.api.storage.v1.StorageService/PutObject")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await put(iter([small.SerializeToString(), large.SerializeToString()]))
            assert isinstance(to_error(caught.value), errors.ResourceExhausted)
        assert scripted.frames in ([3], [])

    play(scene)


def test_too_many_calls_at_once_are_resource_exhausted(tmp_path: Path) -> None:
    async def scene() -> None:
        release = asyncio.Event()

        class Slow(Scripted):
            async def GetTip(self, request: Any, context: Any) -> Any:
                await release.wait()
                return ledger_pb2.GetTipResponse()

        loopback = Loopback(tmp_path)
        async with loopback.serve(Slow(), rpcs_max=1) as running, loopback.channel(running) as channel:
            asked = [asyncio.create_task(call("unary", channel)) for _ in range(3)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            release.set()
            ended = await asyncio.gather(*asked, return_exceptions=True)
        refused = [to_error(each) for each in ended if isinstance(each, grpc.aio.AioRpcError)]
        assert refused
        assert all(isinstance(each, errors.ResourceExhausted) for each in refused)

    play(scene)


def test_the_access_log_names_no_person(tmp_path: Path) -> None:
    """Promise 7: of a patient's call the log tells the member and the role."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        issued = loopback.away.person(Role.PATIENT, "jane.doe")
        tls = Tls(issued.write(tmp_path / "client", loopback.away, loopback.home), ALLIANCE)
        async with loopback.serve(Scripted()) as running, loopback.channel(running, tls) as channel:
            await call("bidi_stream", channel)
        await asyncio.sleep(0)

    with logged() as lines:
        play(scene)
    (entry,) = [json.loads(line) for line in lines if '"event":"rpc"' in line]
    assert (entry["peer_member"], entry["peer_role"], entry["code"]) == ("2B", "patient", "OK")
    assert (entry["received"], entry["sent"]) == (2, 2)
    assert not any("jane" in line for line in lines)


def test_a_client_turns_down_a_server_of_another_member(tmp_path: Path) -> None:
    """The caller trusts the authority of the member it means, and the name of the service."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(scripted := Scripted()) as running:
            address = f"127.0.0.1:{running.port}"
            for peer in (Peer("2B", "ledger", address), Peer("1A", "storage", address)):
                async with Channel(peer, loopback.client_tls()) as channel:
                    assert isinstance(await refusal("unary", channel, timeout=60), Unavailable)
        assert scripted.seen == []
        with pytest.raises(errors.InvalidArgument, match="3C"):
            Channel(Peer("3C", "ledger", address), loopback.client_tls())

    play(scene)


def test_typed_restores_the_error(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted(act=raising(Malformed("TRAILING_BYTES", "Bytes follow the value.", "L1")))
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            with pytest.raises(Malformed, match="Bytes follow"), typed():
                await call("unary", channel)

    play(scene)


def test_unavailable_is_retried_and_nothing_else(tmp_path: Path) -> None:
    """AIP-194."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted()

        def twice_away() -> object:
            if len(tried) < 3:
                tried.append(1)
                raise Unavailable("AWAY", "Not now.")
            return None

        tried = [1]
        scripted.act = twice_away
        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            await call("write", channel)
            assert len(tried) == 3
            scripted.act = raising(Internal("INTERNAL", "No."))
            scripted.seen.clear()
            await refusal("write", channel)
            assert handled(running.metrics.registry, "SubmitTransaction", "Internal") == 1

    play(scene)
