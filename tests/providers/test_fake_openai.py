"""The fake's OpenAI dialect, read by the official SDK: chat, completions, embeddings, errors."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from sdk_shapes import data_of, events_of, fitted, unknown_fields

from headgate.errors import BadRequest
from headgate.providers.fake import FakeAnswer, fake_reply
from headgate.providers.fake_openai import forced_tool, inputs_of
from headgate.testing import FakeProvider

QUESTION: Any = [{"role": "user", "content": "How do I reset my card?"}]
CHAT: Any = {"model": "m", "messages": QUESTION}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OTHER: Any = {"type": "function", "function": {"name": "other"}}
CHATS = {
    "plain": CHAT,
    "several choices": CHAT | {"n": 3},
    "cut": CHAT | {"max_completion_tokens": 2},
    "cut, old name": CHAT | {"max_tokens": 2},
    "stopped": CHAT | {"stop": ["made-up"]},
    "tool": CHAT | {"tools": [OTHER, TOOL], "tool_choice": {
        "type": "function", "function": {"name": "find"}}},
    "several tool calls": CHAT | {"n": 2, "tools": [TOOL], "tool_choice": "required"},
    "json": CHAT | {"response_format": {"type": "json_object"}},
    "parts": {"model": "m", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]},
}  # fmt: skip
COMPLETIONS = {
    "plain": {"model": "m", "prompt": "Once"},
    "no prompt": {"model": "m"},
    "several": {"model": "m", "prompt": ["a", "b"], "n": 2},
    "tokens": {"model": "m", "prompt": [1, 2, 3]},
    "cut": {"model": "m", "prompt": "Once", "max_tokens": 1},
    "emptied by a stop": {"model": "m", "prompt": "Once", "stop": ["T", "G", "H"]},
}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        FakeProvider() as provider,
        openai.OpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as sdk,
    ):
        yield sdk


def answered(operation: str, fields: Any, **more: Any) -> FakeAnswer:
    return fake_reply(operation, json.dumps({**fields, **more}).encode())


def with_usage(fields: Any) -> Any:
    return {**fields, "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("fields", CHATS.values(), ids=CHATS.keys())
def test_a_whole_chat_has_exactly_the_fields_of_the_sdk(fields: Any) -> None:
    completion = fitted(ChatCompletion, answered("chat", fields).content)
    assert list(unknown_fields(completion)) == []


def test_a_chat_has_the_fields_that_are_always_there() -> None:
    # Optional in the types of the SDK, and sent by OpenAI in every answer.
    completion = json.loads(answered("chat", CHAT).content)
    assert {"service_tier", "system_fingerprint", "usage"} < set(completion)
    (choice,) = completion["choices"]
    assert set(choice) == {"index", "message", "logprobs", "finish_reason"}
    assert set(choice["message"]) == {"role", "content", "refusal", "annotations"}


@pytest.mark.parametrize("fields", CHATS.values(), ids=CHATS.keys())
def test_each_chunk_of_a_chat_has_exactly_the_fields_of_the_sdk(fields: Any) -> None:
    *chunks, done = data_of(answered("chat", with_usage(fields)).pieces)
    assert done == "[DONE]"
    for chunk in chunks:
        assert list(unknown_fields(fitted(ChatCompletionChunk, chunk))) == []


@pytest.mark.parametrize("fields", CHATS.values(), ids=CHATS.keys())
def test_the_chunks_of_a_chat_add_up_to_the_whole(client: openai.OpenAI, fields: Any) -> None:
    whole = client.chat.completions.create(**fields)
    chunks = list(client.chat.completions.create(**with_usage(fields)))
    assert {chunk.id for chunk in chunks} == {whole.id}
    assert chunks[-1].usage == whole.usage
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    for choice in whole.choices:
        mine = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert mine[-1].finish_reason == choice.finish_reason
        said = "".join(c.delta.content or "" for c in mine)
        assert said == (choice.message.content or "")
        calls = [call for c in mine for call in c.delta.tool_calls or []]
        arguments = "".join(call.function.arguments or "" for call in calls if call.function)
        assert arguments == "".join(
            call.function.arguments
            for call in choice.message.tool_calls or []
            if call.type == "function"
        )


def test_the_sdks_own_accumulator_ends_with_the_whole_chat(client: openai.OpenAI) -> None:
    fields = CHAT | {"stream_options": {"include_usage": True}}
    with client.chat.completions.stream(**fields) as stream:
        final = stream.get_final_completion()
    whole = client.chat.completions.create(**CHAT)
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.usage == whole.usage


ENDINGS = {"plain": "stop", "cut": "length", "cut, old name": "length", "stopped": "stop",
           "tool": "tool_calls", "json": "stop"}  # fmt: skip


@pytest.mark.parametrize(("name", "ending"), ENDINGS.items())
def test_a_chat_says_why_it_ends(client: openai.OpenAI, name: str, ending: str) -> None:
    (choice,) = client.chat.completions.create(**CHATS[name]).choices
    assert choice.finish_reason == ending


def test_usage_counts_messages_tools_and_every_choice(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(**CHAT).usage
    tools = client.chat.completions.create(**CHAT, tools=[TOOL]).usage
    three = client.chat.completions.create(**CHAT, n=3).usage
    assert plain
    assert tools
    assert three
    assert plain.total_tokens == plain.prompt_tokens + plain.completion_tokens
    assert plain.prompt_tokens == 6
    assert tools.prompt_tokens > plain.prompt_tokens
    assert three.completion_tokens > 2 * plain.completion_tokens


def test_a_stream_tells_its_usage_only_when_asked() -> None:
    events = events_of(answered("chat", CHAT, stream=True).pieces)
    assert not any("usage" in event for event in events)


def test_a_named_tool_is_called_with_an_id_of_its_own(client: openai.OpenAI) -> None:
    message = client.chat.completions.create(**CHATS["tool"]).choices[0].message
    assert message.content is None
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "find"
    assert json.loads(call.function.arguments) == {"city": "example"}
    assert call.id.startswith("call_")
    several = client.chat.completions.create(**CHATS["several tool calls"]).choices
    assert len({choice.message.tool_calls[0].id for choice in several
                if choice.message.tool_calls}) == 2  # fmt: skip


def test_tools_that_are_only_offered_are_not_called(client: openai.OpenAI) -> None:
    for choice in ("auto", "none"):
        fields = CHAT | {"tools": [TOOL], "tool_choice": choice}
        assert client.chat.completions.create(**fields).choices[0].finish_reason == "stop"


class Step(pydantic.BaseModel):
    explanation: str
    seconds: int


class Plan(pydantic.BaseModel):
    steps: list[Step]
    title: str | None


def test_a_chat_is_parsed_into_the_callers_own_type(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(**CHAT, response_format=Plan).choices[0].message.parsed
    assert parsed == Plan(steps=[Step(explanation="example", seconds=1)], title="example")


NESTED = {"tools": [TOOL["function"] | {"type": "function"}, OTHER]}
CHOICES: list[tuple[Any, Any, str | None]] = [
    (None, [TOOL], None),
    ("auto", [TOOL], None),
    ("required", [OTHER, TOOL], "other"),
    ("required", [{"type": "custom", "custom": {"name": "c"}}], None),
    ({"type": "function", "function": {"name": "find"}}, [OTHER, TOOL], "find"),
    ({"type": "function", "name": "find"}, NESTED["tools"], "find"),
    ({"type": "custom", "custom": {"name": "find"}}, [TOOL], None),
    (
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}},
        [OTHER, TOOL],
        "find",
    ),
    ({"type": "allowed_tools", "mode": "auto", "tools": [TOOL]}, [TOOL], None),
]


@pytest.mark.parametrize(("choice", "tools", "name"), CHOICES)
def test_the_choice_of_a_tool_is_followed(choice: Any, tools: Any, name: str | None) -> None:
    tool = forced_tool(choice, tools)
    assert (tool and tool.name) == name


@pytest.mark.parametrize(
    ("choice", "tools"),
    [
        ("required", None),
        ({"type": "function", "function": {"name": "absent"}}, [TOOL]),
        ({"type": "function"}, [TOOL]),
        ({"type": "allowed_tools", "mode": "required", "tools": [OTHER]}, [TOOL]),
    ],
)
def test_a_choice_of_no_tool_is_refused(choice: Any, tools: Any) -> None:
    with pytest.raises(BadRequest, match="names no function"):
        forced_tool(choice, tools)


@pytest.mark.parametrize("fields", COMPLETIONS.values(), ids=COMPLETIONS.keys())
def test_a_completion_has_exactly_the_fields_of_the_sdk(fields: Any) -> None:
    completion = fitted(Completion, answered("completions", fields).content)
    assert list(unknown_fields(completion)) == []


@pytest.mark.parametrize("fields", COMPLETIONS.values(), ids=COMPLETIONS.keys())
def test_the_chunks_of_a_completion_add_up_to_the_whole(client: openai.OpenAI, fields: Any) -> None:
    sent: Any = {"prompt": None, **fields}
    whole = client.completions.create(**sent)
    chunks = list(client.completions.create(**with_usage(sent)))
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        mine = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert "".join(c.text for c in mine) == choice.text
        assert [c.finish_reason for c in mine if c.finish_reason] == [choice.finish_reason]


def test_every_prompt_of_a_completion_gets_its_own_choices(client: openai.OpenAI) -> None:
    done = client.completions.create(model="m", prompt=["a", "b"], n=2)
    assert [choice.index for choice in done.choices] == [0, 1, 2, 3]
    assert client.completions.create(model="m", prompt=[1, 2, 3]).usage.prompt_tokens == 3


def test_embeddings_have_exactly_the_fields_of_the_sdk() -> None:
    fields = {"model": "m", "input": ["a", "b"], "dimensions": 4}
    made = fitted(CreateEmbeddingResponse, answered("embeddings", fields).content)
    assert list(unknown_fields(made)) == []


def test_an_embedding_is_a_unit_vector_of_the_wanted_size(client: openai.OpenAI) -> None:
    sizes = {"m": 1536, "text-embedding-3-large": 3072}
    for model, size in sizes.items():
        (item,) = client.embeddings.create(model=model, input="hello").data
        assert len(item.embedding) == size
        assert math.hypot(*item.embedding) == pytest.approx(1, abs=1e-5)
    (short,) = client.embeddings.create(model="m", input="hello", dimensions=7).data
    assert len(short.embedding) == 7


def test_an_input_has_the_same_vector_in_every_batch(client: openai.OpenAI) -> None:
    both = client.embeddings.create(model="m", input=["a", "b"], dimensions=8)
    alone = client.embeddings.create(model="m", input="b", dimensions=8)
    assert both.data[1].embedding == alone.data[0].embedding
    assert both.data[0].embedding != both.data[1].embedding
    assert [item.index for item in both.data] == [0, 1]
    assert (both.usage.prompt_tokens, both.usage.total_tokens) == (2, 2)


def test_vectors_of_different_inputs_and_models_point_elsewhere(client: openai.OpenAI) -> None:
    asked = [("m", "hello"), ("m", "goodbye"), ("other", "hello")]
    made = [client.embeddings.create(model=m, input=i).data[0].embedding for m, i in asked]
    for other in made[1:]:
        assert abs(sum(a * b for a, b in zip(made[0], other, strict=True))) < 0.2


def test_floats_and_base64_hold_the_same_numbers() -> None:
    fields = {"model": "m", "input": "hello", "dimensions": 8}
    floats = json.loads(answered("embeddings", fields).content)["data"][0]["embedding"]
    text = answered("embeddings", fields, encoding_format="base64").content
    packed = base64.b64decode(json.loads(text)["data"][0]["embedding"])
    assert list(struct.unpack("<8f", packed)) == floats


def test_inputs_are_texts_or_token_arrays() -> None:
    assert inputs_of("a", "input") == ["a"]
    assert inputs_of(["a", ""], "input") == ["a", ""]
    assert inputs_of([1, 2], "input") == [[1, 2]]
    assert inputs_of([[1], [2, 3]], "input") == [[1], [2, 3]]
    assert len(inputs_of(["a"] * 2048, "input")) == 2048


@pytest.mark.parametrize("value", [None, "", [], [None], [[]], [["a"]], {}, 5, ["a"] * 2049])
def test_other_inputs_are_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="'input' must be a string, a list of at most 2048"):
        inputs_of(value, "input")


BAD: list[tuple[str, Any]] = [
    ("chat", {"model": "m"}),
    ("chat", {"model": "m", "messages": []}),
    ("chat", {"messages": QUESTION}),
    ("chat", CHAT | {"n": 129}),
    ("chat", CHAT | {"n": 0}),
    ("chat", CHAT | {"max_tokens": 0}),
    ("chat", CHAT | {"tool_choice": "required"}),
    ("completions", {"model": "m", "prompt": 5}),
    ("completions", {"model": "m", "prompt": ["a"] * 65, "n": 2}),
    ("embeddings", {"model": "m"}),
    ("embeddings", {"model": "m", "input": "a", "dimensions": 3073}),
    ("embeddings", {"model": "m", "input": "a", "encoding_format": "int8"}),
]


@pytest.mark.parametrize(("operation", "fields"), BAD)
def test_a_request_that_makes_no_sense_is_the_callers_fault(
    client: openai.OpenAI, operation: str, fields: Any
) -> None:
    path = {"chat": "/chat/completions"}.get(operation, f"/{operation}")
    with pytest.raises(openai.BadRequestError) as caught:
        client.post(path, body=fields, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.message


def test_models_are_listed(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == ["fake-large", "fake-small", "fake-embedding"]
    assert all(list(unknown_fields(model)) == [] for model in listed)
