"""A call under way: what its passengers get, and what becomes of it when they leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.errors import StreamBroken, UpstreamUnreachable
from headgate.joining.flight import Flight, FlightLimits
from headgate.joining.seats import Seat
from headgate.stream import Chunks, Whole
from headgate.types import Call, Controls, Reply, Target, WireRequest

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"), streamed=True)
LONG_S = 60


class Upstream:
    """A service whose stream comes chunk by chunk as the test says."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.closed = 0
        self.sent = 0

    async def service(self, call: Call) -> Reply:
        return Reply(200, (), Chunks(self._stream(), self._close))

    async def _stream(self) -> AsyncIterator[bytes]:
        while (chunk := await self.chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            self.sent += 1
            yield chunk

    async def _close(self) -> None:
        self.closed += 1


class Scene:
    """One flight over such a service. One per event loop."""

    def __init__(self, limits: FlightLimits) -> None:
        self.upstream = Upstream()
        self.closings = 0
        self.flight = Flight(self.upstream.service, CALL, limits, self._on_closing)

    def _on_closing(self, flight: Flight) -> None:
        assert flight is self.flight
        self.closings += 1

    async def say(self, *chunks: bytes | Exception | None) -> None:
        for chunk in chunks:
            self.upstream.chunks.put_nowait(chunk)
        await settle()

    async def board(self) -> Any:
        self.flight.board()
        assert await self.flight.head() is not None
        return self.flight.reader(usage_wanted=True)


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def play(
    act: Callable[[Scene], Coroutine[Any, Any, None]], limits: FlightLimits | None = None
) -> None:
    async def scene() -> None:
        await act(Scene(limits or FlightLimits()))

    asyncio.run(asyncio.wait_for(scene(), LONG_S))


def test_the_head_waits_for_the_first_chunk() -> None:
    async def act(scene: Scene) -> None:
        scene.flight.board()
        head = asyncio.ensure_future(scene.flight.head())
        await settle()
        assert not head.done()
        await scene.say(b"a")
        assert head.done()
        assert not scene.flight.task.done()
        await scene.say(None)
        assert scene.flight.task.done()
        assert scene.closings >= 1

    play(act)


def test_the_stream_is_read_to_its_end_whoever_reads_along() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(b"a")
        first, second = [await scene.board() for _ in range(2)]
        await first.aclose()
        await scene.say(b"b", None)
        assert b"".join([chunk async for chunk in second]) == b"ab"
        assert scene.upstream.closed == 1

    play(act)


def test_an_empty_stream_has_a_head_too() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(None)
        reader = await scene.board()
        assert [chunk async for chunk in reader] == []

    play(act)


def test_an_error_before_the_first_chunk_is_the_heads() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(StreamBroken("cut"))
        with pytest.raises(StreamBroken):
            await scene.flight.head()
        assert scene.closings == 1

    play(act)


def test_an_error_after_the_first_chunk_is_the_readers() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(b"a")
        reader = await scene.board()
        await scene.say(StreamBroken("cut"))
        assert await anext(reader) == b"a"
        with pytest.raises(StreamBroken):
            await anext(reader)

    play(act)


def test_an_error_that_nobody_asks_for_is_not_reported_as_forgotten() -> None:
    async def refuse(call: Call) -> Reply:
        raise UpstreamUnreachable("no")

    async def act() -> list[Any]:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))
        flight = Flight(refuse, CALL, FlightLimits(), lambda _: None)
        await settle()
        assert flight.task.done()
        del flight
        await settle()
        return reported

    assert asyncio.run(act()) == []


def test_before_the_first_chunk_the_last_one_who_leaves_takes_the_call_down() -> None:
    async def act(scene: Scene) -> None:
        scene.flight.board()
        scene.flight.board()
        await settle()
        scene.flight.leave()
        await settle()
        assert not scene.flight.task.done()
        scene.flight.leave()
        await settle()
        assert scene.flight.task.cancelled()
        assert await scene.flight.head() is None
        assert scene.upstream.closed == 1

    play(act)


def test_a_stream_that_has_begun_is_read_to_its_end_after_the_last_reader_left() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(b"a")
        await (await scene.board()).aclose()
        await scene.say(b"b", b"c", None)
        assert (scene.upstream.sent, scene.flight.task.cancelled()) == (3, False)
        assert scene.flight.task.done()

    play(act)


def test_a_stream_that_nobody_reads_is_cut_after_its_time() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(b"a")
        await (await scene.board()).aclose()
        await asyncio.gather(scene.flight.task, return_exceptions=True)
        assert scene.flight.task.cancelled()
        assert scene.upstream.closed == 1

    play(act, FlightLimits(finish_within_s=0.01))


def test_a_reader_that_comes_in_time_keeps_a_left_stream_alive() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(b"a")
        await (await scene.board()).aclose()
        late = await scene.board()
        await asyncio.sleep(0.3)
        await scene.say(b"b", None)
        assert b"".join([chunk async for chunk in late]) == b"ab"

    play(act, FlightLimits(finish_within_s=0.2))


@pytest.mark.parametrize(
    "limits", [FlightLimits(finish_within_s=0), FlightLimits(keep_max_bytes=0)], ids=["off", "big"]
)
def test_a_stream_that_will_not_be_kept_is_cut_at_once_when_nobody_reads_it(
    limits: FlightLimits,
) -> None:
    async def act(scene: Scene) -> None:
        await scene.say(b"a")
        await (await scene.board()).aclose()
        await settle()
        assert scene.flight.task.cancelled()
        assert scene.upstream.closed == 1

    play(act, limits)


def test_a_left_stream_that_grows_too_long_to_be_kept_is_cut() -> None:
    async def act(scene: Scene) -> None:
        await scene.say(b"a")
        await (await scene.board()).aclose()
        await scene.say(b"bc", b"d")
        assert scene.flight.task.cancelled()
        assert (scene.upstream.sent, scene.upstream.closed) == (2, 1)

    play(act, FlightLimits(keep_max_bytes=2))


def test_a_whole_answer_is_told_when_nobody_can_join_any_more() -> None:
    async def act() -> list[Flight]:
        closings: list[Flight] = []

        async def whole(call: Call) -> Reply:
            return Reply(200, (), Whole(b"x"))

        flight = Flight(whole, CALL, FlightLimits(), closings.append)
        reply = await flight.head()
        assert reply is not None
        assert reply.status == 200
        return closings

    assert asyncio.run(act())


def test_one_who_waits_and_is_cancelled_does_not_touch_the_others() -> None:
    async def act(scene: Scene) -> None:
        first, second = (asyncio.ensure_future(scene.flight.head()) for _ in range(2))
        await settle()
        first.cancel()
        await scene.say(b"a")
        assert (await second) is not None
        assert first.cancelled()
        await scene.say(None)

    play(act)


def test_a_flight_is_full_at_its_bound() -> None:
    async def act(scene: Scene) -> None:
        scene.flight.board()
        assert scene.flight.takes_passengers
        scene.flight.board()
        assert not scene.flight.takes_passengers
        scene.flight.leave()
        assert scene.flight.takes_passengers
        scene.flight.leave()
        await settle()

    play(act, FlightLimits(passengers_max=2))


def test_a_deadline_is_its_callers_own_and_is_not_handed_down() -> None:
    asked: list[Call] = []

    async def act() -> None:
        async def below(call: Call) -> Reply:
            asked.append(call)
            return Reply(200, (), Whole(b"x"))

        call = replace(CALL, controls=Controls(deadline_s=2.0))
        flight = Flight(below, call, FlightLimits(), lambda flight: None)
        flight.board()
        await settle()
        patience = asked[0].patience
        assert asked[0].controls == Controls()
        assert (patience.deadline_s, patience.is_shared) == (2.0, False)
        flight.board()
        assert patience.is_shared

    asyncio.run(act())


@pytest.mark.parametrize("in_company", [False, True])
def test_what_went_upstream_with_others_is_not_taken_down_by_the_last_who_leaves(
    *, in_company: bool
) -> None:
    async def scene() -> None:
        answered, seat = asyncio.Event(), Seat()

        async def below(call: Call) -> Reply:
            await answered.wait()
            return Reply(200, (), Whole(b"{}"))

        call = replace(CALL, streamed=False, seat=seat)
        flight = Flight(below, call, FlightLimits(), lambda _: None)
        flight.board()
        await settle()
        seat.is_in_company = in_company
        flight.leave()
        await settle()
        assert flight.task.cancelled() is not in_company
        answered.set()
        await settle()
        assert flight.task.done()

    asyncio.run(asyncio.wait_for(scene(), LONG_S))
