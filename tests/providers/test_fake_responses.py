"""The fake's `/responses`, read by the official SDK, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from sdk_shapes import data_of, events_of, fitted, unknown_fields

from headgate.providers.fake import FakeAnswer, fake_reply
from headgate.testing import FakeProvider

ASKED: Any = {"model": "m", "input": "How do I reset my card?"}
TOOL: Any = {
    "type": "function",
    "name": "find",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
REQUESTS: dict[str, Any] = {
    "plain": ASKED,
    "items": {"model": "m", "instructions": "Be short.", "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello?"}]}]},
    "cut": ASKED | {"max_output_tokens": 2},
    "tool": ASKED | {"tools": [TOOL], "tool_choice": "required"},
    "json": ASKED | {"text": {"format": {"type": "json_object"}}},
}  # fmt: skip
# Sent by OpenAI too, and read by SDKs of other versions; the types of this one do not name them.
BEYOND_THE_SDK = {".store", ".response.store", ".name"}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        FakeProvider() as provider,
        openai.OpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as sdk,
    ):
        yield sdk


def answered(fields: Any, **more: Any) -> FakeAnswer:
    return fake_reply("responses", json.dumps({**fields, **more}).encode())


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_whole_response_has_exactly_the_fields_of_the_sdk(fields: Any) -> None:
    made = fitted(Response, answered(fields).content)
    assert set(unknown_fields(made)) <= BEYOND_THE_SDK


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_each_event_has_exactly_the_fields_of_the_sdk(fields: Any) -> None:
    for event in data_of(answered(fields, stream=True).pieces):
        assert set(unknown_fields(fitted(ResponseStreamEvent, event))) <= BEYOND_THE_SDK


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_events_are_named_numbered_and_end_with_the_whole_response(fields: Any) -> None:
    streamed = answered(fields, stream=True)
    events = events_of(streamed.pieces)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    names = [piece.partition(b"\n")[0].decode() for piece in streamed.pieces]
    assert names == [f"event: {event['type']}" for event in events]
    assert events[-1]["response"] == json.loads(answered(fields).content)


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_the_deltas_add_up_to_the_whole_response(client: openai.OpenAI, fields: Any) -> None:
    whole = client.responses.create(**fields)
    events: Any = list(client.responses.create(**fields, stream=True))
    deltas = "".join(event.delta for event in events if event.type.endswith(".delta"))
    (item,) = whole.output
    assert deltas == (item.arguments if item.type == "function_call" else whole.output_text)
    assert deltas


def test_the_sdks_own_accumulator_ends_with_the_whole_response(client: openai.OpenAI) -> None:
    with client.responses.stream(**ASKED) as stream:
        final = stream.get_final_response()
    whole = client.responses.create(**ASKED)
    assert (final.id, final.output_text, final.usage) == (whole.id, whole.output_text, whole.usage)


def test_a_response_tells_what_it_used(client: openai.OpenAI) -> None:
    plain = client.responses.create(**ASKED).usage
    more = client.responses.create(**ASKED, instructions="Be short.", tools=[TOOL]).usage
    assert plain
    assert more
    assert plain.total_tokens == plain.input_tokens + plain.output_tokens
    assert more.input_tokens > plain.input_tokens


def test_a_cut_response_is_incomplete_and_says_why(client: openai.OpenAI) -> None:
    cut = client.responses.create(**REQUESTS["cut"])
    assert cut.status == "incomplete"
    assert cut.incomplete_details
    assert cut.incomplete_details.reason == "max_output_tokens"
    last = list(client.responses.create(**REQUESTS["cut"], stream=True))[-1]
    assert last.type == "response.incomplete"


def test_a_forced_tool_is_called(client: openai.OpenAI) -> None:
    (call,) = client.responses.create(**REQUESTS["tool"]).output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("find", {"city": "example"})
    assert call.call_id.startswith("call_")


class Plan(pydantic.BaseModel):
    steps: list[str]
    seconds: int


def test_a_response_is_parsed_into_the_callers_own_type(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(**ASKED, text_format=Plan).output_parsed
    assert parsed == Plan(steps=["example"], seconds=1)


def test_a_response_repeats_what_was_asked(client: openai.OpenAI) -> None:
    told = client.responses.create(**ASKED, temperature=0.5, metadata={"a": "b"}, tools=[TOOL])
    assert (told.temperature, told.metadata, told.top_p) == (0.5, {"a": "b"}, 1.0)
    assert [tool.name for tool in told.tools if tool.type == "function"] == ["find"]


@pytest.mark.parametrize("fields", [{"model": "m"}, {"input": "a"}, ASKED | {"input": []}])
def test_a_request_that_makes_no_sense_is_the_callers_fault(
    client: openai.OpenAI, fields: Any
) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/responses", body=fields, cast_to=object)
