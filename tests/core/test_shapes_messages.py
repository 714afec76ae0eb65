"""Messages in both shapes: blocks by their type, usage number by number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from core.shaping import body_of, events_from, recordings_of, spelt, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_shapes import fitted, unknown_fields

from headgate.core.shapes import whole_of

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m",
           "stop_reason": None, "stop_sequence": None,
           "usage": {"input_tokens": 5, "output_tokens": 1}}  # fmt: skip
START = {"type": "message_start", "message": MESSAGE}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
STOP = {"type": "message_stop"}


def opened(block: Any, index: int = 0) -> Any:
    return {"type": "content_block_start", "index": index, "content_block": block}


def added(kind: str, *, index: int = 0, **delta: Any) -> Any:
    delta = {"type": kind, **delta}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def closed(index: int = 0) -> Any:
    return {"type": "content_block_stop", "index": index}


def whole(*events: Any) -> Any:
    body = whole_of("messages", spelt(*events))
    return None if body is None else json.loads(body)


def block(start: Any, *deltas: Any) -> Any:
    message = whole(START, opened(start), *deltas, closed(), END, STOP)
    return None if message is None else message["content"][0]


def text(value: str) -> Any:
    return added("text_delta", text=value)


def cited(value: Any) -> Any:
    return added("citations_delta", citation=value)


def thought(value: str) -> Any:
    return added("thinking_delta", thinking=value)


def signed(value: str) -> Any:
    return added("signature_delta", signature=value)


def written(value: Any) -> Any:
    return added("input_json_delta", partial_json=value)


TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
TOOL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
HIDDEN = {"type": "redacted_thinking", "data": "x"}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "t", "content": [{"type": "new"}]}


@pytest.mark.parametrize(
    ("start", "deltas", "expected"),
    [
        (TEXT, [text("a"), text("b")], TEXT | {"text": "ab"}),
        (TEXT, [], TEXT),
        (TEXT | {"text": "a"}, [text("b")], TEXT | {"text": "ab"}),
        (TEXT, [text("a"), cited(1), cited(2)], TEXT | {"text": "a", "citations": [1, 2]}),
        (TEXT | {"citations": None}, [cited(1)], TEXT | {"citations": [1]}),
        (TEXT | {"citations": [1]}, [cited(2)], TEXT | {"citations": [1, 2]}),
        (TEXT | {"citations": 5}, [cited(2)], None),
        (THINKING, [thought("a"), thought("b"), signed("s")],
         THINKING | {"thinking": "ab", "signature": "s"}),
        (THINKING, [signed("")], THINKING),
        (THINKING, [signed("s"), signed("t")], None),
        (THINKING | {"signature": "s"}, [signed("t")], None),
        (TOOL, [], TOOL),
        (TOOL, [written("")], TOOL),
        (TOOL, [written('{"a": 1.'), written('0, "b": 18446744073709551616}')],
         TOOL | {"input": {"a": 1.0, "b": 18446744073709551616}}),
        (TOOL, [written('{"a": ')], None),
        (TOOL, [written("[" * 100_000)], None),
        (TOOL | {"input": {"a": 1}}, [written("{}")], None),
        (TOOL | {"type": "server_tool_use"}, [written('{"q": 1}')],
         TOOL | {"type": "server_tool_use", "input": {"q": 1}}),
        (HIDDEN, [], HIDDEN),
        (RESULT, [], RESULT),
        (RESULT, [text("a")], None),
        (TEXT, [thought("a")], None),
        (TEXT, [written("{}")], None),
        (THINKING, [text("a")], None),
        (TOOL, [text("a")], None),
        (TEXT, [added("new_delta", new="a")], None),
        (TEXT, [added("text_delta", text="a", more=1)], None),
        (TEXT, [added("text_delta", text=5)], None),
        (TEXT, [added("text_delta")], None),
        (TEXT, [closed(), text("late")], None),
        ({"type": "text"}, [text("a")], None),
        ({"type": "new_block"}, [], None),
        ({"type": ["text"]}, [], None),
        ("x", [], None),
    ],
)  # fmt: skip
def test_a_block_is_put_together_by_its_type(start: Any, deltas: Any, expected: Any) -> None:
    found = block(start, *deltas)
    assert found == expected
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


GOOD = [START, opened(TEXT), text("a"), closed(), END, STOP]
SECOND = [opened(TEXT, 1), added("text_delta", index=1, text="b"), closed(1)]


def test_several_blocks_stand_in_order() -> None:
    message = whole(*GOOD[:4], *SECOND, END, STOP)
    assert [one["text"] for one in message["content"]] == ["a", "b"]
    assert whole(START, END, STOP)["content"] == []


@pytest.mark.parametrize(
    "events",
    [
        GOOD[1:],
        GOOD[:-1],
        [*GOOD, STOP],
        [*GOOD, END],
        [START, *GOOD],
        [*GOOD[:4], STOP],
        [*GOOD[:3], END, STOP],
        [*GOOD[:4], *GOOD[1:4], END, STOP],
        [START, *SECOND, END, STOP],
        [*GOOD[:4], {"type": "new_event"}, END, STOP],
        [*GOOD[:4], {"type": "error", "error": {"type": "overloaded_error"}}, END, STOP],
        [*GOOD[:4], END | {"context_management": {}}, STOP],
        [*GOOD[:5], STOP | {"amazon-bedrock-invocationMetrics": {}}],
        [START | {"message": MESSAGE | {"content": [TEXT]}}, END, STOP],
        [START | {"message": MESSAGE | {"usage": None}}, END, STOP],
        [START | {"message": None}, END, STOP],
        [START, END | {"delta": None}, STOP],
        [START, END | {"delta": {"stop_reason": "end_turn", "new": 1}}, STOP],
        [START, END | {"usage": {"output_tokens": 9, "new_tokens": 1}}, STOP],
        [START, END | {"usage": None}, STOP],
        [START, opened(TEXT) | {"index": "0"}, closed(), END, STOP],
        [],
    ],
    ids=lambda events: "-".join(event["type"] for event in events),
)
def test_events_out_of_order_or_of_unknown_kinds_make_no_message(events: Any) -> None:
    assert whole(*GOOD) is not None
    assert whole(*events) is None


def test_names_and_types_of_events_must_agree() -> None:
    stream = spelt(*GOOD)
    assert whole_of("messages", stream) is not None
    for name in (b"", b"event: message_start\n", b"event: ping\n", b"event: \xff\n"):
        assert whole_of("messages", stream.replace(b"event: message_stop\n", name)) is None


def test_pings_are_left_out() -> None:
    ping = {"type": "ping"}
    assert whole(*(event for one in GOOD for event in (ping, one))) == whole(*GOOD)


def test_the_end_says_how_the_message_stopped_and_what_it_used() -> None:
    delta = {"stop_reason": "stop_sequence", "stop_sequence": "x", "stop_details": None}
    totals = {"input_tokens": 7, "cache_read_input_tokens": None, "output_tokens": 9,
              "server_tool_use": {"web_search_requests": 1}}  # fmt: skip
    start = START | {"message": MESSAGE | {"usage": MESSAGE["usage"] | {"service_tier": "batch",
                     "cache_read_input_tokens": 3}}}  # fmt: skip
    message = whole(start, END | {"delta": delta, "usage": totals}, STOP)
    assert {name: message[name] for name in delta} == delta
    assert message["usage"] == {
        "input_tokens": 7, "output_tokens": 9, "service_tier": "batch",
        "cache_read_input_tokens": 3, "server_tool_use": {"web_search_requests": 1},
    }  # fmt: skip


def answer(*blocks: Any, **more: Any) -> Any:
    return MESSAGE | {"content": list(blocks), "stop_reason": "end_turn"} | more


@pytest.mark.parametrize(
    "told",
    [
        answer(stop_reason=None),
        answer(usage=None),
        answer(usage={"input_tokens": 3}),
        answer(usage={"output_tokens": None}),
        answer({"type": "new_block"}),
        answer({"type": "text", "text": None}),
        answer({"type": "thinking", "thinking": "a", "signature": 5}),
        answer("x"),
        answer(content="x"),
    ],
)
def test_a_message_that_events_cannot_say_is_not_streamed(told: Any) -> None:
    assert survives("messages", answer(TEXT))
    assert not survives("messages", told)


def test_a_message_opens_empty_and_is_counted_at_its_end() -> None:
    used = {"input_tokens": 5, "output_tokens": 40, "service_tier": "standard"}
    start, *_, end, stop = events_from("messages", answer(TEXT | {"text": "a"}, usage=used))
    assert start["message"] == MESSAGE | {"usage": used | {"output_tokens": 1}}
    assert end == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"input_tokens": 5, "output_tokens": 40},
    }
    assert stop == STOP


def test_a_signature_and_citations_come_after_the_text_they_belong_to() -> None:
    blocks = [
        THINKING | {"thinking": "a", "signature": "s"},
        TEXT | {"text": "b", "citations": [1]},
    ]
    events = events_from("messages", answer(*blocks))
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert deltas == ["thinking_delta", "signature_delta", "text_delta", "citations_delta"]
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert starts == [THINKING, TEXT | {"citations": []}]


@pytest.mark.parametrize(("stream", "expected"), recordings_of("messages"))
def test_what_is_made_fits_the_types_of_the_sdk(stream: bytes, expected: Any) -> None:
    assert list(unknown_fields(fitted(Message, body_of("messages", stream)))) == []
    for event in events_from("messages", expected):
        assert list(unknown_fields(fitted(RawMessageStreamEvent, json.dumps(event)))) == []


WORDS = st.text(st.characters(codec="utf-8"), max_size=120)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
BLOCKS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": WORDS},
        optional={"citations": st.none() | st.lists(VALUES, max_size=2)},
    ),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": WORDS, "signature": WORDS}),
    st.fixed_dictionaries({"type": st.just("tool_use"), "id": WORDS, "name": WORDS,
                           "input": st.dictionaries(WORDS, VALUES, max_size=3)}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": WORDS}),
)  # fmt: skip


@settings(max_examples=200)
@given(
    st.lists(BLOCKS, max_size=4),
    st.sampled_from(["end_turn", "max_tokens", "tool_use"]),
    st.integers(0, 2**53),
)
def test_every_ordinary_message_is_streamed_and_is_itself_again(
    blocks: Any, reason: str, tokens: int
) -> None:
    used = {"input_tokens": 3, "cache_read_input_tokens": None, "output_tokens": tokens}
    assert survives("messages", answer(*blocks, stop_reason=reason, usage=used))


def test_the_input_of_a_tool_comes_in_pieces_of_its_json() -> None:
    used = TOOL | {"input": {"text": "word " * 20}}
    _, start, *deltas, _, _, _ = events_from("messages", answer(used))
    assert start["content_block"] == TOOL
    pieces = [event["delta"]["partial_json"] for event in deltas]
    assert len(pieces) == 3
    assert json.loads("".join(pieces)) == used["input"]
