"""Single flight of streams, the layer alone: who reads what, what is asked again, which shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from layers.coalescing import WIRE, Scene, play
from msgspec.structs import replace

from headgate.core.fingerprint import shape_key
from headgate.core.shapes import whole_of
from headgate.core.sse import split
from headgate.errors import StreamBroken
from headgate.providers.fake import fake_reply
from headgate.stream import Chunks, UsageEvent, Whole
from headgate.types import Body, Controls, Reply


def shapes() -> tuple[bytes, bytes]:
    """The same answer, whole and streamed with its usage."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Capital of France?"}]}
    stream = {**body, "stream": True, "stream_options": {"include_usage": True}}
    return (
        fake_reply("chat", json.dumps(body).encode()).content,
        b"".join(fake_reply("chat", json.dumps(stream).encode()).pieces),
    )


PAIR = shapes()


STREAMED = replace(WIRE, streamed=True)


def chunks_of(*chunks: bytes | Exception) -> Callable[[], Body]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(0)
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    return lambda: Chunks(stream())


async def read(reply: Reply) -> bytes:
    try:
        return b"".join([chunk async for chunk in reply.body])
    finally:
        await reply.body.aclose()


def test_everyone_reads_the_whole_stream_of_one_call() -> None:
    async def act(scene: Scene) -> None:
        scene.body = chunks_of(b"a", b"b", b"c")
        replies = await scene.finish(await scene.begin(STREAMED, 4))
        assert await asyncio.gather(*map(read, replies)) == [b"abc"] * 4
        assert [reply.provenance.collapsed for reply in replies] == [False, True, True, True]
        assert len(scene.asked) == 1

    play(act)


def test_the_event_with_usage_reaches_only_callers_that_asked_for_it() -> None:
    async def act(scene: Scene) -> None:
        scene.body = chunks_of(b"a", UsageEvent(b"usage"), b"end")
        without = replace(STREAMED, usage_wanted=False)
        tasks = await scene.begin(without) + await scene.begin(STREAMED)
        replies = await scene.finish(tasks)
        assert [await read(reply) for reply in replies] == [b"aend", b"ausageend"]
        assert len(scene.asked) == 1
        scene.body = chunks_of(b"a", UsageEvent(b"usage"))
        alone = replace(without, controls=Controls(may_store=False))
        (reply,) = await scene.finish(await scene.begin(alone))
        assert await read(reply) == b"a"

    play(act)


def test_the_first_caller_of_a_stream_may_leave() -> None:
    async def act(scene: Scene) -> None:
        scene.body = chunks_of(b"a", b"b")
        first, second = await scene.finish(await scene.begin(STREAMED, 2))
        await first.body.aclose()
        assert await read(second) == b"ab"

    play(act)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408])
def test_a_failed_status_is_asked_once_more_for_those_who_joined(status: int) -> None:
    async def act(scene: Scene) -> None:
        scene.status = status
        replies = await scene.finish(await scene.begin(count=5))
        assert len(scene.asked) == 2
        assert [reply.status for reply in replies] == [status] * 5
        assert [r.provenance.collapsed for r in replies] == [False, False, True, True, True]

    play(act)


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429])
def test_an_answer_that_asking_again_would_not_change_is_everyones(status: int) -> None:
    async def act(scene: Scene) -> None:
        scene.status = status
        replies = await scene.finish(await scene.begin(count=5))
        assert len(scene.asked) == 1
        assert [reply.status for reply in replies] == [status] * 5

    play(act)


def test_a_failed_call_is_asked_once_more_for_those_who_joined() -> None:
    async def act(scene: Scene) -> None:
        scene.error = StreamBroken("cut")
        tasks = await scene.begin(count=4)
        scene.go.set()
        assert await asyncio.gather(*tasks, return_exceptions=True) == [scene.error] * 4
        assert len(scene.asked) == 2

    play(act)


def test_a_stream_that_breaks_before_its_first_chunk_is_asked_once_more() -> None:
    async def act(scene: Scene) -> None:
        bodies = iter([chunks_of(StreamBroken("cut")), chunks_of(b"a")])
        scene.body = lambda: next(bodies)()
        tasks = await scene.begin(STREAMED, 3)
        scene.go.set()
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, StreamBroken)
        assert [await read(reply) for reply in others if isinstance(reply, Reply)] == [b"a"] * 2
        assert len(scene.asked) == 2

    play(act)


def test_a_stream_that_breaks_later_breaks_for_everyone() -> None:
    async def act(scene: Scene) -> None:
        scene.body = chunks_of(b"a", StreamBroken("cut"))
        for reply in await scene.finish(await scene.begin(STREAMED, 3)):
            with pytest.raises(StreamBroken):
                await read(reply)
        assert len(scene.asked) == 1

    play(act)


def test_beyond_its_bound_a_flight_takes_nobody_and_another_starts() -> None:
    async def act(scene: Scene) -> None:
        scene.limit(passengers_max=2)
        await scene.finish(await scene.begin(count=5))
        assert len(scene.asked) == 3

    play(act)


def test_streamed_and_whole_calls_share_one_flight() -> None:
    async def act(scene: Scene) -> None:
        whole, stream = PAIR
        scene.body = lambda: Whole(whole)
        replies = await scene.finish(await scene.begin(WIRE) + await scene.begin(STREAMED, 2))
        assert len(scene.asked) == 1
        for reply in replies[1:]:
            assert dict(reply.headers)[b"content-type"].startswith(b"text/event-stream")
            assert whole_of("chat", await read(reply)) is not None
        scene.body = chunks_of(*split(stream))
        scene.asked.clear()
        replies = await scene.finish(await scene.begin(STREAMED) + await scene.begin(WIRE, 2))
        assert len(scene.asked) == 1
        for reply in replies[1:]:
            assert dict(reply.headers)[b"content-type"] == b"application/json"
            assert json.loads(await read(reply)) == json.loads(whole)
        await replies[0].body.aclose()

    play(act)


def test_where_shapes_cannot_be_converted_each_shape_has_a_call_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        scene.body = lambda: Whole(b"no json")
        calls = await scene.begin(WIRE, 2) + await scene.begin(STREAMED, 2)
        await scene.finish(calls)
        assert [call.streamed for call in scene.asked] == [False, True]
        assert scene.asked[1].key == shape_key(b"k", streamed=True)

    play(act)
