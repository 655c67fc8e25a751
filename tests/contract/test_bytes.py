"""What is sent: bytes that are no request, fields nobody knows, too much of it, and values of every wrong shape (L1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consilium.kernel.encoding import encode
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.manifest import StorageReceipt, StorageStatement
from tests.contract.contracts import DEADLINE_S, LIVES_ON, METHODS, UNKNOWN_FIELD, Ending, Method, attempt
from tests.contract.expected import FIRST_FRAMES
from tests.contract.refusals import clean
from tests.contract.requests import messages, unknown_at_every_depth
from tests.contract.story import HOME
from tests.contract.world import MESSAGE_BYTES_MAX, METADATA_BYTES_MAX

if TYPE_CHECKING:
    from tests.contract.conftest import Stage
    from tests.contract.world import World

BAD = grpc.StatusCode.INVALID_ARGUMENT
LOOK_S = 0.1
"""How long a stream that lives on is watched."""
FORMS = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sent(stage: Stage, method: Method, *frames: bytes, **given: Any) -> Ending:
    """How a caller whom the method is for is answered."""

    async def scene() -> Ending:
        return await attempt(stage.world.welcome(method), method, *frames, **given)

    ending = stage.play(scene())
    clean(stage.world, ending)
    return ending


@pytest.mark.parametrize("name", METHODS)
def test_malformed(stage: Stage, name: str) -> None:
    """Bytes that are no message at all."""
    for raw in (b"\xff\xff", b"\x08", b"\x0a\x05ab", b"\x0f"):
        assert sent(stage, METHODS[name], raw).refusal == (BAD, "MALFORMED_MESSAGE", "L1"), raw


@pytest.mark.parametrize("name", METHODS)
def test_unknown_field(stage: Stage, name: str) -> None:
    """In the request and in every message inside it, in the first frame and in a later one."""
    method = METHODS[name]
    for place, raw in unknown_at_every_depth(method.request):
        assert sent(stage, method, raw).refusal == (BAD, "UNKNOWN_FIELD", "L1"), place
    if name in FIRST_FRAMES:
        first = stage.world.first_frame(name)
        ending = sent(stage, method, first, UNKNOWN_FIELD, answers_max=None)
        assert ending.refusal == (BAD, "UNKNOWN_FIELD", "L1")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_oversize(stage: Stage, name: str) -> None:
    method = METHODS[name]
    ending = sent(stage, method, bytes(MESSAGE_BYTES_MAX[method.service] + 1))
    assert (ending.code, ending.domain) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_oversize_metadata(stage: Stage, name: str) -> None:
    ending = sent(stage, METHODS[name], b"", metadata=[("x-padding", "x" * METADATA_BYTES_MAX)])
    assert (ending.code, ending.domain) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_values_of_every_wrong_shape(stage: Stage, name: str) -> None:
    """Wrong lengths, numbers out of range, empty choices, cut values, true values of other kinds and of another chain."""
    method = METHODS[name]
    frame = messages(method.request, known(stage.world)).map(lambda each: each.SerializeToString())
    frames = st.lists(frame, min_size=1, max_size=3) if method.described.client_streaming else st.tuples(frame)
    firsts = st.sampled_from([(), (stage.world.first_frame(name),)]) if name in FIRST_FRAMES else st.just(())
    timeout = LOOK_S if name in LIVES_ON else DEADLINE_S

    @FORMS
    @given(firsts, frames)
    def every_form(first: tuple[bytes, ...], rest: tuple[bytes, ...]) -> None:
        ending = sent(stage, method, *first, *rest, timeout=timeout, answers_max=5)
        assert name in LIVES_ON or ending.code is not grpc.StatusCode.DEADLINE_EXCEEDED

    every_form()


def known(world: World) -> list[bytes]:
    """Values of this chain, of all kinds, and two of another chain."""
    chain, story, scribe = world.chain, world.story, world.home.scribe
    certificate = chain.result_certificate(2)
    assert certificate is not None
    statement = StorageStatement(HOME, story.manifest.record_id, story.manifest.ciphertext_root)
    receipt = StorageReceipt(statement, scribe.alliance.keys[HOME].member.sign(encode(statement, chain.chain_id)))
    proof = chain.prove_transaction(story.request_hash)
    elsewhere = ZERO_DIGEST
    return [
        *(encode(each, chain.chain_id) for each in (scribe.blocks[0], scribe.blocks[2], certificate, proof)),
        *(encode(each, chain.chain_id) for each in (story.manifest, receipt, statement)),
        *(encode(each, elsewhere) for each in (story.manifest, certificate)),
        chain.block(3).header, proof.transaction, story.registration, story.fragment, story.request_hash,
        story.manifest.record_id, story.manifest.sealed.capsule, story.grant_id, story.revoked_grant_id, chain.chain_id,
        story.patient.key().public_key, scribe.alliance.keys[HOME].profile.member_key, story.chunk,
    ]  # fmt: skip
