"""Answers that are there, on their way to the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from headgate.admission import Plan
from headgate.errors import HeadgateError
from headgate.stream import Recorded, pieces
from headgate.surfaces.dialect import error_body, error_headers
from headgate.surfaces.operations import Answer
from headgate.types import Entry, Headers

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def send_entry(entry: Entry, plan: Plan, headers: Headers, send: Send) -> None:
    """A stored answer from memory; a stream in as few pieces as its size allows."""
    if entry.kind != "stream":
        await send_whole(entry.status, headers, entry.content, send)
        return
    await send({"type": "http.response.start", "status": entry.status, "headers": headers})
    content = Recorded(entry.content, (0, 0) if plan.usage_wanted else entry.usage_at).content
    last = b""
    for piece in pieces(content):
        if last:
            await send({"type": "http.response.body", "body": last, "more_body": True})
        last = piece
    await send({"type": "http.response.body", "body": last})


async def send_whole(status: int, headers: Headers, content: bytes, send: Send) -> None:
    """An answer of which everything is there."""
    length = (b"content-length", b"%d" % len(content))
    await send({"type": "http.response.start", "status": status, "headers": (*headers, length)})
    await send({"type": "http.response.body", "body": content})


async def send_error(operation: str, error: HeadgateError, send: Send) -> None:
    """A refusal, in the dialect of its route."""
    status = error.status_hint
    body = error_body(operation, status, error.code, error.message)
    await send_answer(Answer(status, body, tuple(error_headers(error))), send)


async def send_answer(answer: Answer, send: Send) -> None:
    """What a route of operations, files or batches answers."""
    length = (b"content-length", b"%d" % len(answer.body))
    headers = [*answer.headers, length]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
