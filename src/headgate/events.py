"""A stream on its way in: whole events only, each looked at before it is handed on.

What leaves here is a prefix of one good answer: bytes that are no event of their dialect, and an
end without the provider's own marker, become errors instead of a clean end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from headgate.core.commit import commits
from headgate.core.inspection import END, ERROR, USAGE, Inspection, inspect
from headgate.core.sse import Splitter, is_sound, parse_event
from headgate.errors import StreamBroken, UpstreamFailed, UpstreamGarbled
from headgate.stream import Chunks, UsageEvent
from headgate.types import Body

_BEGINNING_BYTES = 65_536
_PREAMBLE_MAX_BYTES = 1_000_000
"""What comes before any content is held back up to here; /responses repeats the request in it."""


class Events:
    """A body over a provider's body, which it cuts at the borders of events.

    Whoever `watch`es is told once: None as soon as the terminal marker has been read and before it
    is handed on (readers may stop there), else what broke the stream, or GeneratorExit where its
    reader left. An error event of the provider's own is handed on as it is; the end after it is a
    clean one.
    """

    def __init__(
        self,
        operation: str,
        body: Body,
        inspection: Inspection,
        keep_max_bytes: int,
        linger_s: float = 1.0,
    ) -> None:
        self.inspection = inspection
        self.kept_bytes = 0
        self.usage_at = (0, 0)
        self.has_content = False
        """The first content has been read: from here on nothing may be tried again."""
        self.error_event = b""
        """The data of the provider's own error event, where it sent one."""
        self._operation = operation
        self._body = body
        self._redact = (body.redact if isinstance(body, Chunks) else None) or bytes
        self._iterator: AsyncIterator[bytes] | None = None
        self._splitter = Splitter()
        self._watchers: list[OnEnd] = []
        self._keep_max_bytes = keep_max_bytes
        self._linger_s = linger_s
        self._kept: list[bytes] = []
        self._beginning = b""
        self._ready: deque[bytes] = deque()
        self._failure: BaseException | None = None
        self._has_ended = False
        self._end_error: BaseException | None = None

    def watch(self, on_end: OnEnd) -> None:
        """`on_end` is told how the stream ends: now, if it has; in the order of asking."""
        if self._has_ended:
            on_end(self, self._end_error)
        else:
            self._watchers.append(on_end)

    async def open(self) -> None:
        """Reads up to the first content, the end, or an error event; nothing is handed on yet.
        Raises what breaks the stream before that."""
        while not (self.has_content or self.error_event or self._failure):
            await self._read()
        failure = self._failure
        if isinstance(failure, UpstreamFailed) and not (self.has_content or self.error_event):
            self._end(failure)
            raise failure

    def content(self) -> bytes | None:
        """Everything up to the terminal marker; None if it is more than was to be kept."""
        return None if self.kept_bytes > self._keep_max_bytes else b"".join(self._kept)

    def beginning(self) -> bytes:
        """What has come, or the first of it where that was too much to keep."""
        return b"".join(self._kept) if self._kept else self._beginning

    @property
    def is_delivered(self) -> bool:
        """The terminal marker has been handed on, with all before it."""
        return self.inspection.is_finished and not self._ready

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if self._failure is not None:
                self._end(self._failure)
                raise self._failure
            await self._read()
        return self._ready.popleft()

    async def aclose(self) -> None:
        self._end(GeneratorExit())
        await self._body.aclose()

    async def _read(self) -> None:
        """Takes in one piece of the provider's body, or its end."""
        if self._iterator is None:
            self._iterator = self._body.__aiter__()
        try:
            if self.inspection.is_finished:
                piece = await self._drained(self._iterator)
            else:
                piece = await anext(self._iterator, None)
            if piece is None:
                self._failure = self._take_end()
            else:
                self._take(self._splitter.feed(piece))
        except UpstreamFailed as error:
            # An answer that is complete and kept must not be an error to those who read it live.
            self._failure = StopAsyncIteration() if self.inspection.is_finished else error

    async def _drained(self, iterator: AsyncIterator[bytes]) -> bytes | None:
        """What comes after the terminal marker, so that the connection can be used again. Who says
        nothing more for `linger_s` and does not close has ended all the same."""
        try:
            async with asyncio.timeout(self._linger_s):
                return await anext(iterator, None)
        except TimeoutError:
            return None

    def _take(self, events: list[bytes]) -> None:
        """Looks at complete events and makes them ready, joined as they came."""
        inspection, good = self.inspection, list[bytes]()
        try:
            for raw in events:
                finished = inspection.is_finished
                kind = self._read_event(raw)
                if kind == USAGE:
                    self._make_ready(good)
                    good = []
                    self._ready.append(UsageEvent(raw))
                    self.usage_at = (self.kept_bytes, self.kept_bytes + len(raw))
                else:
                    good.append(self._redact(raw) if kind == ERROR else raw)
                if not finished:
                    self._keep(raw)
                if kind == END:
                    self._end(None)
        finally:
            self._make_ready(good)

    def _read_event(self, raw: bytes) -> str:
        """The kind of an event. Raises UpstreamGarbled for what is none of the dialect."""
        if not is_sound(raw):
            raise UpstreamGarbled("the stream has something in it that is no event")
        name, content = parse_event(raw)
        kind = self.inspection.read(name, content)
        if kind == ERROR:
            self.error_event = self.error_event or self._redact(content) or b"{}"
        elif not (self.has_content or self.error_event):
            is_long = self.kept_bytes > _PREAMBLE_MAX_BYTES
            self.has_content = kind == END or is_long or commits(self._operation, content)
        return kind

    def _take_end(self) -> BaseException:
        """The provider's body has ended. A terminal marker needs no blank line after it; anything
        else that has none was cut off."""
        if not (self.inspection.is_finished or self.inspection.has_failed):
            self._take_marker(self._splitter.rest().rstrip(b"\r\n") + b"\n\n")
        if self.inspection.is_finished or self.inspection.has_failed:
            return StopAsyncIteration()
        return StreamBroken("the stream ended without its terminal marker")

    def _take_marker(self, raw: bytes) -> None:
        """An event without its blank line counts if it ends the stream; any other is cut off, and
        commits to nothing."""
        had_content = self.has_content
        try:
            kind = self._read_event(raw)
        except UpstreamGarbled:
            return
        if kind == END:
            self._keep(raw)
            self._end(None)
        else:
            self.has_content = had_content
        if kind in (END, ERROR):
            self._ready.append(self._redact(raw))

    def _make_ready(self, events: list[bytes]) -> None:
        if events:
            self._ready.append(events[0] if len(events) == 1 else b"".join(events))

    def _keep(self, raw: bytes) -> None:
        self.kept_bytes += len(raw)
        if self.kept_bytes <= self._keep_max_bytes:
            self._kept.append(raw)
        elif self._kept:
            self._beginning = b"".join(self._kept)[:_BEGINNING_BYTES]
            self._kept.clear()

    def _end(self, error: BaseException | None) -> None:
        if self._has_ended:
            return
        self._has_ended, self._end_error = True, error
        watchers, self._watchers = self._watchers, []
        for on_end in watchers:
            on_end(self, error)


OnEnd = Callable[[Events, BaseException | None], None]


def looked_at(operation: str, status: int, body: Body, keep_max_bytes: int) -> Events | None:
    """A stream's body event by event, None where its dialect is not known."""
    inspection = inspect(operation) if status == 200 else None
    return None if inspection is None else Events(operation, body, inspection, keep_max_bytes)
