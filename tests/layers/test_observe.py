"""The outermost layer: what counts as a call, a hit, a miss and an error, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.config import Config
from headgate.errors import CacheOnlyMiss
from headgate.layers.observe import observe
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.pricing import Prices
from headgate.stream import Chunks, Tap, Value, Whole
from headgate.testing import FakeClock
from headgate.types import (
    NO_USAGE,
    Call,
    Controls,
    Provenance,
    Reply,
    Target,
    Usage,
    WireRequest,
)

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))


class Scene:
    """The layer over a service that takes 0.25 s and then does what the test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics(listed=["m"])
        self.ledger = Ledger(Prices(Config()), self.clock)

    def ask(self, answer: Reply | BaseException, call: Call = CALL) -> Reply:
        return asyncio.run(self.aask(answer, call))

    async def aask(self, answer: Reply | BaseException, call: Call = CALL) -> Reply:
        async def below(_: Call) -> Reply:
            self.clock.advance(0.25)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return await observe(self.metrics, self.clock, self.ledger)(below)(call)

    def numbers(self) -> dict[str, Any]:
        return self.metrics.snapshot()

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = self.numbers()["by_model"]["m"]
        return row

    def counted(self) -> tuple[int, int, int, int]:
        """Calls, hits, misses, errors."""
        row = self.row()
        return row["calls"], row["cache_hits"], row["cache_misses"], row["errors"]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def replied(status: int = 200, usage: Usage = NO_USAGE, **provenance: Any) -> Reply:
    return Reply(status, (), Whole(b"x"), usage, Provenance(**provenance))


def test_a_miss_is_a_call_with_its_time(scene: Scene) -> None:
    answer = replied()
    assert scene.ask(answer) is answer
    assert scene.counted() == (1, 0, 1, 0)
    assert scene.row()["latency_avg"] == 250


def test_a_hit_is_a_call_with_its_time(scene: Scene) -> None:
    scene.ask(replied(hit=True))
    assert scene.counted() == (1, 1, 0, 0)
    assert scene.row()["latency_avg"] == 250


def test_a_joined_call_is_a_miss(scene: Scene) -> None:
    scene.ask(replied(collapsed=True))
    assert scene.counted() == (1, 0, 1, 0)


def test_tokens_are_not_booked_here(scene: Scene) -> None:
    scene.ask(replied(usage=Usage(9, 1)))
    assert scene.row()["tokens"] == 0


@pytest.mark.parametrize(
    "call", [replace(CALL, bypass="stream"), replace(CALL, controls=Controls(may_read=False))]
)
def test_a_call_that_did_not_consult_the_cache_is_no_miss(scene: Scene, call: Call) -> None:
    scene.ask(replied(), call)
    with pytest.raises(TimeoutError):
        scene.ask(TimeoutError(), call)
    assert scene.counted() == (2, 0, 0, 1)


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "rate_limit"), (500, "server_error"), (503, "unavailable"), (401, "authentication")],
)
def test_a_failed_status_is_a_call_and_an_error(scene: Scene, status: int, name: str) -> None:
    scene.ask(replied(status))
    assert scene.counted() == (1, 0, 1, 1)
    assert scene.numbers()["errors"] == {f"m:{name}": 1}


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_the_callers_own_mistake_is_a_call_and_no_error(scene: Scene, status: int) -> None:
    scene.ask(replied(status))
    assert scene.counted() == (1, 0, 1, 0)


def test_an_exception_is_a_call_and_an_error_and_is_raised_again(scene: Scene) -> None:
    error = TimeoutError("slow")
    with pytest.raises(TimeoutError) as raised:
        scene.ask(error)
    assert raised.value is error
    assert scene.counted() == (1, 0, 1, 1)
    assert scene.numbers()["errors"] == {"m:timeout": 1}
    assert scene.row()["latency_avg"] == 250


def test_a_refusal_is_counted_by_its_code(scene: Scene) -> None:
    with pytest.raises(CacheOnlyMiss):
        scene.ask(CacheOnlyMiss("nothing stored"))
    assert scene.numbers()["errors"] == {"m:cache_only_miss": 1}


def test_a_caller_who_leaves_is_a_call_and_no_error(scene: Scene) -> None:
    with pytest.raises(asyncio.CancelledError):
        scene.ask(asyncio.CancelledError())
    assert scene.counted() == (1, 0, 1, 0)


def test_a_value_is_counted_at_once(scene: Scene) -> None:
    scene.ask(Reply(200, (), Value.of("x")))
    assert scene.counted() == (1, 0, 1, 0)


def streamed(chunks: Callable[[], AsyncIterator[bytes]]) -> Reply:
    return Reply(200, (), Chunks(chunks()))


def test_a_stream_is_counted_when_its_last_chunk_has_passed(scene: Scene) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        scene.clock.advance(0.5)
        yield b"b"

    async def act() -> None:
        reply = await scene.aask(streamed(chunks))
        assert isinstance(reply.body, Tap)
        assert scene.numbers()["total_calls"] == 0
        assert [chunk async for chunk in reply.body] == [b"a", b"b"]
        assert scene.counted() == (1, 0, 1, 0)
        await reply.body.aclose()

    asyncio.run(act())
    assert scene.counted() == (1, 0, 1, 0)
    assert scene.row()["latency_avg"] == 750


def test_a_stream_that_breaks_is_a_call_and_an_error(scene: Scene) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionResetError("gone")

    async def act() -> None:
        reply = await scene.aask(streamed(chunks))
        with pytest.raises(ConnectionResetError):
            async for _ in reply.body:
                pass

    asyncio.run(act())
    assert scene.counted() == (1, 0, 1, 1)
    assert scene.numbers()["errors"] == {"m:ConnectionResetError": 1}


@pytest.mark.parametrize("chunks_read", [0, 1])
def test_a_stream_whose_reader_leaves_is_a_call_and_no_error(
    scene: Scene, chunks_read: int
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def act() -> None:
        reply = await scene.aask(streamed(chunks))
        for _ in range(chunks_read):
            await anext(aiter(reply.body))
        await reply.body.aclose()

    asyncio.run(act())
    assert scene.counted() == (1, 0, 1, 0)


def test_the_head_of_a_stream_is_handed_on_as_it_is(scene: Scene) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"

    answer = replace(streamed(chunks), status=206, headers=((b"a", b"b"),))
    reply = scene.ask(answer)
    assert (reply.status, reply.headers) == (206, ((b"a", b"b"),))
    assert reply.provenance is answer.provenance
