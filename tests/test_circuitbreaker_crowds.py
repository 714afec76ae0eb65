"""The breaker around callables in a crowd: tasks, threads, cancellation, calls that get lost."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from headgate.circuitbreaker import CircuitBreaker
from headgate.core.breaker import Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.errors import BreakerOpen
from headgate.testing import FakeClock, FakeModel


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker(3, 60, 2, name="model", clock=clock)


def fail() -> Any:
    raise RuntimeError("down")


def all_but_one_end(futures: list[Future[Any]]) -> bool:
    """Waits until only one is left."""
    ended = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: ended.release())
    return all(ended.acquire(timeout=60) for _ in range(len(futures) - 1))


def test_a_thousand_tasks_at_the_half_open_moment_make_one_call(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    release = asyncio.Event()
    running = []

    @breaker
    async def ask() -> str:
        running.append(True)
        await release.wait()
        return "Paris"

    async def storm() -> list[Any]:
        tasks = [asyncio.create_task(ask()) for _ in range(1_000)]
        await asyncio.sleep(0)
        release.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    breaker.force("open")
    clock.advance(60)
    answers = asyncio.run(storm())
    assert len(running) == 1
    assert answers.count("Paris") == 1
    assert sum(isinstance(answer, BreakerOpen) for answer in answers) == 999


def test_threads_at_the_half_open_moment_make_one_call(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    model = FakeModel(reply="Paris")
    model.hold()
    breaker.force("open")
    clock.advance(60)
    together = threading.Barrier(32)

    def ask() -> Any:
        together.wait()
        return breaker.call(model.call)

    with ThreadPoolExecutor(32) as threads:
        asked = [threads.submit(ask) for _ in range(32)]
        model.wait_for_calls(1)
        assert all_but_one_end(asked)
        model.release()
    refused = [future for future in asked if isinstance(future.exception(), BreakerOpen)]
    assert (model.count, len(refused)) == (1, 31)


def test_a_cancelled_probe_neither_closes_nor_opens_it(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    """Polly's hole: there a cancelled probe closes the circuit."""

    @breaker
    async def ask() -> None:
        await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    breaker.force("open")
    clock.advance(60)
    for _ in range(5):
        asyncio.run(cancelled())
        assert breaker.get_state() == "half_open"
    breaker.call(str)
    breaker.call(str)
    assert breaker.get_state() == "closed"


def test_callers_with_tiny_deadlines_never_open_it(breaker: CircuitBreaker) -> None:
    @breaker
    async def ask() -> None:
        await asyncio.Event().wait()

    async def flood() -> None:
        for _ in range(200):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await ask()

    asyncio.run(flood())
    assert breaker.get_state() == "closed"
    assert breaker.get_stats()["ignored_calls"] == 200


def test_no_count_is_lost_between_threads(clock: FakeClock) -> None:
    """pybreaker: test_fail_thread_safety, test_success_thread_safety"""
    breaker = CircuitBreaker(1_000_000, clock=clock)

    def work(number: int) -> None:
        for call in range(500):
            if (call + number) % 5:
                breaker.call(str)
            else:
                with pytest.raises(RuntimeError):
                    breaker.call(fail)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    stats = breaker.get_stats()
    assert (stats["successful_calls"], stats["failed_calls"]) == (3_200, 800)


def test_the_end_of_a_call_does_not_wait_for_the_lock_and_counts_for_the_next_call(
    breaker: CircuitBreaker,
) -> None:
    attempts = [breaker.attempt() for _ in range(3)]
    for attempt in attempts:
        attempt.__enter__()
    with breaker._lock:
        for attempt in attempts:
            attempt.__exit__(RuntimeError, RuntimeError(), None)
    with pytest.raises(BreakerOpen):
        breaker.call(str)


def test_the_garbage_collector_may_end_a_call_in_a_thread_that_holds_the_lock(
    breaker: CircuitBreaker,
) -> None:
    @breaker
    def stream() -> Iterator[int]:
        yield from range(100)

    reading = stream()
    next(reading)
    with breaker._lock:
        del reading
        gc.collect()
    assert breaker.get_stats()["ignored_calls"] == 1


def test_the_machine_is_touched_by_nobody_who_does_not_hold_the_lock(
    breaker: CircuitBreaker,
) -> None:
    held = []

    class Watched(Breaker):
        def admit(self, now_s: float) -> Any:
            held.append(breaker._lock.locked())
            return super().admit(now_s)

        def record(self, *ended: Any) -> None:
            held.append(breaker._lock.locked())
            super().record(*ended)

    breaker._machine = Watched(BreakerSettings(), 0.0)
    breaker.call(str)
    attempt = breaker.attempt()
    attempt.__enter__()
    with breaker._lock:
        attempt.__exit__(None, None, None)
    breaker.call(str)
    assert held == [True] * 6


def test_an_end_that_just_missed_the_lock_is_recorded_all_the_same(
    breaker: CircuitBreaker,
) -> None:
    """Its holder has let go and looked before the end was queued."""

    class JustLetGo:
        def __init__(self) -> None:
            self.lock, self.missed = threading.Lock(), 0

        def acquire(self, *how: Any) -> bool:
            self.missed += 1
            return self.missed > 1 and self.lock.acquire(*how)

        def release(self) -> None:
            self.lock.release()

    attempt = breaker.attempt()
    attempt.__enter__()
    breaker._lock = JustLetGo()
    attempt.__exit__(None, None, None)
    assert breaker._machine.counts.ok == 1


def test_what_came_while_the_lock_was_held_is_recorded_without_a_next_call(
    breaker: CircuitBreaker,
) -> None:
    attempt = breaker.attempt()
    attempt.__enter__()
    with breaker._held():
        attempt.__exit__(None, None, None)
    assert breaker._machine.counts.ok == 1


def test_a_call_that_nobody_awaits_takes_no_permit(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    @breaker
    async def ask() -> str:
        return "Paris"

    breaker.force("open")
    clock.advance(60)
    forgotten = ask()
    assert asyncio.run(ask()) == "Paris"
    forgotten.close()


def test_a_probe_that_never_comes_back_does_not_hold_it_for_ever(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    breaker.force("open")
    clock.advance(60)
    lost = breaker.attempt()
    lost.__enter__()
    error = None
    for _ in range(2):
        with pytest.raises(BreakerOpen) as caught:
            breaker.call(str)
        error = caught.value
        clock.advance(error.retry_after_s or 0)
    assert error is not None
    assert breaker.call(lambda: "Paris") == "Paris"


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_jump_of_the_wall_clock_changes_nothing(
    breaker: CircuitBreaker, clock: FakeClock, jump_s: float
) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError):
            breaker.call(fail)
    clock.jump_wall(jump_s)
    with pytest.raises(BreakerOpen) as caught:
        breaker.call(str)
    assert caught.value.retry_after_s == 60
    clock.advance(60)
    breaker.call(str)
    clock.jump_wall(jump_s)
    breaker.call(str)
    assert breaker.get_state() == "closed"


def test_two_breakers_do_not_draw_the_same_jitter() -> None:
    def open_time(clock: FakeClock) -> float | None:
        breaker = CircuitBreaker.of(BreakerSettings(), clock=clock)
        breaker.force("open")
        with pytest.raises(BreakerOpen) as caught:
            breaker.call(str)
        return caught.value.retry_after_s

    clock = FakeClock(seed=5)
    assert open_time(clock) != open_time(clock)
    assert open_time(FakeClock(seed=5)) == open_time(FakeClock(seed=5))
