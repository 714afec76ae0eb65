"""Streams as a client reads them: events, words, and what ends them. Only whole events count."""

from __future__ import annotations

import json
from typing import Any


def events_of(body: bytes) -> list[Any]:
    """The JSON of each whole event, in order; `[DONE]` is the string."""
    found = []
    for block in body.split(b"\n\n")[:-1]:
        lines = [line[6:] for line in block.split(b"\n") if line.startswith(b"data: ")]
        if lines:
            found.append("[DONE]" if lines == [b"[DONE]"] else _parsed(b"\n".join(lines)))
    return found


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


def words_of(body: bytes) -> str:
    """The text that a client would have put together, of any dialect."""
    return "".join(_words(event) for event in events_of(body) if isinstance(event, dict))


def _words(event: dict[str, Any]) -> str:
    if "choices" in event:
        return "".join(_choice(choice) for choice in event["choices"])
    delta = event.get("delta")
    if isinstance(delta, dict):
        return str(delta.get("text", ""))
    return delta if event.get("type") == "response.output_text.delta" else ""


def _choice(choice: dict[str, Any]) -> str:
    return choice.get("text") or choice.get("delta", {}).get("content") or ""


def openings_in(body: bytes) -> int:
    """How often an answer begins."""
    events = [event for event in events_of(body) if isinstance(event, dict)]
    named = [event.get("type") in ("message_start", "response.created") for event in events]
    roles = ["role" in c.get("delta", {}) for e in events for c in e.get("choices") or ()]
    return sum(named) + sum(roles)


def is_finished(body: bytes) -> bool:
    """Whether the dialect's own end is there."""
    ends = ("message_stop", "response.completed", "response.incomplete")
    return any(e == "[DONE]" or (isinstance(e, dict) and e.get("type") in ends)
               for e in events_of(body))  # fmt: skip


def has_failed(body: bytes) -> bool:
    """Whether an error was told inside the stream."""
    events = [event for event in events_of(body) if isinstance(event, dict)]
    return any("error" in event or event.get("type") == "error" for event in events)
