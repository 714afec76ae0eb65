"""Requests of every operation that can be streamed, and the fake provider's answers to them in both
shapes: the same words, numbers and ids.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from headgate.providers.fake import fake_reply

STREAMED = ("chat", "completions", "responses", "messages")

_SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
_TOOL: Any = {"type": "function", "function": {"name": "find", "parameters": _SCHEMA}}
_ASKED: Any = [{"role": "user", "content": "How do I reset my card?"}]
_CHAT: Any = {"model": "m", "messages": _ASKED}
_MESSAGES: Any = _CHAT | {"max_tokens": 500}
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": {
        "plain": _CHAT,
        "several choices": _CHAT | {"n": 3},
        "cut": _CHAT | {"max_tokens": 2},
        "tool": _CHAT | {"tools": [_TOOL], "tool_choice": "required"},
    },
    "completions": {
        "plain": {"model": "m", "prompt": "Once"},
        "several choices": {"model": "m", "prompt": ["a", "b"], "n": 2},
        "cut": {"model": "m", "prompt": "Once", "max_tokens": 1},
    },
    "responses": {
        "plain": {"model": "m", "input": "Hello"},
        "cut": {"model": "m", "input": "Hello", "max_output_tokens": 2},
        "tool": {
            "model": "m",
            "input": "Hello",
            "tools": [{"type": "function", "name": "find", "parameters": _SCHEMA}],
            "tool_choice": "required",
        },
    },
    "messages": {
        "plain": _MESSAGES,
        "cut": _MESSAGES | {"max_tokens": 2},
        "stopped": _MESSAGES | {"stop_sequences": ["made-up"]},
        "tool": _MESSAGES
        | {"tools": [{"name": "find", "input_schema": _SCHEMA}], "tool_choice": {"type": "any"}},
    },
}
CASES = [(operation, name) for operation in STREAMED for name in REQUESTS[operation]]


def whole_answer(operation: str, fields: Any, text: str | None = None) -> bytes:
    """The JSON body."""
    return fake_reply(operation, json.dumps(fields).encode(), text=text).content


def events_answer(
    operation: str, fields: Any, text: str | None = None, *, usage: bool = True
) -> list[bytes]:
    """The events of a stream; `usage`: as the gateway asks for it, in chat and completions."""
    asked = {**fields, "stream": True}
    if usage and operation in ("chat", "completions"):
        asked["stream_options"] = {"include_usage": True}
    return list(fake_reply(operation, json.dumps(asked).encode(), text=text).pieces)


def asks() -> st.SearchStrategy[tuple[str, Any, str | None]]:
    """Operation, request and words (None: the fake's own) of an answer of any length."""
    texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=200)
    return st.tuples(st.sampled_from(CASES), st.text(max_size=20), texts).map(
        lambda drawn: (drawn[0][0], _labelled(*drawn[0], drawn[1]), drawn[2])
    )


def _labelled(operation: str, name: str, user: str) -> Any:
    return REQUESTS[operation][name] | {"user": user}
