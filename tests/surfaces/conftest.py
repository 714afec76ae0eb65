"""A door to the gateway without sockets: requests go in as ASGI messages, replies come out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from gates import Gate, patient
from programs import forget_settings

from headgate.clock import Clock
from headgate.config import Config
from headgate.providers.settings import ProviderConfig
from headgate.runtime import Runtime
from headgate.surfaces.gateway import Gateway

LOCAL = {"host": "127.0.0.1:4000"}


class Got(NamedTuple):
    """A reply as the server below would write it."""

    status: int
    headers: dict[str, str]
    body: bytes
    chunks: tuple[bytes, ...]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Door:
    """One gateway, its runtime, and an event loop they live in."""

    def __init__(self, config: Config, clock: Clock | None) -> None:
        self.runtime = Runtime(patient(config), clock=clock)
        self.gateway = Gateway(self.runtime)
        self._loop = asyncio.Runner()
        self._loop.run(self._live("startup"))

    def close(self) -> None:
        self._loop.run(self._live("shutdown"))
        self._loop.close()

    def run(self, coroutine: Any) -> Any:
        """Runs something on the gateway's own loop."""
        return self._loop.run(coroutine)

    def get(self, path: str, headers: Mapping[str, str] = LOCAL, **more: Any) -> Got:
        return self.ask("GET", path, b"", headers, **more)

    def post(self, path: str, body: Any, headers: Mapping[str, str] = LOCAL, **more: Any) -> Got:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, content, headers, **more)

    def ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], **more: Any
    ) -> Got:
        """One request; `more` goes into the ASGI scope (`client`, for instance)."""
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        return self.converse(method, path, messages, headers, **more)

    def converse(
        self, method: str, path: str, messages: list[dict[str, Any]], headers: Mapping[str, str],
        **more: Any,
    ) -> Got:  # fmt: skip
        """One request whose ASGI messages are given one by one; then the client stays."""
        sent: list[dict[str, Any]] = []
        waiting = iter(messages)

        async def receive() -> dict[str, Any]:
            for message in waiting:
                return message
            return await asyncio.Event().wait() or {}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        bare, _, query = path.partition("?")
        named = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {
            "type": "http", "method": method, "path": bare, "query_string": query.encode(),
            "headers": named, "client": ("127.0.0.1", 50_000), **more,
        }  # fmt: skip
        self._loop.run(self.gateway(scope, receive, send))
        assert [message["type"] for message in sent].count("http.response.start") == 1
        assert not sent[-1].get("more_body"), "the reply must end"
        chunks = tuple(message["body"] for message in sent[1:])
        fields = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Got(sent[0]["status"], fields, b"".join(chunks), chunks)

    async def _live(self, stage: str) -> None:
        orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        done = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            assert message["type"] == f"lifespan.{stage}.complete"
            done.set()

        orders.put_nowait({"type": f"lifespan.{stage}"})
        life = asyncio.ensure_future(self.gateway({"type": "lifespan"}, orders.get, send))
        await done.wait()
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


@pytest.fixture
def open_door() -> Iterator[Callable[..., Door]]:
    """Opens gateways; the default one has the built-in fake provider and nothing else."""
    doors: list[Door] = []

    def open_one(config: Config | None = None, *, clock: Clock | None = None) -> Door:
        usual = Config(providers={"fake": ProviderConfig(kind="fake")})
        doors.append(Door(config or usual, clock))
        return doors[-1]

    yield open_one
    for door in doors:
        door.close()


@pytest.fixture
def door(open_door: Callable[..., Door]) -> Door:
    return open_door()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gateway on a socket for commands to ask, and an environment without settings."""
    forget_settings(monkeypatch)
    served = Gate(Config(providers={"fake": ProviderConfig(kind="fake")}))
    yield served
    served.close()
