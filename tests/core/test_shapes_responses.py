"""Responses in both shapes: the terminal event is the whole answer, the others lead up to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core.shaping import body_of, events_from, recordings_of, spelt, stream_from, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from sdk_shapes import fitted, unknown_fields

from headgate.core.shapes import stream_of, whole_of
from headgate.core.sse import parse_event, split

# Sent by OpenAI too; the types of this SDK do not name them.
BEYOND_THE_SDK = (".store", ".name", ".status")


def item(**more: Any) -> Any:
    content = [{"type": "output_text", "text": "Hi", "annotations": []}]
    usual = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
    return {**usual, "content": content, **more}


def response(*output: Any, status: str = "completed", **more: Any) -> Any:
    return {"id": "resp_1", "object": "response", "status": status, "output": list(output), **more}


def terminal(answer: Any) -> Any:
    return {"type": f"response.{answer['status']}", "response": answer}


def done(one: Any, index: int = 0) -> Any:
    return {"type": "response.output_item.done", "output_index": index, "item": one}


GOOD = terminal(response(item()))


def test_the_whole_answer_is_the_very_bytes_of_the_terminal_event() -> None:
    body = b'{"status" :"completed","output":[ ] ,"big":12345678901234567890123,"f":1.50}'
    event = b'data: {"type":"response.completed","response": ' + body + b" }\n\n"
    assert whole_of("responses", event) == body
    assert whole_of("responses", event + b"data: [DONE]\n\n") == body


@pytest.mark.parametrize(
    ("events", "is_whole"),
    [
        ([GOOD], True),
        ([done(item()), GOOD], True),
        ([{"type": "response.web_search_call.searching", "item_id": "x"}, GOOD], True),
        ([done(item(id="msg_2")), GOOD], False),
        ([done(item(), 1), GOOD], False),
        ([done(item(), -1), GOOD], False),
        ([{"type": "response.output_item.done", "item": item()}, GOOD], False),
        ([done(item()), terminal(response())], False),
        ([GOOD, done(item())], False),
        ([GOOD, GOOD], False),
        ([terminal(response(status="failed"))], False),
        ([terminal(response(status="in_progress"))], False),
        ([{"type": "response.completed", "response": response(status="incomplete")}], False),
        ([{"type": "response.completed", "response": {"status": "completed"}}], False),
        ([{"type": "response.completed", "response": []}], False),
        ([{"type": "response.completed"}], False),
        ([{"type": "error", "message": "boom"}, GOOD], False),
        ([{"error": {"message": "boom"}}, GOOD], False),
        ([{"type": 5}, GOOD], False),
        ([], False),
    ],
)
def test_only_a_terminal_event_that_agrees_with_its_stream_counts(
    events: Any, is_whole: bool
) -> None:
    assert (whole_of("responses", spelt(*events)) is not None) is is_whole


def test_names_and_types_of_events_must_agree() -> None:
    named = spelt(GOOD)
    unnamed = b"data: " + parse_event(named)[1] + b"\n\n"
    assert whole_of("responses", unnamed) == body_of("responses", named)
    assert whole_of("responses", named.replace(b"event: response", b"event: thread")) is None


def test_an_answer_cut_at_its_limit_ends_with_its_own_event() -> None:
    cut = response(
        item(status="incomplete"), status="incomplete", incomplete_details={"reason": "x"}
    )
    *_, last = events_from("responses", cut)
    assert last == {"type": "response.incomplete", "sequence_number": 8, "response": cut}


@pytest.mark.parametrize(
    "answer",
    [
        response(status="failed"),
        response(status="in_progress"),
        response() | {"status": None},
        response() | {"output": None},
        response({"type": "web_search_call", "id": "x"}),
        response(item(id=None)),
        response(item(type=["message"])),
        response(item(content=None)),
        response(item(content=[{"type": "output_audio"}])),
        response(item(content=[{"type": "output_text"}])),
        response(item(content=[{"type": "output_text", "text": "a", "annotations": 5}])),
        response(item(content=[{"type": "output_text", "text": "a", "logprobs": [5]}])),
        response({"type": "function_call", "id": "x", "name": "f", "arguments": {}}),
        response({"type": "function_call", "name": "f", "arguments": "{}"}),
        response({"type": "custom_tool_call", "id": "x", "input": None}),
        response({"type": "reasoning", "id": "x"}),
        response({"type": "reasoning", "id": "x", "summary": [{"type": "new", "text": ""}]}),
        response("x"),
    ],
    ids=lambda answer: json.dumps(answer)[40:90],
)
def test_an_answer_that_events_cannot_say_is_not_streamed(answer: Any) -> None:
    assert survives("responses", response(item()))
    assert stream_of("responses", json.dumps(answer).encode()) is None


def test_events_are_numbered_and_named_in_the_order_of_the_api() -> None:
    streamed = stream_from("responses", response(item()))
    events = [parse_event(event) for event in split(streamed.content)]
    values = [json.loads(content) for _, content in events]
    assert [value["sequence_number"] for value in values] == list(range(9))
    assert [name.decode() for name, _ in events] == [value["type"] for value in values]
    assert [value["type"].removeprefix("response.") for value in values] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


def test_a_response_opens_without_what_is_not_known_yet() -> None:
    told = response(item(), usage={"input_tokens": 1}, completed_at=5, incomplete_details=None)
    created, in_progress, added, *_ = events_from("responses", told)
    opened = told | {"status": "in_progress", "output": [], "usage": None, "completed_at": None}
    assert created["response"] == in_progress["response"] == opened
    assert added["item"] == item(status="in_progress", content=[])


def test_what_is_encrypted_comes_with_the_finished_item_alone() -> None:
    thought = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "secret"}
    _, _, added, finished, _ = events_from("responses", response(thought))
    assert added["item"] == thought | {"encrypted_content": None}
    assert finished["item"] == thought


@pytest.mark.parametrize(("stream", "expected"), recordings_of("responses"))
def test_what_is_made_fits_the_types_of_the_sdk(stream: bytes, expected: Any) -> None:
    found = [fitted(Response, body_of("responses", stream))]
    found += [
        fitted(ResponseStreamEvent, json.dumps(event))
        for event in events_from("responses", expected)
    ]
    for place in (place for one in found for place in unknown_fields(one)):
        assert place.endswith(BEYOND_THE_SDK)


@pytest.mark.parametrize(("stream", "expected"), recordings_of("responses"))
def test_what_is_made_has_the_events_of_the_recording(stream: bytes, expected: Any) -> None:
    def order(events: list[Any]) -> list[Any]:
        """Types and fields, without deltas: where a text is cut is nobody's rule."""
        kinds = [(event["type"], sorted(event)) for event in events]
        return [kind for kind in kinds if not kind[0].endswith(".delta")]

    recorded = [json.loads(parse_event(event)[1]) for event in split(stream)]
    assert order(events_from("responses", expected)) == order(recorded)


WORDS = st.text(st.characters(codec="utf-8"), max_size=120)
LOGPROBS = st.lists(
    st.fixed_dictionaries({"token": WORDS, "logprob": st.floats(-99, 0), "bytes": st.just([1])}),
    max_size=3,
)
PARTS = st.fixed_dictionaries(
    {"type": st.just("output_text"), "text": WORDS},
    optional={"annotations": st.lists(st.just({"type": "file_path"}), max_size=2),
              "logprobs": st.none() | LOGPROBS},
) | st.fixed_dictionaries({"type": st.just("refusal"), "refusal": WORDS})  # fmt: skip
SUMMARIES = st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": WORDS}))
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {"id": WORDS, "type": st.just("message"), "content": st.lists(PARTS, max_size=3)},
        optional={"status": st.just("completed"), "phase": WORDS},
    ),
    st.fixed_dictionaries(
        {"id": WORDS, "type": st.just("function_call"), "name": WORDS, "arguments": WORDS}
    ),
    st.fixed_dictionaries({"id": WORDS, "type": st.just("custom_tool_call"), "input": WORDS}),
    st.fixed_dictionaries(
        {"id": WORDS, "type": st.just("reasoning"), "summary": SUMMARIES},
        optional={"encrypted_content": st.none() | WORDS, "content": st.none()},
    ),
)


@settings(max_examples=150)
@given(st.lists(ITEMS, max_size=3), st.sampled_from(["completed", "incomplete"]))
def test_every_ordinary_response_is_streamed_and_is_itself_again(output: Any, status: str) -> None:
    assert survives("responses", response(*output, status=status, usage={"input_tokens": 1}))
