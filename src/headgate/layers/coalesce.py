"""Single flight: identical calls that are under way at the same time share one upstream call.

The flight is a task of its own, so a caller who leaves takes only itself away; when the last one
leaves before an answer came, the flight is cancelled. Measured: awaiting the first caller's own
task instead gave 5 of 5 followers its CancelledError.
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from headgate.stream import Value, Whole
from headgate.types import Call, Invocation, Reply, Service


class _Flight:
    """One upstream call under way and the number of callers waiting for it."""

    __slots__ = ("request", "task", "waiters")

    def __init__(self, task: asyncio.Task[Reply], call: Call) -> None:
        self.task = task
        self.request = call.request
        self.waiters = 0


def coalesce(below: Service) -> Service:
    """The layer. Its table of flights belongs to one event loop; entries leave it by identity in
    the done callback, so no await stands between looking a flight up and joining it."""
    flights: dict[bytes, _Flight] = {}

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
                return await _wait(depart(call))
            if _would_wait_for_itself(call, flight):
                return await below(call)
            reply = await _join(flight)
            if reply is not None:
                return reply
            if not flight.task.cancelled():
                return await below(call)

    return service


def _may_share(call: Call) -> bool:
    controls = call.controls
    return bool(
        call.key
        and not call.bypass
        and not call.streamed
        and controls.may_read
        and controls.may_store
    )


def _would_wait_for_itself(call: Call, flight: _Flight) -> bool:
    """True where joining could never end: the flight waits for this very context, or runs in the
    thread that this synchronous caller would block."""
    mine, theirs = call.request, flight.request
    if not isinstance(mine, Invocation):
        return False
    if call.key in mine.held_keys:
        return True
    return (
        mine.blocks_thread and isinstance(theirs, Invocation) and theirs.thread_id == mine.thread_id
    )


async def _wait(flight: _Flight) -> Reply:
    """The flight's reply. A caller cancelled here leaves alone; the last one takes it down."""
    flight.waiters += 1
    try:
        return await asyncio.shield(flight.task)
    finally:
        flight.waiters -= 1
        if not flight.waiters and not flight.task.done():
            flight.task.cancel()


async def _join(flight: _Flight) -> Reply | None:
    """A follower's own copy of the reply; None where the flight has nothing to share: it was
    cancelled from outside, or its answer cannot be copied."""
    try:
        reply = await _wait(flight)
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
