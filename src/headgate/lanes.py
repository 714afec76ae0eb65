"""The way to one target with one credential: who is under way, who waits, what a minute holds.

Waiting costs a future and a timer. A lane belongs to one event loop: no await stands between
looking and taking, so there is nothing to lock.
"""

from __future__ import annotations

import asyncio

from headgate.clock import Clock
from headgate.core.concurrency import (
    DEADLINE,
    Concurrency,
    ConcurrencySettings,
    Line,
    LineSettings,
    Slot,
    Ticket,
    ask_again_s,
)
from headgate.core.outcome import OUTCOMES, Outcome
from headgate.core.permits import Refusal
from headgate.core.rate import Rate, RateSettings
from headgate.errors import QueueFull


class Lane:
    """One target with one credential: who is under way there, who waits, what a minute holds."""

    def __init__(
        self, concurrency: ConcurrencySettings, line: LineSettings, rate: RateSettings, clock: Clock
    ) -> None:
        self.rate = Rate(rate, clock.monotonic())
        self.concurrency = Concurrency(concurrency)
        self._clock = clock
        self._line = Line(line)
        self._turns: dict[int, asyncio.Future[Slot]] = {}

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._turns)

    def is_idle(self, now_s: float) -> bool:
        """Whether nothing is under way that a new one would have to know."""
        busy = self.concurrency.in_flight or self._turns
        return not busy and self.rate.is_idle(now_s)

    async def enter(self, deadline_s: float) -> Slot:
        """A place, at once or when it is this caller's turn, within `deadline_s` seconds. Every
        place must come back to `leave`. Raises QueueFull."""
        slot = None if len(self._line) else self.concurrency.enter()
        return slot or await self._wait(self._clock.monotonic(), deadline_s)

    def leave(self, slot: Slot, outcome: Outcome) -> None:
        """The end of an attempt: its place goes to whoever is first in the queue."""
        self.concurrency.leave(slot, outcome)
        self._call_next()

    async def _wait(self, now_s: float, deadline_s: float) -> Slot:
        ticket = self._line.join(now_s, now_s + deadline_s)
        if isinstance(ticket, Refusal):
            raise self._full(ticket.reason)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Slot] = loop.create_future()
        self._turns[ticket.number] = turn
        timer = loop.call_later(ticket.until_s - now_s, self._give_up, ticket, turn)
        self._call_next()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # Its turn came in the very moment in which it left.
                self.leave(turn.result(), OUTCOMES["left"])
            raise
        finally:
            timer.cancel()
            self._line.leave(ticket)
            del self._turns[ticket.number]

    def _give_up(self, ticket: Ticket, turn: asyncio.Future[Slot]) -> None:
        if self._line.leave(ticket) and not turn.done():
            turn.set_exception(self._full("queue_wait"))

    def _call_next(self) -> None:
        """Hands out every place that is free, as long as somebody waits for one."""
        while len(self._line) and (slot := self.concurrency.enter()):
            ticket = self._line.call(self._clock.monotonic())
            turn = None if ticket is None else self._turns[ticket.number]
            if turn is not None and not turn.done():
                turn.set_result(slot)
                continue
            self.concurrency.leave(slot, OUTCOMES["refused"])
            if turn is None:
                return

    def _full(self, reason: str) -> QueueFull:
        what = "no place at the target"
        why = f"{what} within the deadline" if reason == DEADLINE else f"{what} ({reason})"
        return QueueFull(why, retry_after_s=ask_again_s(self._clock.random()))
