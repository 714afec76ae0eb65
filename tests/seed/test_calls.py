"""The wrapper of the seed document: how it is used, and the code that generated backends hold."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from headgate import n3
from headgate.testing import FakeModel

USAGE = """
# Automatic caching wrapper
response = _cached_llm_call(
    prompt="Summarize this text",
    model="gpt-4",
    params={"temperature": 0.7},
    call_func=lambda: _call_openai(...)
)
"""

# The classes stand there as `# ... (full implementation) ...`: ours take their place.
GENERATED_BACKEND = """
# Auto-generated in main.py runtime section
from collections import OrderedDict
import threading
import hashlib
import json
import time

# Global instances
_llm_cache = _LLMCache(maxsize=1000, ttl=3600)
_llm_metrics = _LLMMetrics()

# Wrapper function for cached calls
def _cached_llm_call(prompt, model, params, call_func):
    # Check cache
    cached = _llm_cache.get(prompt, model, params)
    if cached:
        _llm_metrics.record_call(model, 0.5, cached=True)
        return cached
    
    # Make call with timing
    start = time.time()
    response = call_func()
    latency_ms = (time.time() - start) * 1000
    
    # Cache and record metrics
    _llm_cache.put(prompt, model, params, response)
    _llm_metrics.record_call(model, latency_ms, cached=False)
    
    return response
"""  # noqa: W293 - letter for letter

CACHE_SKETCH = """
class _LLMCache:
    def __init__(self, maxsize=1000, ttl=3600):
        self.cache: OrderedDict[str, tuple[Any, float]] = OrderedDict()
        self.lock = threading.RLock()
    
    def get(self, prompt, model, params) -> Optional[Any]:
        # Check cache, verify TTL, return if valid
        ...
    
    def put(self, prompt, model, params, response):
        # Store with timestamp, evict oldest if full
        ...
"""  # noqa: W293 - letter for letter

METRICS_SKETCH = """
class _LLMMetrics:
    def record_call(self, model, latency_ms, tokens, cached):
        # Track successful call with metrics
        ...
    
    def record_error(self, model, error_type):
        # Track failure
        ...
    
    def get_stats(self) -> Dict[str, Any]:
        # Return snapshot with percentiles
        ...
"""  # noqa: W293 - letter for letter

STATS_OUTPUT = """
{
    "total_calls": 1523,
    "total_errors": 12,
    "cache_hit_rate": 0.62,  # 62% cache hits
    "by_model": {
        "gpt-4": {
            "calls": 850,
            "tokens": 1250000,
            "latency_p50": 1250.5,  # ms
            "latency_p95": 3200.2,
            "latency_p99": 4800.1,
            "latency_avg": 1580.3
        },
        "gpt-3.5-turbo": {
            "calls": 673,
            "tokens": 450000,
            "latency_p50": 850.2,
            "latency_p95": 1800.5,
            "latency_p99": 2200.8,
            "latency_avg": 950.1
        }
    },
    "errors": {
        "gpt-4:rate_limit": 8,
        "gpt-3.5-turbo:timeout": 4
    }
}
"""


@pytest.fixture(autouse=True)
def fresh() -> None:
    n3.configure({})


def run(text: str, **more: Any) -> dict[str, Any]:
    """What a block of the seed leaves behind, run with N3's names in sight."""
    names = {**vars(n3), **more}
    exec("from __future__ import annotations\n" + text, names)
    return names


def test_the_usage_example_asks_the_model_once() -> None:
    model = FakeModel(reply="A short summary.")
    answers = [run(USAGE, _call_openai=model.call)["response"] for _ in range(3)]
    assert answers == ["A short summary."] * 3
    assert model.count == 1


def test_a_generated_wrapper_works_over_our_cache_and_metrics() -> None:
    names = run(GENERATED_BACKEND)
    model = FakeModel(reply="Paris")
    for _ in range(4):
        assert names["_cached_llm_call"]("Capital?", "gpt-4", {}, model.call) == "Paris"
    assert model.count == 1
    cache, metrics = names["_llm_cache"].get_stats(), names["_llm_metrics"].get_stats()
    assert (cache["hits"], cache["misses"], cache["size"]) == (3, 1, 1)
    assert (metrics["total_calls"], metrics["cache_hit_rate"]) == (4, 0.75)


def test_a_generated_wrapper_over_the_shared_instances_counts_nothing_twice() -> None:
    wrapper = GENERATED_BACKEND.partition("# Wrapper function")[2]
    names = run(f"import time\n#{wrapper}")
    assert names["_cached_llm_call"] is not n3._cached_llm_call
    for _ in range(4):
        names["_cached_llm_call"]("Capital?", "gpt-4", {}, lambda: "Paris")
    cache, metrics = n3._llm_cache.get_stats(), n3._llm_metrics.get_stats()
    assert (cache["hits"], cache["misses"], cache["hit_rate"]) == (3, 1, 0.75)
    assert (metrics["total_calls"], metrics["cache_hit_rate"]) == (4, 0.75)


def test_the_classes_have_the_methods_and_parameters_of_the_sketches() -> None:
    sketched = run(CACHE_SKETCH + METRICS_SKETCH)
    methods = {"_LLMCache": ("__init__", "get", "put"),
               "_LLMMetrics": ("record_call", "record_error", "get_stats")}  # fmt: skip
    for name, expected in methods.items():
        for method in expected:
            ours = list(inspect.signature(getattr(getattr(n3, name), method)).parameters)
            theirs = list(inspect.signature(getattr(sketched[name], method)).parameters)
            assert ours[: len(theirs)] == theirs, f"{name}.{method}"
    defaults = inspect.signature(n3._LLMCache).parameters
    assert (defaults["maxsize"].default, defaults["ttl"].default) == (1000, 3600)


def test_the_numbers_have_every_key_of_the_stats_output() -> None:
    shown = run(f"shown = {STATS_OUTPUT.strip()}")["shown"]
    metrics = n3.LLMMetrics()
    for model in shown["by_model"]:
        metrics.record_call(model, 1250.5, tokens=10, cached=False)
    for name in shown["errors"]:
        metrics.record_error(*name.split(":"))
    numbers = metrics.get_stats()
    assert set(shown) <= set(numbers)
    assert set(shown["errors"]) == set(numbers["errors"])
    for model, row in shown["by_model"].items():
        assert set(row) <= set(numbers["by_model"][model])
