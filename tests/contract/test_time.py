"""When: a write says how long it waits, a deadline that is over is over, whatever was being done."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest

from consilium.runtime.interceptors import Gate, Interceptor
from consilium.runtime.methods import Service, methods_of
from consilium.runtime.metrics import Metrics
from consilium.runtime.rates import Rates
from consilium.runtime.shares import Shares
from tests.contract.contracts import LIVES_ON, METHODS, UNKNOWN_FIELD, Ending, attempt
from tests.contract.expected import FIRST_FRAMES, WRITES
from tests.contract.refusals import clean

if TYPE_CHECKING:
    from tests.contract.conftest import Stage
    from tests.contract.world import World

OVER = grpc.StatusCode.DEADLINE_EXCEEDED
SOON_S = 0.2


def counted(world: World, name: str) -> dict[str, float]:
    """How many calls of a method have ended how, as the service itself counts them."""
    families = world.running[METHODS[name].service].metrics.registry.collect()
    handled = [each for family in families for each in family.samples if each.name == "grpc_server_handled_total"]
    return {each.labels["grpc_code"]: each.value for each in handled if each.labels["grpc_method"] == name}


@pytest.mark.parametrize("name", METHODS)
def test_a_write_needs_a_deadline(stage: Stage, name: str) -> None:
    """And nothing else does: whoever reads may wait as long as it likes."""
    method = METHODS[name]

    async def scene() -> Ending:
        return await attempt(stage.world.welcome(method), method, UNKNOWN_FIELD, timeout=None)

    ending = stage.play(scene())
    clean(stage.world, ending)
    reason = "DEADLINE_REQUIRED" if name in WRITES else "UNKNOWN_FIELD"
    assert (ending.code, ending.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


def test_what_writes_is_told_by_its_name() -> None:
    assert {name for name, each in METHODS.items() if each.is_write} == WRITES


@pytest.mark.parametrize("name", METHODS)
def test_past_deadline(stage: Stage, name: str) -> None:
    method = METHODS[name]

    async def scene() -> Ending:
        return await attempt(stage.world.welcome(method), method, UNKNOWN_FIELD, timeout=-1.0)

    ending = stage.play(scene())
    clean(stage.world, ending)
    assert ending.code is OVER


class Aborted(Exception):
    """The end of a call, as grpc.aio raises it."""


@dataclass
class Late:
    """The context of a call that arrives when its time is over: what no client can be made to send for certain."""

    ended: list[object] = field(default_factory=list)

    def time_remaining(self) -> float:
        return 0.0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def set_trailing_metadata(self, _: object) -> None:
        """Nobody reads it."""

    async def abort(self, code: grpc.StatusCode, sentence: str, trailing: object) -> None:
        self.ended.append(code)
        raise Aborted


@pytest.mark.parametrize("name", METHODS)
def test_a_call_that_arrives_too_late_is_not_looked_at(name: str) -> None:
    """Neither who calls nor what for: the rule of access and the servicer are never asked."""
    method, context = METHODS[name], Late()
    known = methods_of([Service(method.described.containing_service, never, None, LIVES_ON)])
    interceptor = Interceptor(Gate(Metrics("unknown"), never, never, Shares("", 1, 1), Rates("", 1)), known)
    make = getattr(grpc, f"{method.form}_rpc_method_handler")

    async def continuation(_: object) -> object:
        return make(never)

    async def scene() -> None:
        handler: Any = await interceptor.intercept_service(continuation, Details(method.path))  # type: ignore[arg-type]
        # The one request of a call is read as the first of a stream (`runtime.interceptors`).
        ending = getattr(handler, re.sub("^unary", "stream", method.form))(b"", context)
        await (anext(ending) if method.described.server_streaming else ending)

    with pytest.raises(Aborted):
        asyncio.run(scene())
    assert context.ended == [OVER]


def never(*_: object) -> NoReturn:
    """What must not be reached."""
    raise AssertionError


@dataclass(frozen=True)
class Details:
    """Which method is called."""

    method: str


@pytest.mark.parametrize("name", sorted(LIVES_ON | FIRST_FRAMES))
def test_a_deadline_that_passes_during_work(stage: Stage, name: str) -> None:
    """A stream that lives on, or one of requests whose next never comes.

    Called until one has ended there: on a busy machine a deadline may be over before the call has left, and nobody sees it.
    """
    method, world = METHODS[name], stage.world

    async def scene() -> set[str]:
        before = counted(world, name)
        first = (
            world.first_frame(name) if name in FIRST_FRAMES else method.message(**BEGIN.get(name, {})).SerializeToString()
        )
        while (after := counted(world, name)) == before:
            ending = await attempt(world.welcome(method), method, first, timeout=SOON_S, answers_max=None, ends=False)
            clean(world, ending)
            assert ending.code is OVER
        return {code for code, count in after.items() if count != before[code]}

    codes = stage.play(scene())
    # A stream of requests that is cut looks to the service like one that its caller has ended.
    assert codes <= {"DeadlineExceeded", "Canceled", "OK" if name == "Exchange" else "FailedPrecondition"}


BEGIN = {"StreamBlocks": {"first_height": 1}, "StreamExecutions": {"first_height": 1}}
