"""Watching and clearing as the seed document shows it, and what it lists for later.

FastAPI is not needed: `app` is whatever has `get` and `post` decorators.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from seedmonitor import monitored

from headgate import n3

METRICS_ENDPOINT = '''
# In generated backend
@app.get("/api/metrics/llm")
async def get_llm_metrics():
    """Get LLM performance metrics."""
    cache_stats = _llm_cache.get_stats()
    metrics_stats = _llm_metrics.get_stats()
    
    return {
        "cache": cache_stats,
        "metrics": metrics_stats
    }
'''  # noqa: W293 - letter for letter

CLEARING = '''
# Clear cache manually (e.g., after model update)
@app.post("/api/admin/clear-cache")
async def clear_cache():
    """Clear LLM response cache."""
    stats_before = _llm_cache.get_stats()
    _llm_cache.clear()
    return {
        "status": "cleared",
        "entries_removed": stats_before["size"]
    }
'''


class App:
    """Remembers which function answers which route."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Callable[[], Any]] = {}

    def get(self, path: str) -> Callable[[Any], Any]:
        return self._route("GET", path)

    def post(self, path: str) -> Callable[[Any], Any]:
        return self._route("POST", path)

    def _route(self, method: str, path: str) -> Callable[[Any], Any]:
        def decorate(function: Callable[[], Any]) -> Callable[[], Any]:
            self.routes[method, path] = function
            return function

        return decorate


@pytest.fixture(autouse=True)
def fresh() -> None:
    n3.configure({})


def run(text: str, **more: Any) -> dict[str, Any]:
    """What a block of the seed leaves behind, run with N3's names in sight."""
    names = {**vars(n3), **more}
    exec(compile(text, "the seed document", "exec"), names)
    return names


def ask(count: int) -> None:
    for number in range(count):
        n3.cached_llm_call(f"question {number}", "gpt-4", {}, lambda: "an answer")


def fail(message: str = "slow") -> Any:
    raise TimeoutError(message)


def test_the_metrics_endpoint_shows_cache_and_metrics() -> None:
    app = App()
    run(METRICS_ENDPOINT, app=app)
    ask(2)
    ask(1)
    numbers = asyncio.run(app.routes["GET", "/api/metrics/llm"]())
    assert (numbers["cache"]["hits"], numbers["cache"]["misses"]) == (1, 2)
    assert numbers["cache"]["size"] == 2
    assert numbers["metrics"]["total_calls"] == 3
    assert numbers["metrics"]["cache_hit_rate"] == numbers["cache"]["hit_rate"] == 1 / 3


def test_the_clearing_endpoint_says_how_many_answers_it_removed() -> None:
    app = App()
    run(CLEARING, app=app)
    ask(3)
    clear = app.routes["POST", "/api/admin/clear-cache"]
    assert asyncio.run(clear()) == {"status": "cleared", "entries_removed": 3}
    assert asyncio.run(clear()) == {"status": "cleared", "entries_removed": 0}
    assert n3._llm_cache.get("question 0", "gpt-4", {}) is None


def monitor(rounds: int, before_round: Callable[[int], None]) -> list[float]:
    """Runs the monitor for some rounds; the seconds it slept."""
    return monitored(n3._llm_metrics, rounds, before_round)


def test_the_monitor_reports_every_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ask(1)
    assert monitor(3, lambda _: ask(1)) == [300, 300, 300]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert all(line.startswith("LLM Stats: {'total_calls': ") for line in said)
    assert "'total_calls': 2" in said[0]
    assert "'total_calls': 4" in said[2]


def test_the_monitor_warns_of_many_errors(caplog: pytest.LogCaptureFixture) -> None:
    def fail_one_of_ten(_: int) -> None:
        ask(1)
        for _again in range(8):
            ask(1)
        with pytest.raises(TimeoutError):
            n3.cached_llm_call("another", "gpt-4", {}, fail)

    monitor(1, fail_one_of_ten)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warned == ["High LLM error rate: 1 / 10"]


def test_the_monitor_warns_of_few_hits(caplog: pytest.LogCaptureFixture) -> None:
    ask(4)
    monitor(1, lambda _: ask(1))
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warned == ["Low cache hit rate: 20.0%"]
