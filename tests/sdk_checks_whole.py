"""Checks of whole answers, OpenAI and Anthropic, in every way the SDKs offer to ask for one."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
from gates import Gate
from sdk_bench import MESSAGE, QUESTION, Bench, Check, entered, failure, opened, settled

from headgate.config import Config, ProviderConfig
from headgate.testing import Answer, Status

TOOL: Any = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
CALLS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat.completions.create(model="m", messages=QUESTION),
    "choices": lambda client: client.chat.completions.create(
        model="m", messages=QUESTION, n=3, temperature=0.7, seed=2**62
    ),
    "tool": lambda client: client.chat.completions.create(
        model="m", messages=QUESTION, tools=[TOOL], tool_choice="required"
    ),
    "completions": lambda client: client.completions.create(model="m", prompt="Once"),
    "responses": lambda client: client.responses.create(model="m", input="Hello?"),
    "embeddings": lambda client: client.embeddings.create(model="m", input="a", dimensions=8),
    "floats": lambda client: client.embeddings.create(
        model="m", input="a", encoding_format="float", dimensions=8
    ),
    "base64": lambda client: client.embeddings.create(
        model="m", input="b", encoding_format="base64", dimensions=8
    ),
}
RICH = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m", "service_tier": "default",
    "choices": [
        {
            "index": index,
            "finish_reason": finish,
            "logprobs": {"content": [{"token": "a", "logprob": -0.25, "bytes": [97],
                                      "top_logprobs": []}], "refusal": None},
            "message": {"role": "assistant", "content": "a", "refusal": None,
                        "reasoning_content": "because", "annotations": [], **more},
        }
        for index, finish, more in (
            (0, "stop", {}),
            (1, "tool_calls", {"tool_calls": [{"id": "t", "type": "function", "function":
                               {"name": "find", "arguments": "{\"a\":1}"}}]}),
        )
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
              "completion_tokens_details": {"reasoning_tokens": 1}},
}  # fmt: skip


async def a_second_equal_call_asks_nobody_and_gives_an_equal_object(bench: Bench) -> None:
    client = bench.openai()
    for number, (name, call) in enumerate(CALLS.items(), 1):
        first, second = await settled(call(client)), await settled(call(client))
        assert first == second, name
        assert type(first) is type(second)
        assert bench.asked == number, name


async def a_second_equal_message_asks_nobody_and_gives_an_equal_object(bench: Bench) -> None:
    client = bench.anthropic()
    first = await settled(client.messages.create(**MESSAGE))
    assert first == await settled(client.messages.create(**MESSAGE))
    assert bench.asked == 1
    (call,) = bench.provider.calls
    assert call.path == "/v1/messages"
    assert call.headers["anthropic-version"]


async def raw_responses_keep_headers_and_request_id(bench: Bench) -> None:
    bench.provider.script(Answer(text="Paris", headers={"x-request-id": "r-1", "x-their-own": "1"}))
    raw = bench.openai().chat.completions.with_raw_response
    first = await settled(raw.create(model="m", messages=QUESTION))
    second = await settled(raw.create(model="m", messages=QUESTION))
    assert first.headers["cache-status"] == "headgate; fwd=miss; stored"
    assert first.headers["x-their-own"] == "1"
    assert first.headers["headgate-attempts"] == "1"
    assert second.headers["cache-status"].startswith("headgate; hit; ttl=")
    assert second.headers["age"] == "0"
    assert [reply.headers["x-request-id"] for reply in (first, second)] == ["r-1", "r-1"]
    assert first.headers["headgate-target"] == second.headers["headgate-target"]
    assert first.headers["headgate-key"] == second.headers["headgate-key"]
    assert first.content == second.content
    assert first.parse() == second.parse()
    assert second.parse()._request_id == "r-1"


async def raw_messages_keep_headers_and_request_id(bench: Bench) -> None:
    bench.provider.script(Answer(text="Paris", headers={"request-id": "r-1"}))
    raw = bench.anthropic().messages.with_raw_response
    replies = [await settled(raw.create(**MESSAGE)) for _ in range(2)]
    assert [reply.headers["request-id"] for reply in replies] == ["r-1", "r-1"]
    assert replies[1].headers["cache-status"].startswith("headgate; hit; ttl=")
    parsed = [await settled(reply.parse()) for reply in replies]
    assert parsed[0] == parsed[1]


async def streaming_responses_are_read_from_the_entry(bench: Bench) -> None:
    create = bench.openai().chat.completions.with_streaming_response.create
    seen = []
    for _ in range(2):
        async with entered(create(model="m", messages=QUESTION)) as reply:
            seen.append(await settled(reply.parse()))
    assert seen[0] == seen[1]
    assert bench.asked == 1


async def compressed_answers_are_stored_and_told_plain(bench: Bench) -> None:
    content = json.dumps(RICH).encode()
    packed = {
        "gzip": gzip.compress(content), "deflate": zlib.compress(content), "identity": content
    }  # fmt: skip
    client = bench.openai()
    for number, (coding, body) in enumerate(packed.items(), 1):
        bench.provider.script(Answer(body=body, headers={"content-encoding": coding}))
        raw = client.chat.completions.with_raw_response
        replies = [await settled(raw.create(model=coding, messages=QUESTION)) for _ in range(2)]
        assert [reply.content for reply in replies] == [content, content]
        assert replies[1].headers["cache-status"].startswith("headgate; hit")
        assert not {"content-encoding", "content-length", "transfer-encoding"} & {
            name for reply in replies for name in reply.headers
        }
        assert bench.asked == number


async def everything_an_answer_holds_survives(bench: Bench) -> None:
    bench.provider.script(Answer(body=RICH))
    client = bench.openai()
    call = {"model": "m", "messages": QUESTION, "n": 2, "logprobs": True}
    replies = [await settled(client.chat.completions.create(**call)) for _ in range(2)]
    assert bench.asked == 1
    dumped = [reply.model_dump(exclude_unset=True) for reply in replies]
    assert dumped == [RICH, RICH]


async def a_whole_message_with_thinking_survives(bench: Bench) -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "a", "citations": None},
        {"type": "tool_use", "id": "t", "name": "find", "input": {"a": [1, {"b": None}]}},
    ]
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content,
               "stop_reason": "tool_use", "stop_sequence": None,
               "usage": {"input_tokens": 1, "output_tokens": 2}}  # fmt: skip
    bench.provider.script(Answer(body=message))
    client = bench.anthropic()
    replies = [await settled(client.messages.create(**MESSAGE)) for _ in range(2)]
    assert bench.asked == 1
    assert replies[0] == replies[1]
    assert [block.type for block in replies[1].content] == [part["type"] for part in content]


async def errors_are_not_stored_and_the_sdk_tries_again(bench: Bench) -> None:
    retry = {"retry-after-ms": "1"}
    bench.provider.script(Status(500, headers=retry), Status(429, headers=retry))
    client = bench.openai(max_retries=2)
    await settled(client.chat.completions.create(model="m", messages=QUESTION))
    assert bench.asked == 3
    tries = [call.headers["x-stainless-retry-count"] for call in bench.provider.calls]
    assert tries == ["0", "1", "2"]
    for status, kind in ((400, openai.BadRequestError), (429, openai.RateLimitError)):
        for _ in range(2):
            bench.provider.script(Status(status, headers={"retry-after": "7"}))
            error = await _failure(bench.openai(), kind, model=str(status))
            assert error.response.headers["retry-after"] == "7"
    # After the first 429 its credential is left alone: the second one is ours.
    assert bench.asked == 6
    assert bench.runtime.stats()["cache"]["size"] == 1


async def attempts_do_not_multiply(bench: Bench) -> None:
    bench.provider.script(*[Status(503, headers={"retry-after-ms": "1"})] * 10)
    error = await _failure(bench.openai(max_retries=2), openai.InternalServerError)
    assert error.status_code == 503
    assert bench.asked == 3


async def a_refusal_of_ours_is_the_sdks_usual_error_and_is_not_tried_again(bench: Bench) -> None:
    client = bench.openai(max_retries=5)
    only = {"extra_headers": {"cache-control": "only-if-cached"}}
    error = await _failure(client, openai.InternalServerError, **only)
    assert (error.status_code, error.code) == (504, "cache_only_miss")
    error = await _failure(client, openai.BadRequestError, extra_headers={"headgate-ttl": "soon"})
    assert "headgate-ttl" in str(error)
    assert bench.asked == 0
    bench.runtime.close()
    error = await _failure(client, openai.InternalServerError)
    assert error.code == "closed"


async def a_refused_message_is_anthropics_usual_error(bench: Bench) -> None:
    client = bench.anthropic(max_retries=5)
    only = {**MESSAGE, "extra_headers": {"cache-control": "only-if-cached"}}
    error = await failure(anthropic.InternalServerError, lambda: client.messages.create(**only))
    assert error.body["error"]["code"] == "cache_only_miss"
    assert bench.asked == 0


async def two_credentials_do_not_share(bench: Bench) -> None:
    for key in ("a", "b", "a"):
        await settled(CALLS["chat"](bench.openai(api_key=key)))
    assert bench.asked == 2


async def two_base_urls_do_not_share(bench: Bench) -> None:
    for prefix in ("/v1", "/v1/", "//v1"):
        bench.provider.script(Answer(body=RICH))
        url = bench.provider.anthropic_base_url + prefix
        await settled(CALLS["chat"](bench.openai(base_url=url)))
    assert [call.path for call in bench.provider.calls] == [
        "/v1/chat/completions", "//v1/chat/completions",
    ]  # fmt: skip


async def what_changes_the_answer_is_in_the_key_and_what_does_not_is_not(bench: Bench) -> None:
    client = bench.anthropic()

    async def ask(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await settled(client.messages.create(**MESSAGE, extra_headers=named))
        return bench.asked

    assert await ask() == 1
    assert await ask(x_stainless_retry_count="2", traceparent="00-1-2-01") == 1
    assert await ask(idempotency_key="1", user_agent="mine", x_request_id="2") == 1
    assert await ask(anthropic_beta="one") == 2
    assert await ask(anthropic_beta="two") == 3
    assert await ask(anthropic_version="2022-01-01") == 4
    assert await ask(x_of_a_gateway_that_nobody_knows="1") == 5
    assert await ask(anthropic_beta="one") == 5


async def options_of_a_call_are_kept(bench: Bench) -> None:
    client = bench.openai(organization="org", project="p").with_options(timeout=33)
    await settled(
        client.chat.completions.create(
            model="m", messages=QUESTION, extra_headers={"x-mine": "1"}, extra_query={"a": "b c"},
            extra_body={"num_ctx": 5},
        )
    )  # fmt: skip
    (call,) = bench.provider.calls
    assert call.path == "/v1/chat/completions?a=b+c"
    assert call.body["num_ctx"] == 5
    assert (call.headers["x-mine"], call.headers["openai-organization"]) == ("1", "org")
    assert call.headers["openai-project"] == "p"
    assert call.headers["x-stainless-read-timeout"] == "33"
    assert call.headers["authorization"] == "Bearer k"
    assert call.headers["accept-encoding"].startswith("gzip")


async def controls_do_not_reach_the_provider_and_work(bench: Bench) -> None:
    client = bench.openai(default_headers={"headgate-namespace": "n"})

    async def ask(**more: str) -> str:
        raw = client.chat.completions.with_raw_response
        named = {name.replace("_", "-"): value for name, value in more.items()}
        reply = await settled(raw.create(model="m", messages=QUESTION, extra_headers=named))
        return str(reply.headers["cache-status"])

    assert await ask() == "headgate; fwd=miss; stored"
    assert (await ask(cache_control="max-age=60")).startswith("headgate; hit")
    assert await ask(cache_control="no-cache") == "headgate; fwd=bypass; stored"
    assert await ask(cache_control="no-store") == "headgate; fwd=bypass"
    assert await ask(headgate_namespace="other") == "headgate; fwd=miss; stored"
    sent = {name for call in bench.provider.calls for name in call.headers}
    assert not {name for name in sent if name.startswith(("headgate-", "cache-control"))}


async def ten_equal_calls_at_once_ask_once(bench: Bench) -> None:
    client = bench.openai()
    for number, call in enumerate((CALLS["chat"], CALLS["responses"]), 1):
        bench.provider.hold()
        asks = [await bench.begun(lambda call=call: call(client)) for _ in range(10)]
        await bench.under_way(10)
        bench.provider.release()
        answers = [await ask for ask in asks]
        assert len({answer.model_dump_json() for answer in answers}) == 1
        assert bench.asked == number


async def an_entry_of_a_sync_client_serves_an_async_one_and_the_other_way_round(
    bench: Bench,
) -> None:
    kind = not bench.asynchronous
    async with opened(bench.library, kind, bench.provider, bench.runtime) as other:
        mine, theirs = bench.openai(), other.openai()
        first = await settled(CALLS["chat"](mine))
        assert await settled(CALLS["chat"](theirs)) == first
        second = await settled(CALLS["responses"](theirs))
        assert await settled(CALLS["responses"](mine)) == second
    assert bench.asked == 2


async def entries_are_shared_with_the_gateway(bench: Bench) -> None:
    block = ProviderConfig(base_url=bench.provider.base_url + "/")
    async with gateway(bench, block) as (gate, near):
        here, there = near.openai(), near.openai(base_url=gate.openai_url, http_client=None)
        for call, asker, other in (("chat", there, here), ("responses", here, there)):
            first = await settled(CALLS[call](asker))
            assert await settled(CALLS[call](other)) == first
        assert bench.asked == 2
        raw = here.chat.completions.with_raw_response
        reply = await settled(raw.create(model="m", messages=QUESTION))
        assert reply.headers["headgate-target"] == "p/m"


async def an_entry_of_the_gateway_serves_anthropics_sdk(bench: Bench) -> None:
    block = ProviderConfig(kind="anthropic", base_url=bench.provider.anthropic_base_url)
    async with gateway(bench, block) as (gate, near):
        there = near.anthropic(base_url=gate.url, http_client=None)
        first = await settled(there.messages.create(**MESSAGE))
        assert await settled(near.anthropic().messages.create(**MESSAGE)) == first
    assert bench.asked == 1


@asynccontextmanager
async def gateway(bench: Bench, block: ProviderConfig) -> AsyncIterator[tuple[Gate, Bench]]:
    """A gateway in front of the provider, and a bench on its runtime."""
    gate = Gate(Config(providers={"p": block}))
    try:
        kind = (bench.library, bench.asynchronous)
        async with opened(*kind, bench.provider, gate.runtime) as near:
            yield gate, near
    finally:
        await asyncio.to_thread(gate.close)


async def _failure(client: Any, kind: type[Exception], **more: Any) -> Any:
    call = {"model": "m", "messages": QUESTION, **more}
    return await failure(kind, lambda: client.chat.completions.create(**call))


OPENAI: tuple[Check, ...] = (
    a_second_equal_call_asks_nobody_and_gives_an_equal_object,
    raw_responses_keep_headers_and_request_id,
    streaming_responses_are_read_from_the_entry,
    compressed_answers_are_stored_and_told_plain,
    everything_an_answer_holds_survives,
    errors_are_not_stored_and_the_sdk_tries_again,
    attempts_do_not_multiply,
    a_refusal_of_ours_is_the_sdks_usual_error_and_is_not_tried_again,
    two_credentials_do_not_share,
    two_base_urls_do_not_share,
    options_of_a_call_are_kept,
    controls_do_not_reach_the_provider_and_work,
    ten_equal_calls_at_once_ask_once,
    an_entry_of_a_sync_client_serves_an_async_one_and_the_other_way_round,
    entries_are_shared_with_the_gateway,
)
ANTHROPIC: tuple[Check, ...] = (
    a_second_equal_message_asks_nobody_and_gives_an_equal_object,
    raw_messages_keep_headers_and_request_id,
    a_whole_message_with_thinking_survives,
    a_refused_message_is_anthropics_usual_error,
    what_changes_the_answer_is_in_the_key_and_what_does_not_is_not,
    an_entry_of_the_gateway_serves_anthropics_sdk,
)
