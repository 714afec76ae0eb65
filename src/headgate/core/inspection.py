"""Judges a stream event by event: which events a client may see, when the stream is complete, what
it used, and whether it may be stored. Pure.

The rules of the store gate are those of `core.verdict`. What counts is what the upstream itself
sent up to its own terminal marker: clients stop reading there.
"""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.inspection_chunks import ChunkInspection
from headgate.core.inspection_generate import GenerateInspection
from headgate.core.inspection_messages import MessageInspection
from headgate.core.inspection_responses import ResponseInspection
from headgate.core.inspection_rules import END, ERROR, PLAIN, USAGE, Inspection
from headgate.types import GENERATE

__all__ = ["END", "ERROR", "PLAIN", "USAGE", "Inspection", "inspect"]

_INSPECTIONS: dict[str, Callable[[], Inspection]] = {
    "chat": ChunkInspection,
    "completions": ChunkInspection,
    "messages": MessageInspection,
    "responses": ResponseInspection,
    GENERATE: GenerateInspection,
}


def inspect(operation: str) -> Inspection | None:
    """A new inspection for a stream of this operation, None where none is known."""
    made = _INSPECTIONS.get(operation)
    return None if made is None else made()
