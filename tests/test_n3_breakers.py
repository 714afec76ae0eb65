"""The breakers of an N3 app, and their names in `headgate.n3`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from headgate import n3
from headgate.n3_breakers import MODELS_MAX, Breakers
from headgate.testing import FakeClock, FakeModel

SETTINGS = {"failure_threshold": 3, "recovery_timeout": 60, "success_threshold": 2}


def fail(message: str = "down") -> Any:
    raise ConnectionError(message)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breakers(clock: FakeClock) -> Breakers:
    return Breakers(SETTINGS, clock)


def open_one(breakers: Breakers, model: str = "m") -> None:
    for _ in range(3):
        with pytest.raises(ConnectionError):
            breakers.of(model).call(fail)


def test_each_model_has_its_own(breakers: Breakers) -> None:
    open_one(breakers)
    with pytest.raises(n3._CircuitBreakerError):
        breakers.of("m").call(lambda: "x")
    assert breakers.of("other").call(lambda: "x") == "x"
    states = {model: numbers["state"] for model, numbers in breakers.numbers().items()}
    assert states == {"m": n3._CircuitState.OPEN, "other": n3._CircuitState.CLOSED}
    assert breakers.numbers("third")["third"]["total_calls"] == 0


def test_the_half_open_breaker_admits_one_probe_at_a_time(
    breakers: Breakers, clock: FakeClock
) -> None:
    """The original admits 50 of 50."""
    open_one(breakers)
    clock.advance(60)
    model = FakeModel("x")
    model.hold()
    probe = threading.Thread(target=lambda: breakers.of("m").call(model.call))
    probe.start()
    model.wait_for_calls(1)
    assert breakers.of("m").get_state() == n3._CircuitState.HALF_OPEN
    for _ in range(49):
        with pytest.raises(n3._CircuitBreakerError):
            breakers.of("m").call(model.call)
    model.release()
    probe.join()
    assert model.count == 1


def test_four_failures_in_five_open_it(breakers: Breakers) -> None:
    """They never come three in a row here, and the original stays closed for ever."""
    refused = 0
    for number in range(200):
        try:
            breakers.of("m").call((lambda: "x") if number % 3 == 2 else fail)
        except ConnectionError:
            continue
        except n3._CircuitBreakerError:
            refused += 1
    assert refused > 100


def test_mistakes_of_the_caller_do_not_open_it(breakers: Breakers) -> None:
    """In the original they do."""

    class BadRequestError(Exception):
        status_code = 400

    def mistaken() -> Any:
        raise BadRequestError

    for _ in range(50):
        with pytest.raises(BadRequestError):
            breakers.of("m").call(mistaken)
    assert breakers.of("m").get_state() == "closed"


def test_results_that_say_error_open_it(breakers: Breakers) -> None:
    """In the original they count as success."""
    for _ in range(3):
        assert breakers.of("m").call(lambda: {"status": "error"}) == {"status": "error"}
    assert breakers.of("m").get_state() == "open"


def test_calls_that_are_awaited_open_it(breakers: Breakers) -> None:
    """In the original a coroutine that will fail counts as success."""

    async def down() -> Any:
        raise ConnectionError

    for _ in range(3):
        with pytest.raises(ConnectionError):
            asyncio.run(_awaited(breakers.of("m").call(down)))
    assert breakers.of("m").get_state() == "open"


async def _awaited(work: Any) -> Any:
    return await work


def test_one_that_is_switched_off_admits_everything(clock: FakeClock) -> None:
    breakers = Breakers({**SETTINGS, "enabled": False}, clock)
    for _ in range(10):
        with pytest.raises(ConnectionError):
            breakers.of("m").call(fail)
    assert breakers.of("m").call(lambda: "x") == "x"


def test_there_are_not_endlessly_many(breakers: Breakers) -> None:
    first = breakers.of("0")
    for number in range(MODELS_MAX + 5):
        breakers.of(f"{number}")
    assert len(breakers.numbers()) == MODELS_MAX
    assert breakers.of("0") is not first
    assert breakers.of("500") is breakers.of("500")


def test_the_names_of_generated_backends() -> None:
    n3.configure({"circuit_breaker": {"failure_threshold": 2}})
    assert n3._protected_llm_call("m", lambda: "x") == "x"
    for _ in range(2):
        with pytest.raises(ConnectionError):
            n3._protected_llm_call("m", fail)
    with pytest.raises(n3._CircuitBreakerError):
        n3._protected_llm_call("m", lambda: "x")
    assert n3._get_circuit_breaker("m") is n3._get_circuit_breaker("m")
    assert isinstance(n3._get_circuit_breaker("m"), n3._CircuitBreaker)
    numbers = n3._get_circuit_breaker_stats("m")["m"]
    assert (numbers["state"], numbers["failed_calls"], numbers["rejected_calls"]) == ("open", 2, 1)
    assert set(n3._get_circuit_breaker_stats()) == {"m"}
    n3._reset_circuit_breaker("m")
    assert n3._get_circuit_breaker("m").get_state() == n3._CircuitState.CLOSED
    n3.configure({})
    assert n3._get_circuit_breaker_stats() == {}
