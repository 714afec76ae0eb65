"""LiteLLM's cache over ours, called as LiteLLM 1.110 calls the caches it is given: with its own
arguments and all of its caller's. It is not installed here, and never will be.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from headgate.config import Config
from headgate.integrations.litellm import HeadgateCache
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.runtime import Runtime
from headgate.testing import FakeClock

CALL: dict[str, Any] = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Hi"}],
    "caching": True,
    "litellm_call_id": "1",
    "metadata": {"user": "u"},
}
VALUE = {"timestamp": 1_700_000_000.5, "response": '{"id": "chatcmpl-1"}'}


@pytest.fixture(params=["memory", "disk"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    on_disk = request.param == "disk"
    return Config(cache=CacheConfig(persist=on_disk, persist_path=str(tmp_path / "answers.db")))


def test_what_is_kept_is_found_in_both_ways(config: Config) -> None:
    async def ask(cache: HeadgateCache) -> None:
        assert await cache.async_get_cache("a", **CALL) is None
        await cache.async_set_cache("a", VALUE, **CALL)
        assert await cache.async_get_cache("a", **CALL) == VALUE

    with Runtime(config) as runtime:
        cache = HeadgateCache(runtime)
        asyncio.run(ask(cache))
        assert cache.get_cache("a", **CALL) == VALUE
        assert cache.get_cache("a", **CALL) is not cache.get_cache("a", **CALL)
        assert cache.get_cache("b", **CALL) is None
        cache.set_cache("b", VALUE, **CALL)
        assert runtime.clear(model="openai/gpt-4o-mini") == 2


def test_the_next_process_finds_it(tmp_path: Path) -> None:
    config = Config(cache=CacheConfig(persist=True, persist_path=str(tmp_path / "answers.db")))
    with Runtime(config) as first:
        HeadgateCache(first).set_cache("a", VALUE, **CALL)
    with Runtime(config) as second:
        assert asyncio.run(HeadgateCache(second).async_get_cache("a", **CALL)) == VALUE


def test_the_parts_of_a_request_for_embeddings_are_kept_one_by_one() -> None:
    async def ask(cache: HeadgateCache) -> None:
        await cache.async_set_cache_pipeline(cache_list=[("a", VALUE), ("b", [0.5])], ttl=5)
        await cache.batch_cache_write("c", "text", **CALL)
        found = [await cache.async_get_cache(key) for key in "abc"]
        assert found == [VALUE, [0.5], "text"]
        assert await cache.ping()
        await cache.delete_cache_keys(["a", "c", "nobody"])
        assert [await cache.async_get_cache(key) for key in "abc"] == [None, [0.5], None]
        await cache.disconnect()

    with Runtime() as runtime:
        asyncio.run(ask(HeadgateCache(runtime)))


@pytest.mark.parametrize(("said", "lives_s"), [({}, 60), ({"ttl": None}, 60), ({"ttl": 5}, 5)])
def test_a_time_to_live_goes_before_that_of_the_model(said: dict[str, Any], lives_s: int) -> None:
    clock = FakeClock()
    settings = CacheConfig(max_stale=0, models={"m": ModelCacheConfig(ttl=60)})
    with Runtime(Config(cache=settings), clock=clock) as runtime:
        cache = HeadgateCache(runtime)
        cache.set_cache("a", VALUE, model="m", **said)
        clock.advance(lives_s - 1)
        assert cache.get_cache("a", model="m") == VALUE
        clock.advance(2)
        assert cache.get_cache("a", model="m") is None


def test_a_namespace_is_flushed_alone() -> None:
    with Runtime() as runtime:
        one, other = HeadgateCache(runtime), HeadgateCache(runtime, "other")
        for cache in (one, other):
            cache.set_cache("a", VALUE)
        one.flush_cache()
        assert (one.get_cache("a"), other.get_cache("a")) == (None, VALUE)


def test_where_caching_is_off_nothing_is_kept() -> None:
    with Runtime(Config(cache=CacheConfig(enabled=False))) as runtime:
        cache = HeadgateCache(runtime)
        cache.set_cache("a", VALUE, **CALL)
        assert cache.get_cache("a", **CALL) is None
        asyncio.run(cache.delete_cache_keys(["a"]))


def test_nothing_of_litellm_is_imported() -> None:
    assert "litellm" not in sys.modules
