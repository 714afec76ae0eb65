"""One stream, many readers: pace, bounds, and who is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import virtualtime

from headgate.errors import StreamBroken
from headgate.joining.fanout import LATE_MAX_S, STALL_MAX_S, Log, Reader, WithoutUsage
from headgate.stream import Chunks, UsageEvent

LONG_S = 60


def play(act: Callable[[Log], Coroutine[Any, Any, None]], max_bytes: int = 100) -> None:
    async def scene() -> None:
        await act(Log(max_bytes))

    asyncio.run(asyncio.wait_for(scene(), LONG_S))


def reader_of(log: Log, *, usage_wanted: bool = True) -> Reader:
    return log.reader(usage_wanted=usage_wanted, on_close=lambda: None)


async def rest_of(reader: Reader) -> bytes:
    return b"".join([chunk async for chunk in reader])


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_chunk_is_there_for_every_reader_as_soon_as_it_is_appended() -> None:
    async def act(log: Log) -> None:
        readers = [reader_of(log) for _ in range(3)]
        asked = [asyncio.ensure_future(anext(reader)) for reader in readers]
        await settle()
        assert not any(task.done() for task in asked)
        log.append(b"a")
        assert await asyncio.gather(*asked) == [b"a"] * 3

    play(act)


def test_a_late_reader_has_everything_from_the_first_chunk_in_one_piece() -> None:
    async def act(log: Log) -> None:
        for chunk in (b"a", b"b", b"c"):
            log.append(chunk)
        late = reader_of(log)
        assert await anext(late) == b"abc"
        log.append(b"d")
        log.end(None)
        assert await rest_of(late) == b"d"

    play(act)


def test_pieces_of_a_late_reader_are_bounded() -> None:
    async def act(log: Log) -> None:
        for _ in range(4):
            log.append(b"x" * 30_000)
        log.end(None)
        sizes = [len(chunk) async for chunk in reader_of(log)]
        assert sizes == [60_000, 60_000]

    play(act, max_bytes=1_000_000)


def test_only_who_wants_usage_gets_the_event_that_carries_nothing_else() -> None:
    async def act(log: Log) -> None:
        log.append(b"a")
        log.append(UsageEvent(b"usage"))
        log.append(b"end")
        log.end(None)
        assert await rest_of(reader_of(log)) == b"ausageend"
        assert await rest_of(reader_of(log, usage_wanted=False)) == b"aend"

    play(act)


def test_what_breaks_a_stream_reaches_every_reader_behind_the_last_chunk() -> None:
    async def act(log: Log) -> None:
        readers = [reader_of(log) for _ in range(2)]
        log.append(b"a")
        log.end(StreamBroken("cut"))
        for reader in readers:
            assert await anext(reader) == b"a"
            for _ in range(2):
                with pytest.raises(StreamBroken, match="cut"):
                    await anext(reader)

    play(act)


def test_a_reader_who_is_cancelled_takes_nobody_else_away() -> None:
    async def act(log: Log) -> None:
        first, second = (asyncio.ensure_future(anext(reader_of(log))) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        log.append(b"a")
        assert await second == b"a"
        assert first.cancelled()

    play(act)


def test_the_log_waits_for_a_single_slow_reader() -> None:
    async def act(log: Log) -> None:
        slow = reader_of(log)
        log.append(b"x" * 90)
        assert not log.has_room(20)
        waiting = asyncio.ensure_future(log.make_room(20))
        await settle()
        assert not waiting.done()
        assert await anext(slow) == b"x" * 90
        await waiting
        assert log.has_room(20)

    play(act)


def test_a_reader_that_takes_nothing_is_cut_off_after_a_moment() -> None:
    async def act() -> None:
        log = Log(100)
        stuck, fast = reader_of(log), reader_of(log)
        for number in range(10):
            chunk = b"%d" % number * 30
            if not log.has_room(len(chunk)):
                await log.make_room(len(chunk))
            log.append(chunk)
            assert await anext(fast) == chunk
        with pytest.raises(StreamBroken, match="too slow"):
            await anext(stuck)
        log.end(None)
        assert await rest_of(fast) == b""

    assert virtualtime.run(act())[1] == STALL_MAX_S


def test_a_reader_that_falls_behind_and_reads_on_gets_everything() -> None:
    async def act() -> None:
        log = Log(100)
        behind, fast = reader_of(log), reader_of(log)
        heard = asyncio.gather(pieces_of(behind, pause_s=STALL_MAX_S / 2), pieces_of(fast))
        await fill(log, chunks=20)
        assert await heard == [b"x" * 600] * 2

    virtualtime.run(act())


def test_a_reader_that_is_always_slow_delays_the_others_by_so_much_and_no_more() -> None:
    async def act() -> None:
        log = Log(100)
        slow, fast = reader_of(log), reader_of(log)
        heard = asyncio.gather(
            pieces_of(slow, pause_s=STALL_MAX_S / 2), pieces_of(fast), return_exceptions=True
        )
        await fill(log, chunks=2_000)
        cut, whole = await heard
        assert isinstance(cut, StreamBroken)
        assert whole == b"x" * 60_000

    took_s = virtualtime.run(act())[1]
    assert LATE_MAX_S <= took_s <= LATE_MAX_S + 2 * STALL_MAX_S


async def pieces_of(reader: Reader, pause_s: float = 0) -> bytes:
    """All that it gets, with a pause behind each piece."""
    heard = b""
    async for piece in reader:
        heard += piece
        await asyncio.sleep(pause_s)
    return heard


async def fill(log: Log, chunks: int) -> None:
    for _ in range(chunks):
        if not log.has_room(30):
            await log.make_room(30)
        log.append(b"x" * 30)
    log.end(None)


def test_a_slow_reader_that_closes_lets_the_stream_go_on() -> None:
    async def act(log: Log) -> None:
        slow = reader_of(log)
        log.append(b"x" * 90)
        waiting = asyncio.ensure_future(log.make_room(20))
        await settle()
        await slow.aclose()
        await waiting

    play(act)


def test_without_readers_the_log_forgets_and_never_waits() -> None:
    async def act(log: Log) -> None:
        for _ in range(50):
            if not log.has_room(30):
                await log.make_room(30)
            log.append(b"x" * 30)
        assert log.total_bytes == 1_500

    play(act)


def test_one_chunk_larger_than_the_log_passes() -> None:
    async def act(log: Log) -> None:
        reader = reader_of(log)
        assert log.has_room(1_000)
        log.append(b"x" * 1_000)
        assert await anext(reader) == b"x" * 1_000

    play(act)


def test_closing_is_told_once_and_ends_the_reader() -> None:
    async def act(log: Log) -> None:
        closed: list[int] = []
        reader = log.reader(usage_wanted=True, on_close=lambda: closed.append(1))
        log.append(b"a")
        await reader.aclose()
        await reader.aclose()
        assert closed == [1]
        assert await rest_of(reader) == b""

    play(act)


def test_usage_is_left_out_of_a_body_that_nobody_shares() -> None:
    closed: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield UsageEvent(b"usage")
        yield b"b"

    async def close() -> None:
        closed.append(1)

    async def act(_: Log) -> None:
        body = WithoutUsage(Chunks(chunks(), close))
        assert [chunk async for chunk in body] == [b"a", b"b"]
        await body.aclose()
        assert closed == [1]

    play(act)
