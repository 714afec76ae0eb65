"""Streams from the home loop to a reader in a thread or in another event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import pytest

from headgate.errors import Closed, HeadgateError, StreamBroken
from headgate.portal import Portal
from headgate.surfaces.transport_library import LIBRARIES, Library
from headgate.surfaces.transport_stream import (
    AHEAD_BYTES,
    Arriving,
    Handover,
    Reader,
    reader_class,
)


class Source:
    """A body whose chunks a test hands out one by one, on the home loop."""

    def __init__(self, portal: Portal) -> None:
        self.read = 0
        self.closed = threading.Event()
        self._portal = portal
        self._queue: asyncio.Queue[bytes | BaseException] = asyncio.Queue()

    def give(self, *chunks: bytes | BaseException) -> None:
        """Chunks, an exception to raise, or b"" for the end; returns when they can be read."""

        async def put() -> None:
            for chunk in chunks:
                self._queue.put_nowait(chunk)

        self._portal.spawn(put).result()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._queue.get()
        self.read += 1
        if isinstance(chunk, BaseException):
            raise chunk
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self.closed.set()


@pytest.fixture
def portal() -> Iterator[Portal]:
    one = Portal()
    yield one
    one.close()


@pytest.fixture
def source(portal: Portal) -> Source:
    return Source(portal)


def settle(portal: Portal) -> None:
    """Returns when whatever could run on the home loop has run."""

    async def turn() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    portal.spawn(turn).result()


def reader_of(
    source: Source, portal: Portal, limit_s: float | None = None, *, asynchronous: bool = False
) -> Any:
    library = Library("httpx2")
    kind = reader_class(library, asynchronous=asynchronous)
    return kind(Handover(source, portal.spawn), library, limit_s)


def test_all_that_has_come_is_handed_over_in_one_piece(portal: Portal, source: Source) -> None:
    source.give(b"a", b"b", b"c")
    handover = Handover(source, portal.spawn)
    settle(portal)
    assert handover.take() == b"abc"
    arrival = handover.take()
    assert not isinstance(arrival, bytes | None)
    source.give(b"d", b"")
    arrival.result(60)
    settle(portal)
    assert handover.take() == b"d"
    assert handover.take() is None
    assert source.closed.is_set()


def test_a_thread_reads_to_the_end(portal: Portal, source: Source) -> None:
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(lambda: b"".join(reader_of(source, portal)))
        for chunk in (b"a", b"b", b"c", b""):
            source.give(chunk)
        assert reading.result(60) == b"abc"


def test_another_event_loop_reads_to_the_end(portal: Portal, source: Source) -> None:
    async def read() -> bytes:
        reader = reader_of(source, portal, asynchronous=True)
        first = asyncio.ensure_future(anext(reader.__aiter__()))
        await asyncio.sleep(0)
        await asyncio.to_thread(source.give, b"a")
        return await first + b"".join([piece async for piece in rest(reader)])

    async def rest(reader: Any) -> AsyncIterator[bytes]:
        await asyncio.to_thread(source.give, b"b", b"c", b"")
        async for piece in reader:
            yield piece

    assert asyncio.run(read()) == b"abc"


def test_what_is_read_ahead_is_bounded_and_goes_on_when_there_is_room(
    portal: Portal, source: Source
) -> None:
    piece = b"x" * (AHEAD_BYTES // 4)
    source.give(*[piece] * 20, b"")
    handover = Handover(source, portal.spawn)
    settle(portal)
    assert source.read == 5
    taken = handover.take()
    assert taken == piece * 5
    settle(portal)
    assert source.read == 10
    handover.close()
    assert source.closed.wait(60)


def test_what_breaks_the_body_comes_after_what_arrived_before(
    portal: Portal, source: Source
) -> None:
    broken = StreamBroken("cut")
    broken.__cause__ = httpx.RemoteProtocolError("peer left")
    source.give(b"a", broken)
    pieces = iter(reader_of(source, portal))
    assert next(pieces) == b"a"
    with pytest.raises(httpx2.RemoteProtocolError, match="peer left"):
        next(pieces)
    assert source.closed.wait(60)


def test_an_error_that_no_library_raised_is_told_as_a_read_error(
    portal: Portal, source: Source
) -> None:
    source.give(StreamBroken("too slow"))
    with pytest.raises(httpx2.ReadError, match="too slow"):
        list(reader_of(source, portal))


def test_who_waits_too_long_gets_the_librarys_timeout(portal: Portal, source: Source) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        list(reader_of(source, portal, 0.01))

    async def read() -> None:
        async for _ in reader_of(source, portal, 0.01, asynchronous=True):
            raise AssertionError

    with pytest.raises(httpx2.ReadTimeout):
        asyncio.run(read())


def test_closing_lets_go_of_the_body_and_may_be_done_twice(portal: Portal, source: Source) -> None:
    reader = reader_of(source, portal)
    reader.close()
    reader.close()
    assert source.closed.wait(60)
    with pytest.raises(httpx2.ReadError, match="closed"):
        list(reader)


def test_a_stream_that_is_closed_before_it_began_lets_go_of_the_body(portal: Portal) -> None:
    source = Source(portal)
    begin = threading.Event()

    async def busy() -> None:
        begin.wait(60)

    portal.spawn(busy)  # the home loop stands still meanwhile
    handover = Handover(source, portal.spawn)
    handover.close()
    begin.set()
    assert source.closed.wait(60)
    assert source.read == 0


def test_a_reader_that_is_forgotten_lets_go_of_the_body(portal: Portal, source: Source) -> None:
    reader = reader_of(source, portal)
    settle(portal)
    del reader
    gc.collect()
    assert source.closed.wait(60)


def test_a_reader_that_is_cancelled_while_it_waits_disturbs_nobody(
    portal: Portal, source: Source
) -> None:
    async def read() -> bytes:
        reader = reader_of(source, portal, asynchronous=True)
        waiting = asyncio.ensure_future(anext(reader.__aiter__()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.to_thread(source.give, b"a", b"")
        return b"".join([piece async for piece in reader])

    assert asyncio.run(read()) == b"a"


def test_the_end_of_the_runtime_ends_the_reading(portal: Portal, source: Source) -> None:
    handover = Handover(source, portal.spawn)
    settle(portal)
    portal.close()
    with pytest.raises(Closed):
        handover.take()
    assert source.closed.is_set()


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_reader_is_the_kind_of_stream_that_its_library_wants(name: str) -> None:
    library = Library(name)
    sync, asynchronous = (reader_class(library, asynchronous=kind) for kind in (False, True))
    assert issubclass(sync, library.module.SyncByteStream)
    assert issubclass(asynchronous, library.module.AsyncByteStream)
    assert issubclass(sync, Reader)
    assert not issubclass(sync, library.module.AsyncByteStream)


def test_what_arrives_breaks_as_ours_and_is_closed_with_its_response() -> None:
    closed: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        raise httpx2.ReadTimeout("silence")

    class Response:
        """As much of one as is used."""

        async def aclose(self) -> None:
            closed.append(True)

    async def read() -> tuple[list[bytes], HeadgateError]:
        body, got = Arriving(Response(), pieces(), Library("httpx2")), []
        try:
            async for piece in body:
                got.append(piece)
        except HeadgateError as error:
            await body.aclose()
            return got, error
        raise AssertionError

    got, error = asyncio.run(read())
    assert (got, error.code, closed) == ([b"a"], "upstream_timeout", [True])
    assert isinstance(error.__cause__, httpx2.ReadTimeout)
