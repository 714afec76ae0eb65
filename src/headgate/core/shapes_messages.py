"""The two shapes of an Anthropic message: a `message`, and the events from `message_start` to
`message_stop`. Pure.

Rules as in Anthropic's guide to streaming and in its SDK's `accumulate_event`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headgate.core.shapes_values import (
    Event,
    Fields,
    Lossy,
    encode,
    fields_of,
    index_of,
    items_of,
    pieces_of,
    read,
    text_of,
)
from headgate.core.sse import spell

_STOPS = frozenset({"stop_reason", "stop_sequence", "stop_details", "container"})
"""What `message_delta` says about the message."""
_TOTALS = frozenset(
    {"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens",
     "server_tool_use", "output_tokens_details"}
)  # fmt: skip
"""What it may say about the usage so far; null leaves what `message_start` said."""
_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_AT_ONCE = frozenset(
    {"redacted_thinking", "web_search_tool_result", "web_fetch_tool_result",
     "code_execution_tool_result", "bash_code_execution_tool_result",
     "text_editor_code_execution_tool_result", "tool_search_tool_result", "mcp_tool_result",
     "container_upload"}
)  # fmt: skip
"""Blocks that come with their start, whole."""
_DELTAS = {
    "text_delta": ("text", "text"),
    "citations_delta": ("text", "citation"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("", "partial_json"),
}
"""Type of a delta to the type of its block ("": one of `_CALLS`) and its only other field."""


class _Block:
    """One content block while it comes in."""

    __slots__ = ("_fields", "_pieces", "is_open")

    def __init__(self, fields: Fields) -> None:
        kind = text_of(fields.get("type"))
        if kind not in ("text", "thinking") and kind not in _CALLS and kind not in _AT_ONCE:
            raise Lossy
        self._fields = fields
        self._pieces: dict[str, list[Any]] = {}
        self.is_open = True

    def add(self, delta: Fields) -> None:
        kind, name = _DELTAS.get(text_of(delta.get("type")), ("?", ""))
        own = text_of(self._fields.get("type"))
        if not self.is_open or (own not in _CALLS if kind == "" else own != kind):
            raise Lossy
        fields_of(delta, {"type", name})
        value = delta.get(name)
        self._pieces.setdefault(name, []).append(value if name == "citation" else text_of(value))

    def whole(self) -> Fields:
        if self.is_open:
            raise Lossy
        fields = dict(self._fields)
        for name in ("text", "thinking"):
            if name in self._pieces:
                fields[name] = text_of(fields.get(name)) + "".join(self._pieces[name])
        if "citation" in self._pieces:
            fields["citations"] = [
                *items_of(fields.get("citations") or []),
                *self._pieces["citation"],
            ]
        if any(signatures := self._pieces.get("signature", [])):
            fields["signature"] = _only(signatures, fields.get("signature"))
        if text := "".join(self._pieces.get("partial_json", ())):
            if fields.get("input") != {}:
                raise Lossy
            fields["input"] = read(text)
        return fields


def _only(signatures: list[Any], known: Any) -> Any:
    """The one signature: the SDK keeps the last of several, other readers might join them."""
    if known or len(signatures) != 1:
        raise Lossy
    return signatures[0]


class _Message:
    """A message while its events come in."""

    __slots__ = ("_blocks", "_fields", "_has_ended", "is_stopped")

    def __init__(self) -> None:
        self._fields: Fields = {}
        self._blocks: list[_Block] = []
        self._has_ended = self.is_stopped = False

    def add(self, event: Fields) -> None:
        kind = event.get("type")
        if kind == "message_start" and not self._fields:
            self._start(fields_of(fields_of(event, {"type", "message"}).get("message")))
        elif not self._fields or self.is_stopped:
            raise Lossy
        elif kind == "message_delta":
            self._end(fields_of(event, {"type", "delta", "usage"}))
        elif kind == "message_stop":
            fields_of(event, {"type"})
            self.is_stopped = True
        else:
            self._add_to_block(kind, event)

    def _start(self, message: Fields) -> None:
        if message.get("content") != [] or not isinstance(message.get("usage"), dict):
            raise Lossy
        self._fields = message

    def _end(self, event: Fields) -> None:
        self._fields |= fields_of(event.get("delta"), _STOPS)
        totals = fields_of(event.get("usage"), _TOTALS)
        known = {name: total for name, total in totals.items() if total is not None}
        self._fields["usage"] = self._fields["usage"] | known
        self._has_ended = True

    def _add_to_block(self, kind: Any, event: Fields) -> None:
        index = index_of(event.get("index"))
        if kind == "content_block_start" and index == len(self._blocks):
            known = fields_of(event, {"type", "index", "content_block"})
            self._blocks.append(_Block(fields_of(known.get("content_block"))))
        elif index >= len(self._blocks):
            raise Lossy
        elif kind == "content_block_delta":
            known = fields_of(event, {"type", "index", "delta"})
            self._blocks[index].add(fields_of(known.get("delta")))
        elif kind == "content_block_stop":
            fields_of(event, {"type", "index"})
            self._blocks[index].is_open = False
        else:
            raise Lossy

    def whole(self) -> Fields:
        if not (self._has_ended and self.is_stopped):
            raise Lossy
        return self._fields | {"content": [block.whole() for block in self._blocks]}


def message_assembled(events: list[Event]) -> Fields:
    """The `message` of a stream. Raises Lossy."""
    message = _Message()
    for name, content in events:
        event = fields_of(read(content))
        # The SDK goes by the name of the event, others by the type inside: they must agree.
        if event.get("type") != name.decode("ascii", "replace"):
            raise Lossy
        if name != b"ping":
            message.add(event)
    return message.whole()


def message_streamed(message: Fields) -> Iterator[tuple[bytes, bool]]:
    """The events of a `message`; none of them has only usage. Raises Lossy."""
    for event in _events(message):
        yield spell(encode(event), text_of(event["type"]).encode()), False


def _events(message: Fields) -> Iterator[Fields]:
    usage = fields_of(message.get("usage"))
    if not isinstance(message.get("stop_reason"), str) or "output_tokens" not in usage:
        raise Lossy
    stops = {name: value for name, value in message.items() if name in _STOPS}
    # A message has not stopped when it starts, and has only begun to be counted.
    opened = message | dict.fromkeys(stops) | {"content": [], "usage": usage | {"output_tokens": 1}}
    yield {"type": "message_start", "message": opened}
    for index, block in enumerate(items_of(message.get("content"))):
        place = {"index": index}
        start, deltas = _cut(fields_of(block))
        yield {"type": "content_block_start", **place, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", **place, "delta": delta}
        yield {"type": "content_block_stop", **place}
    totals = {name: n for name, n in usage.items() if name in _TOTALS and n is not None}
    yield {"type": "message_delta", "delta": stops, "usage": totals}
    yield {"type": "message_stop"}


def _cut(block: Fields) -> tuple[Fields, list[Fields]]:
    """A block as it starts, and its deltas."""
    kind = text_of(block.get("type"))
    if kind == "text":
        deltas = _text_deltas("text", block)
        citations = block.get("citations")
        if not citations:
            return block | {"text": ""}, deltas
        cited = [{"type": "citations_delta", "citation": one} for one in items_of(citations)]
        return block | {"text": "", "citations": []}, deltas + cited
    if kind == "thinking":
        deltas = _text_deltas("thinking", block)
        if not block.get("signature"):
            return block | {"thinking": ""}, deltas
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return block | {"thinking": "", "signature": ""}, [*deltas, signed]
    if kind in _CALLS:
        pieces = pieces_of(encode(block["input"]).decode()) if block.get("input") else []
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        return block | ({"input": {}} if deltas else {}), deltas
    return block, []


def _text_deltas(name: str, block: Fields) -> list[Fields]:
    pieces = pieces_of(text_of(block.get(name)))
    return [{"type": f"{name}_delta", name: piece} for piece in pieces]
