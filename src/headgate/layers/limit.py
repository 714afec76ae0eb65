"""The limits of a target: how many attempts are under way, and how much a minute holds.

A place and a reservation always come back: by a reply that ended, by one that is closed unread, by
an error, by a caller who left.
"""

from __future__ import annotations

import asyncio
import math

from headgate.clock import Clock
from headgate.core.estimate import FREE_OPERATIONS, estimated_tokens
from headgate.core.fingerprint import sender_of
from headgate.core.outcome import Outcome
from headgate.core.permits import Refusal
from headgate.errors import QueueFull, RateLimited
from headgate.lanes import Lanes
from headgate.spending import followed, give_back
from headgate.types import Call, Layer, Reply, Service, WireRequest


def limit(lanes: Lanes, clock: Clock) -> Layer:
    """The layer. Raises RateLimited and QueueFull, both before anything was sent.

    Only requests that go out over HTTP are limited: a callable that calls us again while it holds a
    place would wait for itself.
    """
    return lambda below: _Limited(below, lanes, clock).ask


class _Limited:
    def __init__(self, below: Service, lanes: Lanes, clock: Clock) -> None:
        self._below = below
        self._lanes = lanes
        self._clock = clock

    async def ask(self, call: Call) -> Reply:
        request, target = call.request, call.target
        if not isinstance(request, WireRequest) or request.send is not None:
            return await self._below(call)
        now_s = self._clock.monotonic()
        lane = self._lanes.get(target.provider, target.model, self._key(call, request), now_s)
        if lane is None:
            return await self._below(call)
        counts = lane.rate.counts_tokens and call.operation not in FREE_OPERATIONS
        tokens = estimated_tokens(request.body) if counts else 0
        reservation = lane.rate.reserve(tokens, now_s)
        if isinstance(reservation, Refusal):
            message = f"{reservation.reason} per minute of {call.target.name} are used up"
            raise RateLimited(message, retry_after_s=reservation.retry_after_s)
        try:
            # Who has another target need not wait for this one.
            slot = await lane.enter(_deadline_s(call, now_s) if call.queues else 0.0)
        except (QueueFull, asyncio.CancelledError):
            lane.rate.release(reservation, self._clock.monotonic())
            raise

        def over(outcome: Outcome, reply: Reply | None) -> None:
            give_back(lane.rate, reservation, outcome, reply, self._clock.monotonic())
            lane.leave(slot, outcome)

        return await followed(self._below, call, over)

    def _key(self, call: Call, request: WireRequest) -> bytes:
        """The credential: providers count by it and by the model."""
        target = call.target
        if target.credential or target.provider in self._lanes.limits.keyed:
            return target.credential.encode()
        return sender_of(request.credential)


def _deadline_s(call: Call, now_s: float) -> float:
    """Seconds that are left for the whole call."""
    if call.allowance is not None:
        return float(call.allowance.left_s(now_s))
    return math.inf if call.controls.deadline_s is None else call.controls.deadline_s
