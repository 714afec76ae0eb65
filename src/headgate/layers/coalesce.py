"""Single flight: identical calls that are under way at the same time share one upstream call.

The flight is a task of its own, so a caller who leaves takes only itself away; when the last one
leaves before an answer came, the flight is cancelled. Measured: awaiting the first caller's own
task instead gave 5 of 5 followers its CancelledError.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable

from msgspec.structs import replace

from headgate.stream import Value, Whole
from headgate.types import Call, Invocation, Reply, Service


class _Flight:
    """One upstream call under way and the number of callers waiting for it."""

    __slots__ = ("task", "thread_id", "waiters")

    def __init__(self, task: asyncio.Task[Reply], call: Call) -> None:
        self.task = task
        self.thread_id = call.request.thread_id if isinstance(call.request, Invocation) else 0
        self.waiters = 0


class _Waits:
    """Who waits for which key: the flights above a call, and the thread that it blocks. To join a
    flight that waits, by whatever way round, for the one who joins would never end."""

    def __init__(self, flights: dict[bytes, _Flight]) -> None:
        self._flights = flights
        self._waits: defaultdict[bytes | int, Counter[bytes]] = defaultdict(Counter)

    def would_never_end(self, call: Call) -> bool:
        """Whether the flight of `call.key` depends on a flight or a thread that `call` holds."""
        mine = _held(call)
        keys, seen = [call.key], set[bytes]()
        while mine and keys:
            key = keys.pop()
            if key in seen or key not in self._flights:
                continue
            seen.add(key)
            holders: set[bytes | int] = {key, self._flights[key].thread_id}
            if mine & holders:
                return True
            keys += [awaited for holder in holders for awaited in self._waits.get(holder, ())]
        return False

    async def wait(self, call: Call, flight: _Flight) -> Reply:
        """The flight's reply; `call` is known as waiting meanwhile."""
        mine = _held(call)
        for holder in mine:
            self._waits[holder][call.key] += 1
        try:
            return await _wait(flight)
        finally:
            for holder in mine:
                self._forget(holder, call.key)

    def _forget(self, holder: bytes | int, key: bytes) -> None:
        row = self._waits[holder]
        row[key] -= 1
        if not row[key]:
            del row[key]
        if not row:
            del self._waits[holder]


def _held(call: Call) -> frozenset[bytes | int]:
    """What cannot go on before `call` has its reply."""
    request = call.request
    if not isinstance(request, Invocation):
        return frozenset()
    return request.held_keys | ({request.thread_id} if request.blocks_thread else frozenset())


def coalesce(below: Service) -> Service:
    """The layer. Its table of flights belongs to one event loop; entries leave it by identity in
    the done callback, so no await stands between looking a flight up and joining it."""
    flights: dict[bytes, _Flight] = {}
    waits = _Waits(flights)

    def depart(call: Call) -> _Flight:
        task: asyncio.Task[Reply] = asyncio.ensure_future(below(call))
        flight = flights[call.key] = _Flight(task, call)
        task.add_done_callback(lambda _: land(call.key, flight))
        return flight

    def land(key: bytes, flight: _Flight) -> None:
        if flights.get(key) is flight:
            del flights[key]

    async def service(call: Call) -> Reply:
        if not _may_share(call):
            return await below(call)
        while True:
            flight = flights.get(call.key)
            if flight is None:
                return await waits.wait(call, depart(call))
            if waits.would_never_end(call):
                return await below(call)
            reply = await _shared(flight, waits.wait(call, flight))
            if reply is not None:
                return reply
            if not flight.task.cancelled():
                return await below(call)

    return service


def _may_share(call: Call) -> bool:
    open_to_all = call.controls.may_read and call.controls.may_store
    return bool(call.key) and open_to_all and not (call.bypass or call.streamed)


async def _wait(flight: _Flight) -> Reply:
    """The flight's reply. A caller cancelled here leaves alone; the last one takes it down."""
    flight.waiters += 1
    try:
        return await asyncio.shield(flight.task)
    finally:
        flight.waiters -= 1
        if not flight.waiters and not flight.task.done():
            flight.task.cancel()


async def _shared(flight: _Flight, waiting: Awaitable[Reply]) -> Reply | None:
    """A follower's own copy of the reply; None where the flight has nothing to share: it was
    cancelled from outside, or its answer cannot be copied."""
    try:
        reply = await waiting
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not flight.task.cancelled() or (task is not None and task.cancelling()):
            raise
        return None
    provenance = replace(reply.provenance, collapsed=True, stored=False)
    if isinstance(reply.body, Whole):
        return replace(reply, body=Whole(reply.body.content), provenance=provenance)
    if isinstance(reply.body, Value) and not reply.body.loose:
        return replace(reply, provenance=provenance)
    return None
