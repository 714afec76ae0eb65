"""Checks of what goes wrong, of what passes by, and of who comes and goes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from sdk_bench import MESSAGE, QUESTION, Bench, Check, failure, opened, settled

from headgate.testing import Answer, Cut, FakeProvider, Hang

WAITS_S = 1.0
VECTORS = {
    "object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
}  # fmt: skip


def chat(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": "m", "messages": QUESTION, **more})


async def a_provider_that_cannot_be_reached_is_the_librarys_own_error(bench: Bench) -> None:
    client = bench.openai(base_url="http://127.0.0.1:1/v1")
    error = await failure(openai.APIConnectionError, lambda: chat(client))
    assert not isinstance(error, openai.APITimeoutError)
    assert type(error.__cause__).__module__ == bench.library
    assert type(error.__cause__).__name__ == "ConnectError"
    assert bench.runtime.stats()["metrics"]["errors"] == {"m:upstream_unreachable": 1}


async def a_silent_provider_is_the_librarys_own_timeout(bench: Bench) -> None:
    bench.provider.script(Hang(), Hang(after_bytes=10))
    client = bench.openai().with_options(timeout=WAITS_S)
    for _ in range(2):
        error = await failure(openai.APITimeoutError, lambda: chat(client))
        assert type(error.__cause__).__name__ == "ReadTimeout"
        assert type(error.__cause__).__module__ == bench.library
    await asyncio.to_thread(bench.provider.wait_for_abandoned, 2)
    assert bench.runtime.stats()["metrics"]["errors"] == {"m:timeout": 2}


async def a_cut_answer_is_not_stored_and_is_the_librarys_own_error(bench: Bench) -> None:
    bench.provider.script(Cut(), Cut(after_bytes=0), Cut(after_bytes=100))
    client = bench.openai()
    for _ in range(3):
        error = await failure(openai.APIConnectionError, lambda: chat(client))
        assert type(error.__cause__).__name__ == "RemoteProtocolError"
    await settled(chat(client))
    assert bench.asked == 4


async def those_who_joined_a_failed_call_get_errors_of_their_own(bench: Bench) -> None:
    bench.provider.script(*[Cut()] * 3)
    bench.provider.hold()
    client = bench.openai()
    asks = [
        await bench.begun(lambda: failure_of(bench, client)) for _ in range(3)
    ]  # fmt: skip
    await bench.under_way(3)
    bench.provider.release()
    causes = [await ask for ask in asks]
    assert {type(cause).__name__ for cause in causes} == {"RemoteProtocolError"}
    assert len({id(cause) for cause in causes}) == 3
    assert bench.asked == 2, "the two who joined share one attempt more"


def failure_of(bench: Bench, client: Any) -> Any:
    """What the SDK's error was made of; a coroutine for an async client."""
    found = failure(openai.APIConnectionError, lambda: chat(client))
    cause = _cause(found)
    return cause if bench.asynchronous else asyncio.run(cause)


async def _cause(found: Any) -> Any:
    return (await found).__cause__


async def who_joined_does_not_wait_longer_than_its_own_limit(bench: Bench) -> None:
    bench.provider.hold()
    client = bench.openai()
    first = await bench.begun(lambda: chat(client))
    await bench.under_way(1)
    hasty = client.with_options(timeout=WAITS_S / 4)
    await failure(openai.APITimeoutError, lambda: chat(hasty))
    bench.provider.release()
    assert (await first).choices
    assert bench.asked == 1


async def who_joined_a_hasty_call_waits_as_long_as_it_wants(bench: Bench) -> None:
    bench.provider.script(Hang(), Answer(text="patience"))
    client = bench.openai()
    hasty = await bench.begun(lambda: failure_within(bench, client.with_options(timeout=WAITS_S)))
    await bench.under_way(1)
    patient = await bench.begun(lambda: chat(client))
    assert isinstance(await hasty, openai.APITimeoutError)
    assert (await patient).choices[0].message.content == "patience"
    assert bench.asked == 2


def failure_within(bench: Bench, client: Any) -> Any:
    found = failure(openai.APITimeoutError, lambda: chat(client))
    return found if bench.asynchronous else asyncio.run(found)


async def a_task_that_is_cancelled_leaves_alone_and_the_last_one_cuts_the_call(
    bench: Bench,
) -> None:
    async with opened(bench.library, True, bench.provider, bench.runtime) as other:
        client = other.openai()
        bench.provider.hold()
        tasks = [asyncio.ensure_future(chat(client)) for _ in range(2)]
        await bench.under_way(2)
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        bench.provider.release()
        assert (await tasks[1]).choices
        bench.provider.hold()
        last = asyncio.ensure_future(chat(client, model="other"))
        await asyncio.to_thread(bench.provider.wait_for_calls, 2)
        last.cancel()
        await asyncio.wait([last])
        await asyncio.to_thread(bench.provider.wait_for_abandoned, 1)
    assert bench.asked == 2


async def what_is_no_call_passes_untouched(bench: Bench) -> None:
    client = bench.openai()
    for _ in range(2):
        page = await settled(client.models.list())
        assert "fake-large" in [model.id for model in page.data]
        await failure(openai.NotFoundError, lambda: client.images.generate(prompt="x"))
        await failure(
            openai.NotFoundError,
            lambda: client.files.create(file=("a", b"b"), purpose="batch"),
        )
    assert bench.asked == 6
    kinds = [call.headers.get("content-type", "") for call in bench.provider.calls]
    assert kinds[2].startswith("multipart/form-data")
    assert bench.runtime.stats()["metrics"]["total_calls"] == 0


async def counting_tokens_passes_untouched(bench: Bench) -> None:
    client = bench.anthropic()
    question = {"model": "m", "messages": QUESTION}
    for _ in range(2):
        assert (await settled(client.messages.count_tokens(**question))).input_tokens
    assert bench.asked == 2


BODIES = (
    b'{"model":"m","model":"n","messages":[]}',
    b'{"model":"m","messages":[],"x":NaN}',
    b'{"messages":[]}',
    b"[1]",
    b"",
)


async def a_body_that_we_cannot_judge_is_the_providers_to_refuse(bench: Bench) -> None:
    client = bench.http_client()
    for body in BODIES * 2:
        reply = await settled(
            client.post(
                bench.provider.base_url + "/chat/completions",
                content=body,
                headers={"content-type": "application/json", "headgate-namespace": "n"},
            )
        )
        assert "cache-status" not in reply.headers
    assert tuple(call.raw for call in bench.provider.calls) == BODIES * 2
    assert not [call for call in bench.provider.calls if "headgate-namespace" in call.headers]
    await settled(client.aclose() if bench.asynchronous else client.close())


async def a_signed_or_compressed_request_passes_untouched(bench: Bench) -> None:
    body = json.dumps({"model": "m", "messages": QUESTION}).encode()
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"}
    packed = {"content-encoding": "gzip"}
    client = bench.http_client()
    for headers in (signed, packed) * 2:
        await settled(
            client.post(
                bench.provider.base_url + "/chat/completions",
                content=body,
                headers={"content-type": "application/json", **headers},
            )
        )
    assert bench.asked == 4
    assert bench.runtime.stats()["metrics"]["total_calls"] == 0
    await settled(client.aclose() if bench.asynchronous else client.close())


async def what_must_not_be_cached_goes_through_the_stack_uncached(bench: Bench) -> None:
    raw = bench.openai().responses.with_raw_response
    for _ in range(2):
        reply = await settled(raw.create(model="m", input="a", previous_response_id="r"))
        assert reply.headers["cache-status"] == "headgate; fwd=bypass"
    assert bench.asked == 2
    assert bench.runtime.stats()["metrics"]["total_calls"] == 2


async def redirects_are_followed(bench: Bench) -> None:
    there = {"location": bench.provider.base_url + "/chat/completions"}
    moved = Answer(status=308, body="", headers=there)
    bench.provider.script(moved, Answer(), moved)
    client = bench.openai(base_url=bench.provider.anthropic_base_url + "/old")
    first, second = await settled(chat(client)), await settled(chat(client))
    assert first == second
    assert [call.path for call in bench.provider.calls] == [
        "/old/chat/completions", "/v1/chat/completions", "/old/chat/completions",
    ]  # fmt: skip
    assert bench.provider.calls[0].raw == bench.provider.calls[1].raw


@contextmanager
def environment(**settings: str) -> Iterator[None]:
    """Proxy settings of the process for a while, and no others."""
    kept = {name: text for name, text in os.environ.items() if name.lower().endswith("_proxy")}
    for name in kept:
        del os.environ[name]
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]
        os.environ.update(kept)


async def the_proxy_of_the_environment_is_used(bench: Bench) -> None:
    with FakeProvider() as proxy, environment(HTTP_PROXY=proxy.anthropic_base_url):
        proxy.script(*[Answer(body=VECTORS)] * 2)
        client = bench.openai(base_url="http://api.example/v1")
        await settled(client.models.list())
        for _ in range(2):
            await settled(client.embeddings.create(model="m", input="a"))
        assert [call.path for call in proxy.calls] == [
            "http://api.example/v1/models",
            "http://api.example/v1/embeddings",
        ]
    with FakeProvider() as proxy:
        settings = {"HTTP_PROXY": proxy.anthropic_base_url, "NO_PROXY": "127.0.0.1"}
        with environment(**settings):
            async with opened(
                bench.library, bench.asynchronous, bench.provider, bench.runtime
            ) as other:
                await settled(chat(other.openai()))
                await settled(other.openai().models.list())
        assert (len(proxy.calls), bench.asked) == (0, 2)


async def a_client_is_closed_twice_and_another_goes_on(bench: Bench) -> None:
    client, other = bench.openai(), bench.openai()
    await settled(chat(client))
    await settled(client.models.list())
    for _ in range(2):
        await settled(client.close())
    assert client.is_closed() if callable(client.is_closed) else client.is_closed
    await settled(chat(other, model="another"))
    await settled(other.models.list())


async def an_event_loop_that_ended_leaves_nothing_behind(bench: Bench) -> None:
    def once() -> Any:
        async def ask() -> Any:
            client = openai.AsyncOpenAI(
                base_url=bench.provider.base_url, api_key="k", max_retries=0,
                http_client=bench.runtime.http_client(True, bench.library),
            )  # fmt: skip
            return await chat(client)

        return asyncio.run(ask())

    first, second = await asyncio.to_thread(once), await asyncio.to_thread(once)
    assert first == second
    assert bench.asked == 1


async def a_library_that_does_not_exist_is_named(bench: Bench) -> None:
    error = await failure(ValueError, lambda: bench.runtime.http_client(library="requests"))
    assert "library='requests'" in str(error)


async def a_library_that_is_not_installed_is_told_with_what_to_do(bench: Bench) -> None:
    other = {"httpx2": "httpx", "httpx": "httpx2"}[bench.library]
    try:
        client = bench.runtime.http_client(bench.asynchronous, other)
    except ModuleNotFoundError as missing:
        told = str(missing)
    else:
        await settled(client.aclose() if bench.asynchronous else client.close())
        return  # both are installed here
    assert f"pip install 'headgate[{other}]'" in told
    assert f'library="{bench.library}"' in told


async def a_message_is_asked_once_by_many(bench: Bench) -> None:
    client = bench.anthropic()
    bench.provider.hold()
    asks = [await bench.begun(lambda: client.messages.create(**MESSAGE)) for _ in range(10)]
    await bench.under_way(10)
    bench.provider.release()
    answers = [await ask for ask in asks]
    assert len({answer.model_dump_json() for answer in answers}) == 1
    assert bench.asked == 1


OPENAI: tuple[Check, ...] = (
    a_provider_that_cannot_be_reached_is_the_librarys_own_error,
    a_silent_provider_is_the_librarys_own_timeout,
    a_cut_answer_is_not_stored_and_is_the_librarys_own_error,
    those_who_joined_a_failed_call_get_errors_of_their_own,
    who_joined_does_not_wait_longer_than_its_own_limit,
    who_joined_a_hasty_call_waits_as_long_as_it_wants,
    a_task_that_is_cancelled_leaves_alone_and_the_last_one_cuts_the_call,
    what_is_no_call_passes_untouched,
    a_body_that_we_cannot_judge_is_the_providers_to_refuse,
    a_signed_or_compressed_request_passes_untouched,
    what_must_not_be_cached_goes_through_the_stack_uncached,
    redirects_are_followed,
    the_proxy_of_the_environment_is_used,
    a_client_is_closed_twice_and_another_goes_on,
    an_event_loop_that_ended_leaves_nothing_behind,
    a_library_that_does_not_exist_is_named,
    a_library_that_is_not_installed_is_told_with_what_to_do,
)
ANTHROPIC: tuple[Check, ...] = (counting_tokens_passes_untouched, a_message_is_asked_once_by_many)
