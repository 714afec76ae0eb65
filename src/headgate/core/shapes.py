"""One answer in its two shapes: a JSON body, and the same as a stream of events. Pure.

A conversion that would lose or invent a part is not done. That is proven each time and not assumed:
what comes out is converted back and must be what went in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.canonical import canonical
from headgate.core.shapes_chat import chat_assembled, chat_streamed
from headgate.core.shapes_completions import completion_assembled, completion_streamed
from headgate.core.shapes_messages import message_assembled, message_streamed
from headgate.core.shapes_responses import response_assembled, response_streamed
from headgate.core.shapes_values import Event, Fields, Lossy, encode, events_in, fields_of, read
from headgate.errors import UpstreamGarbled

GROWTH_MAX = 20
GROWTH_FREE_BYTES = 20_000
"""A stream has at most so many times the bytes of its whole answer, and these: every chunk repeats
the frame, so an answer made for it could become as long as the square of its length."""

_REFUSALS = (Lossy, UpstreamGarbled, msgspec.MsgspecError, UnicodeError, RecursionError)


class Streamed(Struct, frozen=True):
    """A stream, and where in it the event is that has only usage."""

    content: bytes
    usage_at: tuple[int, int]
    """First byte, and the one behind the last; (0, 0) if there is no such event."""


class _Shapes(Struct, frozen=True):
    """The two directions of one dialect. Each raises Lossy."""

    assembled: Callable[[list[Event]], Any]
    """To a value whose JSON is the body."""
    streamed: Callable[[Fields], Iterator[tuple[bytes, bool]]]
    """To events; True for the one that has only usage."""
    is_stated: bool = False
    """The stream itself says what its whole answer is."""


_SHAPES = {
    "chat": _Shapes(chat_assembled, chat_streamed),
    "completions": _Shapes(completion_assembled, completion_streamed),
    "messages": _Shapes(message_assembled, message_streamed),
    "responses": _Shapes(response_assembled, response_streamed, is_stated=True),
}


def whole_of(operation: str, content: bytes) -> bytes | None:
    """The JSON body of the answer that was streamed as `content`, from the first byte to the last
    of a complete stream; None where that cannot be done without loss. Never raises."""
    shapes = _SHAPES.get(operation)
    if shapes is None:
        return None
    try:
        body = encode(shapes.assembled(events_in(content)))
        if not shapes.is_stated:
            _stream(shapes, body)
    except _REFUSALS:
        return None
    return body


def stream_of(operation: str, content: bytes) -> Streamed | None:
    """The stream of the answer whose JSON body is `content`, with its usage where the body has any;
    None where that cannot be done without loss. Never raises."""
    shapes = _SHAPES.get(operation)
    if shapes is None:
        return None
    try:
        return _stream(shapes, content)
    except _REFUSALS:
        return None


def _stream(shapes: _Shapes, body: bytes) -> Streamed:
    """The stream of a body, proven to be equal to it."""
    answer = fields_of(read(body))
    size_max = GROWTH_FREE_BYTES + GROWTH_MAX * len(body)
    events, size, usage_at = [], 0, (0, 0)
    for event, has_only_usage in shapes.streamed(answer):
        events.append(event)
        if has_only_usage:
            usage_at = (size, size + len(event))
        size += len(event)
        if size > size_max:
            raise Lossy
    content = b"".join(events)
    again = read(encode(shapes.assembled(events_in(content))))
    if canonical(again) != canonical(answer):
        raise Lossy
    return Streamed(content, usage_at)
