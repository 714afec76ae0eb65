"""The inspection of a stream of chat or completions: chunks that have no name. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.inspection_rules import (
    DONE,
    END,
    ERROR,
    PLAIN,
    UNREADABLE,
    USAGE,
    decoded,
    early,
    why_skipped,
)
from headgate.core.usage import RawUsage, tier_label, usage_of
from headgate.core.verdict import Verdict, calls_tools_by, label_of
from headgate.types import NO_USAGE


class _Function(Struct):
    arguments: Any = None


class _ToolCall(Struct):
    index: int | None = 0
    function: _Function | None = None


class _Delta(Struct):
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Bare(Struct):
    choices: list[_Choice] | None = None
    error: Any = None
    service_tier: Any = None
    prompt_filter_results: Any = None
    """Azure's first chunk; it has no choices and is for every client."""


class _Chunk(_Bare):
    usage: RawUsage | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_bare = msgspec.json.Decoder(_Bare).decode


class ChunkInspection:
    """An `Inspection`; a choice is known by its index."""

    __slots__ = (
        "_arguments",
        "_finishes",
        "_refused",
        "has_failed",
        "is_finished",
        "tier",
        "usage",
    )

    def __init__(self) -> None:
        self.usage, self.tier = NO_USAGE, ""
        self.is_finished = self.has_failed = False
        # A choice that ended twice in two ways has ended in both: one bad one is enough.
        self._finishes: dict[int, set[str]] = {}
        self._refused: set[int] = set()
        self._arguments: dict[tuple[int, int | None], list[Any]] = {}

    def read(self, name: bytes, content: bytes) -> str:
        if not content or self.is_finished:
            return PLAIN
        if name == b"error":
            self.has_failed = True
            return ERROR
        usage: RawUsage | None = None
        try:
            whole = _decode_chunk(content)
            chunk: _Bare = whole
            usage = whole.usage
        except UNREADABLE:
            if content.strip() == DONE:
                self.is_finished = True
                return END
            # Numbers of tokens that nobody can read are no reason to break a good stream.
            chunk = decoded(_decode_bare, content)
        if chunk.error:
            self.has_failed = True
            return ERROR
        if chunk.service_tier is not None:
            self.tier = tier_label(chunk.service_tier)
        for choice in chunk.choices or ():
            self._note(choice)
        if usage is None:
            return PLAIN
        self.usage = usage_of(usage)
        return USAGE if chunk.choices == [] and not chunk.prompt_filter_results else PLAIN

    def _note(self, choice: _Choice) -> None:
        index, delta = choice.index, choice.delta
        if index not in self._finishes:
            self._finishes[index] = set()
        if choice.finish_reason:
            self._finishes[index].add(choice.finish_reason)
        if delta is None:
            return
        if delta.refusal:
            self._refused.add(index)
        for call in delta.tool_calls or ():
            self._note_arguments((index, call.index), call.function)
        if delta.function_call is not None:
            self._note_arguments((index, -1), delta.function_call)

    def _note_arguments(self, place: tuple[int, int | None], function: _Function | None) -> None:
        if function is not None and function.arguments is not None:
            self._arguments.setdefault(place, []).append(function.arguments)

    def verdict(self, *, limit_explicit: bool, choices: int) -> Verdict:
        finishes = self._ends()
        skip = early(self) or ("incomplete" if len(self._finishes) < choices else "")
        skip = skip or why_skipped(finishes, self._arguments.values(), limit_explicit)
        return Verdict(skip, label_of(finishes), self.usage, calls_tools_by(finishes), self.tier)

    def _ends(self) -> list[str | None]:
        ends: list[str | None] = []
        for index, finishes in self._finishes.items():
            ends += ["refusal"] if index in self._refused else finishes or [None]
        return ends
