"""N3's names: the cache, the metrics, the wrapper over both, and `configure`. The examples of the
seed document itself run in tests/seed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate import n3
from headgate.errors import ConfigError
from headgate.n3 import LLMCache, LLMMetrics, cached_llm_call, configure
from headgate.testing import FakeClock, FakeModel


@pytest.fixture(autouse=True)
def fresh() -> None:
    configure({})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def fail(error: BaseException) -> Any:
    raise error


def test_what_was_put_is_found() -> None:
    cache = LLMCache(maxsize=10, ttl=60)
    cache.put("p", "m", {"temperature": 0}, "response")
    assert cache.get("p", "m", {"temperature": 0}) == "response"
    for prompt, model, params in [("P", "m", {"temperature": 0}), ("p", "n", {"temperature": 0}),
                                  ("p", "m", {"temperature": 1}), ("p", "m", None)]:  # fmt: skip
        assert cache.get(prompt, model, params) is None
    numbers = cache.get_stats()
    assert (numbers["hits"], numbers["misses"], numbers["hit_rate"]) == (1, 4, 0.2)


def test_a_new_cache_has_these_numbers() -> None:
    assert LLMCache(maxsize=7, ttl=60).get_stats() == {
        "hits": 0,
        "misses": 0,
        "evictions": 0,
        "expirations": 0,
        "size": 0,
        "maxsize": 7,
        "ttl": 60,
        "hit_rate": 0.0,
    }


def test_a_second_put_replaces_the_first() -> None:
    cache = LLMCache()
    cache.put("p", "m", {}, "old")
    cache.put("p", "m", {}, "new")
    assert cache.get("p", "m", {}) == "new"
    assert cache.get_stats()["size"] == 1


def test_the_least_recently_used_answer_is_evicted_and_counted() -> None:
    cache = LLMCache(maxsize=2)
    for prompt in "ab":
        cache.put(prompt, "m", {}, prompt)
    cache.get("a", "m", {})
    cache.put("c", "m", {}, "c")
    assert [cache.get(prompt, "m", {}) for prompt in "abc"] == ["a", None, "c"]
    assert cache.get_stats()["evictions"] == 1


def test_an_answer_past_its_time_is_gone_and_counted(clock: FakeClock) -> None:
    cache = LLMCache(ttl=60, clock=clock)
    cache.put("p", "m", {}, "response")
    clock.advance(59)
    assert cache.get("p", "m", {}) == "response"
    clock.advance(1)
    assert cache.get("p", "m", {}) is None
    numbers = cache.get_stats()
    assert (numbers["expirations"], numbers["evictions"], numbers["size"]) == (1, 0, 0)


def test_a_jump_of_the_wall_clock_does_not_matter(clock: FakeClock) -> None:
    cache = LLMCache(ttl=60, clock=clock)
    cache.put("p", "m", {}, "response")
    clock.jump_wall(86_400)
    assert cache.get("p", "m", {}) == "response"


def test_clear_forgets_answers_and_keeps_the_counters() -> None:
    cache = LLMCache()
    cache.put("p", "m", {}, "response")
    cache.get("p", "m", {})
    cache.clear()
    assert cache.get("p", "m", {}) is None
    numbers = cache.get_stats()
    assert (numbers["size"], numbers["hits"], numbers["misses"]) == (0, 1, 1)


@pytest.mark.parametrize("response", [{"words": ["a"]}, (["a"],)], ids=["JSON", "object"])
def test_no_change_of_a_response_reaches_the_cache(response: Any) -> None:
    def words(of: Any) -> list[str]:
        held: list[str] = of["words"] if isinstance(of, dict) else of[0]
        return held

    cache = LLMCache()
    cache.put("p", "m", {}, response)
    words(response).append("handed in")
    words(cache.get("p", "m", {})).append("handed out")
    assert words(cache.get("p", "m", {})) == ["a"]


def test_what_cannot_be_cached_is_neither_kept_nor_counted() -> None:
    cache = LLMCache()
    cache.put("p", "m", {"a set": {1}}, "response")
    cache.put("p", "m", {}, threading.Lock())
    assert cache.get_stats()["size"] == 0
    assert cache.get("p", "m", {"a set": {1}}) is None
    assert (cache.get_stats()["hits"], cache.get_stats()["misses"]) == (0, 0)


def test_caches_share_nothing() -> None:
    one, other = LLMCache(), LLMCache()
    one.put("p", "m", {}, "response")
    assert other.get("p", "m", {}) is None
    assert n3._llm_cache.get("p", "m", {}) is None


@pytest.mark.parametrize(("maxsize", "ttl"), [(0, 60), (10, 0)])
def test_a_cache_without_room_or_time_keeps_nothing(maxsize: int, ttl: float) -> None:
    cache = LLMCache(maxsize, ttl)
    cache.put("p", "m", {}, "response")
    assert cache.get("p", "m", {}) is None


def test_a_negative_size_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="maxsize must be at least 0"):
        LLMCache(maxsize=-1)


def test_threads_may_use_one_cache_at_once() -> None:
    cache, rounds = LLMCache(maxsize=50), 500

    def use(offset: int) -> None:
        for number in range(rounds):
            prompt = f"{(number + offset) % 100}"
            cache.put(prompt, "m", {}, prompt)
            assert cache.get(prompt, "m", {}) in (prompt, None)

    threads = [threading.Thread(target=use, args=(25 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = cache.get_stats()
    assert numbers["hits"] + numbers["misses"] == 4 * rounds
    assert numbers["size"] == 50


def test_a_hit_recorded_by_hand_adds_a_call_and_no_tokens() -> None:
    metrics = LLMMetrics()
    metrics.record_call("m", 100.0, 30)
    metrics.record_call("m", 0.5, tokens=30, cached=True)
    numbers = metrics.get_stats()
    assert (numbers["total_calls"], numbers["cache_hit_rate"]) == (2, 0.5)
    assert numbers["by_model"]["m"]["tokens"] == 30
    assert numbers["by_model"]["m"]["latency_avg"] == 50.25


def test_an_error_recorded_by_hand_is_no_call() -> None:
    metrics = LLMMetrics()
    metrics.record_error("gpt-4", "rate_limit")
    metrics.record_error("gpt-4", "rate_limit")
    numbers = metrics.get_stats()
    assert (numbers["total_calls"], numbers["total_errors"]) == (0, 2)
    assert numbers["errors"] == {"gpt-4:rate_limit": 2}


def test_reset_forgets_every_number() -> None:
    metrics = LLMMetrics()
    metrics.record_call("m", 1.0)
    metrics.record_error("m", "timeout")
    metrics.reset()
    assert metrics.get_stats() == LLMMetrics().get_stats()


@pytest.mark.parametrize("answer", [None, 0, "", [], False, {}], ids=repr)
def test_a_falsy_answer_is_cached(answer: Any) -> None:
    model = FakeModel(reply=answer)
    assert [cached_llm_call("p", "m", {}, model.call) for _ in range(3)] == [answer] * 3
    assert model.count == 1
    assert n3._llm_cache.get_stats()["hits"] == 2


def test_an_exception_propagates_and_counts_a_call_and_an_error() -> None:
    error = TimeoutError("slow")
    with pytest.raises(TimeoutError) as raised:
        cached_llm_call("p", "m", {}, lambda: fail(error))
    assert raised.value is error
    numbers = n3._llm_metrics.get_stats()
    assert (numbers["total_calls"], numbers["errors"]) == (1, {"m:timeout": 1})
    assert cached_llm_call("p", "m", {}, lambda: "an answer") == "an answer"


def test_the_wrapper_counts_in_both_shared_instances() -> None:
    for prompt in "aabaa":
        cached_llm_call(prompt, "m", {}, lambda: "x")
    cache, metrics = n3._llm_cache.get_stats(), n3._llm_metrics.get_stats()
    assert (cache["hits"], cache["misses"], cache["size"]) == (3, 2, 2)
    assert (metrics["cache_hits"], metrics["cache_misses"]) == (3, 2)
    assert metrics["cache_hit_rate"] == cache["hit_rate"] == 0.6


def test_the_wrapper_and_the_shared_cache_hold_the_same_answers() -> None:
    n3._llm_cache.put("p", "m", {}, "put by hand")
    assert cached_llm_call("p", "m", {}, lambda: "asked") == "put by hand"
    cached_llm_call("q", "m", {}, lambda: "asked")
    assert n3._llm_cache.get("q", "m", {}) == "asked"


def test_the_latency_of_a_hit_is_measured_and_not_invented() -> None:
    cached_llm_call("p", "m", {}, lambda: "x")
    n3._llm_metrics.reset()
    for _ in range(100):
        cached_llm_call("p", "m", {}, lambda: "x")
    row = n3._llm_metrics.get_stats()["by_model"]["m"]
    assert row["latency_avg"] > 0
    assert row["latency_p50"] != pytest.approx(0.5, rel=0.03)


def test_identical_calls_of_several_threads_ask_once() -> None:
    model = FakeModel(reply="x")
    model.hold()
    ask: Callable[[], Any] = lambda: cached_llm_call("p", "m", {}, model.call)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    model.wait_for_calls(1)
    model.release()
    for thread in threads:
        thread.join()
    assert model.count == 1
    assert n3._llm_metrics.get_stats()["total_calls"] == 8


def test_configure_starts_anew_behind_the_same_objects() -> None:
    cache, metrics = n3._llm_cache, n3._llm_metrics
    cached_llm_call("p", "m", {}, lambda: "old")
    configure({"llm_cache": {"maxsize": 5, "ttl": 10}})
    assert (n3._llm_cache, n3._llm_metrics) == (cache, metrics)
    assert (cache.get_stats()["maxsize"], cache.get_stats()["ttl"]) == (5, 10.0)
    assert metrics.get_stats()["total_calls"] == 0
    assert cached_llm_call("p", "m", {}, lambda: "new") == "new"
    assert metrics.get_stats()["total_calls"] == 1


def test_a_switched_off_cache_asks_every_time() -> None:
    configure({"llm_cache": {"enabled": False}})
    model = FakeModel()
    for _ in range(2):
        cached_llm_call("p", "m", {}, model.call)
    n3._llm_cache.put("p", "m", {}, "x")
    assert (model.count, n3._llm_cache.get("p", "m", {})) == (2, None)
    assert n3._llm_metrics.get_stats()["total_calls"] == 2


def test_bad_settings_are_refused_and_change_nothing() -> None:
    cached_llm_call("p", "m", {}, lambda: "kept")
    with pytest.raises(ConfigError, match="maxsize"):
        configure({"llm_cache": {"max_size": 10}})
    assert cached_llm_call("p", "m", {}, lambda: "asked again") == "kept"


def with_a_disk(folder: Path) -> str:
    """The first lines of a program whose cache is kept in `folder`."""
    settings = {"persist": True, "persist_path": str(folder / "answers.db")}
    return (
        "from headgate.n3 import _llm_cache, cached_llm_call, configure\n"
        f"configure({{'llm_cache': {settings!r}}})\n"
    )


def ran(program: str) -> list[str]:
    """The words that a program in a process of its own prints."""
    words = [sys.executable, "-c", program]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def test_a_persistent_cache_survives_the_process(tmp_path: Path) -> None:
    program = with_a_disk(tmp_path) + (
        "print(_llm_cache.get('q', 'm', {}), cached_llm_call('p', 'm', {}, lambda: 'asked'))\n"
        "print(cached_llm_call('p', 'm', {}, lambda: 'asked again'))\n"
        "_llm_cache.put('q', 'm', {}, 'put')\n"
        "numbers = _llm_cache.get_stats()\n"
        "print(numbers['hits'], numbers['misses'])\n"
    )
    assert ran(program) == ["None", "asked", "asked", "1", "2"]
    assert ran(program) == ["put", "asked", "asked", "3", "0"]


@pytest.mark.parametrize("latency_ms", [-5.0, float("nan"), float("inf")])
def test_what_is_no_time_spoils_no_average(latency_ms: float) -> None:
    metrics = LLMMetrics()
    metrics.record_call("m", latency_ms, tokens=-5)
    metrics.record_call("m", 10.0, tokens=7)
    row = metrics.get_stats()["by_model"]["m"]
    assert (row["calls"], row["latency_avg"], row["tokens"]) == (2, 5.0, 7)


AFTER_THE_END = """
import atexit
from headgate import errors

def ask():
    try:
        print(n3.cached_llm_call("p", "m", {}, lambda: "open"))
    except errors.Closed:
        print("closed")

atexit.register(ask)  # what is registered first runs last
from headgate import n3
"""


def test_the_runtime_is_closed_when_the_program_ends() -> None:
    """Closing flushes the disk tier, which writes behind."""
    assert ran(AFTER_THE_END) == ["closed"]
