"""Embeddings by the official OpenAI SDK, through the gateway and through the transport: small calls
go upstream together, lists are known input by input, and nobody notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from gates import Gate
from keyring import a_key
from oracle import until

from headgate import Runtime
from headgate.config import Config, KeysConfig, ProviderConfig
from headgate.layers.settings import BatchConfig, CacheConfig, LimitsConfig
from headgate.testing import FakeProvider
from headgate.types import Secret

MODEL = "text-embedding-3-small"
SDK: dict[str, Any] = {"api_key": "sk-test", "max_retries": 0}
ONE_AT_ONCE = LimitsConfig(concurrency_max=1, loop_lag_max=60.0)
"""What comes while a request is under way waits for its end: how much goes together does not depend
on how fast this machine is."""
WAYS = ("gateway", "transport")
TEXTS = [f"question number {number}" for number in range(40)]


class Way:
    """One way from the SDK to the provider."""

    def __init__(self, runtime: Runtime, base_url: str, through: bool) -> None:
        self.runtime = runtime
        self._base_url = base_url
        self._through = through

    def sync(self, **more: Any) -> openai.OpenAI:
        if self._through:
            more = {"http_client": self.runtime.http_client(), **more}
        return openai.OpenAI(**{**SDK, "base_url": self._base_url, **more})

    def asynchronous(self) -> openai.AsyncOpenAI:
        more = {"http_client": self.runtime.http_client(True)} if self._through else {}
        return openai.AsyncOpenAI(**{**SDK, "base_url": self._base_url, **more})

    def flights(self) -> int:
        """Calls that are under way, or wait to be."""
        (busy,) = [one.busy for one in self.runtime.layers if one.name == "coalesce"]
        return 0 if busy is None else sum(count for (count,) in busy().values())


@contextmanager
def opened(name: str, provider: FakeProvider, **blocks: Any) -> Iterator[Way]:
    at = {"openai": ProviderConfig(base_url=provider.base_url)}
    config = Config(providers=at, **{"limits": ONE_AT_ONCE, **blocks})
    if name == "transport":
        with Runtime(config) as runtime:
            yield Way(runtime, provider.base_url, True)
        return
    gate = Gate(config)
    try:
        yield Way(gate.runtime, gate.openai_url, False)
    finally:
        gate.close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, provider: FakeProvider) -> Iterator[Way]:
    with opened(request.param, provider) as made:
        yield made


def embed(client: openai.OpenAI, given: Any, **more: Any) -> Any:
    return client.embeddings.create(model=MODEL, input=given, dimensions=8, **more)


def vectors(answer: Any) -> list[Any]:
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return [item.embedding for item in answer.data]


def expected(given: list[Any], **more: Any) -> list[Any]:
    """What a provider says that nobody stands before."""
    with (
        FakeProvider() as other,
        openai.OpenAI(base_url=other.base_url, **SDK) as client,
    ):
        return vectors(embed(client, given, **more))


def asked(provider: FakeProvider) -> list[list[Any]]:
    given = [call.body["input"] for call in provider.calls]
    return [[one] if isinstance(one, str) else one for one in given]


def all_at_once(way: Way, provider: FakeProvider, ask: Callable[[str], Any]) -> list[Any]:
    """The answers to `TEXTS`, which all wait while the first of them is under way."""
    provider.hold()
    with ThreadPoolExecutor(len(TEXTS)) as pool:
        first = pool.submit(ask, TEXTS[0])
        provider.wait_for_calls(1)
        others = [pool.submit(ask, text) for text in TEXTS[1:]]
        until(lambda: way.flights() == len(TEXTS), "all of them wait")
        provider.release()
        return [future.result(timeout=30) for future in (first, *others)]


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_forty_callers_of_the_sdk_are_three_requests(
    way: Way, provider: FakeProvider, encoding: dict[str, Any]
) -> None:
    with way.sync() as client:
        answers = all_at_once(way, provider, lambda text: embed(client, text, **encoding))
    assert [vectors(answer) for answer in answers] == [[one] for one in expected(TEXTS)]
    assert sorted(map(len, asked(provider))) == [1, 7, 32]
    assert sorted(text for texts in asked(provider) for text in texts) == sorted(TEXTS)
    counted = way.runtime.stats()["cost"]
    assert counted["billed_tokens"] == sum(answer.usage.total_tokens for answer in answers)
    assert way.runtime.stats()["batching"]["requests"] == 3


def test_forty_callers_of_the_async_sdk_are_three_requests(
    way: Way, provider: FakeProvider
) -> None:
    async def ask() -> list[Any]:
        async with way.asynchronous() as client:

            def one(text: str) -> Any:
                return client.embeddings.create(model=MODEL, input=text, dimensions=8)

            provider.hold()
            tasks = [asyncio.ensure_future(one(TEXTS[0]))]
            await asyncio.to_thread(provider.wait_for_calls, 1)
            tasks += [asyncio.ensure_future(one(text)) for text in TEXTS[1:]]
            await asyncio.to_thread(until, lambda: way.flights() == len(TEXTS), "all wait")
            provider.release()
            return list(await asyncio.gather(*tasks))

    answers = asyncio.run(ask())
    assert [vectors(answer) for answer in answers] == [[one] for one in expected(TEXTS)]
    assert sorted(map(len, asked(provider))) == [1, 7, 32]


def test_of_a_list_only_what_is_not_known_is_asked_for(way: Way, provider: FakeProvider) -> None:
    with way.sync() as client:
        embed(client, TEXTS[5])
        given = [TEXTS[7], TEXTS[5], TEXTS[6], TEXTS[7]]
        raw = client.embeddings.with_raw_response.create(model=MODEL, input=given, dimensions=8)
        assert vectors(raw.parse()) == expected(given)
        assert raw.headers["cache-status"] == "headgate; fwd=miss; stored; detail=hits-1-of-4"
        again = client.embeddings.with_raw_response.create(
            model=MODEL, input=given[::-1], dimensions=8
        )
        assert vectors(again.parse()) == expected(given[::-1])
        assert again.headers["cache-status"].startswith("headgate; hit; ttl=")
        assert again.parse().usage == raw.parse().usage
        assert embed(client, [TEXTS[6]]) == embed(client, TEXTS[6])
    assert asked(provider) == [[TEXTS[5]], [TEXTS[7], TEXTS[6]]]


def test_tokens_are_inputs_as_texts_are(way: Way, provider: FakeProvider) -> None:
    with way.sync() as client:
        assert vectors(embed(client, [[1, 2], [3]])) == expected([[1, 2], [3]])
        assert vectors(embed(client, [3])) == expected([[3]])
        assert vectors(embed(client, [[1, 2]])) == expected([[1, 2]])
    assert [call.body["input"] for call in provider.calls] == [[[1, 2], [3]]]


def test_an_input_that_is_refused_raises_what_the_sdk_raises(
    way: Way, provider: FakeProvider
) -> None:
    with way.sync() as client:
        for given in ("", []):
            with pytest.raises(openai.BadRequestError):
                embed(client, given)
        assert vectors(embed(client, "a")) == expected(["a"])


@pytest.mark.parametrize("name", WAYS)
def test_inputs_on_disk_answer_the_next_process_one_by_one(
    provider: FakeProvider, tmp_path: Path, name: str
) -> None:
    cache = CacheConfig(persist=True, persist_path=str(tmp_path / "cache.db"))
    for given in (TEXTS[:6], TEXTS[8:2:-1], TEXTS[:9]):
        with opened(name, provider, cache=cache) as way, way.sync() as client:
            assert vectors(embed(client, given)) == expected(given)
    assert asked(provider) == [TEXTS[:6], TEXTS[8:5:-1]]


@pytest.mark.parametrize("mixes", [False, True])
def test_clients_of_two_tenants_are_mixed_only_where_that_is_wanted(
    provider: FakeProvider, tmp_path: Path, mixes: bool
) -> None:
    keys = KeysConfig(path=str(tmp_path / "keys.db"))
    made = [a_key(keys, tenant).text for tenant in ("acme", "zeta")]
    at = {"openai": ProviderConfig(base_url=provider.base_url, api_key=Secret("sk-ours"))}
    config = Config(
        providers=at, keys=keys, limits=ONE_AT_ONCE, batch=BatchConfig(across_tenants=mixes)
    )
    gate = Gate(config)
    try:
        way = Way(gate.runtime, gate.openai_url, False)
        clients = {text: way.sync(api_key=made[at % 2]) for at, text in enumerate(TEXTS)}
        answers = all_at_once(way, provider, lambda text: embed(clients[text], text))
        for client in clients.values():
            client.close()
    finally:
        gate.close()
    assert [vectors(answer) for answer in answers] == [[one] for one in expected(TEXTS)]
    sizes = sorted(map(len, asked(provider)))
    assert sizes == ([1, 7, 32] if mixes else [1, 19, 20])


def test_switched_off_every_call_is_a_request(provider: FakeProvider) -> None:
    off = BatchConfig(enabled=False)
    with opened("gateway", provider, batch=off) as way, way.sync() as client:
        for given in ("a", "b", ["a", "b"], ["a", "b"]):
            embed(client, given)
    assert [call.body["input"] for call in provider.calls] == ["a", "b", ["a", "b"]]
