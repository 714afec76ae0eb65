"""One answer in both shapes. The recordings in golden/ follow the vendors' public documentation;
the official SDKs say whether two answers are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core.asked import STREAMED, asks, events_answer, whole_answer
from core.sdks import Sdks, comparable, sdks
from core.shaping import GOLDEN, body_of, is_json_equal, recorded, stream_from
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.inspection import inspect
from headgate.core.shapes import GROWTH_FREE_BYTES, GROWTH_MAX, Streamed, stream_of, whole_of
from headgate.core.sse import parse_event, split
from headgate.types import OPERATIONS


@pytest.fixture(scope="module")
def clients() -> Iterator[Sdks]:
    with sdks() as made:
        yield made


def by_name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def test_every_dialect_has_recordings() -> None:
    assert {path.parent.name for path in GOLDEN} == set(STREAMED)


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_a_recorded_stream_becomes_the_recorded_whole_answer(path: Path) -> None:
    operation, stream, whole = recorded(path)
    assert is_json_equal(json.loads(body_of(operation, stream)), whole)


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_a_recorded_whole_answer_becomes_a_stream_and_itself_again(path: Path) -> None:
    operation, _, whole = recorded(path)
    streamed = stream_from(operation, whole)
    assert is_json_equal(json.loads(body_of(operation, streamed.content)), whole)


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_the_sdk_reads_the_same_answer_from_all_four(path: Path, clients: Sdks) -> None:
    operation, stream, whole = recorded(path)
    body = json.dumps(whole).encode()
    expected = clients.whole(operation, body)
    assert clients.whole(operation, body_of(operation, stream)) == expected
    told = comparable(expected)
    assert comparable(clients.streamed(operation, stream)) == told
    assert comparable(clients.streamed(operation, stream_from(operation, body).content)) == told


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_a_stream_that_was_made_is_judged_as_the_recorded_one(path: Path) -> None:
    operation, stream, whole = recorded(path)
    verdicts = []
    for content in (stream, stream_from(operation, whole).content):
        inspection = inspect(operation)
        assert inspection is not None
        for event in split(content):
            inspection.read(*parse_event(event))
        verdicts.append(inspection.verdict(limit_explicit=True, choices=1))
    assert verdicts[0] == verdicts[1]


@settings(max_examples=60)
@given(asks())
def test_the_sdk_reads_the_same_from_the_fakes_answers_and_their_conversions(ask: Any) -> None:
    operation, fields, text = ask
    whole = whole_answer(operation, fields, text)
    stream = b"".join(events_answer(operation, fields, text))
    with_usage = events_answer(operation, fields, text, usage=False)
    assert is_json_equal(json.loads(body_of(operation, stream)), json.loads(whole))
    assert whole_of(operation, b"".join(with_usage)) is not None
    made = stream_from(operation, whole).content
    assert is_json_equal(json.loads(body_of(operation, made)), json.loads(whole))


def test_the_sdk_accumulates_the_fakes_stream_and_the_converted_one_alike(clients: Sdks) -> None:
    @settings(max_examples=25)
    @given(asks())
    def alike(ask: Any) -> None:
        operation, fields, text = ask
        whole = whole_answer(operation, fields, text)
        stream = b"".join(events_answer(operation, fields, text))
        expected = clients.whole(operation, whole)
        assert clients.whole(operation, body_of(operation, stream)) == expected
        own = clients.streamed(operation, stream)
        made = clients.streamed(operation, stream_from(operation, whole).content)
        assert comparable(made) == comparable(own)

    alike()


@pytest.mark.parametrize("operation", ["chat", "completions"])
def test_the_event_with_only_usage_can_be_withheld(operation: str) -> None:
    fields: Any = {"model": "m", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    whole = json.loads(whole_answer(operation, fields))
    streamed = stream_from(operation, whole)
    first, behind = streamed.usage_at
    inspection = inspect(operation)
    assert inspection is not None
    event = streamed.content[first:behind]
    assert split(event) == [event]
    assert inspection.read(*parse_event(event)) == "usage"
    without = streamed.content[:first] + streamed.content[behind:]
    del whole["usage"]
    assert is_json_equal(json.loads(body_of(operation, without)), whole)
    assert stream_from(operation, whole) == Streamed(without, (0, 0))


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_a_stream_cut_anywhere_has_no_whole_answer(path: Path) -> None:
    operation, stream, _ = recorded(path)
    events = split(stream)
    for count in range(len(events)):
        cut = b"".join(events[:count])
        assert whole_of(operation, cut) is None
        assert whole_of(operation, cut + events[count][:-1]) is None


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_the_pieces_and_line_ends_of_a_stream_do_not_matter(path: Path) -> None:
    operation, stream, _ = recorded(path)
    body = whole_of(operation, stream)
    assert whole_of(operation, stream.replace(b"\n", b"\r\n")) == body
    pinged = [b": ping\n\n" + event for event in split(stream)]
    assert whole_of(operation, b"".join(pinged)) == body


def changed(value: Any, number: int, put: Any) -> tuple[Any, int]:
    """A copy in which the `number`th object, counted depth first, is replaced by `put` of it."""
    if isinstance(value, dict):
        number -= 1
        if number < 0:
            return (put(value), 10**9)
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        for place, item in items:
            copy[place], number = changed(item, number, put)
        return copy, number
    return value, number


def strangely(found: Any) -> Any:
    return found | {"never_heard_of": [5]}


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_a_field_nobody_knows_is_kept_or_the_answer_is_not_converted(path: Path) -> None:
    operation, _, whole = recorded(path)
    for number in range(200):
        strange, left = changed(whole, number, strangely)
        if left < 10**8:
            break
        streamed = stream_of(operation, json.dumps(strange).encode())
        if streamed is not None:
            assert is_json_equal(json.loads(body_of(operation, streamed.content)), strange)
            assert b"never_heard_of" in streamed.content


@pytest.mark.parametrize("path", GOLDEN, ids=by_name)
def test_a_field_nobody_knows_in_an_event_is_kept_or_refused(path: Path) -> None:
    operation, stream, _ = recorded(path)
    events = split(stream)
    for place, event in enumerate(events):
        name, content = parse_event(event)
        for number in range(40):
            if content[:1] != b"{" or name == b"ping":
                break
            strange, left = changed(json.loads(content), number, strangely)
            if left < 10**8:
                break
            named = b"event: " + name + b"\n" if name else b""
            edited = named + b"data: " + json.dumps(strange).encode() + b"\n\n"
            body = whole_of(operation, b"".join([*events[:place], edited, *events[place + 1 :]]))
            # The events of a response before the last are not what its whole answer is made of.
            assert body is None or b"never_heard_of" in body or operation == "responses"


@pytest.mark.parametrize("operation", [*set(OPERATIONS) - set(STREAMED), "count_tokens", ""])
def test_other_operations_have_one_shape(operation: str) -> None:
    path = next(path for path in GOLDEN if path.parent.name == "chat")
    _, stream, whole = recorded(path)
    assert whole_of(operation, stream) is None
    assert stream_of(operation, json.dumps(whole).encode()) is None


DEEP = b"[" * 100_000
HOSTILE = [b"", b"null", b"[]", b"{}", b"{", b"\xff", b'"x"', DEEP, b'{"object":' + DEEP,
           b'{"choices":[' + b"{}," * 1000 + b"{}]}"]  # fmt: skip


@pytest.mark.parametrize("operation", STREAMED)
@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: str(content[:20]))
def test_what_is_no_answer_is_not_converted(operation: str, content: bytes) -> None:
    assert stream_of(operation, content) is None
    for stream in (content, b"data: " + content + b"\n\ndata: [DONE]\n\n"):
        assert whole_of(operation, stream) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "index", "text", "content", "id"]), inner)
    ),
    max_leaves=5,
)


@settings(max_examples=400)
@given(st.sampled_from(GOLDEN), st.integers(0, 60), st.text(max_size=3), VALUES, st.data())
def test_whatever_stands_in_an_answer_nothing_is_raised(
    path: Path, number: int, name: str, value: Any, data: Any
) -> None:
    operation, _, whole = recorded(path)

    def put(found: Any) -> Any:
        return found | {data.draw(st.sampled_from([*found, name])): value}

    strange, _ = changed(whole, number, put)
    streamed = stream_of(operation, json.dumps(strange).encode())
    if streamed is not None:
        assert is_json_equal(json.loads(body_of(operation, streamed.content)), strange)


@settings(max_examples=400)
@given(st.sampled_from(GOLDEN), st.integers(0, 40), st.integers(0, 8), VALUES, st.data())
def test_whatever_stands_in_a_stream_nothing_is_raised(
    path: Path, place: int, number: int, value: Any, data: Any
) -> None:
    operation, stream, _ = recorded(path)
    events = split(stream)
    name, content = parse_event(events[place % len(events)])
    if content[:1] != b"{":
        return

    def put(found: Any) -> Any:
        return found | {data.draw(st.sampled_from([*found, "x"])): value}

    strange, _ = changed(json.loads(content), number, put)
    named = b"event: " + name + b"\n" if name else b""
    events[place % len(events)] = named + b"data: " + json.dumps(strange).encode() + b"\n\n"
    body = whole_of(operation, b"".join(events))
    assert body is None or isinstance(json.loads(body), dict)


def test_a_frame_that_would_be_repeated_too_often_is_not_streamed() -> None:
    path = next(path for path in GOLDEN if by_name(path) == "chat-text")
    _, _, whole = recorded(path)
    whole["choices"][0]["message"]["content"] = "word " * 2_000
    for frame_bytes, is_converted in ((100, True), (100_000, False)):
        body = json.dumps(whole | {"citations": "x" * frame_bytes}).encode()
        streamed = stream_of("chat", body)
        assert (streamed is not None) is is_converted
        if streamed is not None:
            assert len(streamed.content) <= GROWTH_FREE_BYTES + GROWTH_MAX * len(body)
