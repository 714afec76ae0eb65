"""Conversions as the tests of the dialects use them: values in, values out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headgate.core.canonical import canonical
from headgate.core.shapes import Streamed, stream_of, whole_of
from headgate.core.sse import parse_event, split

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/*.sse"))


def recorded(path: Path) -> tuple[str, bytes, Any]:
    """Operation, stream, and the whole answer as a value."""
    whole = json.loads(path.with_suffix(".json").read_bytes())
    return path.parent.name, path.read_bytes(), whole


def recordings_of(operation: str) -> list[tuple[bytes, Any]]:
    """Stream and whole answer of each recording."""
    return [recorded(path)[1:] for path in GOLDEN if path.parent.name == operation]


def is_json_equal(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 and 1.0 are not."""
    return canonical(one) == canonical(other)


def body_of(operation: str, stream: bytes) -> bytes:
    """The body, which must be there."""
    body = whole_of(operation, stream)
    assert body is not None
    return body


def stream_from(operation: str, whole: Any) -> Streamed:
    """The stream, which must be there."""
    body = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
    streamed = stream_of(operation, body)
    assert streamed is not None
    return streamed


def events_from(operation: str, whole: Any) -> list[Any]:
    """The values in the events of the stream that is made of `whole`; `[DONE]` is left out."""
    events = map(parse_event, split(stream_from(operation, whole).content))
    return [json.loads(content) for _, content in events if content != b"[DONE]"]


def spelt(*events: Any, done: bool = False) -> bytes:
    """A stream of these values, each named by its type if it has one."""
    pieces = []
    for event in events:
        name = f"event: {event['type']}\n" if "type" in event else ""
        pieces.append(f"{name}data: {json.dumps(event)}\n\n")
    return ("".join(pieces) + "data: [DONE]\n\n" * done).encode()


def survives(operation: str, whole: Any) -> bool:
    """Whether an answer is streamed and, put together again, is what it was."""
    streamed = stream_of(operation, json.dumps(whole).encode())
    if streamed is None:
        return False
    assert is_json_equal(json.loads(body_of(operation, streamed.content)), whole)
    return True
