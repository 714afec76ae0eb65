"""One answer in the shape a call wants. The conversions themselves: tests/core/test_shapes.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.core.sse import split
from headgate.errors import StreamBroken
from headgate.providers.fake import fake_reply
from headgate.reshape import entry_in_shape, has_shape, reshaped
from headgate.stream import Chunks, Recorded, Whole
from headgate.types import NO_USAGE, Call, Entry, Reply, Target, Usage, WireRequest

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))
BODY = {"model": "m", "messages": [{"role": "user", "content": "Capital of France?"}]}
WHOLE = fake_reply("chat", json.dumps(BODY).encode()).content
JSON, EVENTS = b"application/json", b"text/event-stream; charset=utf-8"


def entry_of(**changes: Any) -> Entry:
    headers = ((b"content-type", JSON), (b"x-request-id", b"r"))
    entry = Entry(b"k", b"s", "m", "chat", 0.0, 60.0, WHOLE, usage=Usage(9, 1), headers=headers)
    return replace(entry, **changes)


def stream_entry() -> Entry:
    made = entry_in_shape(entry_of(), streamed=True)
    assert made is not None
    return made


def test_an_entry_of_the_right_shape_is_handed_out_as_it_is() -> None:
    whole, stream = entry_of(), stream_entry()
    assert entry_in_shape(whole, streamed=False) is whole
    assert entry_in_shape(stream, streamed=True) is stream
    assert has_shape(whole, streamed=False)
    assert not has_shape(whole, streamed=True)


def test_a_whole_entry_becomes_a_stream_and_a_whole_one_again() -> None:
    stream = stream_entry()
    begin, end = stream.usage_at
    assert stream.kind == "stream"
    assert b'"usage"' in stream.content[begin:end]
    assert stream.headers == ((b"content-type", EVENTS), (b"x-request-id", b"r"))
    whole = entry_in_shape(stream, streamed=False)
    assert whole is not None
    assert json.loads(whole.content) == json.loads(WHOLE)
    assert (whole.kind, whole.usage_at, dict(whole.headers)[b"content-type"]) == (
        "whole", (0, 0), JSON,
    )  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [entry_of(content=b"no json"), entry_of(kind="value"), entry_of(kind="object"),
     entry_of(operation="embeddings")],
    ids=["no json", "value", "object", "no streams"],
)  # fmt: skip
def test_what_has_no_stream_is_none(entry: Entry) -> None:
    assert entry_in_shape(entry, streamed=True) is None


def test_a_stream_that_did_not_tell_its_usage_is_no_whole_answer() -> None:
    stream = replace(stream_entry(), usage=NO_USAGE)
    assert entry_in_shape(stream, streamed=False) is None
    assert entry_in_shape(replace(stream_entry(), content=b"data: x\n\n"), streamed=False) is None


async def content_of(reply: Reply | None) -> bytes:
    assert reply is not None
    return b"".join([chunk async for chunk in reply.body])


def test_a_live_whole_reply_becomes_a_stream_with_usage_where_it_is_wanted() -> None:
    async def act() -> tuple[bytes, bytes]:
        wanted, unwanted = [
            await reshaped(
                Reply(200, ((b"content-type", JSON),), Whole(WHOLE)),
                replace(CALL, streamed=True, usage_wanted=usage_wanted),
            )
            for usage_wanted in (True, False)
        ]
        assert wanted is not None
        assert isinstance(wanted.body, Recorded)
        assert wanted.headers == ((b"content-type", EVENTS),)
        return await content_of(wanted), await content_of(unwanted)

    wanted, unwanted = asyncio.run(act())
    stream = stream_entry()
    begin, end = stream.usage_at
    assert wanted == stream.content
    assert unwanted == stream.content[:begin] + stream.content[end:]


def live(*chunks: bytes | Exception) -> tuple[Chunks, list[int]]:
    closed: list[int] = []

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def close() -> None:
        closed.append(1)

    return Chunks(stream(), close), closed


def test_a_live_stream_is_read_to_its_end_and_becomes_whole() -> None:
    body, closed = live(*split(stream_entry().content))
    reply = asyncio.run(reshaped(Reply(200, ((b"content-type", EVENTS),), body), CALL))
    assert reply is not None
    assert json.loads(asyncio.run(content_of(reply))) == json.loads(WHOLE)
    assert (reply.headers, closed) == (((b"content-type", JSON),), [1])


def test_a_live_stream_that_breaks_is_closed_and_its_error_raised() -> None:
    body, closed = live(b"data: 1\n\n", StreamBroken("cut"))
    with pytest.raises(StreamBroken):
        asyncio.run(reshaped(Reply(200, (), body), CALL))
    assert closed == [1]


def test_a_live_stream_without_a_whole_is_none() -> None:
    body, closed = live(b"data: [DONE]\n\n")
    assert asyncio.run(reshaped(Reply(200, (), body), CALL)) is None
    assert closed == [1]
    unreadable = Reply(200, (), Whole(b"no json"))
    assert asyncio.run(reshaped(unreadable, replace(CALL, streamed=True))) is None
