"""For tests of attempts, retries and fallbacks: providers that follow a script, calls that may go
to several of them, the real layers above, and virtual time that clock and loop share.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import virtualtime

from headgate.config import Config, ProviderConfig
from headgate.core.splitmix import uniform
from headgate.errors import HeadgateError, UpstreamUnreachable
from headgate.pipeline import by_target, limiting, limits, per_target, resilience, stack
from headgate.stream import Whole
from headgate.types import Call, Headers, Reply, Route, Service, Target, WireRequest

T = TypeVar("T")

ANSWER = b'{"choices":[{"index":0,"message":{"content":"Paris"},"finish_reason":"stop"}]}'
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"Paris"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WORDS = (ROLE, DELTA, FINISH, DONE)
JSON: Headers = ((b"content-type", b"application/json"),)
SSE: Headers = ((b"content-type", b"text/event-stream"),)


class LoopClock:
    """A clock whose time is the loop's own, so that a sleep moves both."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._drawn = 0

    def monotonic(self) -> float:
        return 1000.0 + asyncio.get_running_loop().time()

    def wall(self) -> float:
        return 1_767_225_600.0 + asyncio.get_running_loop().time()

    epoch = wall

    def random(self) -> float:
        self._drawn += 1
        return uniform(self._seed, self._drawn)


class Body:
    """A body that yields bytes, waits for numbers (seconds), raises errors, and counts who closes
    it. `read` is how many pieces were asked for."""

    def __init__(self, *pieces: bytes | float | Exception) -> None:
        self._pieces = pieces
        self._generator: AsyncGenerator[bytes, None] | None = None
        self.read = 0
        self.closes = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._generator = self._read()
        return self._generator

    async def _read(self) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            self.read += 1
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, bytes):
                yield piece
            else:
                await asyncio.sleep(piece)

    async def aclose(self) -> None:
        self.closes += 1
        if self._generator is not None:
            await self._generator.aclose()


Step = Callable[[], Reply]
"""What a provider does when it is asked: builds a reply, or raises."""


def good(content: bytes = ANSWER) -> Step:
    return lambda: Reply(200, JSON, Whole(content))


def status(number: int, code: str = "", **headers: str) -> Step:
    content = msgspec.json.encode({"error": {"message": "no", "type": code, "code": code}})
    sent = tuple((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items())
    return lambda: Reply(number, JSON + sent, Whole(content))


def stream(*pieces: bytes | float | Exception, bodies: list[Body] | None = None) -> Step:
    def step() -> Reply:
        body = Body(*pieces)
        if bodies is not None:
            bodies.append(body)
        return Reply(200, SSE, body)

    return step


def error(raised: Exception) -> Step:
    def step() -> Reply:
        raise raised

    return step


def unreachable() -> Step:
    return error(UpstreamUnreachable("no connection"))


class Provider:
    """Answers with one step after the other, the last again and again; each takes `takes_s`."""

    def __init__(self, *steps: Step, takes_s: float = 0.0) -> None:
        self.steps = list(steps)
        self.takes_s = takes_s
        self.calls: list[Call] = []
        self.times_s: list[float] = []

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        self.times_s.append(asyncio.get_running_loop().time())
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        step = self.steps[min(len(self.calls), len(self.steps)) - 1]
        return step()

    @property
    def requests(self) -> list[WireRequest]:
        asked = [call.request for call in self.calls]
        return [request for request in asked if isinstance(request, WireRequest)]


class Scene:
    """The layers per target over scripted providers, each with a key of its own."""

    def __init__(self, config: Config | None = None, *, seed: int = 0, **providers: Any) -> None:
        keyed = {name: ProviderConfig(kind="fake") for name in providers}
        self.config = config or Config(providers=keyed)
        self.clock = LoopClock(seed)
        self.providers: dict[str, Service] = providers
        self.parts = resilience(self.config, self.clock)
        limited = limits(limiting(self.config, self.clock), self.clock).limit
        layers = per_target(self.config, self.parts, self.clock, limited)
        self.ask: Service = stack(layers, by_target(self.providers))

    @property
    def guards(self) -> Any:
        return self.parts.guards

    def endpoint(self, provider: str) -> Any:
        return self.guards.endpoints.get(provider, self.clock.monotonic())

    def deployment(self, provider: str, model: str = "m") -> Any:
        return self.guards.deployments.get((provider, model), self.clock.monotonic())

    def gate(self, provider: str, alias: str = "", model: str = "m") -> Any:
        """Of a key of the operator's."""
        return self.guards.credentials.get((provider, model, alias), self.clock.monotonic())


def run(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """As `virtualtime.run`."""
    return virtualtime.run(work)


def a_call(*names: str | Route, credential: Headers = (), **changes: Any) -> Call:
    """A chat call to these providers in their order; a route stands for itself."""
    routes = tuple(
        name if isinstance(name, Route) else Route(Target(name, "m")) for name in names or ("a",)
    )
    body = b'{"model":"' + routes[0].target.model.encode() + b'","messages":[]}'
    request = WireRequest("/chat/completions", body, (), credential)
    usual: dict[str, Any] = {"routes": routes, "target": routes[0].target, "request": request}
    return Call("chat", "m", key=b"k" * 32, scope=b"s" * 32, **{**usual, **changes})


async def content_of(reply: Reply) -> bytes:
    try:
        return b"".join([chunk async for chunk in reply.body])
    finally:
        await reply.body.aclose()


async def settled(scene: Scene, call: Call) -> Reply | HeadgateError:
    """What comes out, an error of ours as a value."""
    try:
        return await scene.ask(call)
    except HeadgateError as raised:
        return raised
