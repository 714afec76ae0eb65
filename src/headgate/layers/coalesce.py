"""Single flight: identical calls that are under way at the same time share one upstream call.

The flight is a task of its own, so a caller who leaves takes only itself away; when the last one
leaves before an answer came, the flight is cancelled. Measured: awaiting the first caller's own
task instead gave 5 of 5 followers its CancelledError. Whole and streamed calls share one flight.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from msgspec.structs import replace

from headgate.core.fingerprint import shape_key
from headgate.errors import Refused, UpstreamFailed
from headgate.joining.fanout import WithoutUsage
from headgate.joining.flight import Flight, FlightLimits, is_worth_another
from headgate.joining.seats import is_refused_for_others
from headgate.joining.waits import Waits
from headgate.reshape import reshaped
from headgate.stream import Value, Whole
from headgate.types import Call, Invocation, Layer, Reply, Service, WireRequest


class _Next(Enum):
    """What a caller does that has nothing from the flight it joined."""

    ALONE = auto()
    """Ask for itself: the answer cannot be copied."""
    OWN_SHAPE = auto()
    """Join or ask under the key of its shape: the answer cannot be converted."""
    SUCCESSOR = auto()
    """Join or lead the one call more that a failure is worth."""
    ANOTHER_LEADER = auto()
    """Join or lead another call: this one was cancelled from outside, or was not to be made."""


def coalesce(limits: FlightLimits, flights: dict[bytes, Flight] | None = None) -> Layer:
    """The layer. Its table of `flights` belongs to one event loop; no await stands between looking
    one up and joining it, and a flight leaves the table before its answer is told."""
    return lambda below: _Coalescing(below, limits, {} if flights is None else flights).ask


class _Coalescing:
    def __init__(self, below: Service, limits: FlightLimits, flights: dict[bytes, Flight]) -> None:
        self._below = below
        self._limits = limits
        self._flights = flights
        self._waits = Waits(self._flights)

    async def ask(self, call: Call) -> Reply:
        if not _may_share(call):
            return await self._alone(call)
        # A flight that fails has one successor, which those who joined it share; then it is said.
        may_fail = isinstance(call.request, WireRequest)
        while True:
            flight = self._flights.get(call.key)
            if flight is None or not flight.takes_passengers:
                return await self._lead(call)
            if isinstance(call.request, Invocation) and self._waits.would_never_end(call):
                return await self._alone(call)
            outcome = await self._follow(flight, call, may_fail)
            if isinstance(outcome, Reply):
                return outcome
            if outcome is _Next.ALONE:
                return await self._alone(call)
            if outcome is _Next.OWN_SHAPE:
                call = replace(call, key=shape_key(call.key, streamed=call.streamed))
            may_fail = may_fail and outcome is not _Next.SUCCESSOR

    async def _lead(self, call: Call) -> Reply:
        flight = self._flights[call.key] = Flight(self._below, call, self._limits, self._close)
        reply = await self._head_of(flight, call)
        if reply is None:
            raise asyncio.CancelledError
        if isinstance(reply.body, Whole | Value):
            return reply
        return replace(reply, body=flight.reader(usage_wanted=call.usage_wanted))

    async def _follow(self, flight: Flight, call: Call, may_fail: bool) -> Reply | _Next:
        try:
            reply = await self._head_of(flight, call)
            if reply is None or is_refused_for_others(flight.seat, call.seat, reply.status):
                return _Next.ANOTHER_LEADER
            if may_fail and is_worth_another(reply):
                return _Next.SUCCESSOR
            return await _shared(reply, flight, call)
        except Refused:
            # The leader's own limits and budget are nobody else's, nor how much it asks at once.
            is_alike = flight.seat is None or flight.seat.party is None
            if flight.client is call.client and is_alike:
                raise
            return _Next.ANOTHER_LEADER
        except UpstreamFailed as error:
            # Where the flight has tried again already, that was enough.
            if may_fail and error.attempts <= 1:
                return _Next.SUCCESSOR
            raise

    async def _head_of(self, flight: Flight, call: Call) -> Reply | None:
        """The flight's reply. A caller cancelled here leaves alone; the last one takes the flight
        down. Who gets a stream has a place on board until it closes its body."""
        flight.board()
        stays = False
        try:
            if isinstance(call.request, Invocation):
                with self._waits.waiting(call):
                    reply = await flight.head()
            else:
                reply = await flight.head()
            stays = reply is not None and not isinstance(reply.body, Whole | Value)
            return reply
        finally:
            if not stays:
                flight.leave()

    def _close(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _alone(self, call: Call) -> Reply:
        reply = await self._below(call)
        if call.usage_wanted or isinstance(reply.body, Whole | Value):
            return reply
        return replace(reply, body=WithoutUsage(reply.body))


def _may_share(call: Call) -> bool:
    open_to_all = call.controls.may_read and call.controls.may_store
    return bool(call.key) and open_to_all and not call.bypass


async def _shared(reply: Reply, flight: Flight, call: Call) -> Reply | _Next:
    """A follower's own copy of the reply, in the shape its call wants, where there can be one."""
    is_same = flight.streamed == call.streamed
    body = reply.body
    if isinstance(body, Value):
        if body.loose:
            return _Next.ALONE
    elif isinstance(body, Whole):
        body = Whole(body.content)
    else:
        body = flight.reader(usage_wanted=call.usage_wanted or not is_same)
    provenance = replace(reply.provenance, collapsed=True, stored=False)
    reply = replace(reply, body=body, provenance=provenance)
    if is_same or reply.status != 200:
        return reply
    return await reshaped(reply, call) or _Next.OWN_SHAPE
