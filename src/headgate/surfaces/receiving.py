"""The body of a request, as an ASGI server hands it over: bounded, whole or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from headgate.errors import BadRequest

Receive = Callable[[], Awaitable[dict[str, Any]]]


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


def _too_large(most_bytes: int) -> BadRequest:
    return BadRequest(
        f"the body is larger than {most_bytes} bytes (server.body_max_bytes)",
        status=413,
        code="body_too_large",
    )
