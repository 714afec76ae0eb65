"""Streams between the home loop, where they arrive, and the thread or event loop of their reader.

A reader on another thread gets all that has come since it last looked in one piece: a hand-over
costs a hundred times what a chunk does.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from headgate.errors import Closed, HeadgateError
from headgate.surfaces.transport_library import Library
from headgate.types import Body

Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], Future[None]]
"""Runs a coroutine on the home loop."""
AHEAD_BYTES = 262_144
"""How much is read before somebody wants it; then the provider waits."""


class Handover:
    """The chunks of `body`, read on the home loop from now on, for one reader anywhere."""

    def __init__(self, body: Body, spawn: Spawn) -> None:
        self._body = body
        self._lock = threading.Lock()
        self._chunks: list[bytes] = []
        self._size_bytes = 0
        self._arrival: Future[None] | None = None
        self._make_room: Callable[[], None] | None = None
        self._pump = spawn(self._read_on)
        self._pump.add_done_callback(lambda _: self._arrived(b""))

    def take(self) -> bytes | Future[None] | None:
        """All that has come since the last time, None after the last of it, else something to wait
        for before taking again. Raises what ended the body, and Closed with the runtime."""
        with self._lock:
            if self._chunks:
                taken = b"".join(self._chunks)
                self._chunks.clear()
                self._size_bytes = 0
                make_room, self._make_room = self._make_room, None
            elif self._pump.done():
                self._raise_what_ended_it()
                return None
            else:
                self._arrival = Future()
                return self._arrival
        if make_room is not None:
            make_room()
        return taken

    def close(self) -> None:
        """Lets go of what has not been taken, and cuts the body if it is not at its end. Takes no
        lock of ours, as garbage collection may call it anywhere."""
        # The task has taken its first step by then, so it does close the body: asyncio hands the
        # cancellation to its loop behind that step.
        self._pump.cancel()

    async def _read_on(self) -> None:
        try:
            async for chunk in self._body:
                self._arrived(chunk)
                if self._size_bytes > AHEAD_BYTES:
                    await self._has_room()
        finally:
            await self._body.aclose()

    def _arrived(self, chunk: bytes) -> None:
        with self._lock:
            if chunk:
                self._chunks.append(chunk)
                self._size_bytes += len(chunk)
            arrival, self._arrival = self._arrival, None
        # Its reader may have left while it was waiting.
        if arrival is not None and arrival.set_running_or_notify_cancel():
            arrival.set_result(None)

    async def _has_room(self) -> None:
        loop, room = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if not self._chunks:
                return
            self._make_room = lambda: _tell(loop, room.set)
        await room.wait()

    def _raise_what_ended_it(self) -> None:
        try:
            self._pump.result()
        except CancelledError:
            raise Closed("the reply was closed while it was read") from None


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Has `loop` call `function`, unless it is closed: then nobody there waits any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)


class Reader:
    """One reader of a hand-over: `__iter__` for a thread, `__aiter__` for an event loop.

    `limit_s` bounds the wait for each piece; None leaves it to whoever reads from the provider. A
    reader that is dropped unread and unclosed lets go of the provider too.
    """

    def __init__(self, handover: Handover, library: Library, limit_s: float | None) -> None:
        self._handover = handover
        self._library = library
        self._limit_s = limit_s
        weakref.finalize(self, handover.close).atexit = False

    def __iter__(self) -> Iterator[bytes]:
        while (taken := self._take()) is not None:
            if isinstance(taken, bytes):
                yield taken
                continue
            try:
                taken.result(self._limit_s)
            except TimeoutError:
                raise self._library.late() from None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (taken := self._take()) is not None:
            if isinstance(taken, bytes):
                yield taken
                continue
            try:
                async with asyncio.timeout(self._limit_s):
                    await asyncio.wrap_future(taken)
            except TimeoutError:
                raise self._library.late() from None

    def close(self) -> None:
        """Ends the reading, and with it the provider's stream if nobody else reads it."""
        self._handover.close()

    async def aclose(self) -> None:
        """As `close`."""
        self._handover.close()

    def _take(self) -> bytes | Future[None] | None:
        try:
            return self._handover.take()
        except HeadgateError as error:
            raise self._library.broken(error) from error


class Arriving:
    """The body of a response that one of the libraries receives on the home loop, decoded or as it
    is; what breaks it is a HeadgateError."""

    def __init__(self, response: Any, pieces: AsyncIterator[bytes], library: Library) -> None:
        self._response = response
        self._pieces = pieces
        self._library = library

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._pieces.__anext__()
        except self._library.module.RequestError as error:
            raise self._library.ours(error) from error

    async def aclose(self) -> None:
        """Lets go of the connection: back to the pool if read to the end, else cut."""
        await self._response.aclose()


def reader_class(library: Library, *, asynchronous: bool) -> Any:
    """`Reader` as the kind of stream that a response of this library has."""
    module = library.module
    kind = module.AsyncByteStream if asynchronous else module.SyncByteStream
    return type("Reader", (Reader, kind), {})
