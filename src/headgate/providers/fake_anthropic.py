"""The fake's Anthropic dialect: messages (whole and streamed), token counts, models and errors,
field for field as the official SDK's types ask for them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headgate.errors import BadRequest
from headgate.providers.fake_words import (
    Draft,
    Tool,
    Wish,
    last_question,
    number_in,
    pieces_of,
    texts_in,
    tokens_in,
    tokens_of_tools,
)

MODELS = ("fake-large", "fake-small")
_STOP = {"stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens",
         "tool": "tool_use"}  # fmt: skip
_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
          529: "overloaded_error"}  # fmt: skip


def error(status: int, message: str) -> dict[str, Any]:
    """The body of a failed call."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


def models() -> dict[str, Any]:
    """The answer to `GET /v1/models`."""
    listed = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z",
         "lifecycle": "active"}
        for name in MODELS
    ]  # fmt: skip
    return {"data": listed, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


def read_message(fields: Mapping[str, Any]) -> Wish:
    """What a Messages request asks for. Raises BadRequest."""
    limit = number_in(fields, "max_tokens")
    if limit is None:
        raise BadRequest("max_tokens: Field required")
    output = fields.get("output_config")
    wanted = output.get("format") if isinstance(output, Mapping) else None
    return Wish(
        fields,
        last_question(fields.get("messages")),
        count(fields)["input_tokens"],
        tokens_max=limit,
        stops=tuple(texts_in(fields.get("stop_sequences"))),
        tool=_forced_tool(fields.get("tool_choice"), fields.get("tools")),
        schema=wanted.get("schema") if isinstance(wanted, Mapping) else None,
    )


def count(fields: Mapping[str, Any]) -> dict[str, int]:
    """The answer to `/v1/messages/count_tokens`; `message` reports the same number."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: at least one message is required")
    tokens = tokens_in(fields.get("system"), messages) + tokens_of_tools(fields.get("tools"))
    return {"input_tokens": tokens}


def _forced_tool(choice: Any, tools: Any) -> Tool | None:
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind not in ("any", "tool"):
        return None
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, Mapping):
            continue
        if kind == "any" or tool.get("name") == choice.get("name"):
            return Tool(str(tool.get("name")), tool.get("input_schema"))
    raise BadRequest("tool_choice: no such tool among the tools")


def message(draft: Draft) -> dict[str, Any]:
    """A `message`."""
    saying = draft.sayings[0]
    if saying.ending == "tool":
        block = _block(draft, msgspec.json.decode(saying.text))
    else:
        block = _block(draft, saying.text)
    return _frame(draft) | {
        "content": [block],
        "stop_reason": _STOP[saying.ending],
        "stop_sequence": saying.stop_sequence,
        "usage": _usage(draft, draft.tokens_out),
    }


def message_events(draft: Draft) -> Iterator[bytes]:
    """The events from `message_start` to `message_stop`."""
    for event in _events(draft):
        named = f"event: {event['type']}\ndata: "
        yield named.encode() + msgspec.json.encode(event) + b"\n\n"


def _events(draft: Draft) -> Iterator[dict[str, Any]]:
    saying = draft.sayings[0]
    called = saying.ending == "tool"
    yield {"type": "message_start", "message": _frame(draft)}
    empty: Any = {} if called else ""
    yield {"type": "content_block_start", "index": 0, "content_block": _block(draft, empty)}
    yield {"type": "ping"}
    kind, name = ("input_json_delta", "partial_json") if called else ("text_delta", "text")
    for piece in pieces_of(saying.text):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: piece}}
    yield {"type": "content_block_stop", "index": 0}
    stopped = {"stop_reason": _STOP[saying.ending], "stop_sequence": saying.stop_sequence}
    totals = {
        "input_tokens": draft.tokens_in,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": draft.tokens_out,
    }
    yield {"type": "message_delta", "delta": stopped, "usage": totals}
    yield {"type": "message_stop"}


def _block(draft: Draft, content: Any) -> dict[str, Any]:
    saying = draft.sayings[0]
    if saying.ending == "tool":
        call_id = "toolu_" + draft.mint("call")
        return {"type": "tool_use", "id": call_id, "name": saying.tool, "input": content}
    return {"type": "text", "text": content}


def _frame(draft: Draft) -> dict[str, Any]:
    """The message before anything was said."""
    return {
        "id": "msg_" + draft.mint("id"),
        "type": "message",
        "role": "assistant",
        "model": draft.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(draft, 1),
    }


def _usage(draft: Draft, tokens_out: int) -> dict[str, Any]:
    return {
        "input_tokens": draft.tokens_in,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens_out,
        "service_tier": "standard",
    }
