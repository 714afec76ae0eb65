"""Runs where instructor is installed: its cache over ours, and its clients over our client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import instructor
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from headgate import Config, Runtime
from headgate.integrations.instructor import HeadgateCache
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.testing import Answer, FakeClock, FakeProvider

QUESTION = [{"role": "user", "content": "Who is it?"}]


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def ask(provider: FakeProvider, cache: HeadgateCache, **more: object) -> Person:
    with OpenAI(base_url=provider.base_url, api_key="sk-x", max_retries=0) as client:
        asking = instructor.from_openai(client, cache=cache, cache_namespace="app")
        found: Person = asking.chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, response_model=Person, **more
        )
        return found


async def ask_async(provider: FakeProvider, cache: HeadgateCache) -> Person:
    async with AsyncOpenAI(base_url=provider.base_url, api_key="sk-x", max_retries=0) as client:
        asking = instructor.from_openai(client, cache=cache, cache_namespace="app")
        found: Person = await asking.chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, response_model=Person
        )
        return found


async def test_a_checked_answer_is_asked_for_once(provider: FakeProvider) -> None:
    with Runtime() as runtime:
        cache = HeadgateCache(runtime)
        first, again = (ask(provider, cache) for _ in range(2))
        assert first.model_dump() == again.model_dump() == {"name": "example", "age": 1}
        assert first is not again
        assert len(provider.calls) == 1
        ask(provider, cache, temperature=1)
        assert len(provider.calls) == 2
        assert runtime.clear(namespace="instructor") == 2
        awaited = [await ask_async(provider, cache) for _ in range(2)]
        assert [one.model_dump() for one in awaited] == [first.model_dump()] * 2
        assert len(provider.calls) == 3


def test_the_disk_keeps_it_for_the_next_process(provider: FakeProvider, tmp_path: Path) -> None:
    config = Config(cache=CacheConfig(persist=True, persist_path=str(tmp_path / "answers.db")))
    for _ in range(2):
        with Runtime(config) as runtime:
            assert ask(provider, HeadgateCache(runtime)).name == "example"
    assert len(provider.calls) == 1


@pytest.mark.parametrize(("cache_ttl", "lives_s"), [(None, 60), (5, 5)])
def test_the_time_to_live_of_a_call_goes_before_that_of_the_configuration(
    provider: FakeProvider, cache_ttl: int | None, lives_s: int
) -> None:
    clock = FakeClock()
    settings = CacheConfig(max_stale=0, models={"instructor": ModelCacheConfig(ttl=60)})
    with Runtime(Config(cache=settings), clock=clock) as runtime:
        cache = HeadgateCache(runtime)
        for advance_s, calls in ((0, 1), (lives_s - 1, 1), (2, 2)):
            clock.advance(advance_s)
            ask(provider, cache, cache_ttl=cache_ttl)
            assert len(provider.calls) == calls


def test_over_our_client_repairs_are_calls_of_their_own(provider: FakeProvider) -> None:
    """What was wrong is asked again, and the second time the whole of it is in the cache."""
    provider.script(Answer(text='{"name": "Ann"}'), Answer(text='{"name": "Ann", "age": 5}'))
    with Runtime() as runtime, runtime.http_client(library="httpx") as library:
        client = OpenAI(base_url=provider.base_url, api_key="sk-x", http_client=library)
        asking = instructor.from_openai(client, mode=instructor.Mode.JSON)
        for _ in range(2):
            found = asking.chat.completions.create(
                model="gpt-4o-mini", messages=QUESTION, response_model=Person, max_retries=2
            )
            assert found.model_dump() == {"name": "Ann", "age": 5}
        assert len(provider.calls) == 2
