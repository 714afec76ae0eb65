"""The two shapes of a response: a `response`, and the numbered events that end with one. Pure.

Sequence and fields of the events as in OpenAI's reference of streaming events and the types of its
SDK. The terminal event holds the whole answer, so a stream is not put together but read there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.inspection_rules import DONE
from headgate.core.shapes_values import (
    Event,
    Fields,
    Lossy,
    encode,
    fields_of,
    is_same,
    items_of,
    pieces_of,
    read,
    text_of,
    tokens_match,
)
from headgate.core.sse import spell

_TERMINALS = {"response.completed": "completed", "response.incomplete": "incomplete"}
_NOT_YET = frozenset({"usage", "completed_at", "incomplete_details"})
"""Null until the response has ended."""

Named = tuple[str, Fields]
"""Type of an event and its other fields, without the number."""


class _Event(Struct):
    type: str
    output_index: int = -1
    item: Any = None
    response: msgspec.Raw = msgspec.Raw()


_decode_event = msgspec.json.Decoder(_Event).decode


def response_assembled(events: list[Event]) -> msgspec.Raw:
    """The `response` of the terminal event, as its very bytes. Raises Lossy, also for one whose
    output is not what its own stream said."""
    if events and events[-1] == (b"", DONE):
        events = events[:-1]
    response, done = msgspec.Raw(), dict[int, Any]()
    for place, (name, content) in enumerate(events, 1):
        event = _event_of(name, content)
        if event.type in _TERMINALS and place == len(events):
            response = event.response
            _check(fields_of(read(bytes(response))), _TERMINALS[event.type], done)
        elif event.type in _TERMINALS:
            raise Lossy
        elif event.type == "response.output_item.done":
            done[event.output_index] = event.item
    if not bytes(response):
        raise Lossy
    return response


def _event_of(name: bytes, content: bytes) -> _Event:
    try:
        event = _decode_event(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Lossy from None
    if name not in (b"", event.type.encode()) or not event.type.startswith("response."):
        raise Lossy
    return event


def _check(response: Fields, status: str, done: dict[int, Any]) -> None:
    output = items_of(response.get("output"))
    if response.get("status") != status:
        raise Lossy
    for index, item in done.items():
        if not 0 <= index < len(output) or not is_same(item, output[index]):
            raise Lossy


def response_streamed(response: Fields) -> Iterator[tuple[bytes, bool]]:
    """The events of a `response`; none of them has only usage. Raises Lossy."""
    numbers = count()
    for kind, fields in _events(response):
        event = {"type": kind, "sequence_number": next(numbers), **fields}
        yield spell(encode(event), kind.encode()), False


def _events(response: Fields) -> Iterator[Named]:
    terminal = f"response.{text_of(response.get('status'))}"
    if terminal not in _TERMINALS:
        raise Lossy
    opened = response | {"status": "in_progress", "output": []}
    opened |= dict.fromkeys(_NOT_YET & response.keys())
    yield "response.created", {"response": opened}
    yield "response.in_progress", {"response": opened}
    for index, item in enumerate(items_of(response.get("output"))):
        kind = text_of(fields_of(item).get("type"))
        if kind not in _ITEMS:
            raise Lossy
        opening, events = _ITEMS[kind](item, _place(item, index))
        if "status" in item:
            opening["status"] = "in_progress"
        yield "response.output_item.added", {"output_index": index, "item": item | opening}
        yield from events
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield terminal, {"response": response}


def _place(item: Fields, index: int) -> Fields:
    return {"item_id": text_of(item.get("id")), "output_index": index}


def _message(item: Fields, place: Fields) -> tuple[Fields, Iterator[Named]]:
    parts = [fields_of(part) for part in items_of(item.get("content"))]
    return {"content": []}, _parts(parts, place, ("output_text", "refusal"))


def _function_call(item: Fields, place: Fields) -> tuple[Fields, Iterator[Named]]:
    arguments = {"arguments": text_of(item.get("arguments"))}
    done = {"name": text_of(item.get("name")), **arguments}
    events = _written("response.function_call_arguments", place, arguments["arguments"], done)
    return {"arguments": ""}, events


def _custom_tool_call(item: Fields, place: Fields) -> tuple[Fields, Iterator[Named]]:
    text = text_of(item.get("input"))
    events = _written("response.custom_tool_call_input", place, text, {"input": text})
    return {"input": ""}, events


def _reasoning(item: Fields, place: Fields) -> tuple[Fields, Iterator[Named]]:
    """Summaries, then the reasoning itself where it is told. What is encrypted comes at the end."""
    summaries = [fields_of(part) for part in items_of(item.get("summary"))]
    texts = [fields_of(part) for part in items_of(item.get("content") or [])]
    opening: Fields = {"summary": []}
    if "content" in item:
        opening["content"] = None if item["content"] is None else []
    if "encrypted_content" in item:
        opening["encrypted_content"] = None
    events = [*_summaries(summaries, place), *_parts(texts, place, ("reasoning_text",))]
    return opening, iter(events)


def _summaries(parts: list[Fields], place: Fields) -> Iterator[Named]:
    for index, part in enumerate(parts):
        if part.get("type") != "summary_text":
            raise Lossy
        here, text = place | {"summary_index": index}, text_of(part.get("text"))
        yield "response.reasoning_summary_part.added", here | {"part": part | {"text": ""}}
        yield from _written("response.reasoning_summary_text", here, text, {"text": text})
        yield "response.reasoning_summary_part.done", here | {"part": part}


def _parts(parts: list[Fields], place: Fields, kinds: tuple[str, ...]) -> Iterator[Named]:
    """Content parts of the given types, one after the other."""
    for index, part in enumerate(parts):
        kind, here = text_of(part.get("type")), place | {"content_index": index}
        if kind not in kinds:
            raise Lossy
        field = "refusal" if kind == "refusal" else "text"
        opening: Fields = {field: ""} | {
            name: [] for name in ("annotations", "logprobs") if part.get(name)
        }
        text = text_of(part.get(field))
        yield "response.content_part.added", here | {"part": part | opening}
        if kind == "output_text":
            yield from _output_text(part, here)
        else:
            yield from _written(f"response.{kind}", here, text, {field: text})
        yield "response.content_part.done", here | {"part": part}


def _written(kind: str, place: Fields, text: str, done: Fields) -> Iterator[Named]:
    """A text in deltas and, whole again, in the event that ends them."""
    for piece in pieces_of(text):
        yield f"{kind}.delta", place | {"delta": piece}
    yield f"{kind}.done", place | done


def _output_text(part: Fields, place: Fields) -> Iterator[Named]:
    text = text_of(part.get("text"))
    logprobs = [_logprob(fields_of(one)) for one in items_of(part.get("logprobs") or [])]
    tokens = [one["token"] for one in logprobs]
    pieces = [(piece, []) for piece in pieces_of(text)] if not logprobs else [(text, logprobs)]
    if tokens_match(tokens, text):
        pieces = [(token, [one]) for token, one in zip(tokens, logprobs, strict=True)]
    for piece, told in pieces:
        yield "response.output_text.delta", place | {"delta": piece, "logprobs": told}
    for index, annotation in enumerate(items_of(part.get("annotations") or [])):
        numbered = {"annotation_index": index, "annotation": annotation}
        yield "response.output_text.annotation.added", place | numbered
    yield "response.output_text.done", place | {"text": text, "logprobs": logprobs}


def _logprob(one: Fields) -> Fields:
    """As events have it: without the bytes, which are in the part itself."""
    top = [fields_of(other) for other in items_of(one.get("top_logprobs") or [])]
    told = [{"token": each.get("token"), "logprob": each.get("logprob")} for each in top]
    return {"token": one.get("token"), "logprob": one.get("logprob"), "top_logprobs": told}


_ITEMS = {
    "message": _message,
    "function_call": _function_call,
    "custom_tool_call": _custom_tool_call,
    "reasoning": _reasoning,
}
