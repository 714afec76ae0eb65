"""The limits of a target: places and minutes, taken before an attempt and given back after it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import ALICE, BOB, LoopClock, Upstream, a_call, hurried, uncounted, whole
from msgspec.structs import replace
from virtualtime import run

from headgate.core.concurrency import ConcurrencySettings, LineSettings
from headgate.core.rate import RateSettings
from headgate.errors import (
    QueueFull,
    RateLimited,
    Refused,
    StreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.lanes import Lanes, TargetLimits
from headgate.layers.limit import limit
from headgate.stream import Chunks
from headgate.types import Call, Invocation, Reply, Service, Target, Usage

NO_RATE = RateSettings()


class Scene:
    """The layer over an upstream; provider `p` is limited, `free` is not."""

    def __init__(
        self, places: int = 2, queue: int = 10, rate: RateSettings = NO_RATE, keyed: str = ""
    ) -> None:
        self.upstream = Upstream()
        limits = TargetLimits(
            ConcurrencySettings(limit_start=places, limit_max=places),
            LineSettings(queue, 1.0),
            {"p": rate},
            frozenset({keyed}),
        )
        self.lanes = Lanes(limits, LoopClock())
        self.ask: Service = limit(self.lanes, LoopClock())(self.upstream)

    async def outcomes(self, *calls: Call) -> list[str]:
        """How calls end that are made at once."""
        ended = await asyncio.gather(*map(self.ask, calls), return_exceptions=True)
        return [str(end.status) if isinstance(end, Reply) else type(end).__name__ for end in ended]

    def assert_at_rest(self) -> None:
        for lane in self.lanes.items("p"):
            assert (lane.concurrency.in_flight, lane.waiting, lane.rate.pending) == (0, 0, 0)


def test_no_more_attempts_than_places_are_under_way() -> None:
    async def scene() -> None:
        scene = Scene(places=3)
        scene.upstream.took_s = 0.1
        assert await scene.outcomes(*[a_call()] * 12) == ["200"] * 12
        assert scene.upstream.most_inside == 3
        scene.assert_at_rest()

    assert run(scene())[1] == pytest.approx(0.4)


def test_what_finds_no_place_in_time_is_refused_before_anything_is_sent() -> None:
    async def scene() -> None:
        scene = Scene(places=1, queue=1)
        scene.upstream.took_s = 5.0
        told = await scene.outcomes(a_call(), a_call(), a_call(), hurried(0.2))
        assert told == ["200", "QueueFull", "QueueFull", "QueueFull"]
        assert scene.upstream.asked == 1
        scene.assert_at_rest()

    run(scene())


def test_models_and_forwarded_credentials_have_places_of_their_own() -> None:
    async def scene(keyed: str) -> list[str]:
        scene = Scene(places=1, queue=0, keyed=keyed)
        calls = a_call(ALICE), a_call(BOB), a_call(ALICE, "other"), a_call(ALICE)
        return await scene.outcomes(*calls)

    assert run(scene(""))[0] == ["200", "200", "200", "QueueFull"]
    assert run(scene("p"))[0] == ["200", "QueueFull", "200", "QueueFull"], "the provider's own key"


def test_calls_that_go_out_elsewhere_are_not_limited() -> None:
    async def sender(_: Any) -> Reply:
        return whole()

    async def scene() -> None:
        scene = Scene(places=1, queue=0)
        call = a_call()
        relayed: Any = replace(call.request, send=sender)  # type: ignore[type-var]
        function = Invocation(sender, 1, False)  # type: ignore[arg-type]
        free = replace(call, target=Target("free", "m"))
        for others in (replace(call, request=relayed), replace(call, request=function), free):
            assert await scene.outcomes(*[others] * 5) == ["200"] * 5

    run(scene())


def test_requests_of_a_minute_are_counted_and_the_refusal_says_when() -> None:
    async def scene() -> None:
        scene = Scene(places=100, rate=RateSettings(requests_per_min=60))
        scene.upstream.took_s = 0.0
        assert await scene.outcomes(*[a_call()] * 60) == ["200"] * 60
        with pytest.raises(RateLimited, match="requests per minute of p/m") as caught:
            await scene.ask(a_call())
        assert caught.value.retry_after_s == pytest.approx(1.0)
        assert caught.value.sent is False
        await asyncio.sleep(caught.value.retry_after_s)
        assert await scene.outcomes(a_call(), a_call()) == ["200", "RateLimited"]

    run(scene())


def test_tokens_are_reserved_by_estimate_and_settled_by_what_was_reported() -> None:
    async def scene() -> None:
        scene = Scene(places=100, rate=RateSettings(tokens_per_min=1000))
        told = await scene.outcomes(*[a_call()] * 11)
        assert told == ["200"] * 10 + ["RateLimited"], "ten times an estimate of 100"
        # Reported: 10 x 40. So there is room again for six estimates.
        told = await scene.outcomes(*[a_call()] * 7)
        assert told == ["200"] * 6 + ["RateLimited"]
        scene.assert_at_rest()

    run(scene())


def test_counting_tokens_takes_none() -> None:
    async def scene() -> None:
        scene = Scene(places=100, rate=RateSettings(tokens_per_min=1000))
        scene.upstream.script = [uncounted() for _ in range(12)]
        counting = a_call(operation="count_tokens")
        assert await scene.outcomes(*[counting] * 12) == ["200"] * 12
        scene.assert_at_rest()

    run(scene())


@pytest.mark.parametrize(
    ("end", "free"),
    [(UpstreamUnreachable("x"), True), (Refused("x"), True), (whole(429), True),
     (whole(400), True), (whole(500), False), (UpstreamTimeout("x", stage="total"), False)],
    ids=["unreachable", "refused", "429", "400", "500", "timeout"],
)  # fmt: skip
def test_a_reservation_comes_back_where_no_work_was_done(
    end: Reply | BaseException, free: bool
) -> None:
    async def scene() -> None:
        scene = Scene(rate=RateSettings(tokens_per_min=100))
        scene.upstream.took_s = 0.0
        scene.upstream.script = [end]
        await scene.outcomes(a_call())
        assert await scene.outcomes(a_call()) == ["200" if free else "RateLimited"]
        scene.assert_at_rest()

    run(scene())


def test_who_is_refused_a_place_gives_its_reservation_back() -> None:
    async def scene() -> None:
        scene = Scene(places=1, queue=0, rate=RateSettings(requests_per_min=2))
        scene.upstream.took_s = 0.1
        assert await scene.outcomes(a_call(), a_call()) == ["200", "QueueFull"]
        assert await scene.outcomes(a_call()) == ["200"]
        scene.assert_at_rest()

    run(scene())


def test_a_throttled_target_gets_fewer_attempts_at_once() -> None:
    async def scene() -> int:
        scene = Scene(places=10)
        scene.upstream.script = [whole(429)] * 5
        await scene.outcomes(*[a_call()] * 10)
        scene.upstream.most_inside = 0
        scene.upstream.took_s = 0.1
        await scene.outcomes(*[a_call()] * 10)
        scene.assert_at_rest()
        return scene.upstream.most_inside

    # 10 x 0.9^5, rounded down each time: 9, 8, 7, 6, 5; then five successes that bring little.
    assert 5 <= run(scene())[0] < 10


# Streams.


def streamed(*chunks: bytes | BaseException, usage: Usage | None = None) -> Reply:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(1.0)
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    iterator = stream()
    body: Any = Chunks(iterator, iterator.aclose)
    if usage is not None:
        body = Looked(body, usage)
    return Reply(200, ((b"content-type", b"text/event-stream"),), body)


class Looked:
    """A body that knows its usage at the end, as `headgate.events.Events` does."""

    def __init__(self, body: Chunks, usage: Usage) -> None:
        self.inspection = self
        self.usage = Usage()
        self._body = body
        self._final = usage

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield chunk
        self.usage = self._final

    async def aclose(self) -> None:
        await self._body.aclose()


def test_a_stream_holds_its_place_until_its_end() -> None:
    async def scene() -> None:
        scene = Scene(places=1, queue=0)
        scene.upstream.script = [streamed(b"a", b"b")]
        reply = await scene.ask(a_call())
        with pytest.raises(QueueFull):
            await scene.ask(a_call())
        assert [chunk async for chunk in reply.body] == [b"a", b"b"]
        scene.assert_at_rest()
        assert await scene.outcomes(a_call()) == ["200"]

    run(scene())


def test_a_stream_that_breaks_or_is_closed_gives_its_place_back() -> None:
    async def scene() -> None:
        scene = Scene(places=1, queue=0)
        scene.upstream.script = [
            streamed(b"a", StreamBroken("cut")), streamed(b"a"), streamed(b"a", b"b")
        ]  # fmt: skip
        with pytest.raises(StreamBroken):
            [chunk async for chunk in (await scene.ask(a_call())).body]
        await (await scene.ask(a_call())).body.aclose()
        early = (await scene.ask(a_call())).body
        assert await anext(aiter(early)) == b"a"
        await early.aclose()
        scene.assert_at_rest()

    run(scene())


def test_a_stream_is_settled_with_the_usage_that_its_end_reported() -> None:
    async def scene() -> None:
        scene = Scene(rate=RateSettings(tokens_per_min=100))
        scene.upstream.took_s = 0.0
        scene.upstream.script = [streamed(b"a", usage=Usage(0, 1))]
        reply = await scene.ask(a_call())
        with pytest.raises(RateLimited):
            await scene.ask(a_call())
        assert [chunk async for chunk in reply.body] == [b"a"]
        scene.assert_at_rest()
        assert await scene.outcomes(a_call()) == ["200"]

    run(scene())


# Bounds.


def test_very_many_models_do_not_take_more_and_more_memory() -> None:
    async def scene() -> None:
        scene = Scene(rate=RateSettings(requests_per_min=10_000))
        scene.upstream.took_s = 0.0
        for number in range(5_000):
            await scene.ask(a_call(model=f"m{number}"))
        # One more is shared: none of them could be forgotten within its minute.
        assert len(scene.lanes.items("p")) == 4_097

    run(scene())


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_places_and_reservations_return_to_the_baseline(seed: int) -> None:
    """Calls are cancelled, refused, fail, and leave streams unread, at random moments."""
    dice = random.Random(seed)
    ends: list[Any] = [
        lambda: whole(), lambda: whole(429), lambda: whole(500), lambda: UpstreamUnreachable("x"),
        lambda: streamed(b"a", b"b"), lambda: streamed(b"a", StreamBroken("cut")),
        lambda: ValueError("a bug"),
    ]  # fmt: skip

    async def caller(scene: Scene) -> None:
        reply = await scene.ask(dice.choice([a_call(), hurried(0.5)]))
        try:
            if dice.random() < 0.7:
                [chunk async for chunk in reply.body]
        finally:
            await reply.body.aclose()

    async def scene() -> None:
        scene = Scene(3, 4, RateSettings(requests_per_min=600, tokens_per_min=60_000))
        scene.upstream.took_s = dice.choice([0.0, 0.2])
        scene.upstream.script = [dice.choice(ends)() for _ in range(60)]
        tasks = []
        for _ in range(50):
            tasks.append(asyncio.ensure_future(caller(scene)))
            await asyncio.sleep(dice.choice([0.0, 0.0, 0.15]))
            if dice.random() < 0.3:
                dice.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        scene.assert_at_rest()
        await asyncio.sleep(120)
        (lane,) = scene.lanes.items("p")
        assert lane.is_idle(asyncio.get_running_loop().time())

    run(scene())


def test_the_occupancy_of_a_target_is_that_of_all_its_credentials() -> None:
    async def scene() -> None:
        upstream, clock = Upstream(), LoopClock()
        upstream.took_s = 0.1
        limits = TargetLimits(
            ConcurrencySettings(limit_start=3, limit_max=3), LineSettings(10, 1.0), {"p": NO_RATE}
        )
        lanes = Lanes(limits, clock)
        ask = limit(lanes, clock)(upstream)
        assert lanes.occupancy() == {}
        calls = [a_call(ALICE), a_call(ALICE), a_call(BOB), a_call(ALICE, "other")]
        tasks = [asyncio.ensure_future(ask(call)) for call in calls]
        await asyncio.sleep(0.05)
        model, other = calls[0].target.model, calls[-1].target.model
        assert lanes.occupancy() == {("p", model): (3, 6), ("p", other): (1, 3)}
        await asyncio.gather(*tasks)
        assert lanes.occupancy() == {("p", model): (0, 6), ("p", other): (0, 3)}

    run(scene())
