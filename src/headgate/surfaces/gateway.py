"""The gateway: a plain ASGI application. Reads a request, asks the Runtime, writes the reply.

No framework on the data path: routing is one dictionary look-up, a stored answer goes out as the
bytes it came in. What matches no route is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from headgate.admission import Plan
from headgate.admission_head import Head, read_head
from headgate.clients import Clients
from headgate.core.concurrency import ShedSettings
from headgate.errors import BadRequest, Closed, HeadgateError, QueueFull, WrongMethod
from headgate.runtime import Runtime
from headgate.stream import Whole
from headgate.surfaces.batch_asked import Streamed
from headgate.surfaces.batch_routes import BatchRoutes, is_batch_path
from headgate.surfaces.dialect import dialect_of, in_band_error
from headgate.surfaces.job_desk import Desk
from headgate.surfaces.job_workers import JobWorkers
from headgate.surfaces.numbers import Numbers
from headgate.surfaces.operations import Operations
from headgate.surfaces.provenance import hit_headers, provenance_headers
from headgate.surfaces.readiness import Readiness
from headgate.surfaces.receiving import Receive, read_body
from headgate.surfaces.sending import send_answer, send_entry, send_error, send_whole
from headgate.surfaces.shedding import Door
from headgate.types import Headers, Reply

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_WATCH_AFTER_S = 0.05
_RETIRE_LOOK_S = 0.1
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


class Serving:
    """One runtime, what is asked of it for every request, and what it is busy with. A request that
    has begun under one stays with it."""

    def __init__(self, runtime: Runtime, operations: Operations, batches: BatchRoutes) -> None:
        self.runtime = runtime
        self.operations = operations
        self.batches = batches
        self.read_head = runtime.admission.head
        self.body_max_bytes = runtime.config.server.body_max_bytes
        self.running = 0
        """Requests that are not answered yet."""
        self.calls: set[_Watch] = set()
        """Calls that wait for upstream, or stream from there."""


class Gateway:
    """The ASGI application around one Runtime at a time, which it closes with itself; `numbers` are
    those of all workers, where there are several. Raises ConfigError where the file of client keys
    cannot be used."""

    def __init__(self, runtime: Runtime, numbers: Numbers | None = None) -> None:
        self.readiness = Readiness()
        self._numbers = numbers or Numbers()
        self.clients = Clients(runtime.config.keys, runtime.clock)
        self.desk = Desk(Path(runtime.config.batch.jobs.path), runtime.clock)
        self.jobs = JobWorkers(self.desk, self.clients)
        self._serving = self._follow(runtime)
        self._older: list[Serving] = []
        self._retiring: asyncio.Task[None] | None = None
        self._is_closing = False
        self.door = Door(_shed_settings(runtime), runtime.clock.random)

    @property
    def runtime(self) -> Runtime:
        """What requests that begin now are answered by."""
        return self._serving.runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            serving = self._serving
            serving.running += 1
            try:
                route = DATA_PLANE.get(scope["path"])
                if route is None or scope.get("http_version") in _NOT_SPOKEN:
                    await self._operate(serving, scope, receive, send)
                else:
                    await self._admit(serving, route, scope, receive, send)
            finally:
                serving.running -= 1
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    # Life.

    def drain(self) -> None:
        """From now on calls are refused, and it is not ready any more; those under way go on."""
        self.readiness.is_draining = True
        self.jobs.drain()

    def end_calls(self) -> None:
        """Ends what is under way: a stream with an error in its dialect, a whole answer with 503.
        On the event loop that serves."""
        self.jobs.end()
        for serving in (*self._older, self._serving):
            for call in tuple(serving.calls):
                call.stop(Closed("the gateway shut down before the answer was complete"))

    def switch(self, runtime: Runtime) -> None:
        """Requests that begin now are answered by `runtime`, the successor of the one before, which
        is retired when those that it has begun are answered. On the event loop that serves."""
        self._older.append(self._serving)
        self._serving = self._follow(runtime)
        self.door.adjust(_shed_settings(runtime))
        if self._retiring is None or self._retiring.done():
            self._retiring = asyncio.ensure_future(self._retire())

    def _follow(self, runtime: Runtime) -> Serving:
        self._numbers.follow(runtime)
        operations = Operations(runtime, self.readiness, self._numbers, self.clients)
        batches = BatchRoutes(runtime, self.desk, self.clients, self.readiness)
        serving = Serving(runtime, operations, batches)
        self.jobs.serve(serving)
        runtime.checks.append(self.desk.problem)
        return serving

    async def _retire(self) -> None:
        """Oldest first: what one has handed on may be in use by its successor's calls, and by its
        own until they end."""
        while self._older:
            oldest = self._older[0]
            while oldest.running and not self._is_closing:
                await asyncio.sleep(_RETIRE_LOOK_S)
            following = self._older[1] if len(self._older) > 1 else self._serving
            await oldest.runtime.retire(following.runtime)
            del self._older[0]

    async def _close(self) -> None:
        self._is_closing = True
        await self.jobs.close()
        if self._retiring is not None:
            await self._retiring
        await asyncio.to_thread(self._numbers.close)
        await asyncio.to_thread(self.desk.close)
        await self.runtime.aclose()
        await asyncio.to_thread(self.clients.close)

    # Requests.

    async def _admit(
        self, serving: Serving, route: Route, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Lets a call in at the door, until its last chunk has been sent."""
        try:
            self.door.enter()
        except QueueFull as error:
            await send_error(route.operation, error, send)
            return
        try:
            await self._answer(serving, route, scope, receive, send)
        finally:
            self.door.leave()

    async def _answer(
        self, serving: Serving, route: Route, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """One call of the data plane, from request to last chunk."""
        try:
            if scope["method"] != "POST":
                raise WrongMethod(f"{scope['path']} takes POST", allow="POST")
            if self.readiness.is_draining:
                raise Closed("the gateway is shutting down", retry_after_s=1)
            head = serving.read_head(scope["headers"])
            if self.clients.required or head.has_key:
                head = self.clients.admit(head, (scope.get("client") or ("",))[0])
            body = await read_body(head.announced_bytes, receive, serving.body_max_bytes)
            query: bytes = scope["query_string"]
            runtime = serving.runtime
            plan, entry = runtime.find(route.operation, head, body, query)
            if entry is not None:
                headers = entry.headers + hit_headers(
                    entry, runtime.now_s(), runtime.ledger.saved_usd(entry)
                )
                await send_entry(entry, plan, headers, send)
                return
            path = f"{route.path}?{query.decode('latin-1')}" if query else route.path
            asked = _Asked(path, head, body, plan)
            await _forward(serving, asked, receive, send)
        except HeadgateError as error:
            await send_error(route.operation, error, send)

    async def _operate(self, serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything that is not a call: models, health, numbers, administration."""
        try:
            if scope.get("http_version") in _NOT_SPOKEN:
                raise BadRequest("HTTP/1.1 is spoken here", status=505, code="wrong_version")
            if is_batch_path(scope["path"]):
                await self._keep(serving, scope, receive, send)
                return
            head = read_head(scope["headers"])
            body = await read_body(head.announced_bytes, receive, serving.body_max_bytes)
            answer = await serving.operations.answer(scope, body)
        except HeadgateError as error:
            await send_error(dialect_of(scope), error, send)
            return
        await send_answer(answer, send)

    async def _keep(self, serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
        """Files and batches; let in at the door, as calls are."""
        self.door.enter()
        try:
            answer = await serving.batches.answer(scope, receive)
            if isinstance(answer, Streamed):
                await serving.batches.send(answer, receive, send)
            else:
                await send_answer(answer, send)
        finally:
            self.door.leave()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.runtime.adopt(asyncio.get_running_loop())
                self.door.watch()
                self._numbers.start()
                self.clients.watch()
                self.jobs.start()
                self.readiness.has_started = True
                await send({"type": "lifespan.startup.complete"})
            else:
                self.door.close()
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _Asked(NamedTuple):
    """A call that goes upstream."""

    path: str
    head: Head
    body: bytes
    plan: Plan


async def _forward(serving: Serving, asked: _Asked, receive: Receive, send: Send) -> None:
    """Asks upstream for as long as the client is there and nobody ends it; a client that leaves
    cancels."""
    watch = _Watch(receive, asyncio.current_task())
    serving.calls.add(watch)
    try:
        reply = await serving.runtime.forward(*asked)
        headers = _reply_headers(reply, asked.plan.key)
        if isinstance(reply.body, Whole):
            # Nothing is left to cancel, and no other answer can be given any more.
            watch.end()
            await send_whole(reply.status, headers, reply.body.content, send)
        else:
            await _send_stream(asked.plan.operation, reply, headers, watch, send)
    except asyncio.CancelledError:
        reason = watch.reason()
        if reason is None:
            raise
        if not watch.saw_it_leave:
            raise reason from None
    finally:
        watch.end()
        serving.calls.discard(watch)


def _shed_settings(runtime: Runtime) -> ShedSettings:
    limits = runtime.config.limits
    return ShedSettings(limits.loop_lag_max, limits.memory_max_bytes, limits.calls_max)


class _Watch:
    """Cancels `task` when its client leaves, or when it is stopped. Looks for the client after a
    moment: most of what a task more costs is saved where the answer is quick, and a client seldom
    leaves so soon."""

    def __init__(self, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        self.saw_it_leave = False
        self._receive = receive
        self._task = task
        self._reason: HeadgateError | None = None
        self._watcher: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._begin = loop.call_later(_WATCH_AFTER_S, self._start)

    def end(self) -> None:
        """Stops watching."""
        self._task = None
        self._begin.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def stop(self, reason: HeadgateError) -> None:
        """Cancels the call, once, and says why."""
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()

    def reason(self) -> HeadgateError | None:
        """Why the call was cancelled, which is over with this; None if it was not from here."""
        if self._reason is None or self._task is None or self._task.uncancel():
            return None
        return self._reason

    def _start(self) -> None:
        self._watcher = asyncio.ensure_future(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._reason is None:
            self.saw_it_leave = True
            self.stop(Closed("the client has left"))


def _reply_headers(reply: Reply, key: bytes) -> Headers:
    return reply.headers + provenance_headers(reply.provenance, key)


async def _send_stream(
    operation: str, reply: Reply, headers: Headers, watch: _Watch, send: Send
) -> None:
    """Chunks as they come. A break after the head is told in-band: the status is long gone, and a
    clean end would pass a cut answer off as a whole one."""
    last, has_begun = b"", False
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        has_begun = True
        async for chunk in reply.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except HeadgateError as error:
        last = in_band_error(operation, error)
    except asyncio.CancelledError:
        reason = watch.reason() if has_begun else None
        if reason is None:
            raise
        last = in_band_error(operation, reason)
    finally:
        await reply.body.aclose()
    await send({"type": "http.response.body", "body": last})
