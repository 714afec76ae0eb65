"""A stream on its way in: whole events, each looked at, and never a clean end of a cut one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from headgate.core.inspection import inspect
from headgate.errors import StreamBroken, UpstreamFailed, UpstreamGarbled
from headgate.events import Events
from headgate.stream import Chunks, UsageEvent

DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"Paris"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"overloaded"}}\n\n'
PING = b": ping\n\n"


class Read(NamedTuple):
    """What reading came to."""

    chunks: list[bytes]
    error: BaseException | None
    told: list[Any]
    """What `on_end` was told, and how many chunks had been handed on by then."""
    events: Events

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)


def read(*pieces: bytes | Exception, keep_max_bytes: int = 10_000, most: int = 99) -> Read:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def act() -> Read:
        inspection = inspect("chat")
        assert inspection is not None
        chunks: list[bytes] = []
        told: list[Any] = []
        events = Events("chat", Chunks(stream()), inspection, keep_max_bytes)
        events.watch(lambda _, error: told.append((error, len(chunks))))
        error = None
        try:
            async for chunk in events:
                chunks.append(chunk)
                if len(chunks) == most:
                    break
        except UpstreamFailed as caught:
            error = caught
        await events.aclose()
        return Read(chunks, error, told, events)

    return asyncio.run(act())


def test_a_complete_stream_ends_cleanly_and_is_all_kept() -> None:
    seen = read(DELTA, FINISH, DONE)
    assert (seen.chunks, seen.error) == ([DELTA, FINISH, DONE], None)
    assert seen.events.content() == DELTA + FINISH + DONE


def test_the_end_is_told_before_the_marker_is_handed_on() -> None:
    assert read(DELTA, FINISH, DONE).told == [(None, 2)]
    assert read(DELTA + FINISH + DONE, most=1).told == [(None, 0)]


@pytest.mark.parametrize("size", [1, 2, 7, 50, 1000])
def test_however_it_is_cut_into_pieces_whole_events_come_out(size: int) -> None:
    whole = PING + DELTA + FINISH + USAGE + DONE
    seen = read(*[whole[at : at + size] for at in range(0, len(whole), size)])
    assert (seen.content, seen.error) == (whole, None)
    assert all(chunk.endswith(b"\n\n") for chunk in seen.chunks)
    begin, end = seen.events.usage_at
    assert whole[begin:end] == USAGE


def test_the_event_that_only_carries_usage_is_a_chunk_of_its_own() -> None:
    seen = read(DELTA + FINISH + USAGE + DONE)
    assert seen.chunks == [DELTA + FINISH, USAGE, DONE]
    assert [type(chunk) for chunk in seen.chunks] == [bytes, UsageEvent, bytes]


@pytest.mark.parametrize("cut", range(len(DELTA + FINISH + DONE)))
def test_a_stream_that_ends_anywhere_before_its_marker_is_broken(cut: int) -> None:
    whole = DELTA + FINISH + DONE
    seen = read(whole[:cut])
    if whole[:cut].endswith((b"[DONE]", b"[DONE]\n")):
        assert (seen.error, seen.content) == (None, whole)
        return
    assert isinstance(seen.error, StreamBroken)
    assert whole.startswith(seen.content)
    assert (type(seen.told[0][0]), len(seen.told)) == (StreamBroken, 1)


def test_what_breaks_the_body_is_told_and_raised() -> None:
    error = StreamBroken("reset")
    seen = read(DELTA, error)
    assert (seen.chunks, seen.error, seen.told) == ([DELTA], error, [(error, 1)])


GARBAGE = [b"data: {nonsense\n\n", b"data: 5\n\n", b"data: [DONE\n\n", b"da\0ta: {}\n\n"]


@pytest.mark.parametrize("garbage", [*GARBAGE, DELTA.replace(b"Paris", b"Par\xff"), b"\0" + DELTA])
def test_what_is_no_event_of_the_dialect_is_not_handed_on(garbage: bytes) -> None:
    seen = read(DELTA + garbage + FINISH + DONE)
    assert seen.chunks == [DELTA]
    assert isinstance(seen.error, UpstreamGarbled)


def test_after_the_marker_nothing_is_looked_at_or_kept() -> None:
    seen = read(DELTA, FINISH, DONE, b": bye\n\n")
    assert (seen.content, seen.error) == (DELTA + FINISH + DONE + b": bye\n\n", None)
    assert seen.events.content() == DELTA + FINISH + DONE
    assert len(seen.told) == 1


def test_a_break_after_the_marker_is_no_reason_to_forget_the_answer() -> None:
    seen = read(DELTA, FINISH, DONE, StreamBroken("reset"))
    assert (seen.told, seen.error) == ([(None, 2)], None)
    assert seen.content == DELTA + FINISH + DONE


def test_an_error_event_is_handed_on_and_the_end_after_it_is_a_clean_one() -> None:
    seen = read(DELTA, ERROR)
    assert (seen.chunks, seen.error) == ([DELTA, ERROR], None)
    assert seen.events.inspection.has_failed
    assert seen.told[0][0] is not None


@pytest.mark.parametrize("end", [ERROR[:-1], ERROR[:-2]])
def test_an_error_event_whose_blank_line_is_missing_is_handed_on_too(end: bytes) -> None:
    seen = read(DELTA, end)
    assert (seen.chunks, seen.error) == ([DELTA, ERROR], None)
    assert seen.events.error_event


@pytest.mark.parametrize("end", [ERROR, ERROR[:-2]])
def test_what_an_error_event_must_not_quote_is_cut_out_of_it_and_out_of_no_other(
    end: bytes,
) -> None:
    secret = DELTA[10:14]
    quoting = end.replace(b'"message":"', b'"message":"' + secret)

    async def act() -> list[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield DELTA
            yield quoting

        body = Chunks(pieces(), redact=lambda content: content.replace(secret, b"***"))
        inspection = inspect("chat")
        assert inspection is not None
        events = Events("chat", body, inspection, 10_000)
        chunks = [chunk async for chunk in events]
        return [*chunks, events.error_event]

    delta, event, kept = asyncio.run(act())
    assert delta == DELTA
    assert b"***" in event
    assert b"***" in kept
    assert secret not in event + kept


def test_content_that_is_cut_off_commits_to_nothing() -> None:
    seen = read(DELTA[:-1])
    assert isinstance(seen.error, StreamBroken)
    assert (seen.chunks, seen.events.has_content) == ([], False)


def test_a_reader_who_leaves_is_told() -> None:
    seen = read(DELTA, FINISH, DONE, most=1)
    assert [type(error) for error, _ in seen.told] == [GeneratorExit]


def test_more_than_is_to_be_kept_is_read_and_not_kept() -> None:
    seen = read(DELTA * 50, FINISH, DONE, keep_max_bytes=1_000)
    assert (seen.error, len(seen.content)) == (None, len(DELTA * 50 + FINISH + DONE))
    assert seen.events.content() is None


def test_an_empty_stream_is_broken() -> None:
    assert isinstance(read().error, StreamBroken)


def test_a_provider_that_falls_silent_after_its_marker_has_ended() -> None:
    closed: list[int] = []

    async def stream() -> AsyncIterator[bytes]:
        yield DELTA + FINISH + DONE
        await asyncio.Event().wait()

    async def close() -> None:
        closed.append(1)

    async def act() -> list[bytes]:
        inspection = inspect("chat")
        assert inspection is not None
        events = Events("chat", Chunks(stream(), close), inspection, 10_000, 0.001)
        chunks = [chunk async for chunk in events]
        await events.aclose()
        return chunks

    assert asyncio.run(asyncio.wait_for(act(), 60)) == [DELTA + FINISH + DONE]
    assert closed == [1]
