"""Legacy completions in both shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core.shaping import body_of, events_from, recordings_of, spelt, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion
from sdk_shapes import fitted, unknown_fields

from headgate.core.shapes import whole_of

FRAME = {"id": "c1", "object": "text_completion", "created": 1, "model": "m"}


def chunk(text: Any, finish: Any = None, index: int = 0, **more: Any) -> Any:
    return {**FRAME, "choices": [{"index": index, "text": text, "finish_reason": finish, **more}]}


def choices(*chunks: Any) -> Any:
    body = whole_of("completions", spelt(*chunks, done=True))
    return None if body is None else json.loads(body)["choices"]


def told(tokens: Any, *numbers: Any) -> Any:
    return {"tokens": tokens, "token_logprobs": list(numbers)}


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([chunk("a"), chunk("b", "stop")], {"text": "ab"}),
        ([chunk("", "stop")], {"text": ""}),
        ([chunk("a"), chunk("", "stop", stop_reason=7)], {"text": "a", "stop_reason": 7}),
        ([chunk("a", logprobs=None), chunk("", "stop")], {"text": "a", "logprobs": None}),
        (
            [chunk("a", logprobs=told(["a"], -0.5)), chunk("b", "stop", logprobs=told(["b"], -1))],
            {"text": "ab", "logprobs": told(["a", "b"], -0.5, -1)},
        ),
        ([chunk(None, "stop")], None),
        ([chunk("a")], None),
        ([chunk("a", "stop"), chunk("b", "length")], None),
        ([chunk("a", "stop", logprobs=[])], None),
        ([chunk("a", "stop", logprobs={"content": []})], None),
        ([chunk("a", "stop", logprobs={"tokens": "a"})], None),
        ([chunk("a", "stop", content_filter_results={})], None),
    ],
)
def test_the_chunks_of_a_choice_are_joined_field_by_field(chunks: Any, expected: Any) -> None:
    found = choices(*chunks)
    if expected is not None:
        expected = [{"index": 0, "finish_reason": "stop", **expected}]
    assert found == expected


def test_each_choice_has_its_own_text() -> None:
    found = choices(chunk("a", index=1), chunk("b"), chunk("c", "stop", 1), chunk("d", "stop"))
    assert [choice["text"] for choice in found] == ["bd", "ac"]


def answer(text: Any, **more: Any) -> Any:
    return {**FRAME, "choices": [{"index": 0, "text": text, "finish_reason": "stop", **more}]}


@pytest.mark.parametrize("more", [{"text": None}, {"logprobs": 5}, {"echo": True}])
def test_a_choice_that_chunks_cannot_say_is_not_streamed(more: Any) -> None:
    assert survives("completions", answer("a"))
    assert not survives(
        "completions", answer("a") | {"choices": [answer("a")["choices"][0] | more]}
    )


@pytest.mark.parametrize(
    ("tokens", "numbers", "texts"),
    [
        (["He", "llo"], [-1, -2], ["He", "llo", ""]),
        (["He", "llo"], [-1], ["Hello", ""]),
        (["H", "llo"], [-1, -2], ["Hello", ""]),
        (["bytes:\\xf0", "x"], [-1, -2], ["Hello", ""]),
    ],
)
def test_tokens_come_one_by_one_where_they_make_the_text(
    tokens: Any, numbers: Any, texts: Any
) -> None:
    events = events_from("completions", answer("Hello", logprobs=told(tokens, *numbers)))
    assert [event["choices"][0]["text"] for event in events] == texts


@pytest.mark.parametrize(("stream", "expected"), recordings_of("completions"))
def test_what_is_made_fits_the_types_of_the_sdk(stream: bytes, expected: Any) -> None:
    assert list(unknown_fields(fitted(Completion, body_of("completions", stream)))) == []
    for event in events_from("completions", expected):
        # The type wants a finish reason in each chunk; the API has null there.
        ended = [choice | {"finish_reason": "stop"} for choice in event["choices"]]
        found = fitted(Completion, json.dumps(event | {"choices": ended}))
        assert list(unknown_fields(found)) == []


TEXTS = st.text(st.characters(codec="utf-8"), max_size=120)
LISTS = st.none() | st.lists(st.floats(-9, 0) | TEXTS | st.none(), max_size=4)
LOGPROBS = st.none() | st.fixed_dictionaries(
    {"tokens": st.none() | st.lists(TEXTS, max_size=4)},
    optional={"token_logprobs": LISTS, "top_logprobs": LISTS, "text_offset": LISTS},
)
CHOICES = st.fixed_dictionaries(
    {"index": st.just(0), "text": TEXTS, "finish_reason": st.sampled_from(["stop", "length"])},
    optional={"logprobs": LOGPROBS},
)


@settings(max_examples=200)
@given(st.lists(CHOICES, min_size=1, max_size=3), st.booleans())
def test_every_ordinary_answer_is_streamed_and_is_itself_again(
    listed: Any, has_usage: bool
) -> None:
    numbered = [choice | {"index": index} for index, choice in enumerate(listed)]
    usage = {"usage": {"prompt_tokens": 3}} if has_usage else {}
    assert survives("completions", FRAME | {"choices": numbered} | usage)
