"""DSPy's cache over ours, called as DSPy 3.4 calls the cache it is given. It is not installed here,
because it brings LiteLLM; its keys are made as there.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from headgate.config import Config
from headgate.integrations.dspy import HeadgateCache
from headgate.layers.settings import CacheConfig
from headgate.runtime import Runtime

REQUEST = {
    "model": "openai/gpt-4o-mini",
    "prompt": None,
    "messages": [{"role": "user", "content": "Hi"}],
    "temperature": None,
    "api_base": "http://127.0.0.1:1/v1",
    "_fn_identifier": "dspy.clients.execution.call",
}
IGNORED = ["api_key", "api_base", "base_url"]
RECORD = {"_dspy_format": 2, "responses": [{"text": "Hello"}], "usage_data": {"total_tokens": 5}}


class Keys:
    """A cache of DSPy without any tier."""

    def cache_key(
        self, request: dict[str, Any], ignored_args_for_cache_key: list[str] | None = None
    ) -> str:
        ignored = ignored_args_for_cache_key or []
        kept = {name: value for name, value in request.items() if name not in ignored}
        return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


class Answer:
    """An object of another library, with what it cost."""

    def __init__(self) -> None:
        self.text = "Hello"
        self.usage = {"total_tokens": 5}


def test_a_record_is_found_by_dspys_own_key() -> None:
    with Runtime() as runtime:
        cache = HeadgateCache(runtime, Keys())
        assert cache.get(REQUEST, IGNORED) is None
        cache.put(REQUEST, RECORD, IGNORED)
        found = cache.get({**REQUEST, "api_base": "elsewhere"}, IGNORED)
        assert found == RECORD
        found["responses"].clear()
        assert cache.get(REQUEST, IGNORED) == RECORD
        assert cache.get({**REQUEST, "temperature": 1}, IGNORED) is None
        assert cache.cache_key(REQUEST, IGNORED) == Keys().cache_key(REQUEST, IGNORED)
        assert runtime.clear(model="openai/gpt-4o-mini") == 1


def test_an_object_is_copied_and_says_that_it_cost_nothing() -> None:
    with Runtime() as runtime:
        cache = HeadgateCache(runtime, Keys())
        answer = Answer()
        cache.put(REQUEST, answer, IGNORED, enable_memory_cache=True)
        found: Any = cache.get(REQUEST, IGNORED)
        assert (found.text, found.usage, found.cache_hit) == ("Hello", {}, True)
        assert answer.usage == {"total_tokens": 5}
        assert not hasattr(answer, "cache_hit")


def test_the_next_process_finds_a_record(tmp_path: Path) -> None:
    config = Config(cache=CacheConfig(persist=True, persist_path=str(tmp_path / "answers.db")))
    with Runtime(config) as first:
        HeadgateCache(first, Keys()).put(REQUEST, RECORD)
    with Runtime(config) as second:
        assert HeadgateCache(second, Keys()).get(REQUEST) == RECORD


@pytest.mark.parametrize("request_", [{"model": object()}, {"tools": {1, 2}}])
def test_a_request_without_a_key_is_not_kept(request_: dict[str, Any]) -> None:
    with Runtime() as runtime:
        cache = HeadgateCache(runtime, Keys())
        cache.put(request_, RECORD)
        assert cache.get(request_) is None
        assert runtime.stats()["cache"]["size"] == 0


def test_resetting_forgets_this_namespace_alone() -> None:
    with Runtime() as runtime:
        one, other = HeadgateCache(runtime, Keys()), HeadgateCache(runtime, Keys(), "other")
        for cache in (one, other):
            cache.put({"prompt": "Hi"}, RECORD)
        one.reset_memory_cache()
        assert (one.get({"prompt": "Hi"}), other.get({"prompt": "Hi"})) == (None, RECORD)
