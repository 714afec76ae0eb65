"""The fake's Anthropic dialect, read by the official SDK: messages, counts, models, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pydantic
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from sdk_shapes import data_of, events_of, fitted, unknown_fields

from headgate.providers.fake import FakeAnswer, error_answer, fake_reply
from headgate.testing import FakeProvider, Status

QUESTION: Any = [{"role": "user", "content": "How do I reset my card?"}]
ASKED: Any = {"model": "m", "max_tokens": 1000, "messages": QUESTION}
TOOL: Any = {
    "name": "find",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
OTHER: Any = {"name": "other", "input_schema": {"type": "object"}}
REQUESTS: dict[str, Any] = {
    "plain": ASKED,
    "system and parts": ASKED | {"system": "Be short.", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hello?"}]}]},
    "cut": ASKED | {"max_tokens": 2},
    "stopped": ASKED | {"stop_sequences": ["made-up"]},
    "tool": ASKED | {"tools": [OTHER, TOOL], "tool_choice": {"type": "tool", "name": "find"}},
    "any tool": ASKED | {"tools": [TOOL], "tool_choice": {"type": "any"}},
}  # fmt: skip
ENDINGS = {"plain": "end_turn", "cut": "max_tokens", "stopped": "stop_sequence", "tool": "tool_use"}


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture(scope="module")
def client(provider: FakeProvider) -> Iterator[anthropic.Anthropic]:
    url = provider.anthropic_base_url
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as sdk:
        yield sdk


def answered(fields: Any, **more: Any) -> FakeAnswer:
    return fake_reply("messages", json.dumps({**fields, **more}).encode())


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_message_has_exactly_the_fields_of_the_sdk(fields: Any) -> None:
    assert list(unknown_fields(fitted(Message, answered(fields).content))) == []


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_each_event_has_exactly_the_fields_of_the_sdk(fields: Any) -> None:
    for event in data_of(answered(fields, stream=True).pieces):
        if event != '{"type":"ping"}':
            assert list(unknown_fields(fitted(RawMessageStreamEvent, event))) == []


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
def test_the_sdks_own_accumulator_ends_with_the_whole_message(
    client: anthropic.Anthropic, fields: Any
) -> None:
    whole = client.messages.create(**fields)
    with client.messages.stream(**fields) as stream:
        final = stream.get_final_message()
    # Fields that are null are set by the accumulator and absent from the whole, or the reverse.
    assert final.to_dict(exclude_none=True) == whole.to_dict(exclude_none=True)


def test_the_deltas_add_up_to_the_whole_message(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASKED)
    with client.messages.stream(**ASKED) as stream:
        said = list(stream.text_stream)
    assert len(said) > 3
    assert "".join(said) == whole.content[0].text  # type: ignore[union-attr]


def test_events_are_named_as_their_type() -> None:
    streamed = answered(ASKED, stream=True)
    names = [piece.partition(b"\n")[0].decode() for piece in streamed.pieces]
    assert names == [f"event: {event['type']}" for event in events_of(streamed.pieces)]
    assert (names[0], names[-1]) == ("event: message_start", "event: message_stop")


@pytest.mark.parametrize(("name", "ending"), ENDINGS.items())
def test_a_message_says_why_it_ends(client: anthropic.Anthropic, name: str, ending: str) -> None:
    message = client.messages.create(**REQUESTS[name])
    assert message.stop_reason == ending
    assert message.stop_sequence == ("made-up" if ending == "stop_sequence" else None)


@pytest.mark.parametrize("name", ["tool", "any tool"])
def test_a_forced_tool_is_called(client: anthropic.Anthropic, name: str) -> None:
    (block,) = client.messages.create(**REQUESTS[name]).content
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("find", {"city": "example"})
    assert block.id.startswith("toolu_")


def test_tools_that_are_only_offered_are_not_called(client: anthropic.Anthropic) -> None:
    for choice in ({"type": "auto"}, {"type": "none"}):
        message = client.messages.create(**ASKED, tools=[TOOL], tool_choice=choice)  # type: ignore[arg-type]
        assert message.stop_reason == "end_turn"


class Plan(pydantic.BaseModel):
    steps: list[str]
    seconds: int


def test_a_message_is_parsed_into_the_callers_own_type(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(**ASKED, output_format=Plan).parsed_output
    assert parsed == Plan(steps=["example"], seconds=1)


def test_the_count_of_tokens_is_what_the_message_reports(client: anthropic.Anthropic) -> None:
    fields: Any = {"model": "m", "messages": QUESTION, "system": "Be short.", "tools": [TOOL]}
    counted = client.messages.count_tokens(**fields)
    message = client.messages.create(**fields, max_tokens=100)
    assert counted.input_tokens == message.usage.input_tokens > 6
    assert message.usage.output_tokens > 1
    body = fake_reply("count_tokens", json.dumps(fields).encode()).content
    assert list(unknown_fields(fitted(MessageTokensCount, body))) == []


def test_models_are_listed(client: anthropic.Anthropic) -> None:
    listed = client.models.list()
    assert [model.id for model in listed] == ["fake-large", "fake-small"]
    assert all(list(unknown_fields(model)) == [] for model in listed.data)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "m", "messages": QUESTION},
        {"model": "m", "max_tokens": 5},
        {"model": "m", "max_tokens": 5, "messages": []},
        {"max_tokens": 5, "messages": QUESTION},
        ASKED | {"max_tokens": 0},
        ASKED | {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "absent"}},
        ASKED | {"tool_choice": {"type": "any"}},
    ],
)
def test_a_request_that_makes_no_sense_is_the_callers_fault(
    client: anthropic.Anthropic, fields: Any
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.post("/v1/messages", body=fields, cast_to=object)
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_is_of_the_kind_its_status_says(
    provider: FakeProvider, client: anthropic.Anthropic, status: int, kind: str
) -> None:
    provider.script(Status(status))
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**ASKED)
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    body = json.loads(error_answer("messages", status, "why").content)
    assert body == {"type": "error", "error": {"type": kind, "message": "why"}, "request_id": None}
