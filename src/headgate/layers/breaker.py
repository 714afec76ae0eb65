"""The circuit breaker of each target: asks its guards for leave, and tells them how it went.

The permit is taken last, right above the attempt, and given back however that ends: a permit taken
before somebody else says no would be lost (Sentinel #1638).
"""

from __future__ import annotations

from headgate.attempts import outcome_of, when_over
from headgate.clock import Clock
from headgate.core.outcome import Outcome
from headgate.events import Events
from headgate.guards import Guards
from headgate.stream import Whole
from headgate.types import Call, Layer, Reply, Service


def breaker(guards: Guards, clock: Clock) -> Layer:
    """Raises BreakerOpen or RateLimited without asking below; otherwise spends one attempt of the
    call's allowance, the first of which the target's budget of repeats is fed by."""

    def layer(below: Service) -> Service:
        async def service(call: Call) -> Reply:
            now_s = clock.monotonic()
            passage = guards.admit(call, now_s)
            if call.allowance is not None:
                call.allowance.spend()
                if call.allowance.attempts == 1:
                    guards.budget(call.target, now_s).deposit(now_s)
            if passage is None:
                return await below(call)
            with passage:
                reply = await below(call)
            if isinstance(reply.body, Whole):
                passage.end(outcome_of(reply, clock.epoch()), clock.monotonic())
                return reply

            def tell(outcome: Outcome) -> None:
                passage.end(outcome, clock.monotonic())

            if isinstance(reply.body, Events) and reply.body.has_content:
                passage.answer(clock.monotonic())
            return when_over(reply, tell, clock.epoch())

        return service

    return layer
