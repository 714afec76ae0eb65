"""Inputs of several calls in one request: when it goes, and who is in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from limiting import LoopClock
from msgspec.structs import replace
from vectors import Scene, Upstream, vectors_in, vectors_of
from virtualtime import run

from headgate.core.microbatch import BatchBounds
from headgate.core.tally_batches import Batches
from headgate.joining.company import Mixing
from headgate.joining.seats import Seat
from headgate.layers.batch import batch
from headgate.types import Call


class Layer:
    """The layer over an upstream."""

    def __init__(self, bounds: BatchBounds, upstream: Upstream) -> None:
        self.counts = Batches()
        self.upstream = upstream
        self.scene = Scene(upstream)
        mixing = Mixing(keyed=frozenset({"p"}))
        self._service = batch(bounds, LoopClock(), self.counts, mixing)(upstream)

    def begin(self, given: Any, who: str = "alice", **more: Any) -> asyncio.Task[Any]:
        call = replace(self.scene.call(given, who, **more), seat=Seat())
        return asyncio.ensure_future(self._ask(call))

    async def _ask(self, call: Call) -> Any:
        return vectors_in(await self._service(call))


def play(act: Any, bounds: BatchBounds = BatchBounds(), took_s: float = 0.02) -> Layer:
    async def scene() -> Layer:
        layer = Layer(bounds, Upstream(took_s))
        await act(layer)
        return layer

    return run(scene())[0]


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_what_has_no_seat_passes_without_a_frame() -> None:
    service = batch(BatchBounds(), LoopClock(), Batches())(lambda call: 7)  # type: ignore[arg-type, return-value]

    async def scene() -> None:
        assert service(Scene(Upstream()).call("a")) == 7

    run(scene())


def test_calls_of_one_moment_go_together_at_once() -> None:
    async def act(layer: Layer) -> None:
        tasks = [layer.begin(text) for text in "abc"]
        assert await asyncio.gather(*tasks) == [vectors_of([text]) for text in "abc"]
        assert now_s() == pytest.approx(0.023)

    layer = play(act)
    assert layer.upstream.asked == [["a", "b", "c"]]
    numbers = layer.counts.numbers()
    assert (numbers["requests"], numbers["calls"], numbers["wait_avg_ms"]) == (1, 3, 0)


def test_later_ones_wait_for_the_delay_or_for_the_end_of_what_is_under_way() -> None:
    async def act(layer: Layer) -> None:
        first = layer.begin("first")
        await asyncio.sleep(0.001)
        waiting = [layer.begin("a")]
        await asyncio.sleep(0.002)
        waiting.append(layer.begin("b"))
        await asyncio.gather(*waiting)
        assert now_s() == pytest.approx(0.001 + 0.005 + 0.022)
        await first

    layer = play(act)
    assert layer.upstream.asked == [["first"], ["a", "b"]]
    assert layer.counts.numbers()["wait_avg_ms"] == pytest.approx((5 + 3) / 3)


def test_the_end_of_what_is_under_way_ends_a_longer_delay() -> None:
    async def act(layer: Layer) -> None:
        first = layer.begin("first")
        await asyncio.sleep(0.001)
        await layer.begin("a")
        assert now_s() == pytest.approx(0.021 + 0.021)
        await first

    play(act, BatchBounds(delay_s=0.05))


def test_one_with_ten_thousand_inputs_delays_another_by_two_requests_at_most() -> None:
    async def act(layer: Layer) -> None:
        bulk = [layer.begin([number], "alice") for number in range(10_000)]
        await asyncio.sleep(0.01)
        begun_s, before = now_s(), len(layer.upstream.asked)
        assert await layer.begin("one", "bob") == vectors_of(["one"])
        assert len(layer.upstream.asked) - before <= 2
        assert now_s() - begun_s <= 2 * (0.02 + 0.032) + 0.021
        for task in bulk:
            task.cancel()
        await asyncio.gather(*bulk, return_exceptions=True)

    layer = play(act, BatchBounds(under_way_max=1))
    assert layer.upstream.most_inside == 1


def test_what_waits_for_a_turn_goes_when_it_comes_and_nothing_is_forgotten() -> None:
    async def act(layer: Layer) -> None:
        tasks = [layer.begin(f"{n}", who) for n in range(100) for who in ("a", "b", "c")]
        for task in tasks[::7]:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        answered = [end for end in ends if isinstance(end, list)]
        assert len(answered) == len(tasks) - len(tasks[::7])

    layer = play(act, BatchBounds(items_max=8, under_way_max=2))
    assert layer.upstream.most_inside == 2
    assert sum(map(len, layer.upstream.asked)) == 300 - 43
    assert layer.upstream.cancelled == 0


def test_who_has_little_time_does_not_wait_for_company() -> None:
    async def act(layer: Layer) -> None:
        first = layer.begin("first")
        await asyncio.sleep(0.001)
        lines = ((b"headgate-deadline", b"0.002"),)
        call = replace(layer.scene.call("a", "alice", *lines), seat=Seat())
        hurried = asyncio.ensure_future(layer._ask(call))
        await asyncio.sleep(0.003)
        assert layer.upstream.asked == [["first"], ["a"]]
        await asyncio.gather(first, hurried)

    play(act)
