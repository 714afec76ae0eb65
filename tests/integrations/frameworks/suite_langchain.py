"""Runs where LangChain is installed: its own suites for caches, and chat models over ours.

The suites want a cache that is empty for each test, and say no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite

from headgate import Config, Runtime
from headgate.integrations.langchain import NAMESPACE, HeadgateCache, model_of
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.testing import Answer, FakeClock, FakeProvider, Status

MEMORY, DISK = "memory", "disk"


@pytest.fixture(params=[MEMORY, DISK])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    on_disk = request.param == DISK
    config = CacheConfig(persist=on_disk, persist_path=str(tmp_path / "answers.db"))
    with Runtime(Config(cache=config)) as opened:
        yield opened


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, runtime: Runtime) -> HeadgateCache:
        return HeadgateCache(runtime)


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, runtime: Runtime) -> HeadgateCache:
        return HeadgateCache(runtime)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def chat(provider: FakeProvider, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="gpt-4o-mini", base_url=provider.base_url, api_key="sk-x", max_retries=0, **more
    )


async def test_a_chat_model_with_the_cache_asks_once(
    runtime: Runtime, provider: FakeProvider
) -> None:
    model = chat(provider, cache=HeadgateCache(runtime))
    first, again = model.invoke("Hello"), model.invoke("Hello")
    awaited = await model.ainvoke("Hello")
    assert first.content == again.content == awaited.content
    assert again.response_metadata["finish_reason"] == "stop"
    assert len(provider.calls) == 1
    model.invoke("Hello", stop=["x"])
    assert len(provider.calls) == 2
    assert runtime.clear(model="gpt-4o-mini") == 2


async def test_a_chat_model_over_the_transport_asks_once_streams_too(
    runtime: Runtime, provider: FakeProvider
) -> None:
    """LangChain's streams are another request than its whole answers, so there are two."""
    provider.script(*[Answer(text="one two three")] * 2)
    model = chat(
        provider,
        http_client=runtime.http_client(),
        http_async_client=runtime.http_client(asynchronous=True),
    )
    for _ in range(2):
        assert model.invoke("Count").content == "one two three"
        assert "".join(str(chunk.content) for chunk in model.stream("Count")) == "one two three"
        assert (await model.ainvoke("Count")).content == "one two three"
        read = [str(chunk.content) async for chunk in model.astream("Count")]
        assert "".join(read) == "one two three"
    assert len(provider.calls) == 2
    assert runtime.stats()["metrics"]["by_model"]["gpt-4o-mini"]["calls"] == 8


def test_an_error_is_not_kept(runtime: Runtime, provider: FakeProvider) -> None:
    provider.script(Status(500))
    model = chat(provider, cache=HeadgateCache(runtime))
    with pytest.raises(Exception, match="500"):
        model.invoke("Hello")
    assert model.invoke("Hello").content
    assert len(provider.calls) == 2


def test_messages_come_back_as_they_were(runtime: Runtime) -> None:
    call = {"name": "look", "args": {"at": "map"}, "id": "1", "type": "tool_call"}
    message = AIMessage("x", tool_calls=[call], response_metadata={"model": "m"}, id="run-1")
    kept = [ChatGeneration(message=message, generation_info={"n": 1}), Generation(text="plain")]
    cache = HeadgateCache(runtime)
    cache.update("p", "m", kept)
    assert cache.lookup("p", "m") == kept
    assert cache.lookup("p", "m") is not cache.lookup("p", "m")


def test_what_another_version_wrote_and_nobody_can_read_is_a_miss(runtime: Runtime) -> None:
    cache = HeadgateCache(runtime)
    for held in ([{"kind": "Unknown", "details": None, "text": "x"}], ["x"], "text", 5):
        key = cache._key("p", "m")
        cache._shelf.put(key, "langchain", held)
        assert cache.lookup("p", "m") is None


def test_two_namespaces_share_nothing(runtime: Runtime) -> None:
    one, other = HeadgateCache(runtime), HeadgateCache(runtime, "other")
    one.update("p", "m", [Generation(text="x")])
    assert other.lookup("p", "m") is None
    other.clear()
    assert one.lookup("p", "m") == [Generation(text="x")]


def test_the_disk_keeps_it_for_the_next_process(tmp_path: Path) -> None:
    config = Config(cache=CacheConfig(persist=True, persist_path=str(tmp_path / "answers.db")))
    kept = [ChatGeneration(message=AIMessage("x"))]
    with Runtime(config) as first:
        HeadgateCache(first).update("p", "m", kept)
    with Runtime(config) as second:
        assert HeadgateCache(second).lookup("p", "m") == kept


def test_a_model_has_its_own_time_to_live() -> None:
    clock, described = FakeClock(), '{"kwargs": {"model_name": "short"}}---[]'
    cache = CacheConfig(ttl=60, max_stale=0, models={"short": ModelCacheConfig(ttl=5)})
    with Runtime(Config(cache=cache), clock=clock) as opened:
        kept = HeadgateCache(opened)
        kept.update("p", described, [Generation(text="x")])
        assert kept.lookup("p", described) is not None
        clock.advance(6)
        assert kept.lookup("p", described) is None


@pytest.mark.parametrize(
    ("described", "model"),
    [
        ('{"kwargs": {"model_name": "m"}}---[]', "m"),
        ('{"kwargs": {"model": "m"}}---[]', "m"),
        ('{"model_name": "m"}', "m"),
        ('{"kwargs": {"model": 5}}', NAMESPACE),
        ('{"kwargs": []}', NAMESPACE),
        ("[]", NAMESPACE),
        ("[('model', 'm')]", NAMESPACE),
        ("", NAMESPACE),
    ],
)
def test_the_model_is_read_from_the_description_of_the_call(described: str, model: str) -> None:
    assert model_of(described) == model
