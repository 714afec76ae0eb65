"""The way to one target: places, turns, and those who wait no longer."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import DROP, GOOD, LoopClock
from virtualtime import run

from headgate.core.concurrency import ConcurrencySettings, LineSettings
from headgate.core.rate import RateSettings
from headgate.errors import QueueFull
from headgate.lanes import Lane, Lanes, TargetLimits


def a_lane(places: int = 1, queue: int = 10, wait_s: float = 1.0) -> Lane:
    return Lane(
        ConcurrencySettings(limit_start=places, limit_max=places),
        LineSettings(queue, wait_s),
        RateSettings(),
        LoopClock(),
    )


async def held(lane: Lane, hold_s: float, deadline_s: float = math.inf) -> float:
    """Takes a place, keeps it for so long; the moment it was given."""
    slot = await lane.enter(deadline_s)
    given_s = asyncio.get_running_loop().time()
    try:
        await asyncio.sleep(hold_s)
    finally:
        lane.leave(slot, GOOD)
    return given_s


def is_at_rest(lane: Lane) -> bool:
    return (lane.concurrency.in_flight, lane.waiting) == (0, 0)


def test_who_finds_no_place_waits_its_turn_in_the_order_of_coming() -> None:
    async def scene() -> list[float]:
        lane = a_lane(wait_s=10)
        moments = await asyncio.gather(*(held(lane, 1.0) for _ in range(4)))
        assert is_at_rest(lane)
        return moments

    assert run(scene()) == ([0.0, 1.0, 2.0, 3.0], 4.0)


def test_a_place_is_taken_at_once_only_where_nobody_waits_for_it() -> None:
    async def scene() -> None:
        lane = a_lane(places=2, wait_s=10)
        first, second = lane.take(), lane.take()
        assert first is not None
        assert second is not None
        assert lane.take() is None
        waiting = asyncio.ensure_future(lane.enter(math.inf))
        await asyncio.sleep(0)
        lane.leave(first, GOOD)
        assert lane.take() is None
        lane.leave(await waiting, GOOD)
        lane.leave(second, GOOD)
        assert is_at_rest(lane)

    run(scene())


def test_who_waited_too_long_is_refused_at_that_moment() -> None:
    async def scene() -> float:
        lane = a_lane(wait_s=1.0)
        first = asyncio.ensure_future(held(lane, 5.0))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="queue_wait") as caught:
            await lane.enter(math.inf)
        refused_s = asyncio.get_running_loop().time()
        assert caught.value.retry_after_s == 2.0
        await first
        assert is_at_rest(lane)
        return refused_s

    assert run(scene())[0] == 1.0


def test_who_has_less_time_than_the_queue_gives_is_refused_by_its_own() -> None:
    async def scene() -> float:
        lane = a_lane(wait_s=10.0)
        first = asyncio.ensure_future(held(lane, 5.0))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await lane.enter(0.25)
        refused_s = asyncio.get_running_loop().time()
        with pytest.raises(QueueFull, match="within the deadline"):
            await lane.enter(0.0)
        await first
        return refused_s

    assert run(scene())[0] == 0.25


@pytest.mark.parametrize("queue", [0, 2])
def test_a_full_queue_refuses_at_once(queue: int) -> None:
    async def scene() -> None:
        lane = a_lane(queue=queue, wait_s=100)
        inside = [asyncio.ensure_future(held(lane, 1.0)) for _ in range(queue + 1)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="queue_full"):
            await lane.enter(math.inf)
        assert asyncio.get_running_loop().time() == 0.0
        await asyncio.gather(*inside)
        assert is_at_rest(lane)

    run(scene())


def test_who_leaves_the_queue_takes_no_place() -> None:
    async def scene() -> list[float]:
        lane = a_lane(wait_s=10)
        first, second, third = (asyncio.ensure_future(held(lane, 1.0)) for _ in range(3))
        await asyncio.sleep(0.5)
        second.cancel()
        moments = [await first, await third]
        assert second.cancelled()
        assert is_at_rest(lane)
        return moments

    assert run(scene())[0] == [0.0, 1.0]


def test_a_place_given_in_the_moment_of_leaving_goes_on_to_the_next() -> None:
    async def scene() -> list[float]:
        lane = a_lane(wait_s=10)
        slot = await lane.enter(math.inf)
        second, third = (asyncio.ensure_future(held(lane, 1.0)) for _ in range(2))
        await asyncio.sleep(0.5)
        lane.leave(slot, GOOD)
        second.cancel()
        moments = [await third]
        assert second.cancelled()
        assert is_at_rest(lane)
        return moments

    assert run(scene())[0] == [0.5]


def test_a_drop_takes_places_away_and_a_success_brings_one_back() -> None:
    async def scene() -> None:
        lane = a_lane(places=10)
        slots = [await lane.enter(math.inf) for _ in range(10)]
        lane.leave(slots.pop(), DROP)
        assert lane.concurrency.limit == 9
        lane.leave(slots.pop(), GOOD)
        assert lane.concurrency.limit == 10
        for slot in slots:
            lane.leave(slot, DROP)
        assert lane.concurrency.limit < 5
        assert is_at_rest(lane)

    run(scene())


def test_it_is_idle_when_nobody_is_inside_and_a_minute_would_be_full() -> None:
    async def scene() -> None:
        settings = ConcurrencySettings(), LineSettings(), RateSettings(requests_per_min=60)
        lane = Lane(*settings, LoopClock())
        assert lane.is_idle(0.0)
        slot = await lane.enter(math.inf)
        assert not lane.is_idle(0.0)
        lane.leave(slot, GOOD)
        lane.rate.reserve(0, 0.0)
        assert not lane.is_idle(100.0), "a reservation is pending"

    run(scene())


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(0, 6))
def test_places_return_to_the_baseline_whoever_leaves_whenever(
    seed: int, places: int, queue: int
) -> None:
    """Callers come, hold, fail and are cancelled at random moments, several in the same one."""
    dice = random.Random(seed)

    async def caller(lane: Lane) -> None:
        slot = await lane.enter(dice.choice([math.inf, 0.3, 2.0]))
        assert lane.concurrency.in_flight <= places
        try:
            await asyncio.sleep(dice.choice([0.0, 0.1, 0.5, 2.0]))
        finally:
            lane.leave(slot, dice.choice([GOOD, DROP]))

    async def scene() -> None:
        lane = a_lane(places, queue, wait_s=1.0)
        tasks = []
        for _ in range(40):
            tasks.append(asyncio.ensure_future(caller(lane)))
            await asyncio.sleep(dice.choice([0.0, 0.0, 0.1]))
            if dice.random() < 0.4:
                dice.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        allowed = (QueueFull, asyncio.CancelledError)
        assert all(end is None or isinstance(end, allowed) for end in ended), ended
        assert is_at_rest(lane)
        await asyncio.wait_for(caller(lane), 10)
        assert is_at_rest(lane)

    run(scene())


def test_places_double_each_second_after_a_restart_and_those_who_wait_get_them() -> None:
    async def scene() -> list[float]:
        lane = a_lane(places=8, wait_s=10)
        lane.restart()
        moments = await asyncio.gather(*(held(lane, 30.0) for _ in range(8)))
        assert is_at_rest(lane)
        return moments

    assert run(scene())[0] == [0.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]


def test_two_restarts_are_no_faster_than_one() -> None:
    async def scene() -> list[float]:
        lane = a_lane(places=4, wait_s=10)
        lane.restart()
        await asyncio.sleep(0.5)
        lane.restart()
        return await asyncio.gather(*(held(lane, 30.0) for _ in range(4)))

    assert run(scene())[0] == [0.5, 1.5, 2.5, 2.5]


# The lanes of all targets.


def some_lanes(before: Lanes | None = None, changed: str = "", **per_min: int) -> Lanes:
    rates = {name: RateSettings(requests_per_min=most) for name, most in per_min.items()}
    limits = TargetLimits(ConcurrencySettings(), LineSettings(), rates)
    return Lanes(limits, LoopClock(), before, changed)


def test_a_restart_is_that_of_one_model_or_of_all_of_its_provider() -> None:
    async def scene() -> None:
        lanes = some_lanes(p=60, q=60)
        known = {
            (provider, model, key): lanes.get(provider, model, key, 0.0)
            for provider in "pq" for model in "mn" for key in (b"1", b"2")
        }  # fmt: skip

        def slow() -> list[str]:
            few = [at for at, lane in known.items() if lane and lane.concurrency.limit == 1]
            return sorted({f"{provider}/{model}" for provider, model, _ in few})

        lanes.restart("p", "m")
        assert slow() == ["p/m"]
        lanes.restart("q")
        assert slow() == ["p/m", "q/m", "q/n"]
        lanes.restart("nobody")

    run(scene())


def test_lanes_of_a_provider_with_the_same_limits_go_on() -> None:
    async def scene() -> None:
        before = some_lanes(p=60, q=60, r=60)
        after = some_lanes(before, "r", p=60, q=61, r=60, s=60)

        def goes_on(name: str) -> bool:
            lanes = [all_of.get(name, "m", b"", 0.0) for all_of in (before, after)]
            return lanes[0] is lanes[1]

        assert [name for name in "pqr" if goes_on(name)] == ["p"]
        assert after.get("s", "m", b"", 0.0) is not None
        assert after.get("t", "m", b"", 0.0) is None, "no such provider: no limit"

    run(scene())


def test_what_can_wait_leaves_half_of_the_places_and_gives_way_to_who_waits() -> None:
    async def scene() -> None:
        places = ConcurrencySettings(limit_start=4, limit_max=4)
        lane = Lane(places, LineSettings(), RateSettings(), LoopClock())
        slots = [await lane.enter(1.0)]
        assert [lane.has_spare(begun, 0.0) for begun in (0, 1, 2, 3)] == [True, True, False, False]
        slots.append(await lane.enter(1.0))
        assert not lane.has_spare(0, 0.0)
        slots += [await lane.enter(1.0), await lane.enter(1.0)]
        waiting = asyncio.ensure_future(lane.enter(60.0))
        await asyncio.sleep(0)
        lane.leave(slots.pop(), GOOD)
        lane.leave(slots.pop(), GOOD)
        slots.append(await waiting)
        for slot in slots:
            lane.leave(slot, GOOD)
        assert lane.has_spare(0, 0.0)

    run(scene())


def test_what_can_wait_leaves_half_of_a_minutes_rate() -> None:
    async def scene() -> None:
        lanes = some_lanes(p=10)
        assert lanes.has_spare("nobody", "m", 1000, 0.0), "no such provider: no limit"
        # Before anybody has asked there is no lane, and its limit is known all the same.
        assert lanes.has_spare("p", "m", 9, 0.0)
        assert not lanes.has_spare("p", "m", 10, 0.0)
        lane = lanes.get("p", "m", b"key", 0.0)
        assert lane is not None
        for _ in range(5):
            assert lanes.has_spare("p", "m", 0, 0.0)
            lane.rate.reserve(0, 0.0)
        assert lanes.has_spare("p", "m", 0, 0.0), "exactly half is left"
        lane.rate.reserve(0, 0.0)
        assert not lanes.has_spare("p", "m", 0, 0.0)
        assert lanes.has_spare("p", "another model", 0, 0.0)
        assert lanes.has_spare("p", "m", 0, 6.0), "one comes back in six seconds"

    run(scene())
