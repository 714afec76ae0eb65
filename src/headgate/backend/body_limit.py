"""A pure ASGI middleware that refuses large request bodies: frameworks read them whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from headgate.surfaces.dialect import error_body

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_MAX_BYTES = 10_000_000


class BodyLimit:
    """Passes requests to `app` whose bodies have at most `most_bytes`; others get 413."""

    def __init__(self, app: App, most_bytes: int = BODY_MAX_BYTES) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        counted = _Counted(receive, send, self._most_bytes)
        if _announced_bytes(scope) > self._most_bytes:
            await counted.refuse()
            return
        await self._app(scope, counted.receive, counted.send)


class _Counted:
    """One request: a body that grows too large is cut off, and whatever the app makes of that, the
    answer is 413."""

    def __init__(self, receive: Receive, send: Send, most_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._left_bytes = most_bytes
        self._is_refused = False

    async def receive(self) -> dict[str, Any]:
        message = await self._receive()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: dict[str, Any]) -> None:
        if self._left_bytes >= 0:
            await self._send(message)
        elif not self._is_refused:
            await self.refuse()

    async def refuse(self) -> None:
        self._is_refused = True
        body = error_body("", 413, "body_too_large", "the request body is too large")
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": 413, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _announced_bytes(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length[:18]) if length.isdigit() else 0
