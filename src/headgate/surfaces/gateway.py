"""The gateway: a plain ASGI application. Reads a request, asks the Runtime, writes the reply.

No framework on the data path: routing is one dictionary look-up, a stored answer goes out as the
bytes it came in. What matches no route is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from headgate.admission import Plan
from headgate.admission_head import Head, read_head
from headgate.core.concurrency import ShedSettings
from headgate.errors import BadRequest, HeadgateError, QueueFull
from headgate.runtime import Runtime
from headgate.stream import Recorded, Whole, pieces
from headgate.surfaces.dialect import error_body, error_headers, in_band_error
from headgate.surfaces.operations import Answer, Operations
from headgate.surfaces.provenance import hit_headers, provenance_headers
from headgate.surfaces.shedding import Door
from headgate.types import Entry, Headers, Reply

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_WATCH_AFTER_S = 0.05
_NOT_SPOKEN = frozenset({"0.9", "2.0"})
"""Versions that the parser below lets pass although it reads them as if they were 1.1."""

logger = logging.getLogger("headgate.gateway")


class Route(NamedTuple):
    """A path of the data plane: its operation, and the path below the provider's API root."""

    operation: str
    path: str


DATA_PLANE = {
    "/v1/chat/completions": Route("chat", "/chat/completions"),
    "/v1/completions": Route("completions", "/completions"),
    "/v1/embeddings": Route("embeddings", "/embeddings"),
    "/v1/responses": Route("responses", "/responses"),
    "/v1/messages": Route("messages", "/messages"),
    "/v1/messages/count_tokens": Route("count_tokens", "/messages/count_tokens"),
}


class Gateway:
    """The ASGI application around one Runtime, which it closes with itself."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._operations = Operations(runtime)
        self._read_head = runtime.admission.head
        self._body_max_bytes = runtime.config.server.body_max_bytes
        limits = runtime.config.limits
        self.door = Door(
            ShedSettings(limits.loop_lag_max, limits.memory_max_bytes, limits.calls_max),
            runtime.clock.random,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            route = DATA_PLANE.get(scope["path"])
            if route is None or scope.get("http_version") in _NOT_SPOKEN:
                await self._operate(scope, receive, send)
            else:
                await self._admit(route, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _admit(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a call in at the door, until its last chunk has been sent."""
        try:
            self.door.enter()
        except QueueFull as error:
            await _send_error(route.operation, error, send)
            return
        try:
            await self._answer(route, scope, receive, send)
        finally:
            self.door.leave()

    async def _answer(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """One call of the data plane, from request to last chunk."""
        try:
            if scope["method"] != "POST":
                raise BadRequest(f"{scope['path']} takes POST", status=405, code="wrong_method")
            head = self._read_head(scope["headers"])
            body = await read_body(head.announced_bytes, receive, self._body_max_bytes)
            query: bytes = scope["query_string"]
            plan, entry = self._runtime.find(route.operation, head, body, query)
            if entry is not None:
                headers = entry.headers + hit_headers(entry, self._runtime.now_s())
                await _send_entry(entry, plan, headers, send)
                return
            path = f"{route.path}?{query.decode('latin-1')}" if query else route.path
            await self._forward(path, head, body, plan, receive, send)
        except HeadgateError as error:
            await _send_error(route.operation, error, send)

    async def _forward(
        self, path: str, head: Head, body: bytes, plan: Plan, receive: Receive, send: Send
    ) -> None:
        """Asks upstream for as long as the client is there; a client that leaves cancels."""
        task = asyncio.current_task()
        watch = _Watch(receive, task)
        try:
            reply = await self._runtime.forward(path, head, body, plan)
            headers = _reply_headers(reply, plan.key)
            if isinstance(reply.body, Whole):
                await _send_whole(reply.status, headers, reply.body.content, send)
            else:
                await _send_stream(plan.operation, reply, headers, send)
        except asyncio.CancelledError:
            if not watch.saw_it_leave or task is None or task.uncancel():
                raise
        finally:
            watch.end()

    async def _operate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything that is not a call: models, health, numbers, administration."""
        try:
            if scope.get("http_version") in _NOT_SPOKEN:
                raise BadRequest("HTTP/1.1 is spoken here", status=505, code="wrong_version")
            head = read_head(scope["headers"])
            body = await read_body(head.announced_bytes, receive, self._body_max_bytes)
            answer = await self._operations.answer(scope, body)
        except HeadgateError as error:
            await _send_error(_dialect_of(scope), error, send)
            return
        await _send_answer(answer, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._runtime.adopt(asyncio.get_running_loop())
                self.door.watch()
                await send({"type": "lifespan.startup.complete"})
            else:
                self.door.close()
                await self._runtime.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def read_body(announced_bytes: int, receive: Receive, most_bytes: int) -> bytes:
    """The request body. Raises BadRequest: 413 over `most_bytes` (one that announces more is not
    even asked for), 400 if it breaks off."""
    if announced_bytes > most_bytes:
        raise _too_large(most_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_rest(body, receive, most_bytes)
    elif message["type"] == "http.disconnect":
        raise BadRequest("the request ended before its body did")
    if len(body) > most_bytes:
        raise _too_large(most_bytes)
    return body


async def _read_rest(body: bytes, receive: Receive, most_bytes: int) -> bytes:
    """A body of several pieces; what is over the limit is cut off."""
    parts, size, more = [body], len(body), True
    while more and size <= most_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the request ended before its body did")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    return b"".join(parts)


def _dialect_of(scope: Scope) -> str:
    """An operation in whose dialect to refuse what is no route of a call."""
    anthropic = any(name == b"anthropic-version" for name, _ in scope["headers"])
    return "messages" if anthropic or scope["path"].startswith("/v1/messages") else ""


def _too_large(most_bytes: int) -> BadRequest:
    return BadRequest(
        f"the body is larger than {most_bytes} bytes (server.body_max_bytes)",
        status=413,
        code="body_too_large",
    )


class _Watch:
    """Cancels `task` when its client leaves. Begins after a moment: most of what a task more costs
    is saved where the answer is quick, and a client seldom leaves so soon."""

    def __init__(self, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        self.saw_it_leave = False
        self._receive = receive
        self._task = task
        self._watcher: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._begin = loop.call_later(_WATCH_AFTER_S, self._start)

    def end(self) -> None:
        """Stops watching."""
        self._begin.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _start(self) -> None:
        self._watcher = asyncio.ensure_future(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.saw_it_leave = True
        if self._task is not None:
            self._task.cancel()


def _reply_headers(reply: Reply, key: bytes) -> Headers:
    return reply.headers + provenance_headers(reply.provenance, key)


async def _send_entry(entry: Entry, plan: Plan, headers: Headers, send: Send) -> None:
    """A stored answer from memory; a stream in as few pieces as its size allows."""
    if entry.kind != "stream":
        await _send_whole(entry.status, headers, entry.content, send)
        return
    await send({"type": "http.response.start", "status": entry.status, "headers": headers})
    content = Recorded(entry.content, (0, 0) if plan.usage_wanted else entry.usage_at).content
    last = b""
    for piece in pieces(content):
        if last:
            await send({"type": "http.response.body", "body": last, "more_body": True})
        last = piece
    await send({"type": "http.response.body", "body": last})


async def _send_whole(status: int, headers: Headers, content: bytes, send: Send) -> None:
    length = (b"content-length", b"%d" % len(content))
    await send({"type": "http.response.start", "status": status, "headers": (*headers, length)})
    await send({"type": "http.response.body", "body": content})


async def _send_stream(operation: str, reply: Reply, headers: Headers, send: Send) -> None:
    """Chunks as they come. A break after the head is told in-band: the status is long gone, and a
    clean end would pass a cut answer off as a whole one."""
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    try:
        async for chunk in reply.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        last = b""
    except HeadgateError as error:
        last = in_band_error(operation, error)
    finally:
        await reply.body.aclose()
    await send({"type": "http.response.body", "body": last})


async def _send_error(operation: str, error: HeadgateError, send: Send) -> None:
    status = error.status_hint
    body = error_body(operation, status, error.code, error.message)
    await _send_answer(Answer(status, body, tuple(error_headers(error))), send)


async def _send_answer(answer: Answer, send: Send) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    headers = [*answer.headers, length]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
