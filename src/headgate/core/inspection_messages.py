"""The inspection of a stream of messages. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.inspection_rules import (
    END,
    ERROR,
    PLAIN,
    decoded_event,
    early,
    named,
    why_skipped,
)
from headgate.core.usage import RawUsage, tier_of_usage, usage_of
from headgate.core.verdict import Verdict, calls_tools_by, label_of
from headgate.types import NO_USAGE


class _MessageDelta(Struct):
    partial_json: str | None = None
    stop_reason: str | None = None


class _MessageFrame(Struct):
    usage: RawUsage | None = None


class _MessageEvent(Struct):
    type: str = ""
    index: int = 0
    message: _MessageFrame | None = None
    delta: _MessageDelta | None = None
    usage: RawUsage | None = None
    error: Any = None


_decode_message_event = msgspec.json.Decoder(_MessageEvent).decode
_MESSAGE_EVENTS = frozenset(
    {"message_start", "content_block_start", "content_block_delta", "content_block_stop",
     "message_delta", "message_stop", "ping", "error"}
)  # fmt: skip


class MessageInspection:
    """An `Inspection`; a message is whole if it began and every block that was opened is closed."""

    __slots__ = (
        "_arguments", "_finishes", "_has_begun", "_open", "_usage", "has_failed", "is_finished",
        "tier", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.usage, self.tier = NO_USAGE, ""
        self.is_finished = self.has_failed = self._has_begun = False
        self._usage = RawUsage()
        self._open: set[int] = set()
        self._finishes: set[str] = set()
        self._arguments: dict[int, list[Any]] = {}

    def read(self, name: bytes, content: bytes) -> str:
        if not content or self.is_finished:
            return PLAIN
        if name == b"error":
            self.has_failed = True
            return ERROR
        event = decoded_event(_decode_message_event, content, _MESSAGE_EVENTS)
        if event is None:
            return PLAIN
        named(name, event.type)
        if event.type == "error" or event.error:
            self.has_failed = True
            return ERROR
        if event.type == "content_block_delta":
            if event.delta is not None and event.delta.partial_json is not None:
                self._arguments.setdefault(event.index, []).append(event.delta.partial_json)
            return PLAIN
        return self._read_frame(event)

    def _read_frame(self, event: _MessageEvent) -> str:
        """All but the deltas: a few of each stream."""
        if event.type == "message_stop":
            self.is_finished = True
            return END
        if event.type == "message_start":
            self._has_begun = True
            self._merge(event.message.usage if event.message else None)
        elif event.type == "message_delta":
            self._merge(event.usage)
            if event.delta is not None and event.delta.stop_reason:
                self._finishes.add(event.delta.stop_reason)
        elif event.type == "content_block_start":
            self._open.add(event.index)
        elif event.type == "content_block_stop":
            self._open.discard(event.index)
        return PLAIN

    def _merge(self, usage: RawUsage | None) -> None:
        """Numbers are totals so far: a later one counts instead of an earlier one, not with it."""
        if usage is None:
            return
        for field in RawUsage.__struct_fields__:
            if (number := getattr(usage, field)) is not None:
                setattr(self._usage, field, number)
        self.usage, self.tier = usage_of(self._usage), tier_of_usage(self._usage)

    def verdict(self, *, limit_explicit: bool, choices: int) -> Verdict:
        finishes: list[str | None] = [*self._finishes] or [None]
        is_whole = self._has_begun and not self._open
        skip = early(self) or ("" if is_whole else "incomplete")
        skip = skip or why_skipped(finishes, self._arguments.values(), limit_explicit)
        return Verdict(skip, label_of(finishes), self.usage, calls_tools_by(finishes), self.tier)
