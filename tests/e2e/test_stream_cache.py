"""Streams are kept and replayed: a hit is the miss once more, event by event, whichever SDK reads
it and however; and one entry answers both shapes with equal meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import readers
from core.asked import events_answer
from core.sdks import comparable
from core.shaping import is_json_equal
from dialects import (
    ANSWERS,
    DIALECTS,
    REFUSALS,
    USAGE_ON_DEMAND,
    Recording,
    question,
    streamed,
)
from e2e.asking import Asking, asking, hit

from headgate.layers.settings import CacheConfig
from headgate.testing import Answer

REQUEST_ID = {"x-request-id": "req_1"}
WITHOUT_USAGE = tuple(each for each in ANSWERS if each.whole.get("usage") is None)
"""Streams that did not tell their usage, which a whole answer always does."""
WITH_USAGE = tuple(each for each in ANSWERS if each not in WITHOUT_USAGE)


@pytest.fixture(scope="module")
def ask() -> Iterator[Asking]:
    with asking() as made:
        yield made


def as_stream(recording: Recording) -> Answer:
    return Answer(chunks=recording.events, headers=REQUEST_ID)


def as_whole(recording: Recording) -> Answer:
    return Answer(body=recording.whole, headers=REQUEST_ID)


@pytest.mark.parametrize("recording", ANSWERS, ids=str)
@pytest.mark.parametrize("way", readers.STREAMED)
def test_a_replayed_stream_is_read_as_the_live_one_was(
    ask: Asking, recording: Recording, way: str
) -> None:
    operation, text = recording.operation, ask.fresh()
    if not readers.has(operation, way):
        return
    with ask.upstream(1, as_stream(recording)):
        live, replayed = (readers.STREAMED[way](ask.sync, operation, text) for _ in range(2))
        other = ask.asynchronously(readers.STREAMED_ASYNC[way], operation, text)
    assert live == replayed == other
    assert len(live) > 1


@pytest.mark.parametrize("recording", ANSWERS, ids=str)
@pytest.mark.parametrize("way", readers.WHOLE)
def test_a_kept_whole_answer_is_read_as_the_live_one_was(
    ask: Asking, recording: Recording, way: str
) -> None:
    operation, text = recording.operation, ask.fresh()
    with ask.upstream(1, as_whole(recording)):
        live, kept = (readers.WHOLE[way](ask.sync, operation, text) for _ in range(2))
        other = ask.asynchronously(readers.WHOLE_ASYNC[way], operation, text)
    assert live == kept == other


@pytest.mark.parametrize("operation", DIALECTS)
@pytest.mark.parametrize("way", [*readers.STREAMED, *readers.WHOLE])
def test_an_entry_filled_by_an_async_client_serves_a_sync_one(
    ask: Asking, operation: str, way: str
) -> None:
    text = ask.fresh()
    if not readers.has(operation, way):
        return
    sync, asynchronous = (
        (readers.STREAMED, readers.STREAMED_ASYNC)
        if way in readers.STREAMED
        else (readers.WHOLE, readers.WHOLE_ASYNC)
    )
    with ask.upstream(1):
        live = ask.asynchronously(asynchronous[way], operation, text)
        assert live == sync[way](ask.sync, operation, text)


@pytest.mark.parametrize("recording", WITH_USAGE, ids=str)
def test_a_stream_fills_what_a_whole_call_reads(ask: Asking, recording: Recording) -> None:
    """Text, reasoning, tool calls in parallel, logprobs, several choices, usage: the very answer
    that the provider gives when it is asked for it whole."""
    operation, text = recording.operation, ask.fresh()
    with ask.upstream(1, as_stream(recording)):
        ask.post(operation, streamed(operation, text))
        got = ask.post(operation, question(operation, text))
        told = readers.WHOLE["created"](ask.sync, operation, text)
    assert hit(got)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-request-id"] == "req_1"
    assert is_json_equal(got.json, recording.whole)
    with ask.upstream(1, as_whole(recording)):
        assert told == readers.WHOLE["created"](ask.sync, operation, ask.fresh())


@pytest.mark.parametrize("recording", ANSWERS, ids=str)
def test_a_whole_call_fills_what_a_stream_reads(ask: Asking, recording: Recording) -> None:
    operation, text = recording.operation, ask.fresh()
    with ask.upstream(1, as_whole(recording)):
        whole = readers.WHOLE["created"](ask.sync, operation, text)
        got = ask.post(operation, streamed(operation, text))
        built = readers.put_together(ask.sync, operation, text)
        other = ask.asynchronously(readers.STREAMED_ASYNC["iterated"], operation, text)
    assert hit(got)
    assert got.headers["content-type"].startswith("text/event-stream")
    assert got.headers["x-request-id"] == "req_1"
    assert comparable(built) == comparable(whole.model_dump())
    assert other == readers.STREAMED["iterated"](ask.sync, operation, text)


@pytest.mark.parametrize("recording", WITHOUT_USAGE, ids=str)
def test_a_stream_without_usage_is_no_whole_answer_and_each_shape_is_kept(
    ask: Asking, recording: Recording
) -> None:
    operation, text = recording.operation, ask.fresh()
    with ask.upstream(2, as_stream(recording)):
        first = [ask.post(operation, shape(operation, text)) for shape in (streamed, question)]
        again = [ask.post(operation, shape(operation, text)) for shape in (streamed, question)]
    assert [got.body for got in first] == [got.body for got in again]
    assert [hit(got) for got in first + again] == [False, False, True, True]


@pytest.mark.parametrize("recording", REFUSALS, ids=str)
def test_a_refusal_is_handed_on_whole_and_never_kept(ask: Asking, recording: Recording) -> None:
    operation, text = recording.operation, ask.fresh()
    before = ask.not_stored().get("finish_refusal", 0)
    with ask.upstream(4, *[as_stream(recording)] * 2, *[as_whole(recording)] * 2):
        streams = [ask.post(operation, streamed(operation, text)) for _ in range(2)]
        wholes = [ask.post(operation, question(operation, text)) for _ in range(2)]
    assert [got.body for got in streams] == [recording.content] * 2
    assert [got.json for got in wholes] == [recording.whole] * 2
    assert ask.not_stored()["finish_refusal"] == before + 4


def with_usage(operation: str, text: str) -> dict[str, Any]:
    return streamed(operation, text)


def without_usage(operation: str, text: str) -> dict[str, Any]:
    return question(operation, text, stream=True)


def declining_usage(operation: str, text: str) -> dict[str, Any]:
    return question(operation, text, stream=True, stream_options={"include_usage": False})


ASKERS = (with_usage, without_usage, declining_usage, question)


@pytest.mark.parametrize("second", ASKERS, ids=lambda asker: asker.__name__)
@pytest.mark.parametrize("first", ASKERS, ids=lambda asker: asker.__name__)
@pytest.mark.parametrize("operation", USAGE_ON_DEMAND)
def test_usage_goes_to_those_who_asked_for_it_whoever_came_first(
    ask: Asking, operation: str, first: Any, second: Any
) -> None:
    text = ask.fresh()
    with ask.upstream(1):
        got = [ask.post(operation, asker(operation, text)) for asker in (first, second)]
    assert hit(got[1])
    sent = ask.provider.calls[-1].body
    assert first is question or sent["stream_options"]["include_usage"] is True
    for asker, reply in zip((first, second), got, strict=True):
        assert usage_in(asker, reply.body) == (asker in (with_usage, question))
    if first is not question and second is not question:
        fields = question(operation, text)
        for asker, reply in zip((first, second), got, strict=True):
            events = events_answer(operation, fields)
            kept = [raw for raw in events if asker is with_usage or b'"choices":[]' not in raw]
            assert reply.body == b"".join(kept), "no byte but the withheld event is missing"


def usage_in(asker: Any, body: bytes) -> bool:
    """Whether a reply tells what the answer used: a stream in one event of its own."""
    if asker is question:
        return bool(json.loads(body)["usage"]["total_tokens"])
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    chunks = [json.loads(line) for line in lines]
    telling = [chunk for chunk in chunks if chunk.get("usage")]
    assert [chunk["choices"] for chunk in telling] in ([], [[]])
    assert telling in ([], chunks[-1:])
    return bool(telling)


@pytest.mark.parametrize("operation", USAGE_ON_DEMAND)
def test_where_usage_is_not_asked_for_a_stream_is_kept_as_its_client_asked(operation: str) -> None:
    with asking(ask_stream_usage=False) as ask:
        text = ask.fresh()
        for asker in (without_usage, with_usage):
            with ask.upstream(1):
                live, replayed = (ask.post(operation, asker(operation, text)) for _ in range(2))
            assert live.body == replayed.body
            assert usage_in(asker, live.body) == (asker is with_usage)
        assert "stream_options" not in ask.provider.calls[0].body


def framed(reply: bytes) -> list[bytes]:
    """The HTTP chunks of a reply."""
    _, _, rest = reply.partition(b"\r\n\r\n")
    chunks = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return [chunk for chunk in chunks if chunk]


@pytest.mark.parametrize(("pause_s", "pieces"), [(0.0, 1), (0.001, len(ANSWERS[0].events))])
def test_a_replay_comes_at_once_or_event_by_event_as_configured(
    pause_s: float, pieces: int
) -> None:
    recording = ANSWERS[0]
    body = json.dumps(streamed(recording.operation)).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"authorization: Bearer k\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    with asking(CacheConfig(replay_pause=pause_s)) as ask, ask.upstream(1, as_stream(recording)):
        ask.post(recording.operation, streamed(recording.operation))
        chunks = framed(ask.gate.raw(request))
    assert b"".join(chunks) == recording.content
    assert len(chunks) == pieces
