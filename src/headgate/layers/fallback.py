"""Chooses where a call goes, and where it goes next when that fails: above everything per target.

Before the first content only: what is below opens streams up to it, so a reply that came up here as
a failure has shown nothing to anybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from msgspec.structs import replace

from headgate.attempts import Tried, answered, failed, tried
from headgate.clock import Clock
from headgate.core.allowance import BUDGET, Allowance, AllowanceSettings
from headgate.core.balance import after, first, ordered
from headgate.core.outcome import OK, OUTCOMES, Outcome
from headgate.core.rewrite import renamed
from headgate.errors import Refused
from headgate.guards import Guards
from headgate.types import Call, Invocation, Layer, Reply, Route, Service, WireRequest

_REFUSED = replace(OUTCOMES["refused"], elsewhere="anywhere")


def fallback(settings: AllowanceSettings, deadline_s: float, guards: Guards, clock: Clock) -> Layer:
    """Goes through the routes of a call until one answers; `deadline_s` seconds for all of it
    where the caller has set none. What is handed on says how many attempts it took, and whether the
    client may try again."""
    return lambda below: _FallingBack(below, settings, deadline_s, guards, clock).ask


class _FallingBack:
    def __init__(
        self,
        below: Service,
        settings: AllowanceSettings,
        deadline_s: float,
        guards: Guards,
        clock: Clock,
    ) -> None:
        self._below = below
        self._settings = settings
        self._deadline_s = deadline_s
        self._guards = guards
        self._clock = clock
        self._seed = int(clock.random() * 2**53)
        self._calls = itertools.count()

    async def ask(self, call: Call) -> Reply:
        if isinstance(call.request, Invocation):
            return await self._below(call)
        left = list(ordered(call.routes, self._seed, next(self._calls))) or [Route(call.target)]
        now_s = self._clock.monotonic()
        most_s = call.controls.deadline_s or self._deadline_s
        allowance = Allowance(self._settings, now_s + most_s, is_repeatable=call.repeatable)
        call = replace(call, allowance=allowance)
        last: Tried | None = None
        refusal: Refused | None = None
        route = first(left, lambda route: self._is_open(call, route)) if len(left) > 1 else left[0]
        while route is not None:
            left.remove(route)
            try:
                attempt = await self._tried(call, route, left)
            except Refused as error:
                refusal, outcome = _sooner(refusal, error), _REFUSED
            else:
                if last is not None:
                    await last.aclose()
                last, outcome = attempt, attempt.outcome
                if outcome.kind == OK:
                    return answered(attempt.hand_on(), allowance, route)
            route = self._next(call, route, outcome, left)
        if last is None:
            assert refusal is not None, "every route either fails or is refused"  # noqa: S101
            raise refusal
        return failed(last, allowance)

    async def _tried(self, call: Call, route: Route, left: list[Route]) -> Tried:
        now_s = self._clock.monotonic()
        budget = self._guards.budget(route.target, now_s)
        if not call.allowance.attempts:
            budget.deposit(now_s)
        sole = not any(self._is_open(call, other) for other in after(route, _REFUSED, left))
        return await tried(self._below, _aimed(call, route, sole=sole), self._clock.epoch())

    def _next(self, call: Call, failed: Route, outcome: Outcome, left: list[Route]) -> Route | None:
        """The route to go on with: one that may be asked now, and whose budget takes a repeat."""
        now_s = self._clock.monotonic()
        denied = call.allowance.denial_elsewhere(outcome, now_s)
        following = after(failed, outcome, left)
        if not following:
            return None
        if denied:
            call.allowance.denied = denied
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


def _aimed(call: Call, route: Route, *, sole: bool) -> Call:
    """The call as it goes to one target, which has its own name for the model."""
    target, request = route.target, call.request
    if isinstance(request, WireRequest) and target.model != call.target.model:
        request = replace(request, body=renamed(request.body, target.model))
    return replace(call, target=target, request=request, sole=sole)


def _sooner(one: Refused | None, other: Refused) -> Refused:
    """Of two refusals the one that ends first."""
    if one is None or one.retry_after_s is None:
        return other
    is_sooner = other.retry_after_s is not None and other.retry_after_s < one.retry_after_s
    return other if is_sooner else one
