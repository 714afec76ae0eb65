"""Tries the same target again, where nothing else can be tried now.

After a backoff with full jitter, never before the provider's own Retry-After, within the attempts
and the deadline of the call and the budget of the destination: an outage is not answered with three
times the load (Google SRE book, chapter 21).
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from headgate.attempts import Tried, outcome_of
from headgate.clock import Clock
from headgate.core.allowance import BUDGET, FINAL, Allowance
from headgate.core.attribution import of_error
from headgate.core.backoff import BackoffSettings, wait_s
from headgate.core.outcome import OK, Outcome
from headgate.errors import UpstreamFailed
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
            wall_s = self._clock.epoch()
            try:
                reply = await self._below(call)
            except UpstreamFailed as error:
                attempt = Tried(of_error(error, wall_s=wall_s), error=error)
            else:
                outcome = outcome_of(reply, wall_s)
                if outcome.kind == OK:
                    return reply
                attempt = Tried(outcome, reply)
            outcome = self._awaited(call, attempt.outcome)
            pause_s = wait_s(self._settings, repeats, self._clock.random(), outcome.retry_after_s)
            if outcome.retry_after_s:
                pause_s += _TIMER_S
            allowance.denied = self._denial(call, outcome, pause_s, repeats)
            if allowance.denied:
                if allowance.denied != FINAL:
                    self._guards.denials[allowance.denied] += 1
                return attempt.hand_on()
            self._guards.retries[attempt.outcome.reason] += 1
            await attempt.aclose()
            await asyncio.sleep(pause_s)
            repeats += 1

    def _awaited(self, call: Call, outcome: Outcome) -> Outcome:
        """The outcome with the wait that our own gates ask for, if it is longer: they would refuse
        a repeat before, and have heard of other calls what this one may not have been told."""
        closed_s = self._guards.wait_s(call, call.target, self._clock.monotonic())
        if closed_s <= (outcome.retry_after_s or 0.0):
            return outcome
        return replace(outcome, retry_after_s=closed_s)

    def _denial(self, call: Call, outcome: Outcome, pause_s: float, repeats: int) -> str:
        now_s = self._clock.monotonic()
        denied = call.allowance.denial(outcome, now_s, pause_s, repeats=repeats)
        if denied != FINAL and self._guards.is_failing(call, now_s):
            return FAILING
        if not denied and not self._guards.budget(call.target, now_s).withdraw(now_s):
            return BUDGET
        return str(denied)
