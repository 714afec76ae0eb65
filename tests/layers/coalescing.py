"""The coalesce layer over a service whose answers come when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace

from headgate.joining.flight import Flight, FlightLimits
from headgate.layers.coalesce import coalesce
from headgate.stream import Whole
from headgate.types import Body, Call, Reply, Target, WireRequest

WIRE = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))
LONG_S = 60


class Scene:
    """The layer over a service whose answers come when the test says so. One per event loop."""

    def __init__(self) -> None:
        self.asked: list[Call] = []
        self.cancelled: list[bytes] = []
        self.body: Callable[[], Body] = lambda: Whole(b"answer")
        self.error: Exception | None = None
        self.status = 200
        self.go = asyncio.Event()
        self._service = coalesce(FlightLimits())(self._below)

    def limit(self, **limits: Any) -> None:
        self._service = coalesce(FlightLimits(**limits))(self._below)

    def count_in(self, flights: dict[bytes, Flight]) -> None:
        self._service = coalesce(FlightLimits(), flights)(self._below)

    async def _below(self, call: Call) -> Reply:
        self.asked.append(call)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(call.key)
            raise
        if self.error is not None:
            raise self.error
        reply = Reply(self.status, (), self.body())
        return replace(reply, provenance=replace(reply.provenance, stored=True))

    async def begin(self, call: Call = WIRE, count: int = 1) -> list[asyncio.Task[Reply]]:
        tasks = [asyncio.ensure_future(self._call(call)) for _ in range(count)]
        await settle()
        return tasks

    async def _call(self, call: Call) -> Reply:
        return await self._service(call)

    async def finish(self, tasks: list[asyncio.Task[Reply]]) -> list[Reply]:
        self.go.set()
        return await asyncio.gather(*tasks)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def play(act: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        await act(Scene())

    asyncio.run(asyncio.wait_for(scene(), LONG_S))
