"""The official OpenAI SDK, sync and async, through the gateway: hits, streams, errors."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from headgate.testing import Answer, FakeProvider, Status

QUESTION: Any = [{"role": "user", "content": "How do I reset my card?"}]
TOOL: Any = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}

CALLS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda client: client.chat.completions.create(model="m", messages=QUESTION),
    "several choices": lambda client: client.chat.completions.create(
        model="m", messages=QUESTION, n=3, temperature=0.7, seed=2**62
    ),
    "tool call": lambda client: client.chat.completions.create(
        model="m", messages=QUESTION, tools=[TOOL], tool_choice="required"
    ),
    "explicit limit": lambda client: client.chat.completions.create(
        model="m", messages=QUESTION, max_completion_tokens=2
    ),
    "completions": lambda client: client.completions.create(model="m", prompt="Once"),
    "responses": lambda client: client.responses.create(model="m", input="Hello?"),
    "embeddings": lambda client: client.embeddings.create(
        model="m", input=["a", "b"], dimensions=8
    ),
    "embeddings as floats": lambda client: client.embeddings.create(
        model="m", input="a", encoding_format="float", dimensions=8
    ),
    "embeddings as base64": lambda client: client.embeddings.create(
        model="m", input="a", encoding_format="base64", dimensions=8
    ),
}


@pytest.fixture
def client(gate: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gate.openai_url, api_key="sk-test", max_retries=0) as sdk:
        yield sdk


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_second_equal_call_asks_nobody_and_gives_an_equal_object(
    client: openai.OpenAI, provider: FakeProvider, call: Callable[[Any], Any]
) -> None:
    first, second = call(client), call(client)
    assert first == second
    assert type(first) is type(second)
    assert len(provider.calls) == 1


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_entry_filled_by_a_sync_client_serves_an_async_one(
    gate: Any, client: openai.OpenAI, provider: FakeProvider, call: Callable[[Any], Any]
) -> None:
    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=gate.openai_url, api_key="sk-test") as sdk:
            return await call(sdk)

    assert call(client) == asyncio.run(ask())
    assert len(provider.calls) == 1


def test_floats_and_base64_are_the_same_vector_under_two_keys(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    floats = CALLS["embeddings as floats"](client).data[0].embedding
    text = CALLS["embeddings as base64"](client).data[0].embedding
    assert struct.unpack("<8f", base64.b64decode(text)) == pytest.approx(floats, rel=1e-6)
    assert len(provider.calls) == 2


def test_the_raw_interface_sees_where_an_answer_came_from(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response
    first, second = (raw.create(model="m", messages=QUESTION) for _ in range(2))
    assert first.headers["cache-status"] == "headgate; fwd=miss; stored"
    assert second.headers["cache-status"].startswith("headgate; hit; ttl=")
    assert first.headers["x-request-id"] == second.headers["x-request-id"]
    assert first.parse() == second.parse()
    assert first.content == second.content


def test_fields_nobody_knows_reach_the_provider_byte_for_byte(
    gate: Any, provider: FakeProvider
) -> None:
    body = (
        b'{ "x_new":{"b":[1.0e3,  0.10, -0, 1e-7],"a":"\\u00e9\xc3\xa9\\/"},\n"model":"m",'
        b'"messages":[{"role":"user","content":"q"}] , "num_ctx": 4096, "": null}'
    )
    assert gate.post("/v1/chat/completions", body).status == 200
    (call,) = provider.calls
    assert call.raw == body
    assert call.path == "/v1/chat/completions"


def test_extra_fields_of_the_sdk_are_part_of_the_question(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    for extra in ({"num_ctx": 1}, {"num_ctx": 2}, {"num_ctx": 1}, {}):
        client.chat.completions.create(model="m", messages=QUESTION, extra_body=extra)
    assert len(provider.calls) == 3
    assert provider.calls[0].body["num_ctx"] == 1


def test_a_query_string_reaches_the_provider_and_the_key(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    for version in ("1", "2", "1"):
        client.chat.completions.create(
            model="m", messages=QUESTION, extra_query={"api-version": version}
        )
    assert [call.path.partition("?")[2] for call in provider.calls] == [
        "api-version=1", "api-version=2",
    ]  # fmt: skip


def test_models_are_listed(client: openai.OpenAI, provider: FakeProvider) -> None:
    assert "fake-large" in [model.id for model in client.models.list()]
    assert provider.calls[0].headers["authorization"] == "Bearer sk-test"


ERRORS = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError),
    (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
    (503, openai.InternalServerError),
    (529, openai.InternalServerError),
]


@pytest.mark.parametrize(("status", "kind"), ERRORS)
@pytest.mark.parametrize("name", ["chat", "completions", "responses", "embeddings"])
def test_an_error_of_the_provider_passes_through_untouched_and_is_not_stored(
    client: openai.OpenAI, provider: FakeProvider, name: str, status: int,
    kind: type[openai.APIStatusError],
) -> None:  # fmt: skip
    body = b'{"error": {"message": "no \\u00e9",  "type": "t", "param": null, "code": "c", "x": 1}}'
    headers = {"retry-after": "17", "x-request-id": "req_1", "x-ratelimit-remaining-requests": "0"}
    provider.script(Status(status, body, headers))
    with pytest.raises(kind) as caught:
        CALLS[name](client)
    error = caught.value
    assert (error.status_code, error.code, error.request_id) == (status, "c", "req_1")
    assert error.response.content == body
    assert error.response.headers["retry-after"] == "17"
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert error.response.headers["cache-status"] == "headgate; fwd=miss"
    assert CALLS[name](client)
    assert len(provider.calls) == 2


def test_the_sdk_retries_a_429_by_the_providers_retry_after(
    gate: Any, provider: FakeProvider
) -> None:
    provider.script(Status(429, headers={"retry-after-ms": "5"}))
    with openai.OpenAI(base_url=gate.openai_url, api_key="k", max_retries=1) as client:
        assert CALLS["chat"](client).choices
    assert len(provider.calls) == 2


def ending(finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "x"}
    return {"choices": [{"index": 0, "finish_reason": finish, "message": message}]}


BAD_ANSWERS = {
    "cut by the provider's limit": ending("length"),
    "filtered": ending("content_filter"),
    "error in a 200": {"error": {"message": "overloaded"}},
}


@pytest.mark.parametrize("body", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_an_answer_that_is_not_whole_is_handed_on_but_not_stored(
    client: openai.OpenAI, provider: FakeProvider, body: dict[str, Any]
) -> None:
    provider.script(Answer(body=body), Answer(body=body))
    create = client.chat.completions.with_raw_response.create
    for _ in range(2):
        raw = create(model="m", messages=QUESTION)
        assert raw.headers["cache-status"] == "headgate; fwd=miss"
        assert raw.http_response.json() == body
    assert len(provider.calls) == 2


def test_parse_and_its_schema_work_on_a_hit(client: openai.OpenAI, provider: FakeProvider) -> None:
    format_: Any = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object", "properties": {}}},
    }
    first, second = (
        client.chat.completions.parse(model="m", messages=QUESTION, response_format=format_)
        for _ in range(2)
    )
    assert first == second
    assert len(provider.calls) == 1


def test_our_own_refusals_are_the_sdks_own_exceptions(gate: Any) -> None:
    with openai.OpenAI(base_url=gate.openai_url, api_key="k", max_retries=2) as client:
        create = client.chat.completions.create
        with pytest.raises(openai.BadRequestError, match="must be true or false"):
            create(model="m", messages=QUESTION, extra_body={"stream": "yes"})
        with pytest.raises(openai.BadRequestError, match="headgate-ttl"):
            create(model="m", messages=QUESTION, extra_headers={"headgate-ttl": "x"})
        with pytest.raises(openai.InternalServerError, match="only-if-cached") as caught:
            create(model="m", messages=QUESTION, extra_headers={"cache-control": "only-if-cached"})
        assert caught.value.status_code == 504
        assert caught.value.code == "cache_only_miss"
        with pytest.raises(openai.NotFoundError, match="no such route"):
            client.images.generate(prompt="x")
