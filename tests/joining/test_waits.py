"""Who waits for whom. Rings of calls through the layer: tests/layers/test_coalesce.py."""

from __future__ import annotations

import asyncio

from headgate.joining.flight import Flight, FlightLimits
from headgate.joining.waits import Waits
from headgate.types import Call, Invocation, Reply, Target

LONG_S = 60


def call(key: bytes, *, held: frozenset[bytes] = frozenset()) -> Call:
    async def run() -> None: ...

    request = Invocation(run, 0, False, held)
    return Call("function", "m", request, key, b"s", Target("p", "m"))


async def never(_: Call) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_wait_counts_while_it_lasts() -> None:
    async def act() -> None:
        flights = {
            key: Flight(never, call(key), FlightLimits(), lambda _: None) for key in (b"a", b"b")
        }
        waits = Waits(flights)
        back = call(b"a", held=frozenset({b"b"}))
        assert not waits.would_never_end(back)
        with waits.waiting(call(b"b", held=frozenset({b"a"}))):
            assert waits.would_never_end(back)
            with waits.waiting(call(b"b", held=frozenset({b"a"}))):
                pass
            assert waits.would_never_end(back)
        assert not waits.would_never_end(back)
        for flight in flights.values():
            flight.task.cancel()

    asyncio.run(asyncio.wait_for(act(), LONG_S))


def test_a_call_that_holds_nothing_may_wait_for_anybody() -> None:
    assert not Waits({}).would_never_end(call(b"a"))
