"""One stream, many readers: a log of chunks that each reader goes through at its own pace.

Belongs to one event loop. Memory is bounded: the log forgets what lies too far behind the fastest
reader, and waits for that one where it lags too. A reader further behind gets a moment to catch up,
as long as it reads at all, and is then cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from headgate.errors import StreamBroken
from headgate.stream import UsageEvent
from headgate.types import Body

LOG_MAX_BYTES = 4_000_000
"""How far a stream may run ahead of its readers, and how much of it a late one can still have."""
STALL_MAX_S = 0.25
"""How long the full log waits for a reader that takes nothing."""
LATE_MAX_S = 5.0
"""How long it waits for one reader in all: by no more than this does it delay the others."""
_PIECE_MAX_BYTES = 65_536


class Log:
    """The chunks of one stream and where its readers stand."""

    def __init__(self, max_bytes: int = LOG_MAX_BYTES) -> None:
        self.total_bytes = 0
        """Of all chunks so far, also those that are forgotten."""
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._forgotten = 0
        self._kept_bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self.inspection: Any = None
        """What is known of the stream's content, where somebody looks at it."""
        self._places: dict[Reader, int] = {}
        self._waiting: list[asyncio.Future[None]] = []

    def append(self, chunk: bytes) -> None:
        """The next chunk, for every reader."""
        self._chunks.append(chunk)
        self._kept_bytes += len(chunk)
        self.total_bytes += len(chunk)
        self._wake()

    def end(self, error: BaseException | None) -> None:
        """No chunk comes any more; `error` is what readers get after the last one."""
        self._ended = True
        self._error = error
        self._wake()

    def has_room(self, more_bytes: int) -> bool:
        """Whether `more_bytes` fit without forgetting anything."""
        return self._kept_bytes + more_bytes <= self._max_bytes or not self._kept_bytes

    async def make_room(self, more_bytes: int) -> None:
        """Forgets the older half, or what it takes. The fastest reader sets the pace: what it has
        not read is not forgotten, this waits instead; a reader further behind, for which there is
        nothing left to wait, is cut off."""
        while not self.has_room(more_bytes):
            end = self._forgotten + len(self._chunks)
            unread = max(self._places.values(), default=end) - self._forgotten
            if unread == 0:
                await self._change()
                continue
            count, size = 0, 0
            while count < unread and self._kept_bytes - size + more_bytes > self._max_bytes // 2:
                size += len(self._chunks[count])
                count += 1
            if late := self._late(self._forgotten + count):
                await self._wait_for(late)
                continue
            del self._chunks[:count]
            self._forgotten += count
            self._kept_bytes -= size

    def _late(self, place: int) -> dict[Reader, int]:
        """Who would miss something if all before `place` were forgotten, and may yet read it."""
        return {
            reader: at
            for reader, at in self._places.items()
            if self._forgotten <= at < place
            and reader.stalled_s < STALL_MAX_S
            and reader.late_s < LATE_MAX_S
        }

    async def _wait_for(self, late: dict[Reader, int]) -> None:
        """Until something changes, at most a moment; on the account of those who are late."""
        now = asyncio.get_running_loop().time
        since_s = now()
        with suppress(TimeoutError):
            async with asyncio.timeout(STALL_MAX_S):
                await self._change()
        waited_s = now() - since_s
        for reader, place in late.items():
            reader.late_s += waited_s
            has_read = self._places.get(reader) != place
            reader.stalled_s = 0.0 if has_read else reader.stalled_s + waited_s

    def reader(self, *, usage_wanted: bool, on_close: Callable[[], None]) -> Reader:
        """A body over the whole stream, from its first chunk; `on_close` is called once."""
        reader = Reader(self, usage_wanted, on_close)
        self._places[reader] = 0
        return reader

    def drop(self, reader: Reader) -> None:
        """`reader` does not hold the stream back any more."""
        if self._places.pop(reader, None) is not None:
            self._wake()

    async def take(self, reader: Reader) -> bytes:
        """What comes next for `reader`: all that is there, up to a limit and not across an event
        that carries only usage. Raises StopAsyncIteration, or what broke the stream."""
        while True:
            place = self._places.get(reader)
            if place is None:
                raise StopAsyncIteration
            index = place - self._forgotten
            if index < 0:
                raise StreamBroken("too slow: the stream ran too far ahead of this reader")
            if index < len(self._chunks):
                return self._piece(reader, index)
            if self._ended:
                raise self._error or StopAsyncIteration
            await self._change()

    def has_all(self, reader: Reader) -> bool:
        """Whether `reader` has been given everything so far."""
        return self._places.get(reader) == self._forgotten + len(self._chunks)

    def _piece(self, reader: Reader, index: int) -> bytes:
        chunks = self._chunks
        chunk, end = chunks[index], index + 1
        if end < len(chunks) and type(chunk) is bytes:
            size = len(chunk)
            while end < len(chunks) and type(chunks[end]) is bytes:
                size += len(chunks[end])
                if size > _PIECE_MAX_BYTES:
                    break
                end += 1
            chunk = b"".join(chunks[index:end])
        self._places[reader] = self._forgotten + end
        if self._kept_bytes > self._max_bytes // 2:
            self._wake()  # somebody may wait for room
        return chunk

    async def _change(self) -> None:
        """Until something was appended, read or ended. Each waits for a future of its own: to
        cancel one must not wake the others."""
        changed = asyncio.get_running_loop().create_future()
        self._waiting.append(changed)
        await changed

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            if not changed.done():
                changed.set_result(None)


class Reader:
    """A body: one caller's way through a log."""

    __slots__ = ("_log", "_on_close", "_usage_wanted", "late_s", "stalled_s")

    def __init__(self, log: Log, usage_wanted: bool, on_close: Callable[[], None]) -> None:
        self._log = log
        self._usage_wanted = usage_wanted
        self._on_close: Callable[[], None] | None = on_close
        self.late_s = 0.0
        """How long the log has waited for it so far."""
        self.stalled_s = 0.0
        """How long it has waited since this one last read."""

    @property
    def inspection(self) -> Any:
        """Of the stream that it reads; None where nobody looks at it."""
        return self._log.inspection

    @property
    def is_delivered(self) -> bool:
        """The terminal marker has been handed on, with all before it."""
        inspection = self._log.inspection
        return inspection is not None and inspection.is_finished and self._log.has_all(self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._on_close is None:
            raise StopAsyncIteration
        while True:
            chunk = await self._log.take(self)
            if self._usage_wanted or type(chunk) is not UsageEvent:
                return chunk

    async def aclose(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            self._log.drop(self)
            on_close()


class WithoutUsage:
    """A body without the events that carry nothing but usage."""

    __slots__ = ("_body", "_iterator")

    def __init__(self, body: Body) -> None:
        self._body = body
        self._iterator: AsyncIterator[bytes] | None = None

    @property
    def inspection(self) -> Any:
        """Of the stream below; None where nobody looks at it."""
        return getattr(self._body, "inspection", None)

    @property
    def is_delivered(self) -> bool:
        """The terminal marker has been handed on, with all before it."""
        return bool(getattr(self._body, "is_delivered", False))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._body.__aiter__()
        while True:
            chunk = await self._iterator.__anext__()
            if type(chunk) is not UsageEvent:
                return chunk

    async def aclose(self) -> None:
        await self._body.aclose()
