"""The inspection of a stream of Google's `streamGenerateContent`: chunks without names. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.inspection_rules import END, ERROR, PLAIN, decoded, early
from headgate.core.usage import GoogleUsage, google_usage_of, tier_of_google_usage
from headgate.core.verdict import Candidate, Verdict, label_of, skip_of
from headgate.types import NO_USAGE


class _Chunk(Struct):
    candidates: list[Candidate] | None = None
    google_usage: GoogleUsage | None = msgspec.field(name="usageMetadata", default=None)
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class GenerateInspection:
    """An `Inspection`. There is no marker: the stream is complete when every candidate that was
    seen has a finish reason."""

    __slots__ = ("_calls_tools", "_finishes", "has_failed", "is_finished", "tier", "usage")

    def __init__(self) -> None:
        self.usage, self.tier = NO_USAGE, ""
        self.is_finished = self.has_failed = self._calls_tools = False
        self._finishes: dict[int, str | None] = {}

    def read(self, name: bytes, content: bytes) -> str:
        if not content or self.is_finished:
            return PLAIN
        chunk = decoded(_decode_chunk, content)
        if chunk.error:
            self.has_failed = True
            return ERROR
        for candidate in chunk.candidates or ():
            index = candidate.index or 0
            self._finishes[index] = candidate.finish_reason or self._finishes.get(index)
            self._calls_tools = self._calls_tools or candidate.calls_tools
        if chunk.google_usage is not None:
            self.usage = google_usage_of(chunk.google_usage)
            self.tier = tier_of_google_usage(chunk.google_usage) or self.tier
        self.is_finished = bool(self._finishes) and all(self._finishes.values())
        return END if self.is_finished else PLAIN

    def verdict(self, *, limit_explicit: bool, choices: int) -> Verdict:
        finishes = [*self._finishes.values()]
        skip = early(self) or ("incomplete" if len(finishes) < choices else "")
        skip = skip or skip_of(finishes, limit_explicit)
        return Verdict(skip, label_of(finishes), self.usage, self._calls_tools, self.tier)
