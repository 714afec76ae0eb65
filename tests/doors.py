"""The doors of one runtime, all of them in one event loop: a question through each, which asserts
that its answer is whole and the right one; and what the runtime holds while it answers.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import openai
import oracle
from cancelling import Probe, open_descriptors
from events import ends_in, has_failed
from gates import patient

from headgate.admission_head import read_head
from headgate.config import Config
from headgate.core.verdict import judge
from headgate.errors import StreamBroken
from headgate.layers.coalesce import _Coalescing
from headgate.runtime import Runtime
from headgate.surfaces.gateway import Gateway
from headgate.testing import Exchange, FaultServer, marks_in, tenant_of
from headgate.types import EVERYTHING

KEY = "sk-canary-cancel"
HEADERS = ((b"content-type", b"application/json"), (b"authorization", b"Bearer " + KEY.encode()))
Headers = tuple[tuple[bytes, bytes], ...]
NO_STORE: Headers = ((b"cache-control", b"no-store"),)
IN_TIME: Headers = ((b"headgate-deadline", b"10s"),)


def question(about: str, *, stream: bool = False, model: str = "m") -> dict[str, Any]:
    messages = [{"role": "user", "content": f"What of {about}?"}]
    asked = {"model": model, "messages": messages, "max_tokens": 8}
    # With usage, so that either shape can be made of the other.
    usage = {"stream_options": {"include_usage": True}}
    return {**asked, "stream": True, **usage} if stream else asked


class Doors:
    """A runtime at home in the running loop, and the server behind it if there is one."""

    def __init__(self, runtime: Runtime, server: FaultServer | None, table: _Coalescing) -> None:
        self.runtime = runtime
        self.server = server
        self._gateway = Gateway(runtime)
        self._table = table
        self._openai: openai.AsyncOpenAI | None = None
        self.told: set[str] = set()

    async def ask(
        self, about: str, *, stream: bool = False, more: Headers = (), model: str = "m"
    ) -> None:
        """As the gateway asks."""
        asked = question(about, stream=stream, model=model)
        body = json.dumps(asked).encode()
        plan, entry = self.runtime.find("chat", read_head((*HEADERS, *more)), body, b"")
        if entry is not None:
            self.is_right(asked, entry.content)
            return
        head = read_head((*HEADERS, *more))
        reply = await self.runtime.forward("/chat/completions", head, body, plan)
        try:
            content = b"".join([chunk async for chunk in reply.body])
        finally:
            await reply.body.aclose()
        assert reply.status == 200, content
        self.is_right(asked, content)

    async def knock(self, about: str, *, stream: bool = False, model: str = "m") -> None:
        """Asks by way of the gateway, as a server does."""
        asked = question(about, stream=stream, model=model)
        body = json.dumps(asked).encode()
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions",
                 "headers": list(HEADERS), "query_string": b""}  # fmt: skip
        arriving = [{"type": "http.request", "body": body}]
        sent: list[Any] = []

        async def receive() -> Any:
            # After the request nothing comes: the client stays.
            return arriving.pop() if arriving else await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            await asyncio.sleep(0)
            sent.append(message)

        await self._gateway(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent)
        if sent[0]["status"] >= 500 or has_failed(content):
            raise StreamBroken("the gateway says so, in the dialect")
        assert sent[0]["status"] == 200
        self.is_right(asked, content)

    async def sdk(
        self, about: str, *, stream: bool = False, more: Headers = (), model: str = "m"
    ) -> None:
        """Asks by an official SDK of this process."""
        asked = question(about, stream=stream, model=model)
        fields = {"extra_headers": {name.decode(): value.decode() for name, value in more}, **asked}
        if not stream:
            answer = await self._client().chat.completions.create(**fields)
            assert answer.choices[0].finish_reason
            text = answer.choices[0].message.content
        else:
            events = []
            async with await self._client().chat.completions.create(**fields) as answers:
                events = [event async for event in answers]
            choices = [choice for event in events for choice in event.choices]
            assert choices[-1].finish_reason
            text = "".join(choice.delta.content or "" for choice in choices)
        self.has_marks(asked, text)

    def _client(self) -> openai.AsyncOpenAI:
        if self._openai is None:
            assert self.server is not None
            self._openai = openai.AsyncOpenAI(
                api_key=KEY,
                base_url=self.server.base_url,
                max_retries=0,
                http_client=self.runtime.http_client(asynchronous=True),
            )
        return self._openai

    async def aclose(self) -> None:
        if self._openai is not None:
            await self._openai.close()
        if self.server is None:
            self.runtime.close()  # nothing to wait for, and in virtual time no thread to do it
        else:
            await self.runtime.aclose()

    async def call(self, about: str) -> None:
        """Asks by a callable of its own."""

        async def answer() -> str:
            for _ in range(3):
                await asyncio.sleep(0.001)
            self.told.add(f"answer to {about}")
            return f"answer to {about}"

        said = await self.runtime.acached_llm_call(about, "m", {}, answer)
        assert said == f"answer to {about}"

    async def call_above_another(self, about: str) -> None:
        """A callable that asks by another one."""

        async def answer() -> str:
            await self.call(f"inner {about}")
            await asyncio.sleep(0)
            self.told.add(f"outer to {about}")
            return f"outer to {about}"

        said = await self.runtime.acached_llm_call(about, "outer", {}, answer)
        assert said == f"outer to {about}"

    def is_right(self, asked: dict[str, Any], content: bytes) -> None:
        """A whole answer to this question, for the one who asked."""
        if asked.get("stream"):
            assert ends_in(content) == 1
            assert not has_failed(content)
        else:
            assert judge("chat", 200, content, limit_explicit=True).skip == ""
        if self.server is not None:
            self.has_marks(asked, content)

    def has_marks(self, asked: dict[str, Any], content: bytes | str) -> None:
        """It was made for this question and this asker."""
        assert self.server is not None
        calls = {call.serial: call for call in self.server.calls}
        marks = marks_in(content)
        assert marks
        for mark in marks:
            assert mark.tenant == tenant_of(KEY)
            assert calls[mark.serial].body["messages"] == asked["messages"]

    def is_sound(self) -> None:
        """Whatever is stored is whole and verified, in every tier."""
        entries = self.runtime.tiers.list(EVERYTHING, limit=oracle.ENTRIES_MAX)
        if self.server is not None:
            calls = {call.serial: call for call in self.server.calls}
            oracle.only_verified_entries(self.runtime, calls)
        for entry in entries:
            if entry.kind == "value":
                assert json.loads(entry.content) in self.told

    def probes(self) -> list[Probe]:
        """What may not grow: add a line for whatever else a call can hold."""
        return [
            ("flights", lambda: len(self._table._flights)),
            ("waits", lambda: len(self._table._waits._waits)),
            ("permits", lambda: self.runtime.guards.under_way),
            ("connections in use", self._connections_in_use),
            ("descriptors", self._descriptors),
            ("calls upstream", self._calls_upstream),
            ("tasks at home", self._tasks_at_home),
        ]

    def _descriptors(self) -> int:
        """Without those of idle connections, of which both ends are in this process; and without
        any where a disk tier opens and closes files of its own."""
        if self.runtime.config.cache.persist:
            return 0
        return open_descriptors() - 2 * self._connections_idle()

    def _tasks_at_home(self) -> int:
        """Where home is another loop than this one."""
        portal = self.runtime.portal
        return (
            0 if portal.is_home() or portal._loop is None else len(asyncio.all_tasks(portal._loop))
        )

    def _calls_upstream(self) -> int:
        calls: list[Exchange] = self.server.calls if self.server is not None else []
        return sum(not call.ended for call in calls)

    def _connections_in_use(self) -> int:
        acquired = sum(len(pool._acquired) for pool in self._pools())
        return acquired + sum(not one.is_idle() for one in self._sdk_connections())

    def _connections_idle(self) -> int:
        kept = sum(len(row) for pool in self._pools() for row in pool._conns.values())
        return kept + sum(one.is_idle() for one in self._sdk_connections())

    def _pools(self) -> list[Any]:
        sessions = [getattr(wire, "_session", None) for wire in self.runtime._parts.wires.values()]
        return [session.connector for session in sessions if session is not None]

    def _sdk_connections(self) -> list[Any]:
        sdks = self.runtime._sdks
        sides = sdks._sides.values() if sdks is not None else ()
        return [one for side in sides for sender in side.home for one in sender._pool.connections]

    async def keep_on_disk(self, about: str, *, stream: bool = False) -> None:
        """Has the answer stored, and on disk only."""
        await self.ask(about, stream=stream)
        self.runtime.tiers.memory.remove(EVERYTHING, now_s=self.runtime.now_s())


@asynccontextmanager
async def doors(
    config: Config, server: FaultServer | None = None, *, at_home: bool = True
) -> AsyncIterator[Doors]:
    """The doors of a runtime whose home is the running loop, or a thread of its own."""
    if config.cache.persist:
        # One thread: each that reads a database opens its file.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    before = _tables()
    runtime = Runtime(patient(config))
    (table,) = [table for table in _tables() if table not in before]
    if at_home:
        runtime.adopt(asyncio.get_running_loop())
    opened = Doors(runtime, server, table)
    try:
        yield opened
    finally:
        await opened.aclose()


def _tables() -> list[_Coalescing]:
    """Of flights: the layer keeps its own to itself."""
    return [found for found in gc.get_objects() if isinstance(found, _Coalescing)]
