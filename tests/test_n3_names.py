"""The names that drop-in code of N3 imports, and the faults of the original that ours has not."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headgate import n3
from headgate.n3 import LLMCache, LLMMetrics, cached_llm_call, configure
from headgate.testing import FakeModel


@pytest.fixture(autouse=True)
def fresh() -> None:
    configure({})


DROP_IN = """
_CircuitBreaker _CircuitBreakerError _CircuitState _LLMBatcher _LLMCache _LLMMetrics
_batched_llm_call _cached_llm_call _clear_llm_cache _configure _get_batch_stats
_get_circuit_breaker _get_circuit_breaker_stats _get_llm_batcher _get_llm_cache _get_llm_metrics
_get_llm_stats _protected_llm_call _record_event _record_llm_metrics _reset_circuit_breaker
_reset_llm_metrics
"""
"""What drop-in code imports; each is used in a test of this file, of tests/test_n3_breakers.py or
of tests/test_n3_batching.py."""


@pytest.mark.parametrize("name", DROP_IN.split())
def test_every_name_of_generated_backends_has_a_twin(name: str) -> None:
    assert getattr(n3, name) is getattr(n3, name.removeprefix("_"))


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = n3.nothing  # type: ignore[attr-defined]


def test_clearing_returns_the_numbers_of_before() -> None:
    n3._get_llm_cache().put("p", "m", {}, "x")
    assert n3._clear_llm_cache()["size"] == 1
    assert n3._get_llm_cache().get_stats()["size"] == 0


def test_metrics_are_recorded_by_hand() -> None:
    n3._record_llm_metrics("m", 100.0, tokens=7)
    n3._record_llm_metrics("m", 0.1, cached=True)
    n3._record_llm_metrics("m", 5.0, error="timeout")
    numbers = n3._get_llm_stats()
    assert (numbers["total_calls"], numbers["errors"]) == (3, {"m:timeout": 1})
    assert n3._get_llm_metrics().get_stats() == numbers
    n3._reset_llm_metrics()
    assert n3._get_llm_stats()["total_calls"] == 0


def test_one_cache_and_one_set_of_numbers_for_every_thread() -> None:
    """The original makes them when they are first asked for, and a race makes two."""
    found: list[tuple[int, int]] = []
    look = lambda: found.append((id(n3._get_llm_cache()), id(n3._get_llm_metrics())))  # noqa: E731
    threads = [threading.Thread(target=look) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {(id(n3._llm_cache), id(n3._llm_metrics))}


@pytest.mark.parametrize(
    ("level", "number"), [("warning", 30), ("ERROR", 40), ("strange", 20), (None, 20)]
)
def test_an_event_is_a_line_in_the_log(
    level: Any, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "headgate.n3")
    n3._record_event("llm_cache", "hit", level, {"model": "m", "odd": object})
    (record,) = [one for one in caplog.records if one.name == "headgate.n3"]
    assert record.levelno == number
    assert record.getMessage().startswith("llm_cache.hit {'model': 'm'")


def test_an_answer_that_says_error_is_handed_on_counted_and_not_kept() -> None:
    """In the original such an answer is the answer for an hour."""
    model = FakeModel({"text": "Paris"})
    model.script({"status": "error", "error": "overloaded"})
    assert cached_llm_call("p", "m", {}, model.call) == {"status": "error", "error": "overloaded"}
    numbers = n3._llm_metrics.get_stats()
    assert (numbers["total_calls"], numbers["errors"]) == (1, {"m:error_answer": 1})
    for _ in range(2):
        assert cached_llm_call("p", "m", {}, model.call) == {"text": "Paris"}
    assert model.count == 2


def test_parameters_that_are_no_json_do_not_stop_the_call() -> None:
    """In the original they raise TypeError."""
    model = FakeModel("x")
    assert cached_llm_call("p", "m", {"tools": {1, 2}}, model.call) == "x"
    assert model.count == 1


def test_a_second_put_makes_it_the_most_recent() -> None:
    """In the original it stays where it was, and goes first."""
    cache = LLMCache(maxsize=2)
    for prompt in "aba":
        cache.put(prompt, "m", {}, prompt)
    cache.put("c", "m", {}, "c")
    assert [cache.get(prompt, "m", {}) for prompt in "abc"] == ["a", None, "c"]


def test_the_median_of_two_latencies_is_not_the_larger() -> None:
    metrics = LLMMetrics()
    metrics.record_call("m", 100.0)
    metrics.record_call("m", 200.0)
    assert metrics.get_stats()["by_model"]["m"]["latency_p50"] == pytest.approx(100, rel=0.03)


def test_a_model_that_only_fails_is_in_the_numbers() -> None:
    metrics = LLMMetrics()
    metrics.record_error("m", "timeout")
    assert metrics.get_stats()["by_model"]["m"]["errors"] == 1
