"""One client's connection: uvicorn's, with the limits it has not, and an end it does not know.

uvicorn waits for ever for the rest of a head or a body, and takes as many connections as come. Time
limits are looked at by one timer for all connections: a request costs a reading of the clock.
"""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from typing import Any, NamedTuple

from uvicorn.config import Config
from uvicorn.server import ServerState

from headgate.config import ServerConfig
from headgate.errors import BadRequest, Closed, HeadgateError, Refused
from headgate.surfaces.dialect import dialect_of, error_body, error_headers
from headgate.surfaces.paced import Paced

HEAD_MAX_BYTES = 65_536
"""Of a head that is not complete: the parser itself has no limit. A complete one may be smaller."""
BODY_TIMES = 10
"""A whole body may take so many times `body_s`: one byte now and then is no progress."""
BODY_BYTES_PER_S = 64_000
"""Whoever sends so much is not too slow, however long his body is."""
LOOKS = 4
"""How often a limit is looked at while it runs."""
LOOK_AT_LEAST_EVERY_S = 1.0

_HEAD, _BODY, _NOTHING = "head", "body", ""


class Limits(NamedTuple):
    """What clients are given: seconds for a head, for a body that stands still and for reading an
    answer that waits; connections."""

    head_s: float
    body_s: float
    connections_max: int
    write_s: float = 60.0


def limits_of(server: ServerConfig) -> Limits:
    """The limits that a configuration sets."""
    return Limits(
        server.header_timeout, server.body_timeout, server.connections_max, server.write_timeout
    )


class Connections:
    """Makes the connections of one server, where uvicorn expects a class. `limits` may be replaced
    while it serves."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._is_looking = False
        self._look_due_s = math.inf

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        return Connection(self, config, server_state, app_state, _loop)

    def watch(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        """Looks at every connection of `state` again and again, as long as there are any."""
        if not self._is_looking:
            self._is_looking = True
            self._look_later(state, loop)

    def _look(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        # After a standstill of ours what was sent meanwhile is not read yet: timers come first.
        stood_still = now_s > self._look_due_s + self._look_every_s
        if not stood_still:
            for connection in list(state.connections):
                if isinstance(connection, Connection):
                    connection.look(now_s)
        self._is_looking = bool(state.connections)
        if self._is_looking:
            self._look_later(state, loop)

    def _look_later(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self._look_due_s = loop.time() + self._look_every_s
        loop.call_later(self._look_every_s, self._look, state, loop)

    @property
    def _look_every_s(self) -> float:
        shortest_s = min(self.limits.head_s, self.limits.body_s) / LOOKS
        return min(LOOK_AT_LEAST_EVERY_S, shortest_s)


class Connection(Paced):
    """Refuses what comes too slowly (408), a head without end (431), and what comes when it is too
    late (503); each refusal closes the connection."""

    def __init__(
        self,
        owner: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._owner = owner
        self.write_s = owner.limits.write_s
        self._awaited = _HEAD
        self._due_s = math.inf
        self._body_due_s = math.inf
        self._now_s = 0.0
        self._has_begun = False
        self._head_bytes = 0
        self._is_last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins, or refuses one connection too many without making anything for it."""
        if len(self.connections) >= self._owner.limits.connections_max:
            self.transport = transport
            too_many = Refused("too many connections (server.connections_max)", retry_after_s=1)
            transport.write(refusal("", too_many))
            transport.close()
            return
        super().connection_made(transport)
        self._now_s = self.loop.time()
        self._await_head()
        self._owner.watch(self.server_state, self.loop)

    def data_received(self, data: bytes) -> None:
        """One piece of what the client sends."""
        self._now_s = self.loop.time()
        if not self._awaited:
            self._await_head()
        super().data_received(data)
        if self._awaited is _HEAD:
            # The piece in which a head begins may hold the end of a body too, and is not counted.
            self._head_bytes += len(data) if self._has_begun else 0
            self._has_begun = True
            if self._head_bytes > HEAD_MAX_BYTES:
                large = f"the head of the request is larger than {HEAD_MAX_BYTES} bytes"
                self._refuse(BadRequest(large, status=431, code="headers_too_large"))

    # What uvicorn's parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._awaited:
            self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        super().on_headers_complete()
        body_s = self._owner.limits.body_s
        self._awaited = _BODY
        self._due_s = self._now_s + body_s
        self._body_due_s = self._now_s + BODY_TIMES * body_s
        if self._is_last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        super().on_body(body)
        self._body_due_s += len(body) / BODY_BYTES_PER_S
        self._due_s = min(self._now_s + self._owner.limits.body_s, self._body_due_s)

    def on_message_complete(self) -> None:
        """A request is complete."""
        super().on_message_complete()
        self._awaited = _NOTHING
        self._due_s = math.inf

    # Ends.

    def look(self, now_s: float) -> None:
        """Refuses what is overdue at `now_s`, seconds of the loop's clock."""
        if now_s < self._due_s or self.transport.is_closing():
            return
        if self.flow.read_paused:
            # It is we who do not read: the request before is not answered yet.
            self._due_s = now_s + self._owner.limits.body_s
            self._body_due_s = now_s + BODY_TIMES * self._owner.limits.body_s
            return
        if self._awaited is _HEAD and self._is_answering:
            self.cycle.keep_alive = False
            self._due_s = math.inf
            return
        setting = "header_timeout" if self._awaited is _HEAD else "body_timeout"
        message = f"the {self._awaited} of the request did not come in time (server.{setting})"
        self._refuse(BadRequest(message, status=408, code="request_timeout"))

    def shutdown(self) -> None:
        """Takes no further request: closes when it is idle, and after its answer when it is not. A
        request that has begun to come is heard to its end, to be told no."""
        self._is_last = True
        if self._is_answering:
            self.cycle.keep_alive = False
        elif self._awaited is not _HEAD or not self._has_begun:
            self.transport.close()

    def hurry(self) -> None:
        """Does not wait any more for the rest of a request."""
        if self._awaited is _BODY or not self._is_answering:
            self.end()

    def end(self) -> None:
        """Closes at once: with a refusal where nothing was said yet, else cut where it is."""
        if not self.transport.is_closing():
            self._refuse(Closed("the gateway has shut down", retry_after_s=1))
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._awaited = _HEAD
        self._has_begun = False
        self._head_bytes = 0
        self._due_s = self._now_s + self._owner.limits.head_s

    def _refuse(self, error: HeadgateError) -> None:
        """Answers with `error` and closes; cuts an answer that has begun, or is to another
        request."""
        self._due_s = math.inf
        if not self._is_answering:
            # After the answer the rest of its request may still be coming: too late to be refused.
            if self._awaited is not _BODY:
                self.transport.write(refusal("", error))
            self.transport.close()
        elif self.cycle.response_started or self._awaited is _HEAD:
            self.transport.abort()
        else:
            self.transport.write(refusal(dialect_of(self.cycle.scope), error))
            self.transport.close()


def refusal(operation: str, error: HeadgateError) -> bytes:
    """A whole HTTP answer, after which the connection is closed."""
    status = error.status_hint
    body = error_body(operation, status, error.code, error.message)
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()), b"connection: close"]
    lines += [b"%s: %s" % field for field in error_headers(error)]
    lines.append(b"content-length: %d\r\n\r\n" % len(body))
    return b"\r\n".join(lines) + body
