"""The limits of a target: how many attempts are under way, and how much a minute holds.

A place and a reservation always come back: by a reply that ended, by one that is closed unread, by
an error, by a caller who left.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import NamedTuple

from headgate.clock import Clock
from headgate.core.concurrency import ConcurrencySettings, LineSettings
from headgate.core.estimate import estimated_tokens
from headgate.core.fingerprint import sender_of
from headgate.core.outcome import Outcome
from headgate.core.permits import Refusal
from headgate.core.rate import RateSettings
from headgate.core.registry import Registry
from headgate.errors import QueueFull, RateLimited
from headgate.lanes import Lane
from headgate.spending import followed, give_back
from headgate.types import Call, Layer, Reply, Service, WireRequest


class TargetLimits(NamedTuple):
    """The limits of every target; a provider that `rates` does not name has none."""

    concurrency: ConcurrencySettings
    line: LineSettings
    rates: Mapping[str, RateSettings]
    keyed: frozenset[str] = frozenset()
    """Providers with a credential of their own: all clients share it."""


Lanes = Mapping[str, Registry[tuple[str, bytes], Lane]]
"""By provider, then by model and credential."""


def lanes_for(limits: TargetLimits, clock: Clock) -> Lanes:
    """No lane yet, and room for those that calls will need."""

    def registry(rate: RateSettings) -> Registry[tuple[str, bytes], Lane]:
        def make(key: tuple[str, bytes] | None, now_s: float) -> Lane:
            return Lane(limits.concurrency, limits.line, rate, clock)

        return Registry(make, Lane.is_idle)

    return {name: registry(rate) for name, rate in limits.rates.items()}


def occupancy(lanes: Lanes) -> dict[tuple[str, ...], tuple[int, ...]]:
    """By provider and model, over all credentials: attempts under way, and how many may be."""
    found: dict[tuple[str, ...], tuple[int, ...]] = {}
    for provider, registry in lanes.items():
        for (model, _), lane in list(registry.items()):
            under_way, most = found.get((provider, model), (0, 0))
            concurrency = lane.concurrency
            found[provider, model] = (under_way + concurrency.in_flight, most + concurrency.limit)
    return found


def limit(limits: TargetLimits, clock: Clock, lanes: Lanes | None = None) -> Layer:
    """The layer. Raises RateLimited and QueueFull, both before anything was sent.

    Only requests that go out over HTTP are limited: a callable that calls us again while it holds a
    place would wait for itself.
    """
    open_lanes = lanes_for(limits, clock) if lanes is None else lanes
    return lambda below: _Limited(below, limits, clock, open_lanes).ask


class _Limited:
    def __init__(self, below: Service, limits: TargetLimits, clock: Clock, lanes: Lanes) -> None:
        self._below = below
        self._limits = limits
        self._clock = clock
        self._lanes = lanes

    async def ask(self, call: Call) -> Reply:
        request = call.request
        lanes = self._lanes.get(call.target.provider)
        if lanes is None or not isinstance(request, WireRequest) or request.send is not None:
            return await self._below(call)
        now_s = self._clock.monotonic()
        lane = lanes.get(self._key(call, request), now_s)
        tokens = estimated_tokens(request.body) if lane.rate.counts_tokens else 0
        reservation = lane.rate.reserve(tokens, now_s)
        if isinstance(reservation, Refusal):
            message = f"{reservation.reason} per minute of {call.target.name} are used up"
            raise RateLimited(message, retry_after_s=reservation.retry_after_s)
        try:
            slot = await lane.enter(_deadline_s(call, now_s))
        except (QueueFull, asyncio.CancelledError):
            lane.rate.release(reservation, self._clock.monotonic())
            raise

        def over(outcome: Outcome, reply: Reply | None) -> None:
            give_back(lane.rate, reservation, outcome, reply, self._clock.monotonic())
            lane.leave(slot, outcome)

        return await followed(self._below, call, over)

    def _key(self, call: Call, request: WireRequest) -> tuple[str, bytes]:
        """Model and credential: what providers count by."""
        target = call.target
        if target.credential or target.provider in self._limits.keyed:
            return target.model, target.credential.encode()
        return target.model, sender_of(request.credential)


def _deadline_s(call: Call, now_s: float) -> float:
    """Seconds that are left for the whole call."""
    if call.allowance is not None:
        return float(call.allowance.left_s(now_s))
    return math.inf if call.controls.deadline_s is None else call.controls.deadline_s
