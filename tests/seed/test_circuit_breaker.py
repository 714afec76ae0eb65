"""The circuit breaker of the seed document: its example, and the class of generated backends."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from headgate import circuitbreaker, n3
from headgate.errors import BreakerOpen

EXAMPLE = """
from circuitbreaker import circuit

@circuit(failure_threshold=5, recovery_timeout=60)
async def protected_llm_call(prompt, model):
    return await call_llm(prompt, model)
"""


def test_the_example_of_the_document_fails_fast_when_the_provider_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "circuitbreaker", circuitbreaker)
    asked = []

    async def call_llm(prompt: str, model: str) -> str:
        asked.append(prompt)
        if model == "down":
            raise ConnectionError("no answer")
        return "Paris"

    names: dict[str, Any] = {"call_llm": call_llm}
    exec(EXAMPLE, names)
    protected_llm_call = names["protected_llm_call"]

    async def ask() -> None:
        assert await protected_llm_call("Capital of France?", "up") == "Paris"
        for _ in range(5):
            with pytest.raises(ConnectionError):
                await protected_llm_call("Capital of France?", "down")
        with pytest.raises(BreakerOpen) as caught:
            await protected_llm_call("Capital of France?", "up")
        assert 59 < (caught.value.retry_after_s or 0) <= 60

    asyncio.run(ask())
    assert len(asked) == 6


@pytest.mark.parametrize("name", ["CircuitBreaker", "_CircuitBreaker"])
def test_the_class_of_generated_backends_has_its_methods_and_numbers(name: str) -> None:
    breaker = getattr(n3, name)(failure_threshold=5, recovery_timeout=60.0, success_threshold=2)
    assert breaker.call(lambda: "Paris") == "Paris"
    for _ in range(5):
        with pytest.raises(ConnectionError):
            breaker.call(lambda: fail())
    with pytest.raises(n3._CircuitBreakerError):
        breaker.call(lambda: "Paris")
    assert breaker.get_state() == "open"
    stats = breaker.get_stats()
    wanted = {"total_calls": 7, "successful_calls": 1, "failed_calls": 5, "rejected_calls": 1,
              "state_changes": 1, "state": "open", "failure_count": 5,
              "success_rate": 1 / 6}  # fmt: skip
    assert {key: stats[key] for key in wanted} == wanted
    breaker.reset()
    assert breaker.get_state() == "closed"
    assert breaker.get_stats()["failure_count"] == 0


def fail() -> Any:
    raise ConnectionError("no answer")
