"""Gateways on loopback sockets, served by uvicorn from a thread of the test's own process."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import uvicorn

from headgate.clock import Clock
from headgate.config import Config, ProviderConfig
from headgate.layers.settings import BreakerConfig, CacheConfig, LimitsConfig, RetryConfig
from headgate.runtime import Runtime
from headgate.surfaces.connection import Connections, limits_of
from headgate.surfaces.gateway import Gateway
from headgate.types import Secret

JSON = {"content-type": "application/json"}
ONE_ATTEMPT: dict[str, Any] = {
    "retry": RetryConfig(attempts=1),
    "breaker": BreakerConfig(enabled=False),
}
"""Settings with which what one attempt comes to is seen as it is."""


LATE_S = 60.0
PATIENT = f"[limits]\nloop_lag_max = {LATE_S:.0f}\n"
"""As `patient`, in a file."""


def patient(config: Config) -> Config:
    """Nobody is turned away because this process is late: the machine may be busy, and is not what
    is judged. A test that is about it names a limit of its own."""
    if config.limits.loop_lag_max != LimitsConfig().loop_lag_max:
        return config
    return replace(config, limits=replace(config.limits, loop_lag_max=LATE_S))


class Got(NamedTuple):
    """A whole reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Address:
    """Where a gateway listens, and the simplest way to ask it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.openai_url = f"{self.url}/v1"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Got:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Got:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, content, {**JSON, **(headers or {})})

    def ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None
    ) -> Got:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            reply = connection.getresponse()
            fields = {name.lower(): value for name, value in reply.getheaders()}
            return Got(reply.status, fields, reply.read())
        finally:
            connection.close()

    def raw(self, *pieces: bytes) -> bytes:
        """Everything the server answers to these bytes until it closes, or is silent for 3 s."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            answer = b""
            try:
                for piece in pieces:
                    connection.sendall(piece)
                connection.settimeout(3.0)
                while block := connection.recv(65_536):
                    answer += block
            except (TimeoutError, ConnectionError):
                pass
            return answer


class _Located:
    """An ASGI application that notes in which loop it is served."""

    def __init__(self, gateway: Gateway) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._gateway = gateway

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.loop = self.loop or asyncio.get_running_loop()
        await self._gateway(scope, receive, send)


class Gate(Address):
    """A gateway in a thread, with its runtime at hand."""

    def __init__(self, config: Config, clock: Clock | None = None, telemetry: Any = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        super().__init__(self._socket.getsockname()[1])
        config = patient(config)
        self.runtime = Runtime(config, clock=clock, telemetry=telemetry)
        gateway = Gateway(self.runtime)
        self.door = gateway.door
        self.clients = gateway.clients
        self._app = _Located(gateway)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app, http=Connections(limits_of(config.server)), loop="uvloop", ws="none",
                lifespan="on",
                log_level="warning", log_config=None, access_log=False, server_header=False,
                proxy_headers=False, timeout_graceful_shutdown=5,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it is served in, once it has answered something."""
        assert self._app.loop is not None
        return self._app.loop

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._server.server_state.connections)

    def tasks(self) -> list[str]:
        """What runs in its loop, without this question and without what runs as long as it does."""

        async def look() -> list[str]:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            running = [repr(task.get_coro()) for task in others]
            return [task for task in running if "Tiers._follow_for_ever" not in task]

        return asyncio.run_coroutine_threadsafe(look(), self.loop).result(60)

    @contextmanager
    def blocked(self, at_least_s: float) -> Iterator[None]:
        """Its loop does nothing from here until the end of the block, and for so many seconds."""
        begun, ended = threading.Event(), threading.Event()

        def stand_still() -> None:
            begun.set()
            started_s = time.monotonic()
            ended.wait(60)
            time.sleep(max(0.0, started_s + at_least_s - time.monotonic()))

        assert self._app.loop is not None
        self._app.loop.call_soon_threadsafe(stand_still)
        begun.wait(60)
        yield
        ended.set()

    def stats(self) -> dict[str, Any]:
        return self.runtime.stats()


class Upstream(Protocol):
    """A provider of `headgate.testing`, as far as a gateway needs to know it."""

    @property
    def base_url(self) -> str: ...

    @property
    def anthropic_base_url(self) -> str: ...


def providers_at(upstream: Upstream, key: str = "", **more: Any) -> dict[str, ProviderConfig]:
    """Both dialects of `upstream`, as configured blocks `openai` and `anthropic`."""
    return {
        "openai": ProviderConfig(
            kind="openai", base_url=upstream.base_url, api_key=Secret(key), **more
        ),
        "anthropic": ProviderConfig(
            kind="anthropic", base_url=upstream.anthropic_base_url, api_key=Secret(key), **more
        ),
    }


@contextmanager
def gate_before(
    upstream: Upstream, cache: CacheConfig | None = None, clock: Clock | None = None, **more: Any
) -> Iterator[Gate]:
    """A gateway without credentials of its own that asks once; `more` are settings of its
    providers."""
    providers = providers_at(upstream, **more)
    gate = Gate(Config(cache=cache or CacheConfig(), providers=providers, **ONE_ATTEMPT), clock)
    try:
        yield gate
    finally:
        gate.close()
