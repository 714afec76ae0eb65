"""Frame, choices and usage of chunks, the same in chat and completions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core.shaping import events_from, spelt, stream_from, survives

from headgate.core.shapes import whole_of

DELTAS: Any = {"chat": {"delta": {}}, "completions": {"text": ""}}
WHOLES: Any = {"chat": {"message": {}}, "completions": {"text": ""}}
KINDS = {"chat": "chat.completion.chunk", "completions": "text_completion"}
USED = {"prompt_tokens": 3}
both = pytest.mark.parametrize("operation", ["chat", "completions"])


def chunk(operation: str, *indexes: int, **more: Any) -> Any:
    choice = {"finish_reason": "stop", **DELTAS[operation]}
    return {
        "object": KINDS[operation],
        "choices": [{"index": i, **choice} for i in indexes],
        **more,
    }


def whole(operation: str, *chunks: Any) -> Any:
    body = whole_of(operation, spelt(*chunks, done=True))
    return None if body is None else json.loads(body)


@both
def test_the_frame_of_the_chunks_is_the_frame_of_the_answer(operation: str) -> None:
    frame = {"id": "c", "created": 1, "model": "m", "system_fingerprint": None}
    answer = whole(operation, chunk(operation, 0, **frame), chunk(operation, 0, **frame))
    choice = {"index": 0, "finish_reason": "stop", **WHOLES[operation]}
    kind = KINDS[operation].removesuffix(".chunk")
    assert answer == frame | {"object": kind, "choices": [choice]}


@both
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"id": "c"}, {"id": "c"}, {"id": "c"}),
        ({"id": "c"}, {"id": "d"}, None),
        ({"created": 1}, {"created": 1.0}, None),
        ({}, {"system_fingerprint": "f"}, {"system_fingerprint": "f"}),
        ({"system_fingerprint": None}, {"system_fingerprint": "f"}, {"system_fingerprint": "f"}),
        ({"provider": "p"}, {"provider": "p"}, {"provider": "p"}),
        ({"citations": [1]}, {"citations": [1]}, {"citations": [1]}),
        ({"citations": [1]}, {"citations": [1, 2]}, None),
        ({"provider": "p"}, {}, None),
        ({}, {"provider": "p"}, None),
        ({"provider": "p"}, {"provider": None}, None),
        ({"x_groq": {"id": "r"}}, {"x_groq": {"usage": USED}}, None),
        ({"obfuscation": "a"}, {"obfuscation": "b"}, {}),
        ({"usage": None}, {"usage": None}, {}),
        ({"usage": None}, {"usage": USED}, {"usage": USED}),
        ({"usage": USED}, {"usage": USED}, {"usage": USED}),
        ({"usage": {"prompt_tokens": 2}}, {"usage": USED}, None),
        ({"usage": 5}, {}, None),
        ({"object": "other"}, {}, None),
        ({"object": None}, {}, None),
        ({"choices": None}, {}, None),
        ({"choices": ["x"]}, {}, None),
        ({"error": {"message": "boom"}}, {}, None),
    ],
)
def test_what_chunks_say_of_the_answer_is_joined_or_refused(
    operation: str, first: Any, second: Any, expected: Any
) -> None:
    answer = whole(operation, chunk(operation, 0) | first, chunk(operation, 0) | second)
    if expected is None:
        assert answer is None
    else:
        assert answer is not None
        told = {name: answer[name] for name in answer.keys() - {"object", "choices"}}
        assert json.dumps(told, sort_keys=True) == json.dumps(expected, sort_keys=True)


@both
def test_choices_stand_in_order_and_have_no_gap(operation: str) -> None:
    answer = whole(operation, chunk(operation, 1), chunk(operation, 2, 0))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    for indexes in ((), (1,), (0, 2), (-1, 0)):
        assert whole(operation, chunk(operation, *indexes)) is None


@both
def test_a_choice_has_one_end(operation: str) -> None:
    open_choice = {"index": 0, **DELTAS[operation]}
    unended = chunk(operation) | {"choices": [open_choice]}
    late = chunk(operation) | {"choices": [open_choice | {"finish_reason": "length"}]}
    assert whole(operation, unended) is None
    assert whole(operation, unended, late)["choices"][0]["finish_reason"] == "length"
    assert whole(operation, chunk(operation, 0), late) is None
    other = open_choice | {"finish_reason": "stop", "native_finish_reason": "STOP"}
    answer = whole(operation, unended, chunk(operation) | {"choices": [other]})
    assert answer["choices"][0]["native_finish_reason"] == "STOP"


@both
def test_the_terminal_marker_comes_last_and_no_event_has_a_name(operation: str) -> None:
    good = spelt(chunk(operation, 0))
    done = b"data: [DONE]\n\n"
    assert whole_of(operation, good + done) is not None
    for stream in (
        b"", good, done, good + done + done, done + good, good + b"event: done\ndata: [DONE]\n\n",
        good.replace(b"data", b"event: chunk\ndata", 1) + done, good + b"data: {\n\n" + done,
    ):  # fmt: skip
        assert whole_of(operation, stream) is None


def answer_of(operation: str, **more: Any) -> Any:
    choice = {"index": 0, "finish_reason": "stop", **WHOLES[operation]}
    return {
        "id": "c",
        "object": KINDS[operation].removesuffix(".chunk"),
        "choices": [choice],
        **more,
    }


@both
def test_every_chunk_has_the_frame_and_the_last_one_the_usage(operation: str) -> None:
    told = answer_of(operation, created=1, provider=None, usage=USED)
    *chunks, last = events_from(operation, told)
    frame = {"id": "c", "object": KINDS[operation], "created": 1, "provider": None}
    assert [{**event, "choices": []} for event in chunks] == [frame | {"choices": []}] * len(chunks)
    assert last == frame | {"choices": [], "usage": USED}
    assert stream_from(operation, told).content.endswith(b"}}\n\ndata: [DONE]\n\n")


@both
@pytest.mark.parametrize(
    "told",
    [
        {"object": "list"}, {"choices": []}, {"choices": None}, {"choices": ["x"]},
        {"usage": None}, {"usage": 5}, {"obfuscation": "x"},
    ],
)  # fmt: skip
def test_an_answer_that_chunks_cannot_say_is_not_streamed(operation: str, told: Any) -> None:
    assert survives(operation, answer_of(operation))
    assert not survives(operation, answer_of(operation) | told)
