"""Chats in both shapes: each field of a delta by its own rule, and no field without one."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from core.shaping import (
    body_of,
    events_from,
    is_json_equal,
    recordings_of,
    spelt,
    stream_from,
    survives,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from sdk_shapes import fitted, unknown_fields

from headgate.core.shapes import whole_of

FRAME = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
KNOWN_TO_OTHERS = {".choices[0].message.reasoning_content", ".choices[0].delta.reasoning_content",
                   ".choices[0].stop_reason", ".usage.prompt_cache_hit_tokens",
                   ".usage.prompt_cache_miss_tokens"}  # fmt: skip


def chunk(delta: Any, finish: Any = None, *, index: int = 0, **more: Any) -> Any:
    return {**FRAME, "choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]}


END = chunk({}, "stop")


def whole(*chunks: Any) -> Any:
    """The whole answer of these chunks and an end, None where there is none."""
    body = whole_of("chat", spelt(*chunks, END, done=True))
    return None if body is None else json.loads(body)


def message(*deltas: Any) -> Any:
    answer = whole(*map(chunk, deltas))
    return None if answer is None else answer["choices"][0]["message"]


def calls(*pieces: Any) -> Any:
    return message(*({"tool_calls": [piece]} for piece in pieces))


def call(index: int = 0, **more: Any) -> Any:
    return {"index": index, "id": "a", "type": "function", "function": {"name": "f"}, **more}


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([{"content": "a"}, {"content": "b"}], {"content": "ab"}),
        ([{"content": None}, {"content": "b"}, {"content": None}], {"content": "b"}),
        ([{"content": None}], {"content": None}),
        ([{"content": ""}], {"content": ""}),
        ([{}], {}),
        ([{"role": "assistant"}, {"role": "assistant"}], {"role": "assistant"}),
        ([{"role": "assistant"}, {"role": "user"}], None),
        ([{"reasoning_content": "a"}, {"reasoning_content": "b"}], {"reasoning_content": "ab"}),
        ([{"reasoning": "a"}, {"reasoning": "b"}], {"reasoning": "ab"}),
        ([{"refusal": "N"}, {"refusal": "o"}], {"refusal": "No"}),
        ([{"content": [{"type": "text", "text": "a"}]}], None),
        ([{"content": 5}], None),
        ([{"audio": {"id": "a"}}], None),
        ([{"annotations": []}], None),
        ([{"reasoning_details": []}], None),
        ([{"tool_calls": None}, {"tool_calls": []}, {"function_call": None}], {}),
        ([{"function_call": {"name": "f", "arguments": "{"}},
          {"function_call": {"arguments": "}"}}],
         {"function_call": {"name": "f", "arguments": "{}"}}),
        ([{"function_call": {"name": "f"}}, {"function_call": {"name": "g"}}], None),
    ],
)  # fmt: skip
def test_the_deltas_of_a_message_are_joined_field_by_field(deltas: Any, expected: Any) -> None:
    assert message(*deltas) == expected


FOUND = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([call(function={"name": "f", "arguments": "{}"})], [FOUND]),
        ([call(), {"index": 0, "function": {"arguments": "{"}},
          {"index": 0, "function": {"arguments": "}"}}], [FOUND]),
        ([call(), {"index": 0, "id": "", "type": "function",
                   "function": {"name": "", "arguments": "{}"}}], [FOUND]),
        ([call(), {"index": 0, "id": None, "function": {"name": None, "arguments": "{}"}}],
         [FOUND]),
        ([call(), {"index": 0, "function": None}],
         [{"id": "a", "type": "function", "function": {"name": "f"}}]),
        ([call(), call()], None),
        ([call(), {"index": 0, "id": "b"}], None),
        ([call(), {"index": 0, "function": {"name": "g"}}], None),
        ([call(1)], None),
        ([call(0), call(2)], None),
        ([{"id": "a", "type": "function", "function": {"name": "f"}}], None),
        ([call(extra_content={"google": {}})], None),
        ([{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}], None),
        ([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}], None),
        ([call(function={"name": "f", "arguments": {"a": 1}})], None),
        (["x"], None),
    ],
)  # fmt: skip
def test_the_pieces_of_a_tool_call_are_joined_by_index(pieces: Any, expected: Any) -> None:
    found = calls(*pieces)
    assert (found and found["tool_calls"]) == expected


def test_parallel_tool_calls_may_come_mixed_and_stand_in_order() -> None:
    pieces = [call(1, id="b"), call(0), {"index": 1, "function": {"arguments": "[1]"}},
              {"index": 0, "function": {"arguments": "[0]"}}]  # fmt: skip
    told = [(found["id"], found["function"]["arguments"]) for found in calls(*pieces)["tool_calls"]]
    assert told == [("a", "[0]"), ("b", "[1]")]


TOKEN = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        ([None, None], None),
        ([{"content": [TOKEN], "refusal": None}, None], {"content": [TOKEN], "refusal": None}),
        ([{"content": [TOKEN]}, {"content": [TOKEN]}], {"content": [TOKEN, TOKEN]}),
        ([{"content": []}, {"content": None}], {"content": []}),
    ],
)
def test_log_probabilities_are_joined_and_null_stays_null(logprobs: Any, expected: Any) -> None:
    answer = whole(*(chunk({}, logprobs=one) for one in logprobs))
    assert answer["choices"][0]["logprobs"] == expected
    assert "logprobs" not in whole(chunk({}))["choices"][0]


@pytest.mark.parametrize("logprobs", [5, {"content": 5}, {"tokens": []}])
def test_log_probabilities_of_another_kind_are_refused(logprobs: Any) -> None:
    assert whole(chunk({}, logprobs=logprobs)) is None


@pytest.mark.parametrize("tier", ["default", "flex", "priority"])
def test_an_answer_of_openai_has_the_fields_its_whole_answers_always_have(tier: str) -> None:
    chunks = [chunk({"role": "assistant", "content": "a"}) | {"service_tier": tier}]
    usual = {"role": "assistant", "content": "a", "refusal": None, "annotations": []}
    assert whole(*chunks)["choices"][0]["message"] == usual


@pytest.mark.parametrize("tier", [None, "on_demand", 5, ["default"]])
def test_an_answer_of_another_server_gets_no_fields_it_did_not_send(tier: Any) -> None:
    chunks = [chunk({"content": "a"}) | {"service_tier": tier}]
    assert whole(*chunks)["choices"][0]["message"] == {"content": "a"}


MESSAGE = {"role": "assistant", "content": "a"}


def answer(message: Any, /, **more: Any) -> Any:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "choices": [choice | more]}


@pytest.mark.parametrize(
    "told",
    [
        {"annotations": [{"type": "url_citation", "url_citation": {}}]},
        {"annotations": []},
        {"audio": None},
        {"tool_calls": []},
        {"tool_calls": None},
        {"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
        {"function_call": None},
        {"content": [{"type": "text", "text": "a"}]},
        {"role": 5, "content": 5},
    ],
)
def test_a_message_that_deltas_cannot_say_is_not_streamed(told: Any) -> None:
    assert survives("chat", answer(MESSAGE))
    assert not survives("chat", answer(MESSAGE | told))


@pytest.mark.parametrize(
    "told",
    [
        {"finish_reason": None},
        {"index": 1},
        {"index": True},
        {"logprobs": {"content": "a"}},
        {"content_filter_results": {}},
        {"message": None},
    ],
)
def test_a_choice_that_chunks_cannot_say_is_not_streamed(told: Any) -> None:
    assert not survives("chat", answer(MESSAGE, **told))


def test_a_text_comes_in_pieces_and_opens_with_the_role() -> None:
    events = events_from("chat", answer(MESSAGE | {"content": "word " * 40, "refusal": None}))
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert deltas[-1] == {}
    assert len(deltas) == 7
    assert all(set(delta) == {"content"} for delta in deltas[1:-1])
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * 6 + ["stop"]


def test_reasoning_comes_before_the_answer() -> None:
    told = MESSAGE | {"reasoning_content": "because"}
    deltas = [event["choices"][0]["delta"] for event in events_from("chat", answer(told))]
    assert deltas[1:3] == [{"reasoning_content": "because"}, {"content": "a"}]


def test_tokens_come_one_by_one_with_their_log_probabilities() -> None:
    tokens = [{"token": token, "logprob": -1.5} for token in ("He", "llo", "")]
    told = answer(MESSAGE | {"content": "Hello"}, logprobs={"content": tokens, "refusal": None})
    choices = [event["choices"][0] for event in events_from("chat", told)]
    assert [choice["delta"].get("content") for choice in choices] == ["", "He", "llo", "", None]
    assert [choice["logprobs"] for choice in choices] == [
        {"content": [], "refusal": None},
        *({"content": [token], "refusal": None} for token in tokens),
        None,
    ]


def test_tokens_that_are_no_text_of_their_own_come_at_once() -> None:
    tokens = [{"token": "\\xf0\\x9f", "logprob": -1.5}, {"token": "\\x98\\x80", "logprob": -2.5}]
    told = answer(MESSAGE | {"content": "\U0001f600"}, logprobs={"content": tokens})
    choices = [event["choices"][0] for event in events_from("chat", told)]
    assert [choice["delta"].get("content") for choice in choices] == ["", "\U0001f600", None]
    assert choices[1]["logprobs"] == {"content": tokens}


@pytest.mark.parametrize(("stream", "expected"), recordings_of("chat"))
def test_what_is_made_fits_the_types_of_the_sdk(stream: bytes, expected: Any) -> None:
    found = fitted(ChatCompletion, body_of("chat", stream))
    assert set(unknown_fields(found)) <= KNOWN_TO_OTHERS
    for event in events_from("chat", expected):
        found = fitted(ChatCompletionChunk, json.dumps(event))
        assert set(unknown_fields(found)) <= KNOWN_TO_OTHERS


TEXTS = st.text(st.characters(codec="utf-8"), max_size=120)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
FUNCTIONS = st.fixed_dictionaries({"name": NAMES, "arguments": TEXTS})
CALLS = st.fixed_dictionaries({"id": NAMES, "type": st.just("function"), "function": FUNCTIONS})
TOKENS = st.lists(st.fixed_dictionaries({"token": TEXTS, "logprob": st.floats(-99, 0)}), max_size=4)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | TEXTS},
    optional={
        "refusal": st.none() | TEXTS,
        "reasoning_content": st.none() | TEXTS,
        "tool_calls": st.lists(CALLS, min_size=1, max_size=3),
        "function_call": FUNCTIONS,
    },
)
CHOICES = st.fixed_dictionaries(
    {"message": MESSAGES, "finish_reason": st.sampled_from(["stop", "length", "tool_calls"])},
    optional={
        "logprobs": st.none()
        | st.fixed_dictionaries({"content": st.none() | TOKENS, "refusal": st.none() | TOKENS}),
        "stop_reason": st.none() | st.integers(),
    },
)
ANSWERS = st.builds(
    lambda frame, choices: (
        frame | {"choices": [choice | {"index": index} for index, choice in enumerate(choices)]}
    ),
    st.fixed_dictionaries(
        {"id": NAMES, "object": st.just("chat.completion"), "created": st.integers(0, 2**40)},
        optional={
            "system_fingerprint": st.none() | NAMES,
            "usage": st.just({"prompt_tokens": 3}),
            "provider": st.none() | NAMES | st.floats(allow_nan=False, allow_infinity=False),
        },
    ),
    st.lists(CHOICES, min_size=1, max_size=3),
)


@settings(max_examples=200)
@given(ANSWERS)
def test_every_ordinary_answer_is_streamed_and_is_itself_again(told: Any) -> None:
    assert survives("chat", told)


@settings(max_examples=200)
@given(ANSWERS, st.integers())
def test_the_chunks_of_several_choices_may_come_mixed(told: Any, seed: int) -> None:
    stream = stream_from("chat", told).content
    *chunks, done = stream.removesuffix(b"\n\n").split(b"\n\n")
    mixed = random.Random(seed)
    by_choice: dict[Any, list[bytes]] = {}
    for one in chunks:
        indexes = [choice["index"] for choice in json.loads(one[6:])["choices"]]
        by_choice.setdefault(tuple(indexes), []).append(one)
    order = [index for index, own in by_choice.items() for _ in own]
    mixed.shuffle(order)
    shuffled = [by_choice[index].pop(0) for index in order]
    again = body_of("chat", b"\n\n".join([*shuffled, done]) + b"\n\n")
    assert is_json_equal(json.loads(again), told)
