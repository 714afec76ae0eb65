"""One upstream call under way, and everyone who waits for it or reads along.

A flight belongs to one event loop. Its task asks below and, where the answer is a stream, reads it
to its end into a log. The first caller is a passenger like the others, so it may leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from headgate.errors import StreamBroken
from headgate.joining.fanout import Log, Reader
from headgate.stream import Value, Whole
from headgate.types import Call, Invocation, Reply, Service


class FlightLimits(Struct, frozen=True):
    """Bounds of a flight."""

    passengers_max: int = 10_000
    """Callers of one flight; the next one starts another."""
    finish_within_s: float = 30.0
    """How long a stream whose last reader left is read on, so that it can be kept."""
    keep_max_bytes: int = 8_000_000
    """A longer stream is not kept, so it is not read on."""


class Flight:
    """A call under way. `head` is the reply as soon as a whole answer or a stream's first chunk is
    there; `on_closing` is called when nobody may join any more."""

    def __init__(
        self,
        below: Service,
        call: Call,
        limits: FlightLimits,
        on_closing: Callable[[Flight], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[Reply] = loop.create_future()
        self.key = call.key
        self.streamed = call.streamed
        self.thread_id = call.request.thread_id if isinstance(call.request, Invocation) else 0
        self._limits = limits
        self._passengers = 0
        self._log = Log()
        self._ends: asyncio.TimerHandle | None = None
        self._on_closing = on_closing
        self.task = loop.create_task(self._fly(below, call))
        self.task.add_done_callback(self._land)

    @property
    def is_full(self) -> bool:
        return self._passengers >= self._limits.passengers_max

    def board(self) -> None:
        """One more caller waits or reads; each one ends with `leave`."""
        self._passengers += 1
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def leave(self) -> None:
        """One caller less. When it was the last one, a call without an answer so far is cancelled,
        and so is a stream that will not be kept; another is read on for a while."""
        self._passengers -= 1
        if self._passengers or self.task.done():
            return
        if self.head.done() and self._is_worth_finishing():
            loop = asyncio.get_running_loop()
            self._ends = loop.call_later(self._limits.finish_within_s, self.task.cancel)
        else:
            self.task.cancel()

    def reader(self, *, usage_wanted: bool) -> Reader:
        """A body over the whole stream, for a caller that has boarded; closing it leaves."""
        return self._log.reader(usage_wanted=usage_wanted, on_close=self.leave)

    def _is_worth_finishing(self) -> bool:
        limits = self._limits
        return limits.finish_within_s > 0 and self._log.total_bytes <= limits.keep_max_bytes

    async def _fly(self, below: Service, call: Call) -> None:
        reply = await below(call)
        if not isinstance(reply.body, Whole | Value):
            await self._read(reply)
        self._on_closing(self)
        if not self.head.done():
            self.head.set_result(reply)

    async def _read(self, reply: Reply) -> None:
        log = self._log
        try:
            async for chunk in reply.body:
                if not log.has_room(len(chunk)):
                    self._on_closing(self)
                    await log.make_room(len(chunk))
                log.append(chunk)
                if not self.head.done():
                    self.head.set_result(reply)
                if not (self._passengers or self._is_worth_finishing()):
                    raise asyncio.CancelledError
        finally:
            await reply.body.aclose()

    def _land(self, task: asyncio.Task[None]) -> None:
        self._on_closing(self)
        if self._ends is not None:
            self._ends.cancel()
        if task.cancelled():
            self.head.cancel()
            self._log.end(StreamBroken("the call was taken down"))
            return
        error = task.exception()
        self._log.end(error)
        if error is not None and not self.head.done():
            self.head.set_exception(error)
            # Nobody may be left to ask for it, which asyncio would report as forgotten.
            self.head.exception()
