"""What the server says by itself and what it bills: every dialect, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.verdict import usage_in
from headgate.faultserver.answers import (
    error_event,
    is_refusal,
    ping,
    prepare,
    said_chars,
    tokens_out_of,
)
from headgate.providers.fake_words import tokens_of_chars
from headgate.testing import Answer, Recorded, marks_in, tenant_of

QUESTION = [{"role": "user", "content": "Capital of France?"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": QUESTION},
    "/v1/completions": {"prompt": "Once"},
    "/v1/responses": {"input": "Once"},
    "/v1/messages": {"messages": QUESTION, "max_tokens": 300},
    "/v1/embeddings": {"input": "Once", "dimensions": 3},
    "/v1/messages/count_tokens": {"messages": QUESTION},
}
STREAMS = [path for path in ASKED if path not in ("/v1/embeddings", "/v1/messages/count_tokens")]


def recorded(path: str, **fields: Any) -> Recorded:
    body = {"model": "m", **ASKED[path], **fields}
    headers = {"authorization": "Bearer sk-a"}
    return Recorded("POST", path, headers, body, json.dumps(body).encode())


def content_of(path: str, **fields: Any) -> bytes:
    return b"".join(prepare(recorded(path, **fields), 9).usual().pieces)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ASKED)
def test_every_answer_carries_the_mark_of_who_asked(path: str, stream: bool) -> None:
    prepared = prepare(recorded(path, stream=stream), 9)
    assert (prepared.mark.tenant, prepared.mark.serial) == (tenant_of("sk-a"), 9)
    assert marks_in(content_of(path, stream=stream)) == {prepared.mark}


def test_an_answer_that_calls_a_tool_is_marked_in_its_ids() -> None:
    path = "/v1/chat/completions"
    content = content_of(path, tools=[TOOL], tool_choice="required")
    call = json.loads(content)["choices"][0]["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"a": None}
    assert marks_in(call["id"])


def test_words_of_a_script_stay_as_they_are_and_ids_are_marked() -> None:
    (piece,) = prepare(recorded("/v1/chat/completions"), 9).plan(Answer(text="Paris")).pieces
    assert json.loads(piece)["choices"][0]["message"]["content"] == "Paris"
    assert marks_in(piece)


@pytest.mark.parametrize("path", STREAMS)
def test_the_events_of_a_stream_say_as_many_tokens_as_the_whole_answer_bills(path: str) -> None:
    pieces = prepare(recorded(path, stream=True), 9).usual().pieces
    said = sum(map(said_chars, pieces))
    assert tokens_of_chars(said) == tokens_out_of(content_of(path)) > 20


def test_tool_arguments_in_a_stream_are_counted_too() -> None:
    tool = {"name": "f", "input_schema": {"properties": {"name": {"type": "string"}}}}
    asked = {"tools": [tool], "tool_choice": {"type": "any"}}
    for path, fields in (
        ("/v1/chat/completions", {"tools": [TOOL], "tool_choice": "required"}),
        ("/v1/messages", asked),
    ):
        streamed = prepare(recorded(path, stream=True, **fields), 9).usual().pieces
        said = sum(map(said_chars, streamed))
        assert tokens_of_chars(said) == tokens_out_of(content_of(path, **fields)) > 0


@pytest.mark.parametrize(
    "spelt",
    [b'data:{"delta": "Paris"}\r\n\r\n', b'data: {"delta":\ndata: "Paris"}\n\n',
     b': said\nevent: x\ndata: {"delta": "Paris"}\n\n',
     b'\xef\xbb\xbfdata: {"delta": "Paris"}\n\n'],
)  # fmt: skip
def test_what_is_said_counts_however_it_is_spelt(spelt: bytes) -> None:
    assert said_chars(spelt) == len("Paris")


@pytest.mark.parametrize(
    ("content", "refuses"),
    [(b'{"error": {"message": "no"}}', True), (b'{"error": null, "choices": []}', False),
     (b"{}", False), (b"[]", False), (b"{", False), (b"", False)],
)  # fmt: skip
def test_a_whole_answer_that_is_an_error_is_a_refusal(content: bytes, refuses: bool) -> None:
    assert is_refusal(content) == refuses


@pytest.mark.parametrize(
    "piece",
    [b"", b"data: [DONE]\n\n", b": ping\n\n", b"data: {", b"data: 5\n\n", b"data: \xff\n\n",
     b'data: {"choices": 5, "delta": 5}\n\n', b'data: {"choices": [5, {"delta": 5}]}\n\n'],
)  # fmt: skip
def test_what_says_nothing_costs_nothing(piece: bytes) -> None:
    assert said_chars(piece) == 0


@pytest.mark.parametrize("path", ASKED)
def test_a_prompt_costs_what_a_whole_answer_says_it_costs(path: str) -> None:
    whole = usage_in(content_of(path)).tokens_in
    assert prepare(recorded(path, stream=True), 9).tokens_in == whole
    assert (whole > 0) == (path != "/v1/messages/count_tokens")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"model": 5}', b"\xff"])
def test_what_cannot_be_understood_costs_nothing_and_is_refused(raw: bytes) -> None:
    body = json.loads(raw) if raw.startswith((b"[", b'{"')) else None
    prepared = prepare(Recorded("POST", "/v1/chat/completions", {}, body, raw), 1)
    assert (prepared.tokens_in, prepared.usual().status) == (0, 400)


@pytest.mark.parametrize(
    ("operation", "name"), [("chat", b""), ("messages", b"error"), ("responses", b"error")]
)
def test_an_error_event_is_spelt_in_the_dialect(operation: str, name: bytes) -> None:
    event = error_event(operation, 529)
    assert event.endswith(b"\n\n")
    assert event.startswith(b"event: " + name if name else b"data: ")
    told = json.loads(event.partition(b"data: ")[2])
    assert told["type" if name else "error"]
    assert "529" in str(told)


def test_a_ping_is_an_event_for_anthropic_and_a_comment_for_the_rest() -> None:
    assert ping("messages").startswith(b"event: ping\ndata: ")
    assert ping("chat").startswith(b":")
