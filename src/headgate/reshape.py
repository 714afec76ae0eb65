"""One answer in the shape a call wants: whole, or as a stream."""

from __future__ import annotations

from msgspec.structs import replace

from headgate.core.fingerprint import USAGE_OPERATIONS
from headgate.core.shapes import stream_of, whole_of
from headgate.stream import Recorded, Whole
from headgate.types import NO_USAGE, Call, Entry, Headers, Reply

_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_WHOLE = (b"content-type", b"application/json")


def has_shape(entry: Entry, *, streamed: bool) -> bool:
    """Whether `entry` needs no change for a call of this shape."""
    return (entry.kind == "stream") == streamed


def entry_in_shape(entry: Entry, *, streamed: bool) -> Entry | None:
    """`entry` for a call of this shape; None if it cannot be turned into it without loss."""
    if has_shape(entry, streamed=streamed):
        return entry
    if streamed:
        made = stream_of(entry.operation, entry.content) if entry.kind == "whole" else None
        if made is None:
            return None
        headers = _retyped(entry.headers, _STREAM)
        return replace(
            entry, kind="stream", content=made.content, usage_at=made.usage_at, headers=headers
        )
    if entry.usage == NO_USAGE and entry.operation in USAGE_OPERATIONS:
        return None  # a whole answer tells its usage, and this stream did not
    content = whole_of(entry.operation, entry.content)
    if content is None:
        return None
    headers = _retyped(entry.headers, _WHOLE)
    return replace(entry, kind="whole", content=content, usage_at=(0, 0), headers=headers)


async def reshaped(reply: Reply, call: Call) -> Reply | None:
    """A live reply of the other shape for `call`; None if it cannot be turned into it without loss.

    Waits for the end of a stream, and closes it. Raises what breaks it.
    """
    if isinstance(reply.body, Whole):
        made = stream_of(call.operation, reply.body.content)
        if made is None:
            return None
        usage_at = (0, 0) if call.usage_wanted else made.usage_at
        body = Recorded(made.content, usage_at)
        return replace(reply, body=body, headers=_retyped(reply.headers, _STREAM))
    try:
        parts = [chunk async for chunk in reply.body]
    finally:
        await reply.body.aclose()
    content = whole_of(call.operation, b"".join(parts))
    if content is None:
        return None
    return replace(reply, body=Whole(content), headers=_retyped(reply.headers, _WHOLE))


def _retyped(headers: Headers, content_type: tuple[bytes, bytes]) -> Headers:
    return (content_type, *(header for header in headers if header[0] != b"content-type"))
