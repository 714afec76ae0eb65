"""The inspection of a stream of responses. Its terminal event holds the whole answer: that is
judged, together with the refusals and tool calls on the way. Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.inspection_rules import (
    END,
    ERROR,
    PLAIN,
    decoded,
    decoded_event,
    early,
    named,
    why_skipped,
)
from headgate.core.usage import usage_of
from headgate.core.verdict import Answer, Item, Verdict, label_of, tier_of, weigh
from headgate.types import NO_USAGE


class _ResponseEvent(Struct):
    type: str = ""
    error: Any = None


class _Refused(Struct):
    delta: str | None = None
    refusal: str | None = None


class _ItemDone(Struct):
    item: Item | None = None


class _Terminal(Struct):
    response: Answer


_decode_response_event = msgspec.json.Decoder(_ResponseEvent).decode
_decode_refused = msgspec.json.Decoder(_Refused).decode
_decode_item_done = msgspec.json.Decoder(_ItemDone).decode
_decode_terminal = msgspec.json.Decoder(_Terminal).decode
_REFUSALS = frozenset({"response.refusal.delta", "response.refusal.done"})
_TERMINALS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponseInspection:
    """An `Inspection`."""

    __slots__ = (
        "_answer",
        "_arguments",
        "_is_refused",
        "has_failed",
        "is_finished",
        "tier",
        "usage",
    )

    def __init__(self) -> None:
        self.usage, self.tier = NO_USAGE, ""
        self.is_finished = self.has_failed = self._is_refused = False
        self._answer = Answer()
        self._arguments: list[list[Any]] = []

    def read(self, name: bytes, content: bytes) -> str:
        if not content or self.is_finished:
            return PLAIN
        if name == b"error":
            self.has_failed = True
            return ERROR
        event = decoded_event(_decode_response_event, content, frozenset())
        if event is None:
            return PLAIN
        named(name, event.type)
        if event.type == "error" or event.error:
            self.has_failed = True
            return ERROR
        if event.type in _TERMINALS:
            return self._end(event.type, content)
        if event.type == "response.output_item.done":
            self._note(decoded(_decode_item_done, content).item)
        elif event.type in _REFUSALS:
            refused = decoded(_decode_refused, content)
            self._is_refused |= bool(refused.delta or refused.refusal)
        return PLAIN

    def _end(self, kind: str, content: bytes) -> str:
        self._answer = decoded(_decode_terminal, content).response
        self.usage, self.tier = usage_of(self._answer.usage), tier_of(self._answer)
        self.is_finished = True
        if kind != "response.failed":
            return END
        self.has_failed = True
        return ERROR

    def _note(self, item: Item | None) -> None:
        if item is None:
            return
        self._is_refused |= item.is_refusal
        if isinstance(item.arguments, str):
            self._arguments.append([item.arguments])

    def verdict(self, *, limit_explicit: bool, choices: int) -> Verdict:
        if skip := early(self):
            return Verdict(skip, label_of([self._answer.status]), self.usage, tier=self.tier)
        verdict = weigh("responses", self._answer, limit_explicit=limit_explicit)
        if verdict.skip:
            return verdict
        finishes = ["refusal"] if self._is_refused else [verdict.finish]
        skip = why_skipped(finishes, self._arguments, limit_explicit)
        return Verdict(skip, label_of(finishes), self.usage, verdict.calls_tools, self.tier)
