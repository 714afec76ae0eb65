"""Outages in virtual time: deployments that answer as they are told, the layers per target above
them as a runtime stacks them, and callers that arrive at a steady rate.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from limiting import a_call

from headgate.config import Config, ProviderConfig
from headgate.core.splitmix import uniform
from headgate.errors import HeadgateError
from headgate.events import Events
from headgate.guards import Guards
from headgate.lanes import Lanes
from headgate.pipeline import limiting, limits, per_target, resilience, stack
from headgate.stream import Chunks, Whole
from headgate.types import Call, Reply, Route, Service, Target

ANSWER = b'{"choices":[{"index":0,"message":{"content":"Paris"},"finish_reason":"stop"}]}'
WORDS = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"Paris"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
SSE = ((b"content-type", b"text/event-stream"),)


class DicedClock:
    """Time of the running loop, from 1000 s on, and dice that `seed` names."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._thrown = 0
        self.wall_ahead_s = 0.0
        """How far somebody has set the wall clock ahead."""

    def monotonic(self) -> float:
        return 1000.0 + asyncio.get_running_loop().time()

    epoch = monotonic

    def wall(self) -> float:
        return self.monotonic() + self.wall_ahead_s

    def random(self) -> float:
        self._thrown += 1
        return uniform(self._seed, self._thrown)


class Said(NamedTuple):
    """What a deployment does about one call."""

    after_s: float = 0.5
    """How long until its head, or the first content of its stream."""
    status: int = 200
    error: Exception | None = None
    """Raised instead."""


Playing = Callable[[int, float], Said]
"""From the number of the call there (from 0) and the virtual seconds that have passed."""


def good(number: int, now_s: float) -> Said:
    return Said()


def saying(status: int = 200, after_s: float = 0.5) -> Playing:
    return lambda number, now_s: Said(after_s, status)


class Deployments:
    """A service below the stack: every deployment played by its name; others are good."""

    def __init__(self, **playing: Playing) -> None:
        self.playing = playing
        self.asked: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        """Bodies that were let go of, by deployment."""
        self.inside: Counter[str] = Counter()

    async def __call__(self, call: Call) -> Reply:
        name = call.target.provider
        playing = self.playing.get(name, good)
        said = playing(self.asked[name], asyncio.get_running_loop().time())
        self.asked[name] += 1
        self.inside[name] += 1
        try:
            if not call.streamed or said.status != 200 or said.error:
                await asyncio.sleep(said.after_s)
        except asyncio.CancelledError:
            self.cancelled[name] += 1
            raise
        finally:
            self.inside[name] -= 1
        if said.error is not None:
            raise said.error
        if said.status != 200:
            return Reply(said.status, (), Whole(b'{"error":{"message":"no"}}'))
        if not call.streamed:
            return Reply(200, (), Whole(ANSWER))
        return Reply(200, SSE, self._stream(name, said.after_s))

    def _stream(self, name: str, after_s: float) -> Chunks:
        async def pieces() -> AsyncIterator[bytes]:
            await asyncio.sleep(after_s)
            for piece in WORDS:
                yield piece

        async def close() -> None:
            self.closed[name] += 1

        return Chunks(pieces(), close)


class Stack(NamedTuple):
    """The layers per target, and the guards they share."""

    ask: Service
    guards: Guards
    below: Deployments
    clock: DicedClock
    lanes: Lanes

    def told(self) -> list[str]:
        """Every change of state there was: `deployment a/m closed>open`, with its number."""
        return [
            f"{gate} {name} {before}>{after} x{count}"
            for (gate, name, before, after, _), count in self.guards.transitions.items()
        ]


def a_stack(below: Deployments, names: str = "ab", *, seed: int = 0, **blocks: Any) -> Stack:
    """As a runtime builds it; each letter of `names` is a provider of one deployment. `provider`
    among the blocks: settings of each."""
    provider = ProviderConfig(**blocks.pop("provider", {}))
    config = Config(providers=dict.fromkeys(names, provider), **blocks)
    clock = DicedClock(seed)
    parts, limited = resilience(config, clock), limiting(config, clock)
    parts.guards.recovered = limited.lanes.restart
    layers = per_target(config, parts, clock, limits(limited, clock).limit)
    return Stack(stack(layers, below), parts.guards, below, clock, limited.lanes)


def routes_to(names: str, *, weight: float = 0.0) -> tuple[Route, ...]:
    return tuple(Route(Target(name, "m"), weight) for name in names)


def a_question(names: str = "ab", *, weight: float = 0.0, **more: Any) -> Call:
    routes = routes_to(names, weight=weight)
    return a_call(target=routes[0].target, routes=routes, **more)


class Ended(NamedTuple):
    """How one call of a crowd ended, and when."""

    status: int
    """503 and the like for an error that was raised."""
    began_s: float
    """Seconds since the crowd began to arrive."""
    took_s: float
    """Until its answer, or the first content of it."""
    error: HeadgateError | None = None
    headers: Any = ()


async def crowd(ask: Service, call: Call, per_s: float, seconds: float) -> list[Ended]:
    """Callers that arrive `per_s` a second for so long, whatever becomes of those before them; in
    the order of their arrival."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    tasks = []
    for number in range(round(per_s * seconds)):
        await asyncio.sleep(begun_s + number / per_s - loop.time())
        tasks.append(asyncio.ensure_future(_one(ask, call, begun_s)))
    return await asyncio.gather(*tasks)


async def _one(ask: Service, call: Call, begun_s: float) -> Ended:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    began_s = started_s - begun_s
    try:
        reply = await ask(call)
    except HeadgateError as error:
        return Ended(error.status_hint, began_s, loop.time() - started_s, error)
    took_s = loop.time() - started_s
    if isinstance(reply.body, Events):
        async for _ in reply.body:
            pass
    await reply.body.aclose()
    return Ended(reply.status, began_s, took_s, None, reply.headers)


def error_rate(ended: list[Ended]) -> float:
    return sum(one.status != 200 for one in ended) / len(ended)


def percentile(ended: list[Ended], share: float) -> float:
    """How long that share of callers waited at most, in seconds."""
    waits = sorted(one.took_s for one in ended)
    return waits[math.ceil(share * len(waits)) - 1]
