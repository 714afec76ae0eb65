"""The tests of the seed document, letter for letter. The expiry test sleeps for two seconds because
it is written so there.
"""

from __future__ import annotations

from headgate import n3

UNIT_TESTS = """
# tests/test_llm_cache.py
def test_cache_hit():
    cache = _LLMCache(maxsize=10, ttl=60)
    
    # Store response
    cache.put("prompt", "gpt-4", {}, "response")
    
    # Retrieve (should hit)
    result = cache.get("prompt", "gpt-4", {})
    assert result == "response"
    
    stats = cache.get_stats()
    assert stats["hit_rate"] == 1.0

def test_cache_expiration():
    cache = _LLMCache(maxsize=10, ttl=1)  # 1 second TTL
    
    cache.put("prompt", "gpt-4", {}, "response")
    
    # Wait for expiration
    import time
    time.sleep(2)
    
    # Should miss (expired)
    result = cache.get("prompt", "gpt-4", {})
    assert result is None
"""  # noqa: W293 - letter for letter

INTEGRATION_TESTS = """
# tests/test_llm_metrics.py
def test_metrics_tracking():
    metrics = _LLMMetrics()
    
    # Record calls
    metrics.record_call("gpt-4", 1500.0, tokens=1000, cached=False)
    metrics.record_call("gpt-4", 2000.0, tokens=1500, cached=False)
    metrics.record_call("gpt-4", 0.5, cached=True)
    
    stats = metrics.get_stats()
    
    assert stats["total_calls"] == 3
    assert stats["cache_hit_rate"] == 1/3
    assert stats["by_model"]["gpt-4"]["calls"] == 3
    assert stats["by_model"]["gpt-4"]["tokens"] == 2500
"""  # noqa: W293 - letter for letter


def run(text: str, name: str) -> None:
    """The function `name` of a block of the seed, with N3's names in sight."""
    names = dict(vars(n3))
    exec(compile(text, "the seed document", "exec"), names)
    names[name]()


def test_the_seeds_test_of_a_hit_passes() -> None:
    run(UNIT_TESTS, "test_cache_hit")


def test_the_seeds_test_of_expiration_passes_with_its_real_two_seconds() -> None:
    run(UNIT_TESTS, "test_cache_expiration")


def test_the_seeds_integration_test_of_metrics_passes() -> None:
    run(INTEGRATION_TESTS, "test_metrics_tracking")
