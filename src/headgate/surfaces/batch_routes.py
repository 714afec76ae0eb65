"""The routes of files and batches: who may ask, and which of them answers.

As on the data plane: whoever may call may have jobs, nobody sees another tenant's, and nothing is
answered while the gateway shuts down. Bodies have limits of their own, and are never whole in
memory.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from headgate.admission_head import read_head
from headgate.clients import Clients
from headgate.errors import BadRequest, Closed, HeadgateError, WrongMethod
from headgate.runtime import Runtime
from headgate.surfaces.batch_asked import Asked, Streamed, query_of, tenant_in, unknown
from headgate.surfaces.batches import Batches
from headgate.surfaces.files import Files
from headgate.surfaces.guard import refuse_web_pages
from headgate.surfaces.job_desk import Desk
from headgate.surfaces.message_batches import MessageBatches
from headgate.surfaces.operations import Answer
from headgate.surfaces.readiness import Readiness
from headgate.surfaces.receiving import Receive
from headgate.surfaces.submission import Submission

SEND_BYTES = 65_536

_BASES = ("/v1/messages/batches", "/v1/batches", "/v1/files")
_ID = re.compile("[A-Za-z0-9_-]{1,100}")

_LOG = logging.getLogger("headgate.jobs")

Send = Callable[[dict[str, Any]], Awaitable[None]]
Action = Callable[[Asked], Awaitable[Answer | Streamed]]


def is_batch_path(path: str) -> bool:
    """Whether a path is for these routes to answer, or to refuse."""
    return any(path == base or path.startswith(f"{base}/") for base in _BASES)


def split(path: str) -> tuple[str, str]:
    """(`/v1/files/*/content`, the id) of a path that `is_batch_path`."""
    base = next(base for base in _BASES if path == base or path.startswith(f"{base}/"))
    if path == base:
        return base, ""
    name, slash, rest = path[len(base) + 1 :].partition("/")
    return f"{base}/*{slash}{rest}", name


class BatchRoutes:
    """Answers by path and method; anything else is 404 or 405."""

    def __init__(
        self, runtime: Runtime, desk: Desk, clients: Clients, readiness: Readiness
    ) -> None:
        self._clients = clients
        self._readiness = readiness
        self._desk = desk
        self._bound_host = runtime.config.server.host
        settings = runtime.config.batch.jobs
        submission = Submission(runtime, desk)
        files = Files(desk, settings)
        batches = Batches(desk, submission)
        messages = MessageBatches(desk, submission, settings)
        self.routes: dict[str, dict[str, Action]] = {
            "/v1/files": {"GET": files.list, "POST": files.create},
            "/v1/files/*": {"DELETE": files.remove, "GET": files.show},
            "/v1/files/*/content": {"GET": files.content},
            "/v1/batches": {"GET": batches.list, "POST": batches.create},
            "/v1/batches/*": {"DELETE": batches.remove, "GET": batches.show},
            "/v1/batches/*/cancel": {"POST": batches.cancel},
            "/v1/messages/batches": {"GET": messages.list, "POST": messages.create},
            "/v1/messages/batches/*": {"DELETE": messages.remove, "GET": messages.show},
            "/v1/messages/batches/*/cancel": {"POST": messages.cancel},
            "/v1/messages/batches/*/results": {"GET": messages.results},
        }

    async def answer(self, scope: dict[str, Any], receive: Receive) -> Answer | Streamed:
        """The answer to one request. Raises HeadgateError."""
        pattern, name = split(scope["path"])
        route = self.routes.get(pattern)
        if route is None:
            path = scope["path"][:200]
            raise BadRequest(f"no such route: {path}", status=404, code="no_such_route")
        action = route.get(scope["method"])
        if action is None:
            allow = ", ".join(sorted(route))
            raise WrongMethod(f"{scope['path'][:200]} takes {allow}", allow=allow)
        if self._readiness.is_draining:
            raise Closed("the gateway is shutting down", retry_after_s=1)
        head = read_head(scope["headers"])
        if self._clients.required or head.has_key:
            head = self._clients.admit(head, (scope.get("client") or ("",))[0])
        if not head.credential and head.client is None:
            refuse_web_pages(scope["headers"], self._bound_host)
        if name and not _ID.fullmatch(name):
            raise unknown("file" if pattern.startswith("/v1/files") else "batch", name)
        content_type = dict(scope["headers"]).get(b"content-type", b"")
        query = query_of(scope["query_string"])
        return await action(Asked(receive, head, content_type, tenant_in(head), name, query))

    async def send(self, answer: Streamed, receive: Receive, send: Send) -> None:
        """Hands a long answer on, as fast as its client reads; no further when it has left."""
        loop = asyncio.get_running_loop()
        leaves = loop.create_task(_until_gone(receive))
        headers = list(answer.headers)
        if answer.size_bytes is not None:
            headers.append((b"content-length", b"%d" % answer.size_bytes))
        pieces = answer.pieces
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while not leaves.done() and (piece := await self._desk.read(pieces, SEND_BYTES)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except HeadgateError as error:
            # Too late for another answer: a body that does not end is none to its reader.
            _LOG.warning("an answer breaks off: %s", error.message)
        finally:
            leaves.cancel()
            await self._desk.let_go(pieces)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
