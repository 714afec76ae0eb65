"""Events of the four streamed dialects in short, and streams made of them and inspected."""

from __future__ import annotations

import json
from typing import Any

from headgate.core.inspection import Inspection, inspect
from headgate.core.verdict import Verdict

DONE = "[DONE]"


def begun(operation: str) -> Inspection:
    inspection = inspect(operation)
    assert inspection is not None
    return inspection


def inspected(operation: str, *events: Any) -> tuple[Inspection, list[str]]:
    """Events are values, named by their type as the dialects do; strings stay as they are."""
    inspection, kinds = begun(operation), []
    for event in events:
        name = event.get("type", "") if isinstance(event, dict) else ""
        content = event if isinstance(event, str) else json.dumps(event)
        kinds.append(inspection.read(str(name).encode(), content.encode()))
    return inspection, kinds


def verdict_on(operation: str, *events: Any, limited: bool = False, choices: int = 1) -> Verdict:
    inspection, _ = inspected(operation, *events)
    return inspection.verdict(limit_explicit=limited, choices=choices)


def chunk(*choices: Any, **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": list(choices), **more}


def said(index: int = 0, finish: Any = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def called(arguments: Any, *, choice: int = 0, call: int = 0) -> dict[str, Any]:
    calls = [{"index": call, "function": {"arguments": arguments}}]
    return chunk(said(choice, tool_calls=calls))


STARTED = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
STOPPED = {"type": "message_stop"}


def block(*deltas: Any, kind: str = "text", index: int = 0) -> list[Any]:
    opened = {"type": "content_block_start", "index": index, "content_block": {"type": kind}}
    pieces = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [opened, *pieces, {"type": "content_block_stop", "index": index}]


def ended(reason: Any, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def response(status: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    answer = {"status": status, "error": None, "output": [], **more}
    return {"type": kind or f"response.{status}", "response": answer}


def spoken(text: str, **more: Any) -> dict[str, Any]:
    """A piece of one of Google's candidates."""
    return {"content": {"role": "model", "parts": [{"text": text}]}, **more}


def candidates(*pieces: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": list(pieces), "modelVersion": "m", **more}


def finished(operation: str, finish: Any) -> list[Any]:
    """A short stream that ends so."""
    if operation == "messages":
        return [STARTED, *block(), ended(finish), STOPPED]
    if operation == "responses":
        return [response(finish, "response.completed")]
    if operation == "generate":
        return [candidates(spoken("a")), candidates(spoken("", finishReason=finish))]
    return [chunk(said(finish=finish)), DONE]


GOOD = {operation: finished(operation, "end_turn") for operation in ("messages",)} | {
    "chat": finished("chat", "stop"),
    "completions": finished("completions", "stop"),
    "responses": finished("responses", "completed"),
}
