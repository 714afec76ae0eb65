"""One request on its way: from memory, through the stack, and when somebody leaves meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from oracle import until

from headgate.config import Config
from headgate.layers.settings import CacheConfig, LimitsConfig
from headgate.runtime import Runtime
from headgate.testing import Answer, FakeClock, FakeProvider, Hang, Status

BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
STREAM = {**BODY, "stream": True}


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def post(runtime: Runtime, provider: FakeProvider, body: Any = BODY, **more: Any) -> Any:
    with runtime.http_client() as client:
        return client.post(provider.base_url + "/chat/completions", json=body, **more)


def test_a_hit_is_told_with_its_age_and_what_is_left_of_it(provider: FakeProvider) -> None:
    clock = FakeClock()
    with Runtime(Config(cache=CacheConfig(ttl=100)), clock=clock) as runtime:
        missed = post(runtime, provider)
        clock.advance(30)
        hit = post(runtime, provider)
    assert missed.headers["cache-status"] == "headgate; fwd=miss; stored"
    assert (hit.headers["age"], hit.headers["cache-status"]) == ("30", "headgate; hit; ttl=70")
    assert hit.headers["headgate-attempts"] == "0"
    assert hit.headers["headgate-key"] == missed.headers["headgate-key"]


def test_the_asker_gets_every_header_of_the_provider_and_a_hit_those_of_the_gateway(
    provider: FakeProvider,
) -> None:
    theirs = {"set-cookie": "a=b", "server": "x", "x-request-id": "r", "openai-version": "v"}
    provider.script(Answer(headers=theirs))
    with Runtime() as runtime:
        missed, hit = (post(runtime, provider) for _ in range(2))
    assert {name: missed.headers[name] for name in theirs} == theirs
    assert {name for name in theirs if name in hit.headers} == {"x-request-id", "openai-version"}
    framing = {"content-length", "transfer-encoding", "connection"}
    assert not framing & {*missed.headers, *hit.headers}


@pytest.mark.parametrize(
    ("coding", "is_plain"), [("gzip", True), ("identity", True), ("zzz", False), ("GZIP", True)]
)
def test_an_answer_is_decoded_if_the_library_asked_for_that_coding(
    provider: FakeProvider, coding: str, is_plain: bool
) -> None:
    content = json.dumps({"choices": [{"finish_reason": "stop"}]}).encode()
    sent = content if coding in ("identity", "zzz") else gzip.compress(content)
    provider.script(*[Answer(body=sent, headers={"content-encoding": coding})] * 2)
    with Runtime() as runtime:
        replies = [post(runtime, provider) for _ in range(2)]
    if is_plain:
        assert [reply.content for reply in replies] == [content, content]
        assert "content-encoding" not in replies[0].headers
    else:
        assert replies[0].headers["content-encoding"] == coding
    assert len(provider.calls) == 1


def test_an_answer_that_does_not_decode_is_the_librarys_own_error(provider: FakeProvider) -> None:
    provider.script(Answer(body=b"no gzip", headers={"content-encoding": "gzip"}))
    with Runtime() as runtime:
        with pytest.raises(httpx2.DecodingError):
            post(runtime, provider)
        assert runtime.stats()["metrics"]["errors"] == {"m:upstream_garbled": 1}


@pytest.mark.parametrize("control", ["no-cache", "max-age=60", "no-store"])
def test_controls_go_through_the_stack(provider: FakeProvider, control: str) -> None:
    with Runtime() as runtime:
        post(runtime, provider)
        reply = post(runtime, provider, headers={"cache-control": control})
    assert reply.headers["cache-status"].startswith(
        "headgate; hit" if control == "max-age=60" else "headgate; fwd=bypass"
    )


def test_a_stale_answer_has_its_own_headers_and_not_those_of_the_failure(
    provider: FakeProvider,
) -> None:
    clock = FakeClock()
    settings = CacheConfig(ttl=10, max_stale=3600, stale_if_error=3600)
    provider.script(Answer(headers={"x-request-id": "good"}), Status(503, body="<html>"))
    with Runtime(Config(cache=settings), clock=clock) as runtime:
        first = post(runtime, provider)
        clock.advance(60)
        stale = post(runtime, provider)
    assert (stale.status_code, stale.content) == (200, first.content)
    assert stale.headers["x-request-id"] == "good"
    assert "fwd=stale; fwd-status=503" in stale.headers["cache-status"]


def test_a_deadline_of_ours_is_an_answer_that_is_not_tried_again(provider: FakeProvider) -> None:
    provider.script(Hang())
    with Runtime() as runtime:
        reply = post(runtime, provider, headers={"headgate-deadline": "0.05"})
    assert (reply.status_code, reply.headers["x-should-retry"]) == (504, "false")
    assert reply.json()["error"]["code"] == "upstream_timeout"


def test_a_runtime_that_is_closed_answers_from_memory_and_refuses_the_rest(
    provider: FakeProvider,
) -> None:
    with Runtime() as runtime:
        post(runtime, provider)
    assert post(runtime, provider).headers["age"]
    reply = post(runtime, provider, {**BODY, "model": "other"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "closed")


def test_a_runtime_that_is_closed_meanwhile_says_so(provider: FakeProvider) -> None:
    provider.hold()
    runtime = Runtime()

    async def ask() -> Any:
        async with runtime.http_client(True) as client:
            url = provider.base_url + "/chat/completions"
            asking = asyncio.ensure_future(client.post(url, json=BODY))
            await asyncio.to_thread(provider.wait_for_calls, 1)
            await asyncio.to_thread(runtime.close)
            return await asking

    reply = asyncio.run(ask())
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "closed")


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_a_caller_that_is_cancelled_lets_go_of_the_provider(
    provider: FakeProvider, body: Any
) -> None:
    async def ask(runtime: Runtime) -> None:
        async with runtime.http_client(True) as client:
            url = provider.base_url + "/chat/completions"
            asking = asyncio.ensure_future(client.post(url, json=body))
            await asyncio.to_thread(provider.wait_for_calls, 1)
            asking.cancel()
            await asyncio.wait([asking])
            await asyncio.to_thread(provider.wait_for_abandoned, 1)

    provider.script(Hang())
    with Runtime(Config(cache=CacheConfig(finish_within=0))) as runtime:
        asyncio.run(ask(runtime))


def test_a_stream_that_comes_as_its_caller_leaves_is_let_go(provider: FakeProvider) -> None:
    """The reply is there, and the task is cancelled before it has seen it."""

    async def ask(runtime: Runtime) -> None:
        async with runtime.http_client(True) as client:
            url = provider.base_url + "/chat/completions"
            asking = asyncio.ensure_future(client.send(request(url), stream=True))
            await asyncio.to_thread(provider.wait_for_calls, 1)
            # This loop stands still while the reply arrives on the other one.
            provider.release()
            for _ in range(100):
                runtime.portal.spawn(_turn).result()
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled()
            await asyncio.to_thread(provider.wait_for_abandoned, 1)

    def request(url: str) -> httpx2.Request:
        timeout = httpx2.Timeout(60).as_dict()
        return httpx2.Request("POST", url, json=STREAM, extensions={"timeout": timeout})

    provider.script(Hang(after_bytes=400))
    provider.hold()
    with Runtime(Config(cache=CacheConfig(finish_within=0))) as runtime:
        asyncio.run(ask(runtime))


async def _turn() -> None:
    await asyncio.sleep(0.001)


def test_a_stream_is_told_by_its_kind_not_by_its_request(provider: FakeProvider) -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    provider.script(Answer(chunks=[chunk, b"data: [DONE]\n\n"]))
    with Runtime() as runtime:
        reply = post(runtime, provider)
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.content.endswith(b"[DONE]\n\n")


def embed(runtime: Runtime, provider: FakeProvider, given: str, **more: Any) -> Any:
    with runtime.http_client(**more.pop("client", {})) as client:
        body = {"model": "m", "input": given, "dimensions": 4}
        return client.post(provider.base_url + "/embeddings", json=body, **more)


@pytest.mark.parametrize(
    ("other", "is_company"),
    [({}, True), ({"headers": {"idempotency-key": "b"}}, True), ({"timeout": 30.0}, False),
     ({"headers": {"x-team": "b"}}, False), ({"client": {"library": "httpx"}}, False)],
    ids=str,
)  # fmt: skip
def test_inputs_go_together_only_where_they_would_have_gone_the_same_way(
    provider: FakeProvider, other: dict[str, Any], is_company: bool
) -> None:
    """They wait for the end of a first request; alike in everything, the second is for both."""
    one_at_once = Config(limits=LimitsConfig(concurrency_max=1))
    with Runtime(one_at_once) as runtime, ThreadPoolExecutor(3) as pool:
        provider.hold()
        first = pool.submit(embed, runtime, provider, "first", headers={"x-first": "1"})
        provider.wait_for_calls(1)
        asked = [pool.submit(embed, runtime, provider, "a"),
                 pool.submit(embed, runtime, provider, "b", **other)]  # fmt: skip
        (busy,) = [one.busy for one in runtime.layers if one.name == "coalesce"]
        until(lambda: sum(n for (n,) in busy().values()) == 3, "both wait")
        provider.release()
        answers = [future.result() for future in (first, *asked)]
    assert [answer.status_code for answer in answers] == [200] * 3
    inputs = [call.body["input"] for call in provider.calls[1:]]
    listed = [sorted(one) if isinstance(one, list) else one for one in inputs]
    assert sorted(listed, key=str) == ([["a", "b"]] if is_company else ["a", "b"])
    names = [call.headers.get("idempotency-key") for call in provider.calls[1:]]
    assert not is_company or names == [None]
