"""The breaker around callables: every kind of function, from threads and tasks, on a clock that the
test moves.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from headgate import errors
from headgate.circuitbreaker import CircuitBreaker, circuit
from headgate.core.breaker_settings import BreakerSettings
from headgate.errors import BreakerOpen, ConfigError
from headgate.testing import FakeClock, FakeModel


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker(3, 60, 2, name="model", clock=clock)


def fail(error: BaseException | None = None) -> Any:
    raise error or RuntimeError("down")


def failing(breaker: CircuitBreaker, times: int, error: Exception | None = None) -> None:
    for _ in range(times):
        with pytest.raises(type(error) if error else RuntimeError):
            breaker.call(fail, error)


def opened(breaker: CircuitBreaker) -> BreakerOpen:
    """The refusal of an open breaker."""
    with pytest.raises(BreakerOpen) as caught:
        breaker.call(lambda: "called though it is open")
    return caught.value


# The three numbers.


def test_so_many_failures_in_a_row_open_it_and_nothing_is_called(breaker: CircuitBreaker) -> None:
    model = FakeModel()
    failing(breaker, 2)
    assert breaker.call(model.call) == model.call()
    failing(breaker, 2)
    assert breaker.get_state() == "closed"
    failing(breaker, 1)
    assert breaker.get_state() == "open"
    before = model.count
    with pytest.raises(BreakerOpen):
        breaker.call(model.call)
    assert model.count == before


def test_a_refusal_says_when_to_try_again_and_that_nothing_was_sent(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    failing(breaker, 3)
    clock.advance(12.5)
    error = opened(breaker)
    assert (error.retry_after_s, error.sent, error.status_hint) == (47.5, False, 503)
    assert str(error) == "model is open; try again in 47.5 s"
    assert isinstance(error, errors.Refused)


def test_one_that_was_opened_by_hand_does_not_say_when(breaker: CircuitBreaker) -> None:
    breaker.force("forced_open")
    error = opened(breaker)
    assert (str(error), error.retry_after_s) == ("model is forced open", None)
    with pytest.raises(ValueError, match="no state of a breaker: 'ajar'"):
        breaker.force("ajar")
    breaker.reset()
    assert breaker.call(lambda: "Paris") == "Paris"


def test_after_its_time_successes_close_it(breaker: CircuitBreaker, clock: FakeClock) -> None:
    failing(breaker, 3)
    clock.advance(59.9)
    opened(breaker)
    clock.advance(0.1)
    assert breaker.call(lambda: "Paris") == "Paris"
    assert breaker.get_state() == "half_open"
    assert breaker.call(lambda: "Lyon") == "Lyon"
    assert breaker.get_state() == "closed"


def test_a_failure_while_it_tries_opens_it_for_the_same_time_again(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    failing(breaker, 3)
    for _ in range(4):
        clock.advance(60)
        failing(breaker, 1)
        assert opened(breaker).retry_after_s == 60


def test_four_failures_in_five_open_it_though_never_three_come_in_a_row(clock: FakeClock) -> None:
    breaker = CircuitBreaker(5, clock=clock)
    for call in range(20):
        if call % 5:
            failing(breaker, 1)
        else:
            breaker.call(str)
    assert breaker.get_state() == "open"


def test_it_stays_open_for_as_long_as_the_provider_asks(
    breaker: CircuitBreaker, clock: FakeClock
) -> None:
    failing(breaker, 3, errors.UpstreamFailed("busy", retry_after_s=200))
    assert opened(breaker).retry_after_s == 200


@pytest.mark.parametrize("key", ["failure_threshold", "recovery_timeout", "success_threshold"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_number_that_makes_no_sense_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: must be .*, got {value}"):
        CircuitBreaker(**{key: value})


# What counts.


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequest("your mistake"),
        errors.CacheOnlyMiss("not here"),
        BreakerOpen("another one"),
    ],
)
def test_the_callers_mistakes_and_refusals_are_no_failures(
    breaker: CircuitBreaker, error: Exception
) -> None:
    failing(breaker, 50, error)
    assert breaker.get_state() == "closed"
    assert breaker.get_stats()["ignored_calls"] == 50


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
def test_an_exception_with_a_status_counts_by_it(breaker: CircuitBreaker, status: int) -> None:
    class StatusError(Exception):
        status_code = status

    failing(breaker, 3, StatusError())
    assert breaker.get_state() == ("open" if status >= 500 else "closed")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), SystemExit()])
def test_an_interruption_is_no_failure(breaker: CircuitBreaker, error: BaseException) -> None:
    for _ in range(10):
        with pytest.raises(type(error)):
            breaker.call(fail, error)
    assert breaker.get_state() == "closed"


def test_a_judge_decides_about_results_and_exceptions(clock: FakeClock) -> None:
    def judge(result: Any, error: Exception | None) -> str | None:
        if isinstance(error, ValueError):
            return "ignored"
        return "fault" if result == {"error": "overloaded"} else None

    breaker = CircuitBreaker(3, clock=clock, judge=judge)
    failing(breaker, 10, ValueError())
    assert breaker.get_state() == "closed"
    for _ in range(3):
        breaker.call(lambda: {"error": "overloaded"})
    assert breaker.get_state() == "open"


def test_a_judge_is_not_asked_about_a_call_that_was_cancelled(clock: FakeClock) -> None:
    breaker = CircuitBreaker(1, clock=clock, judge=lambda *_: "fault")
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            breaker.call(fail, KeyboardInterrupt())
    assert breaker.get_state() == "closed"


def test_a_judge_that_says_nonsense_gives_the_permit_back(clock: FakeClock) -> None:
    breaker = CircuitBreaker(1, 60, 1, clock=clock, judge=lambda *_: "perhaps")
    breaker.force("open")
    clock.advance(60)
    for _ in range(3):
        with pytest.raises(ValueError, match="ok, fault, ignored or None, not 'perhaps'"):
            breaker.call(str)
    assert breaker.get_state() == "half_open"


def test_slow_calls_open_one_that_was_told_what_slow_is(clock: FakeClock) -> None:
    settings = BreakerSettings(calls_min=2, slow_total_s=10)
    breaker = CircuitBreaker.of(settings, clock=clock)
    for _ in range(2):
        breaker.call(clock.advance, 10.5)
    assert breaker.get_state() == "open"
    assert breaker.take_events()[0].reason == "slow_ratio"


def test_the_exception_of_the_function_arrives_as_it_is(breaker: CircuitBreaker) -> None:
    error = RuntimeError("down")
    with pytest.raises(RuntimeError) as caught:
        breaker.call(fail, error)
    assert caught.value is error


def test_the_traceback_of_a_refusal_does_not_grow(breaker: CircuitBreaker) -> None:
    """Polly: OnActionPreExecute_CircuitOpened_EnsureExceptionStackTraceDoesNotGrow"""
    failing(breaker, 3)
    refusals = [opened(breaker) for _ in range(50)]
    assert len({id(error) for error in refusals}) == 50
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in refusals}) == 1


# Kinds of functions.


def test_a_decorated_function_is_the_function_it_was(breaker: CircuitBreaker) -> None:
    @breaker
    def ask(question: str, *, language: str = "en") -> str:
        """Asks."""
        return f"{question} in {language}"

    assert ask("where", language="fr") == "where in fr"
    assert (ask.__name__, ask.__doc__) == ("ask", "Asks.")
    assert list(inspect.signature(ask).parameters) == ["question", "language"]
    assert ask.breaker is breaker


def test_a_decorated_coroutine_function_stays_one(breaker: CircuitBreaker) -> None:
    @breaker
    async def ask() -> None:
        raise RuntimeError("down")

    async def ask_thrice() -> None:
        for _ in range(3):
            with pytest.raises(RuntimeError):
                await ask()
        with pytest.raises(BreakerOpen):
            await ask()

    assert inspect.iscoroutinefunction(ask)
    asyncio.run(ask_thrice())


def test_a_function_that_returns_an_awaitable_counts_by_what_it_leads_to(
    breaker: CircuitBreaker,
) -> None:
    async def down() -> None:
        raise RuntimeError("down")

    async def up() -> str:
        return "Paris"

    async def run() -> None:
        assert await breaker.call(lambda: up()) == "Paris"
        for _ in range(3):
            with pytest.raises(RuntimeError):
                await breaker.call(lambda: down())

    asyncio.run(run())
    assert breaker.get_stats()["successful_calls"] == 1
    assert breaker.get_state() == "open"


def test_a_generator_is_one_call_from_its_first_item_to_its_last(breaker: CircuitBreaker) -> None:
    @breaker
    def stream(items: int, broken: bool = False) -> Iterator[int]:
        yield from range(items)
        if broken:
            raise RuntimeError("cut off")

    assert list(stream(3)) == [0, 1, 2]
    for _ in range(3):
        with pytest.raises(RuntimeError):
            list(stream(2, broken=True))
    assert breaker.get_stats()["successful_calls"] == 1
    unread = stream(3)
    with pytest.raises(BreakerOpen):
        next(unread)


def test_a_reader_that_stops_early_is_no_failure_and_no_success(breaker: CircuitBreaker) -> None:
    @breaker
    def stream() -> Iterator[int]:
        yield from range(100)

    for _ in range(5):
        reading = stream()
        next(reading)
        reading.close()
    stats = breaker.get_stats()
    assert (stats["ignored_calls"], stats["successful_calls"]) == (5, 0)


def test_values_sent_into_a_generator_arrive_and_its_result_comes_back(
    breaker: CircuitBreaker,
) -> None:
    @breaker
    def echo() -> Any:
        received = yield "ready"
        return received

    dialogue = echo()
    assert next(dialogue) == "ready"
    with pytest.raises(StopIteration, match="hello"):
        dialogue.send("hello")


def test_an_async_generator_is_one_call_and_is_closed_with_its_reader(
    breaker: CircuitBreaker,
) -> None:
    closed = []

    @breaker
    async def stream(broken: bool = False) -> AsyncIterator[int]:
        try:
            yield 1
            if broken:
                raise RuntimeError("cut off")
            yield 2
        finally:
            closed.append(True)

    async def run() -> None:
        assert [item async for item in stream()] == [1, 2]
        reading = stream()
        await anext(reading)
        await reading.aclose()
        assert len(closed) == 2  # now, not when the garbage collector comes by
        for _ in range(3):
            with pytest.raises(RuntimeError):
                [item async for item in stream(broken=True)]
        with pytest.raises(BreakerOpen):
            await anext(stream())

    asyncio.run(run())
    stats = breaker.get_stats()
    assert (stats["successful_calls"], stats["ignored_calls"], len(closed)) == (1, 1, 5)


def test_a_method_is_guarded_for_all_instances_together(clock: FakeClock) -> None:
    guard = CircuitBreaker(2, clock=clock)

    class Client:
        @guard
        def ask(self, question: str) -> str:
            raise RuntimeError(question)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="where"):
            Client().ask("where")
    with pytest.raises(BreakerOpen):
        Client().ask("where")


def test_circuit_gives_each_function_a_breaker_of_its_own() -> None:
    @circuit(failure_threshold=1, recovery_timeout=60)
    def one() -> None:
        raise RuntimeError

    @circuit
    def other() -> str:
        return "up"

    with pytest.raises(RuntimeError):
        one()
    with pytest.raises(BreakerOpen, match="one is open"):
        one()
    assert other() == "up"
    assert other.breaker.get_stats()["total_calls"] == 1


def test_a_block_of_code_is_guarded_by_attempt(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError), breaker.attempt():
            raise RuntimeError
    with pytest.raises(BreakerOpen), breaker.attempt():
        raise AssertionError("not entered")
