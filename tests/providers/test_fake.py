"""The built-in provider as a whole: every operation, the same bytes for the same request, whole and
streamed, and as the Service that the stack ends in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_shapes import DONE, data_of

from headgate.providers.fake import (
    PATHS,
    error_answer,
    fake_reply,
    fake_service,
    operation_of,
)
from headgate.providers.settings import ProviderConfig
from headgate.stream import Chunks, Whole
from headgate.testing import FakeClock
from headgate.types import OPERATIONS, Call, Invocation, Reply, Target, WireRequest

QUESTION: Any = [{"role": "user", "content": "How do I reset my card?"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": QUESTION},
    "completions": {"model": "m", "prompt": "Once"},
    "responses": {"model": "m", "input": "Once"},
    "embeddings": {"model": "m", "input": "a", "dimensions": 4},
    "messages": {"model": "m", "max_tokens": 100, "messages": QUESTION},
    "count_tokens": {"model": "m", "messages": QUESTION},
}
STREAMED = ["chat", "completions", "responses", "messages"]


def body_of(operation: str, **more: Any) -> bytes:
    return json.dumps({**REQUESTS[operation], **more}).encode()


def test_there_is_an_answer_to_every_operation() -> None:
    assert set(OPERATIONS) < set(REQUESTS)
    assert set(PATHS.values()) == {*REQUESTS, "models"}
    for operation in REQUESTS:
        answer = fake_reply(operation, body_of(operation))
        assert answer.status == 200
        assert answer.headers[0] == (b"content-type", b"application/json")
        assert isinstance(json.loads(answer.content), dict)


@pytest.mark.parametrize("operation", REQUESTS)
def test_equal_requests_get_equal_bytes_whatever_their_spelling(operation: str) -> None:
    turned = json.dumps(dict(reversed(REQUESTS[operation].items())), indent=3).encode()
    assert fake_reply(operation, turned) == fake_reply(operation, body_of(operation))


@pytest.mark.parametrize("operation", [*STREAMED, "embeddings"])
def test_different_requests_get_different_answers(operation: str) -> None:
    other = fake_reply(operation, body_of(operation, user="somebody"))
    usual = fake_reply(operation, body_of(operation))
    assert dict(other.headers)[id_header(operation)] != dict(usual.headers)[id_header(operation)]
    model = fake_reply(operation, body_of(operation, model="other"))
    assert model.content != usual.content


def id_header(operation: str) -> bytes:
    return b"request-id" if operation == "messages" else b"x-request-id"


@pytest.mark.parametrize("operation", STREAMED)
def test_a_stream_is_one_piece_per_event_and_ends_as_its_dialect_says(operation: str) -> None:
    answer = fake_reply(operation, body_of(operation, stream=True))
    assert answer.streamed
    assert answer.headers[0] == (b"content-type", b"text/event-stream; charset=utf-8")
    assert all(piece.endswith(b"\n\n") and piece.count(b"\n\n") == 1 for piece in answer.pieces)
    last = {"responses": "response.completed", "messages": "message_stop"}.get(operation)
    ended = data_of(answer.pieces)[-1]
    assert ended == DONE if last is None else json.loads(ended)["type"] == last


@pytest.mark.parametrize("operation", STREAMED)
def test_whole_and_streamed_answers_carry_the_same_ids(operation: str) -> None:
    whole = fake_reply(operation, body_of(operation))
    streamed = fake_reply(operation, body_of(operation, stream=True))
    name = id_header(operation)
    assert dict(whole.headers)[name] == dict(streamed.headers)[name]
    assert json.loads(whole.content)["id"].encode() in streamed.content


@pytest.mark.parametrize("operation", STREAMED)
def test_given_words_replace_the_usual_ones(operation: str) -> None:
    assert b'"Paris"' in fake_reply(operation, body_of(operation), text="Paris").content
    assert (
        b'"Paris"' in fake_reply(operation, body_of(operation, stream=True), text="Paris").content
    )


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_words_survive_both_shapes(text: str) -> None:
    whole = json.loads(fake_reply("chat", body_of("chat"), text=text).content)
    assert whole["choices"][0]["message"]["content"] == text
    pieces = fake_reply("chat", body_of("chat", stream=True), text=text).pieces
    deltas = [json.loads(data)["choices"][0]["delta"] for data in data_of(pieces)[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == text


BAD_BODIES = [
    b"", b"[]", b"{", b"null", b'{"model": "m", "model": "n"}', b'{"n": NaN}', b"\xff",
    b'{"model": "\\ud800"}', b"{}",
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES)
@pytest.mark.parametrize("operation", REQUESTS)
def test_a_body_that_cannot_be_understood_is_answered_with_400(operation: str, body: bytes) -> None:
    answer = fake_reply(operation, body)
    assert answer.status == 400
    assert json.loads(answer.content)["error"]["message"]


WORDS = st.sampled_from(
    ["type", "function", "name", "tools", "mode", "required", "allowed_tools", "any", "tool",
     "json_schema", "json_object", "schema", "format", "properties", "$ref", "#", "object", "array",
     "items", "anyOf", "enum", "minimum", "content", "text", "role", "user", "include_usage"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["model", "messages", "prompt", "input", "max_tokens", "n", "stop", "tools", "tool_choice",
     "stream", "stream_options", "response_format", "text", "output_config", "system", "dimensions"]
)  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.sampled_from(list(REQUESTS)), st.dictionaries(NAMES, JSON_VALUES, max_size=5))
def test_no_request_makes_it_raise(operation: str, fields: dict[str, Any]) -> None:
    answer = fake_reply(operation, body_of(operation, **fields))
    assert answer.status in (200, 400)
    assert answer.content


def test_an_unknown_operation_is_answered_with_404() -> None:
    answer = fake_reply("audio", b"{}")
    assert answer.status == 404
    assert json.loads(answer.content)["error"]["type"] == "not_found_error"


def test_errors_come_in_the_dialect_of_the_operation() -> None:
    for operation in ("messages", "count_tokens", "anthropic_models"):
        assert json.loads(error_answer(operation, 429, "slow").content)["type"] == "error"
    for operation in ("chat", "completions", "responses", "embeddings", "models", ""):
        assert list(json.loads(error_answer(operation, 429, "slow").content)) == ["error"]


def test_lists_of_models_come_in_both_dialects() -> None:
    openai, anthropic = (fake_reply(name, b"") for name in ("models", "anthropic_models"))
    assert json.loads(openai.content)["object"] == "list"
    assert json.loads(anthropic.content)["has_more"] is False


def test_an_operation_is_known_by_its_path() -> None:
    assert operation_of("/chat/completions?api-version=1") == "chat"
    assert operation_of("/messages/count_tokens") == "count_tokens"
    assert operation_of("/v1/chat/completions") == operation_of("/audio") == ""


def call(operation: str, body: bytes, path: str = "") -> Call:
    request = WireRequest(path or f"/{operation}", body, ())
    return Call(operation, "m", request, b"", b"", Target("fake", "m"))


def asked(call: Call, config: ProviderConfig | None = None) -> tuple[Reply, list[bytes]]:
    async def ask() -> tuple[Reply, list[bytes]]:
        reply = await fake_service(config or ProviderConfig(kind="fake"), FakeClock())(call)
        body: AsyncIterator[bytes] = reply.body.__aiter__()
        return reply, [chunk async for chunk in body]

    return asyncio.run(ask())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_service_gives_the_bytes_of_the_answer(operation: str) -> None:
    reply, chunks = asked(call(operation, body_of(operation)))
    assert isinstance(reply.body, Whole)
    assert chunks == [fake_reply(operation, body_of(operation)).content]
    assert (reply.status, reply.provenance.attempts, reply.provenance.target) == (200, 1, "fake/m")


@pytest.mark.parametrize("operation", STREAMED)
def test_the_service_streams_event_by_event(operation: str) -> None:
    body = body_of(operation, stream=True)
    reply, chunks = asked(call(operation, body))
    assert isinstance(reply.body, Chunks)
    assert tuple(chunks) == fake_reply(operation, body).pieces


def test_the_service_finds_other_operations_by_their_path() -> None:
    body = body_of("count_tokens")
    counted = asked(call("forward", body, "/messages/count_tokens"))
    listed = asked(call("forward", b"", "/models"))
    assert json.loads(counted[1][0]) == {"input_tokens": 6}
    assert json.loads(listed[1][0])["object"] == "list"
    assert asked(call("forward", b"", "/audio"))[0].status == 404


def test_the_service_answers_bad_requests_itself() -> None:
    reply, chunks = asked(call("chat", b"{}"))
    assert reply.status == 400
    assert "messages" in json.loads(chunks[0])["error"]["message"]


def test_the_service_waits_as_long_as_its_latency_says() -> None:
    answered: list[float] = []

    async def ask(latency: float) -> None:
        config = ProviderConfig(kind="fake", latency=latency)
        await fake_service(config, FakeClock())(call("chat", body_of("chat")))
        answered.append(latency)

    async def ask_all() -> None:
        await asyncio.gather(ask(0.05), ask(0.01), ask(0.0))

    asyncio.run(ask_all())
    assert answered == [0.0, 0.01, 0.05]


def test_the_service_takes_no_callables() -> None:
    async def run() -> None: ...

    with pytest.raises(TypeError, match="wire calls only"):
        asked(Call("function", "m", Invocation(run, 0, False), b"", b"", Target("fake", "m")))
