"""The way to one target with one credential: who is under way, who waits, what a minute holds.

Waiting costs a future and a timer. A lane belongs to one event loop: no await stands between
looking and taking, so there is nothing to lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import NamedTuple

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
from headgate.core.registry import Registry
from headgate.errors import QueueFull

GROWS_AFTER_S = 1.0
"""During a slow start the places double after each of these, whatever the answers take: streams of
minutes would otherwise keep a provider that is well again from its callers."""


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
        self._growing: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._turns)

    def is_idle(self, now_s: float) -> bool:
        """Whether nothing is under way that a new one would have to know."""
        busy = self.concurrency.in_flight or self._turns
        return not busy and self.rate.is_idle(now_s)

    def has_spare(self, begun: int, now_s: float) -> bool:
        """Whether there is room for one more that can wait, of whom `begun` are on their way:
        nobody else waits, and of places and rate others find at least half."""
        inside = self.concurrency
        is_free = not self._turns and max(inside.in_flight, begun) * 2 < inside.limit
        return is_free and self.rate.has_spare(now_s)

    def take(self) -> Slot | None:
        """A place, where there is one and nobody waits. It must come back to `leave`."""
        return None if self._turns and len(self._line) else self.concurrency.enter()

    async def enter(self, deadline_s: float) -> Slot:
        """A place, at once or when it is this caller's turn, within `deadline_s` seconds. Every
        place must come back to `leave`. Raises QueueFull."""
        return self.take() or await self._wait(self._clock.monotonic(), deadline_s)

    def leave(self, slot: Slot, outcome: Outcome) -> None:
        """The end of an attempt: its place goes to whoever is first in the queue."""
        self.concurrency.leave(slot, outcome)
        self._call_next()

    def restart(self) -> None:
        """The target is well again: few places at first, then twice as many each second, until
        there are as many as before. On the event loop of the lane."""
        if self._growing is not None:
            self._growing.cancel()
        self.concurrency.restart()
        self._growing = asyncio.get_running_loop().call_later(GROWS_AFTER_S, self._grow)

    def _grow(self) -> None:
        loop, goes_on = asyncio.get_running_loop(), self.concurrency.grow()
        self._growing = loop.call_later(GROWS_AFTER_S, self._grow) if goes_on else None
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
        while self._turns and len(self._line) and (slot := self.concurrency.enter()):
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


class TargetLimits(NamedTuple):
    """The limits of every target; a provider that `rates` does not name has none."""

    concurrency: ConcurrencySettings
    line: LineSettings
    rates: Mapping[str, RateSettings]
    keyed: frozenset[str] = frozenset()
    """Providers with a credential of their own: all clients share it."""

    def of(self, provider: str) -> tuple[object, ...]:
        """Everything that the lanes of one provider depend on."""
        return self.concurrency, self.line, self.rates.get(provider), provider in self.keyed


_Known = Registry[tuple[str, bytes], Lane]
"""The lanes of one provider, by model and credential."""


class Lanes:
    """The lanes of every target, made when they are first needed.

    Those of `before` go on where their limits are the same, but for the providers in `changed`.
    """

    def __init__(
        self,
        limits: TargetLimits,
        clock: Clock,
        before: Lanes | None = None,
        changed: Collection[str] = (),
    ) -> None:
        self.limits = limits
        self._clock = clock
        self._of: dict[str, _Known] = {}
        for name, rate in limits.rates.items():
            known = None if before is None or name in changed else before
            if known is not None and known.limits.of(name) == limits.of(name):
                self._of[name] = known._of[name]
            else:
                self._of[name] = self._registry(rate)

    def get(self, provider: str, model: str, credential: bytes, now_s: float) -> Lane | None:
        """The way to one target with one credential; None where nothing is limited."""
        lanes = self._of.get(provider)
        return None if lanes is None else lanes.get((model, credential), now_s)

    def has_spare(self, provider: str, model: str, begun: int, now_s: float) -> bool:
        """Whether every lane to this deployment has room for one more that can wait, of whom
        `begun` are on their way."""
        lanes = self._of.get(provider)
        if lanes is None:
            return True
        there = [lane for (name, _), lane in lanes.items() if name == model]
        if not there:
            return begun * 2 < self.limits.concurrency.limit_start
        return all(lane.has_spare(begun, now_s) for lane in there)

    def restart(self, provider: str, model: str = "") -> None:
        """A slow start for one deployment that is well again; without a model for all of its
        provider. On the home loop."""
        lanes = self._of.get(provider)
        for (name, _), lane in () if lanes is None else list(lanes.items()):
            if model in ("", name):
                lane.restart()

    def items(self, provider: str) -> list[Lane]:
        """The lanes of a provider that are there, the shared one last."""
        lanes = self._of[provider]
        shared = () if lanes.shared is None else (lanes.shared,)
        return [*(lane for _, lane in lanes.items()), *shared]

    def occupancy(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """By provider and model, over all credentials: attempts under way, and how many may be."""
        found: dict[tuple[str, ...], tuple[int, ...]] = {}
        for provider, lanes in self._of.items():
            for (model, _), lane in list(lanes.items()):
                under_way, most = found.get((provider, model), (0, 0))
                inside = lane.concurrency
                found[provider, model] = (under_way + inside.in_flight, most + inside.limit)
        return found

    def _registry(self, rate: RateSettings) -> _Known:
        limits = self.limits

        def make(key: tuple[str, bytes] | None, now_s: float) -> Lane:
            return Lane(limits.concurrency, limits.line, rate, self._clock)

        return Registry(make, Lane.is_idle)
