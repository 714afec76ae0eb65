"""Sends inputs of embeddings calls upstream together, several calls in one request.

Lowest of the layers above a target: those below see one ordinary call for each request, with one
place, one outcome, one set of retries. What goes together, and when, `core.microbatch` decides.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Hashable
from contextvars import copy_context

from headgate.clock import Clock
from headgate.core.microbatch import Arrival, Batch, BatchBounds, Station
from headgate.core.tally_batches import Batches
from headgate.errors import QueueFull
from headgate.joining.company import NOT_MIXED, Joint, Member, Mixing, place_of, seated
from headgate.types import Call, Layer, Reply, Service

_APART_S = 600.0
"""How long a place is asked for one call at a time that cannot answer several in one request."""
_APART_MAX = 1_000


def batch(bounds: BatchBounds, clock: Clock, counts: Batches, mixing: Mixing = NOT_MIXED) -> Layer:
    """The layer. Raises QueueFull where too many inputs wait already."""

    def layer(below: Service) -> Service:
        batching = _Batching(below, bounds, clock, counts, mixing)

        # No frame of its own for what is no embeddings call.
        def service(call: Call) -> Awaitable[Reply]:
            return below(call) if call.seat is None else batching.ask(call)

        return service

    return layer


class _Batching:
    def __init__(
        self, below: Service, bounds: BatchBounds, clock: Clock, counts: Batches, mixing: Mixing
    ) -> None:
        self._below = below
        self._bounds = bounds
        self._clock = clock
        self._counts = counts
        self._mixing = mixing
        self._stations: dict[Hashable, Station] = {}
        self._apart: dict[Hashable, float] = {}
        self._timers: dict[Hashable, asyncio.Handle] = {}
        self._soon: set[Hashable] = set()

    async def ask(self, call: Call) -> Reply:
        now_s = self._clock.monotonic()
        seat = seated(call)
        place, name = place_of(call, self._mixing)
        station = self._stations.get(place)
        if station is None:
            station = self._stations[place] = Station(self._bounds)
        member = Member(call, asyncio.get_running_loop().create_future(), copy_context())
        arrival = Arrival(
            member=member,
            owner=seat.party or member,
            tenant=call.scope,
            tokens=seat.tokens,
            is_alone=seat.party is None,
            joins=seat.joins and now_s >= self._apart.get(place, -math.inf),
            slack_s=_slack_s(call),
        )
        lot = station.arrive(name, arrival, now_s)
        if lot is None:
            raise QueueFull(f"{self._bounds.queue_max} inputs wait already", retry_after_s=1.0)
        # Later in this moment: others of its call, or of its kind, may be on their way.
        if place not in self._soon:
            self._soon.add(place)
            asyncio.get_running_loop().call_soon(self._look, place)
        try:
            return await member.answer
        except asyncio.CancelledError:
            if lot.is_waiting:
                station.leave(name, lot, member, seat.tokens)
            elif member.joint is not None:
                member.joint.left()
            raise

    def _look(self, place: Hashable) -> None:
        """Sends what waits no longer, and sees when to look again."""
        self._soon.discard(place)
        timer, station = self._timers.pop(place, None), self._stations.get(place)
        if timer is not None:
            timer.cancel()
        if station is None:
            return
        now_s = self._clock.monotonic()
        while (ready := station.next(now_s)) is not None:
            self._send(place, ready, now_s)
        if station.is_idle:
            del self._stations[place]
            return
        wake_s = station.wake_s()
        if wake_s < math.inf:
            loop, wait_s = asyncio.get_running_loop(), max(0.0, wake_s - now_s)
            self._timers[place] = loop.call_later(wait_s, self._look, place)

    def _send(self, place: Hashable, ready: Batch, now_s: float) -> None:
        groups = [lot.members for lot in ready.lots]
        self._counts.sent(
            groups[0][0].call.model,
            sum(map(len, groups)),
            [now_s - lot.since_s for lot in ready.lots],
        )
        joint = Joint(self._below, groups)

        def over(_: object) -> None:
            if joint.cannot_be_shared:
                self._keep_apart(place)
            self._stations[place].over(ready, self._clock.monotonic())
            self._look(place)

        joint.start().add_done_callback(over)

    def _keep_apart(self, place: Hashable) -> None:
        if len(self._apart) >= _APART_MAX:
            self._apart.clear()
        self._apart[place] = self._clock.monotonic() + _APART_S


def _slack_s(call: Call) -> float:
    """How long its caller waits, as far as that is known."""
    if call.patience is not None:
        return float(call.patience.deadline_s)
    return math.inf if call.controls.deadline_s is None else call.controls.deadline_s
