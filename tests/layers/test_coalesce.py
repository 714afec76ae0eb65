"""Single flight, the layer alone: who shares a call, who does not, who would wait for ever.

Through the whole runtime, with threads and loops: tests/stacks/test_joining.py.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.core.fingerprint import shape_key
from headgate.core.shapes import whole_of
from headgate.core.sse import split
from headgate.errors import StreamBroken
from headgate.joining.flight import FlightLimits
from headgate.layers.coalesce import coalesce
from headgate.providers.fake import fake_reply
from headgate.stream import Chunks, UsageEvent, Value, Whole
from headgate.types import (
    NO_CONTROLS,
    Body,
    Call,
    Controls,
    Invocation,
    Reply,
    Target,
    WireRequest,
)

WIRE = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))
LONG_S = 20


def shapes() -> tuple[bytes, bytes]:
    """The same answer, whole and streamed with its usage."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Capital of France?"}]}
    stream = {**body, "stream": True, "stream_options": {"include_usage": True}}
    return (
        fake_reply("chat", json.dumps(body).encode()).content,
        b"".join(fake_reply("chat", json.dumps(stream).encode()).pieces),
    )


PAIR = shapes()


class Scene:
    """The layer over a service whose answers come when the test says so. One per event loop."""

    def __init__(self) -> None:
        self.asked: list[Call] = []
        self.cancelled: list[bytes] = []
        self.body: Callable[[], Body] = lambda: Whole(b"answer")
        self.error: Exception | None = None
        self.status = 200
        self.go = asyncio.Event()
        self._service = coalesce(FlightLimits())(self._below)

    def limit(self, **limits: Any) -> None:
        self._service = coalesce(FlightLimits(**limits))(self._below)

    async def _below(self, call: Call) -> Reply:
        self.asked.append(call)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(call.key)
            raise
        if self.error is not None:
            raise self.error
        reply = Reply(self.status, (), self.body())
        return replace(reply, provenance=replace(reply.provenance, stored=True))

    async def begin(self, call: Call = WIRE, count: int = 1) -> list[asyncio.Task[Reply]]:
        tasks = [asyncio.ensure_future(self._call(call)) for _ in range(count)]
        await settle()
        return tasks

    async def _call(self, call: Call) -> Reply:
        return await self._service(call)

    async def finish(self, tasks: list[asyncio.Task[Reply]]) -> list[Reply]:
        self.go.set()
        return await asyncio.gather(*tasks)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def play(act: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        await act(Scene())

    asyncio.run(asyncio.wait_for(scene(), LONG_S))


def library(key: bytes = b"k", *, held: frozenset[bytes] = frozenset(), thread_id: int = 0,
            blocks: bool = False) -> Call:  # fmt: skip
    async def run() -> None: ...

    return replace(WIRE, key=key, request=Invocation(run, thread_id, blocks, held))


def test_identical_calls_are_one_call_below() -> None:
    async def act(scene: Scene) -> None:
        replies = await scene.finish(await scene.begin(count=5))
        assert len(scene.asked) == 1
        flags = [(r.provenance.collapsed, r.provenance.stored) for r in replies]
        assert flags == [(False, True)] + [(True, False)] * 4

    play(act)


def test_everyone_has_a_body_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        for reply in await scene.finish(await scene.begin(count=3)):
            assert [chunk async for chunk in reply.body] == [b"answer"]

    play(act)


def test_a_call_after_the_answer_asks_again() -> None:
    async def act(scene: Scene) -> None:
        await scene.finish(await scene.begin())
        await scene.finish(await scene.begin())
        assert len(scene.asked) == 2

    play(act)


ALONE = [
    {"key": b""},
    {"bypass": "server_state"},
    {"controls": Controls(may_read=False)},
    {"controls": Controls(may_store=False)},
]


@pytest.mark.parametrize("changes", ALONE, ids=["key", "bypass", "no-cache", "no-store"])
def test_a_call_that_may_not_be_shared_goes_alone(changes: dict[str, Any]) -> None:
    async def act(scene: Scene) -> None:
        replies = await scene.finish(await scene.begin(replace(WIRE, **changes), 3))
        assert len(scene.asked) == 3
        assert not any(reply.provenance.collapsed for reply in replies)

    play(act)


def test_other_controls_do_not_keep_a_call_from_joining() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(replace(WIRE, controls=replace(NO_CONTROLS, tags=("a",))))
        await scene.finish(tasks + await scene.begin())
        assert len(scene.asked) == 1

    play(act)


def test_an_exception_reaches_everyone_and_the_next_call_asks_again() -> None:
    async def act(scene: Scene) -> None:
        scene.error = ConnectionResetError("gone")
        tasks = await scene.begin(count=3)
        scene.go.set()
        assert await asyncio.gather(*tasks, return_exceptions=True) == [scene.error] * 3
        scene.error = None
        await scene.finish(await scene.begin())
        assert len(scene.asked) == 2

    play(act)


def test_who_leaves_first_does_not_matter() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(count=4)
        tasks[0].cancel()
        tasks[2].cancel()
        await settle()
        assert scene.cancelled == []
        replies = await scene.finish([tasks[1], tasks[3]])
        assert [reply.status for reply in replies] == [200, 200]
        assert len(scene.asked) == 1

    play(act)


def test_the_last_one_who_leaves_takes_the_call_down() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(count=3)
        for task in tasks:
            assert scene.cancelled == []
            task.cancel()
            await settle()
        assert scene.cancelled == [b"k"]
        await scene.finish(await scene.begin())
        assert len(scene.asked) == 2

    play(act)


def test_who_comes_while_the_call_is_taken_down_asks_anew() -> None:
    async def act(scene: Scene) -> None:
        (leader,) = await scene.begin()
        leader.cancel()
        late = asyncio.ensure_future(scene._call(WIRE))
        await settle()
        (reply,) = await scene.finish([late])
        assert (len(scene.asked), reply.provenance.collapsed) == (2, False)

    play(act)


def test_a_call_cancelled_from_outside_is_asked_anew_by_one_of_the_others() -> None:
    async def act(scene: Scene) -> None:
        async def cancelled_once(call: Call) -> Reply:
            reply = await scene._below(call)
            if len(scene.asked) == 1:
                raise asyncio.CancelledError
            return reply

        service = coalesce(FlightLimits())(cancelled_once)

        async def ask() -> Reply:
            return await service(WIRE)

        tasks = [asyncio.ensure_future(ask()) for _ in range(4)]
        await settle()
        scene.go.set()
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert [isinstance(reply, Reply) for reply in others] == [True] * 3
        assert len(scene.asked) == 2

    play(act)


def test_what_cannot_be_copied_is_asked_for_by_everyone() -> None:
    async def act(scene: Scene) -> None:
        scene.body = lambda: Value.of(threading.Lock())
        replies = await scene.finish(await scene.begin(count=3))
        assert len(scene.asked) == 3
        assert len({id(reply.body) for reply in replies}) == 3

    play(act)


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


def test_a_call_does_not_join_one_that_waits_for_it() -> None:
    async def act(scene: Scene) -> None:
        outer = await scene.begin(library())
        inner = await scene.begin(library(held=frozenset({b"k"})))
        await scene.finish(outer + inner)
        assert len(scene.asked) == 2

    play(act)


def test_a_thread_does_not_wait_for_what_only_it_can_do() -> None:
    async def act(scene: Scene) -> None:
        asynchronous = await scene.begin(library(thread_id=7))
        another_thread = await scene.begin(library(thread_id=8, blocks=True))
        assert len(scene.asked) == 1
        same_thread = await scene.begin(library(thread_id=7, blocks=True))
        assert len(scene.asked) == 2
        same_thread_later = await scene.begin(library(thread_id=7))
        await scene.finish(asynchronous + another_thread + same_thread + same_thread_later)
        assert len(scene.asked) == 2

    play(act)


def test_no_ring_of_calls_waits_for_itself() -> None:
    """a asks b, b asks c, and c asks a: the last one goes alone."""

    async def act(scene: Scene) -> None:
        tasks = [await scene.begin(library(key)) for key in (b"a", b"b", b"c")]
        for above, wanted in ((b"a", b"b"), (b"b", b"c")):
            tasks.append(await scene.begin(library(wanted, held=frozenset({above}))))
            assert len(scene.asked) == 3
        tasks.append(await scene.begin(library(b"a", held=frozenset({b"c"}))))
        assert len(scene.asked) == 4
        await scene.finish([task for some in tasks for task in some])

    play(act)


def test_no_ring_goes_through_a_blocked_thread() -> None:
    """Thread 7 runs the loop of call a and is blocked by a call that joined b; b asks a."""

    async def act(scene: Scene) -> None:
        tasks = await scene.begin(library(b"a", thread_id=7))
        tasks += await scene.begin(library(b"b", thread_id=8))
        tasks += await scene.begin(library(b"b", thread_id=7, blocks=True))
        assert len(scene.asked) == 2
        tasks += await scene.begin(library(b"a", thread_id=8, held=frozenset({b"b"})))
        assert len(scene.asked) == 3
        await scene.finish(tasks)

    play(act)


def test_a_wait_that_is_over_is_no_reason_to_go_alone() -> None:
    async def act(scene: Scene) -> None:
        tasks = [await scene.begin(library(key)) for key in (b"a", b"b")]
        (waiting,) = await scene.begin(library(b"b", held=frozenset({b"a"})))
        waiting.cancel()
        await settle()
        tasks.append(await scene.begin(library(b"a", held=frozenset({b"b"}))))
        assert len(scene.asked) == 2
        await scene.finish([task for some in tasks for task in some])

    play(act)


def test_calls_under_a_common_call_may_join_each_other() -> None:
    async def act(scene: Scene) -> None:
        tasks = await scene.begin(library(b"outer"))
        tasks += await scene.begin(library(b"k", held=frozenset({b"outer"})), 3)
        await scene.finish(tasks)
        assert len(scene.asked) == 2

    play(act)
