"""What a backend hands to its web framework: a status, headers, and a body or events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.sse import spell
from headgate.errors import HeadgateError, UpstreamFailed
from headgate.stream import Whole
from headgate.surfaces.dialect import error_body, error_headers
from headgate.types import Reply

_JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"
_MESSAGE_CHARS_MAX = 1000
_PASSED = {400: 400, 408: 504, 413: 413, 422: 422, 429: 429, 503: 503, 504: 504, 529: 503}
"""Statuses of a provider that are the caller's business: too much text, or not now. All others
(a refused key, a model that is gone, a fault) are between us and the provider: 502."""


class Events:
    """The events of a streamed reply. Iterate it at most once, close it any number of times: also
    one that was never read holds on to its provider until then."""

    __slots__ = ("_close", "_events")

    def __init__(
        self, events: AsyncGenerator[bytes, None], close: Callable[[], Awaitable[None]] | None
    ) -> None:
        self._events = events
        self._close = close

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> bytes:
        return await self._events.__anext__()

    async def aclose(self) -> None:
        """Lets go of what the events come from."""
        close, self._close = self._close, None
        await self._events.aclose()
        if close is not None:
            await close()


class Served(Struct, frozen=True):
    """A reply for a web framework to send."""

    status: int
    body: bytes | Events
    headers: dict[str, str]
    """With the content type; names in lower case."""


class Declined(UpstreamFailed):
    """The provider answered with an error."""

    code = "upstream_error"
    should_retry = None

    def __init__(self, status: int, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(
            f"the provider answered with status {status}: {message}", retry_after_s=retry_after_s
        )
        self.status_hint = _PASSED.get(status, 502)


async def declined(reply: Reply) -> Declined:
    """The error that a reply with a status from 400 on stands for; closes it."""
    content = reply.body.content if isinstance(reply.body, Whole) else b""
    await reply.body.aclose()
    wait = dict(reply.headers).get(b"retry-after", b"")
    retry_after_s = float(wait) if wait.isdigit() and len(wait) < 9 else None
    return Declined(reply.status, _told(content), retry_after_s=retry_after_s)


def whole(document: Any, headers: Iterable[tuple[bytes, bytes]] = ()) -> Served:
    """A JSON document."""
    return Served(200, msgspec.json.encode(document), texts(headers) | {"content-type": _JSON})


def streamed(events: Events, headers: Iterable[tuple[bytes, bytes]] = ()) -> Served:
    """Server-sent events."""
    more = {"content-type": _EVENTS, "cache-control": "no-store", "x-accel-buffering": "no"}
    return Served(200, events, texts(headers) | more)


def refused(error: HeadgateError) -> Served:
    """An error as JSON: `{"error": {"message", "type", "param", "code"}}`."""
    body = error_body("", error.status_hint, error.code, error.message)
    return Served(error.status_hint, body, texts(error_headers(error)))


def unfit(problems: Sequence[Mapping[str, Any]]) -> Served:
    """What pydantic found wrong with a request, in the form that FastAPI documents; without the
    input, which may be what no JSON can hold (NaN, half of a surrogate pair)."""
    told = [{name: one[name] for name in ("loc", "msg", "type")} for one in problems]
    return Served(422, json.dumps({"detail": told}).encode(), {"content-type": _JSON})


def error_event(error: HeadgateError) -> bytes:
    """The event that ends a stream which broke after it had begun."""
    return spell(error_body("", error.status_hint, error.code, error.message), b"error")


def texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers as web frameworks take them."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _told(content: bytes) -> str:
    """The message in an error body of any dialect."""
    try:
        error = msgspec.json.decode(content)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (msgspec.MsgspecError, UnicodeError, KeyError, TypeError, IndexError):
        text = content.decode("utf-8", "replace")
    return text[:_MESSAGE_CHARS_MAX] or "no message"
