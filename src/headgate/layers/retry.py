"""Tries the same target again, where nothing else can be tried now.

After a backoff with full jitter, never before the provider's own Retry-After, within the attempts
and the deadline of the call and the budget of the destination: an outage is not answered with three
times the load (Google SRE book, chapter 21).
"""

from __future__ import annotations

import asyncio

from headgate.attempts import Tried, tried
from headgate.clock import Clock
from headgate.core.allowance import BUDGET, FINAL, Allowance
from headgate.core.backoff import BackoffSettings, wait_s
from headgate.core.outcome import OK
from headgate.guards import Guards
from headgate.types import Call, Layer, Reply, Service

# Timers of event loops may end a millisecond early.
_TIMER_S = 0.005
FAILING = "failing"
"""Why nothing is tried again: the breaker has opened meanwhile."""


def retry(settings: BackoffSettings, guards: Guards, clock: Clock) -> Layer:
    """Repeats a call that `fallback` has marked as having nowhere else to go."""
    return lambda below: _Retrying(below, settings, guards, clock).ask


class _Retrying:
    def __init__(
        self, below: Service, settings: BackoffSettings, guards: Guards, clock: Clock
    ) -> None:
        self._below = below
        self._settings = settings
        self._guards = guards
        self._clock = clock

    async def ask(self, call: Call) -> Reply:
        allowance: Allowance | None = call.allowance
        if allowance is None or not call.sole:
            return await self._below(call)
        repeats = 0
        while True:
            attempt = await tried(self._below, call, self._clock.epoch())
            if attempt.outcome.kind == OK:
                return attempt.hand_on()
            pause_s = self._pause_s(call, attempt, repeats)
            allowance.denied = self._denial(call, attempt, pause_s, repeats)
            if allowance.denied:
                if allowance.denied != FINAL:
                    self._guards.denials[allowance.denied] += 1
                return attempt.hand_on()
            self._guards.retries[attempt.outcome.reason] += 1
            await attempt.aclose()
            await asyncio.sleep(pause_s)
            repeats += 1

    def _pause_s(self, call: Call, attempt: Tried, repeats: int) -> float:
        """Never shorter than the credential's gate is closed: that would refuse the repeat."""
        chance, now_s = self._clock.random(), self._clock.monotonic()
        own_s = wait_s(self._settings, repeats, chance, attempt.outcome.retry_after_s)
        closed_s = self._guards.wait_s(call, call.target, now_s)
        return max(own_s, closed_s + _TIMER_S) if closed_s else own_s

    def _denial(self, call: Call, attempt: Tried, pause_s: float, repeats: int) -> str:
        now_s = self._clock.monotonic()
        denied = call.allowance.denial(attempt.outcome, now_s, pause_s, repeats=repeats)
        if not denied and self._guards.is_failing(call, now_s):
            return FAILING
        if not denied and not self._guards.budget(call.target, now_s).withdraw(now_s):
            return BUDGET
        return str(denied)
