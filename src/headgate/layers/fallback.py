"""Chooses where a call goes, and where it goes next when that fails: above everything per target.

Before the first content only: what is below opens streams up to it, so a reply that came up here as
a failure has shown nothing to anybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from msgspec.structs import replace

from headgate.attempts import Kept, Tried, aimed_at, answered, failed, tried
from headgate.clock import Clock
from headgate.core.allowance import BUDGET, Allowance, AllowanceSettings
from headgate.core.balance import after, first, ordered
from headgate.core.outcome import OK, OUTCOMES, Outcome
from headgate.errors import Refused
from headgate.guards import Guards
from headgate.layers.hedge import Hedging
from headgate.types import Call, Invocation, Layer, Reply, Route, Service

_REFUSED = replace(OUTCOMES["refused"], elsewhere="anywhere")


def fallback(
    settings: AllowanceSettings, deadline_s: float, hedging: Hedging, guards: Guards, clock: Clock
) -> Layer:
    """Goes through the routes of a call until one answers; `deadline_s` seconds for all of it
    where the caller has set none. What is handed on says how many attempts it took, and whether the
    client may try again."""
    return lambda below: _FallingBack(below, settings, deadline_s, hedging, guards, clock).ask


class _FallingBack:
    def __init__(
        self,
        below: Service,
        settings: AllowanceSettings,
        deadline_s: float,
        hedging: Hedging,
        guards: Guards,
        clock: Clock,
    ) -> None:
        self._below = below
        self._settings = settings
        self._deadline_s = deadline_s
        self._hedging = hedging
        self._guards = guards
        self._clock = clock
        self._seed = int(clock.random() * 2**53)
        self._calls = itertools.count()

    async def ask(self, call: Call) -> Reply:
        # Callables are their caller's business, and SDKs of this process try again by themselves.
        if isinstance(call.request, Invocation) or call.request.send is not None:
            return await self._below(call)
        now_s = self._clock.monotonic()
        routes = ordered(
            call.routes, self._seed, next(self._calls),
            lambda route: self._guards.standing(route.target, now_s),
        )  # fmt: skip
        left = list(routes) or [Route(call.target)]
        most_s = call.controls.deadline_s or self._deadline_s
        allowance = Allowance(self._settings, now_s + most_s, is_repeatable=call.repeatable)
        if call.patience is not None:
            allowance.wait_with(call.patience, now_s)
        call = replace(call, allowance=allowance)
        async with Kept() as kept:
            return await self._go_through(call, left, kept)

    async def _go_through(self, call: Call, left: list[Route], kept: Kept) -> Reply:
        """Asks one route after the other; `left` gets shorter."""
        allowance: Allowance = call.allowance
        route = first(left, lambda route: self._is_open(call, route)) if len(left) > 1 else left[0]
        while route is not None:
            left.remove(route)
            try:
                attempt, asked = await self._tried(call, route, left)
            except Refused as error:
                error.attempts = allowance.attempts
                kept.refused(error)
                outcome = _REFUSED
            else:
                route, outcome = asked[0], attempt.outcome
                left = [other for other in left if other not in asked]
                if outcome.kind == OK:
                    return answered(attempt.hand_on(), allowance, route)
                await kept.tried(attempt)
            route = self._next(call, route, outcome, left)
            if route is not None:
                self._guards.fallbacks[outcome.reason] += 1
        return failed(kept.hand_on(), allowance)

    async def _tried(
        self, call: Call, route: Route, left: list[Route]
    ) -> tuple[Tried, list[Route]]:
        """One attempt, and which routes it took: two where it was hedged."""
        following = after(route, _REFUSED, left)
        asked_next = [other for other in following if self._is_open(call, other)]
        sole, repeats = not asked_next, bool(call.allowance.attempts)
        queues = repeats or all(other.role != route.role for other in asked_next)

        async def attempt(route: Route) -> Tried:
            aimed = aimed_at(call, route, sole=sole, queues=queues)
            return await tried(self._below, aimed, self._clock.epoch())

        denied, call.allowance.denied = call.allowance.denied, ""
        try:
            if sole or repeats:
                return await attempt(route), [route]
            return await self._hedging.ask(call, attempt, route, following)
        except Refused:
            call.allowance.denied = denied
            raise

    def _next(self, call: Call, failed: Route, outcome: Outcome, left: list[Route]) -> Route | None:
        """The route to go on with: one that may be asked now, and whose budget takes a repeat."""
        now_s = self._clock.monotonic()
        denied = call.allowance.denial_elsewhere(outcome, now_s)
        following = after(failed, outcome, left)
        if not following:
            return None
        if denied:
            call.allowance.denied = denied
            self._guards.denials[denied] += 1
            return None
        return self._affordable(call, following, now_s)

    def _affordable(self, call: Call, routes: Iterable[Route], now_s: float) -> Route | None:
        closed = None
        for route in routes:
            if not self._is_open(call, route):
                closed = closed or route
                continue
            if not call.allowance.attempts or self._guards.budget(route.target, now_s).withdraw(
                now_s
            ):
                return route
            call.allowance.denied = BUDGET
            self._guards.denials[BUDGET] += 1
        # Who was refused everywhere is to hear when the first of them is asked again.
        return closed if not call.allowance.attempts else None

    def _is_open(self, call: Call, route: Route) -> bool:
        return not self._guards.wait_s(call, route.target, self._clock.monotonic())
