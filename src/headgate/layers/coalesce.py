"""Single flight: identical calls that are under way at the same time share one upstream call.

The flight is a task of its own, so a caller who leaves takes only itself away; when the last one
leaves before an answer came, the flight is cancelled. Measured: awaiting the first caller's own
task instead gave 5 of 5 followers its CancelledError. Whole and streamed calls share one flight.
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from headgate.core.fingerprint import shape_key
from headgate.errors import UpstreamFailed
from headgate.fanout import WithoutUsage
from headgate.flight import Flight, FlightLimits
from headgate.reshape import reshaped
from headgate.stream import Value, Whole
from headgate.types import Call, Layer, Reply, Service, WireRequest
from headgate.waits import Waits

_TRANSIENT = frozenset({408, 500, 502, 503, 504, 529})
"""What one more attempt may not meet again. 429 is not among them: another call would be refused
too, and count against the same limit."""


def coalesce(limits: FlightLimits) -> Layer:
    """The layer. Its table of flights belongs to one event loop; no await stands between looking a
    flight up and joining it, and a flight leaves the table before its answer is told."""
    return lambda below: _Coalescing(below, limits).ask


class _Coalescing:
    def __init__(self, below: Service, limits: FlightLimits) -> None:
        self._below = below
        self._limits = limits
        self._flights: dict[bytes, Flight] = {}
        self._waits = Waits(self._flights)

    async def ask(self, call: Call) -> Reply:
        if not _may_share(call):
            return await self._alone(call)
        # A flight that fails has one successor, which those who joined it share; then it is said.
        is_last = not isinstance(call.request, WireRequest)
        while True:
            flight = self._flights.get(call.key)
            if flight is not None and self._waits.would_never_end(call):
                return await self._alone(call)
            leads = flight is None or flight.is_full
            if flight is None or leads:
                flight = self._depart(call)
            try:
                reply = await self._head_of(flight, call)
                if reply is not None and leads:
                    return _led(reply, flight, call)
                if reply is not None and (is_last or reply.status not in _TRANSIENT):
                    shared = await _shared(reply, flight, call)
                    if shared is not None:
                        return shared
                    if isinstance(reply.body, Value):
                        return await self._alone(call)
                    call = replace(call, key=shape_key(call.key, streamed=call.streamed))
                    continue
            except UpstreamFailed:
                if is_last or leads:
                    raise
            is_last = is_last or not flight.task.cancelled()

    async def _head_of(self, flight: Flight, call: Call) -> Reply | None:
        """The flight's reply, None if it was cancelled from outside. A caller cancelled here leaves
        alone; the last one takes the flight down. Who gets a stream leaves when it closes it."""
        flight.board()
        reply: Reply | None = None
        try:
            with self._waits.waiting(call):
                reply = await asyncio.shield(flight.head)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not flight.task.cancelled() or (task is not None and task.cancelling()):
                raise
        finally:
            if reply is None or isinstance(reply.body, Whole | Value):
                flight.leave()
        return reply

    def _depart(self, call: Call) -> Flight:
        flight = self._flights[call.key] = Flight(self._below, call, self._limits, self._close)
        return flight

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


def _led(reply: Reply, flight: Flight, call: Call) -> Reply:
    """The reply for the caller whose call the flight is."""
    if isinstance(reply.body, Whole | Value):
        return reply
    return replace(reply, body=flight.reader(usage_wanted=call.usage_wanted))


async def _shared(reply: Reply, flight: Flight, call: Call) -> Reply | None:
    """A follower's own copy of the reply; None where the flight has nothing for it: its answer
    cannot be copied, or not be given in the shape this call wants."""
    is_same = flight.streamed == call.streamed
    body = reply.body
    if isinstance(body, Value):
        if body.loose:
            return None
    elif isinstance(body, Whole):
        body = Whole(body.content)
    else:
        body = flight.reader(usage_wanted=call.usage_wanted or not is_same)
    provenance = replace(reply.provenance, collapsed=True, stored=False)
    reply = replace(reply, body=body, provenance=provenance)
    return reply if is_same or reply.status != 200 else await reshaped(reply, call)
