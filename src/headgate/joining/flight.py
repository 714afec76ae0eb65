"""One upstream call under way, and everyone who waits for it or reads along.

A flight belongs to one event loop. Its task asks below and, where the answer is a stream, reads it
to its end into a log. The first caller is a passenger like the others, so it may leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from headgate.core.allowance import Patience
from headgate.errors import StreamBroken
from headgate.joining.fanout import Log, Reader
from headgate.stream import Value, Whole
from headgate.types import Call, Invocation, Reply, Service

_TRANSIENT = frozenset({408, 500, 502, 503, 504, 529})
"""What one more attempt may not meet again. Not 429: another call would be refused, too."""


class FlightLimits(Struct, frozen=True):
    """Bounds of a flight."""

    passengers_max: int = 10_000
    """Callers of one flight; the next one starts another."""
    finish_within_s: float = 30.0
    """How long a stream whose last reader left is read on, so that it can be kept."""
    keep_max_bytes: int = 8_000_000
    """A longer stream is not kept, so it is not read on."""


class Flight:
    """A call under way; `on_closing` is called when nobody may join it any more."""

    def __init__(
        self,
        below: Service,
        call: Call,
        limits: FlightLimits,
        on_closing: Callable[[Flight], None],
    ) -> None:
        self.key = call.key
        self.model = call.model
        self.streamed = call.streamed
        self.client = call.client
        self.thread_id = call.request.thread_id if isinstance(call.request, Invocation) else 0
        self._limits = limits
        self._on_closing = on_closing
        self._passengers = 0
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._log: Log | None = None
        self._ends: asyncio.TimerHandle | None = None
        self._patience: Patience | None = None
        self._seat = call.seat
        if call.controls.deadline_s is not None:
            call = self._without_deadline(call, call.controls.deadline_s)
        self.task = asyncio.get_running_loop().create_task(self._fly(below, call))
        self.task.add_done_callback(self._land)

    @property
    def takes_passengers(self) -> bool:
        """False when it is full, and from the moment its task has ended, which is before anybody
        is told."""
        return self._passengers < self._limits.passengers_max and not self.task.done()

    def board(self) -> None:
        """One more caller waits or reads; each one ends with `leave`."""
        self._passengers += 1
        if self._passengers > 1 and self._patience is not None:
            self._patience.is_shared = True
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def _without_deadline(self, call: Call, deadline_s: float) -> Call:
        """A deadline is its caller's own, who leaves by itself: others may have longer."""
        self._patience = Patience(deadline_s)
        controls = replace(call.controls, deadline_s=None)
        return replace(call, controls=controls, patience=self._patience)

    async def head(self) -> Reply | None:
        """The reply, as soon as a whole answer or the first chunk of a stream is there; None where
        the call was taken down from outside. Raises what the call raised."""
        if not (self._reply is not None or self.task.done()):
            # A future for each who waits: to cancel one must not touch the others.
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(told)
            await told
        if self._reply is None and self._error is not None:
            raise self._error
        return self._reply

    def leave(self) -> None:
        """One caller less. When it was the last one, a call without an answer so far is cancelled,
        and so is a stream that will not be kept; another is read on for a while."""
        self._passengers -= 1
        if self._passengers or self.task.done():
            return
        if self._log is not None and self._is_worth_finishing(self._log):
            loop = asyncio.get_running_loop()
            self._ends = loop.call_later(self._limits.finish_within_s, self.task.cancel)
        elif self._log is not None or not (self._reply is not None or self._is_in_company()):
            self.task.cancel()

    def reader(self, *, usage_wanted: bool) -> Reader:
        """A body over the whole stream, for a caller that has boarded; closing it leaves."""
        assert self._log is not None, "only a stream has readers"  # noqa: S101
        return self._log.reader(usage_wanted=usage_wanted, on_close=self.leave)

    def _is_in_company(self) -> bool:
        """It has gone upstream together with others', who stay: it is paid for, and kept."""
        return self._seat is not None and self._seat.is_in_company

    def _is_worth_finishing(self, log: Log) -> bool:
        limits = self._limits
        return limits.finish_within_s > 0 and 0 < log.total_bytes <= limits.keep_max_bytes

    async def _fly(self, below: Service, call: Call) -> None:
        reply = await below(call)
        if not isinstance(reply.body, Whole | Value):
            self._log = Log()
            self._log.inspection = getattr(reply.body, "inspection", None)
            await self._read(reply, self._log)
        self._on_closing(self)
        self._tell(reply)

    async def _read(self, reply: Reply, log: Log) -> None:
        try:
            async for chunk in reply.body:
                if not log.has_room(len(chunk)):
                    self._on_closing(self)
                    await log.make_room(len(chunk))
                log.append(chunk)
                self._tell(reply)
                if not (self._passengers or self._is_worth_finishing(log)):
                    raise asyncio.CancelledError
        finally:
            await reply.body.aclose()

    def _tell(self, reply: Reply | None) -> None:
        if self._reply is None:
            self._reply = reply
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            if not told.done():
                told.set_result(None)

    def _land(self, task: asyncio.Task[None]) -> None:
        self._on_closing(self)
        if self._ends is not None:
            self._ends.cancel()
        self._error = None if task.cancelled() else task.exception()
        if self._log is not None:
            broken = StreamBroken("the call was taken down") if task.cancelled() else None
            self._log.end(broken or self._error)
        self._tell(None)


def is_worth_another(reply: Reply) -> bool:
    """Whether those who joined a call that ended like this may have one call more."""
    is_failure = isinstance(reply.body, Whole) and reply.status in _TRANSIENT
    return is_failure and reply.provenance.attempts <= 1
