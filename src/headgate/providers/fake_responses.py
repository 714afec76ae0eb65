"""The fake's `/responses`: a whole response and the named, numbered events of a streamed one,
field for field as the official SDK's types ask for them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import msgspec

from headgate.errors import BadRequest
from headgate.providers.fake_openai import forced_tool
from headgate.providers.fake_words import (
    CREATED_S,
    Draft,
    Saying,
    Wish,
    last_question,
    number_in,
    pieces_of,
    tokens_in,
    tokens_of_tools,
)

_ECHOED = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Request fields that a response repeats, and what they are when the request is silent."""


def read_response(fields: Mapping[str, Any]) -> Wish:
    """What a Responses request asks for. Raises BadRequest."""
    asked = fields.get("input")
    if not isinstance(asked, str | list) or not asked:
        raise BadRequest("'input' must be a string or a list of items")
    tools = fields.get("tools")
    return Wish(
        fields,
        last_question(asked),
        tokens_in(fields.get("instructions"), asked) + tokens_of_tools(tools),
        tokens_max=number_in(fields, "max_output_tokens"),
        tool=forced_tool(fields.get("tool_choice"), tools),
        schema=_wanted_schema(fields.get("text")),
    )


def _wanted_schema(text: Any) -> Any:
    wanted = text.get("format") if isinstance(text, Mapping) else None
    if not isinstance(wanted, Mapping) or wanted.get("type") not in ("json_schema", "json_object"):
        return None
    return wanted.get("schema") or {"properties": {"answer": {"type": "string"}}}


def response(draft: Draft, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A finished `response`: `completed`, or `incomplete` when cut at max_output_tokens."""
    status = _status(draft.sayings[0])
    cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
    finished = _frame(draft, fields, status)
    finished |= {"output": [_item(draft, status)], "incomplete_details": cut}
    finished["usage"] = {
        "input_tokens": draft.tokens_in,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": draft.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": draft.tokens_in + draft.tokens_out,
    }
    return finished | ({"completed_at": CREATED_S} if status == "completed" else {})


def response_events(draft: Draft, fields: Mapping[str, Any]) -> Iterator[bytes]:
    """The events from `response.created` to `response.completed` (or `.incomplete`)."""
    numbers = count()
    for kind, event in _events(draft, fields):
        named = {"type": kind, "sequence_number": next(numbers), **event}
        yield f"event: {kind}\ndata: ".encode() + msgspec.json.encode(named) + b"\n\n"


def _events(draft: Draft, fields: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    saying = draft.sayings[0]
    opened = _frame(draft, fields, "in_progress")
    yield "response.created", {"response": opened}
    yield "response.in_progress", {"response": opened}
    yield "response.output_item.added", {"output_index": 0, "item": _item(draft, "in_progress")}
    yield from _call_events(draft) if saying.ending == "tool" else _text_events(draft)
    status = _status(saying)
    yield "response.output_item.done", {"output_index": 0, "item": _item(draft, status)}
    yield f"response.{status}", {"response": response(draft, fields)}


def _text_events(draft: Draft) -> Iterator[tuple[str, dict[str, Any]]]:
    text = draft.sayings[0].text
    place = {"item_id": _item_id(draft), "output_index": 0, "content_index": 0}
    yield "response.content_part.added", place | {"part": _part("")}
    for piece in pieces_of(text):
        yield "response.output_text.delta", place | {"delta": piece, "logprobs": []}
    yield "response.output_text.done", place | {"text": text, "logprobs": []}
    yield "response.content_part.done", place | {"part": _part(text)}


def _call_events(draft: Draft) -> Iterator[tuple[str, dict[str, Any]]]:
    saying = draft.sayings[0]
    place = {"item_id": _item_id(draft), "output_index": 0}
    for piece in pieces_of(saying.text):
        yield "response.function_call_arguments.delta", place | {"delta": piece}
    ended = {"name": saying.tool, "arguments": saying.text}
    yield "response.function_call_arguments.done", place | ended


def _status(saying: Saying) -> str:
    return "incomplete" if saying.ending == "length" else "completed"


def _item_id(draft: Draft) -> str:
    return ("fc_" if draft.sayings[0].ending == "tool" else "msg_") + draft.mint("item")


def _item(draft: Draft, status: str) -> dict[str, Any]:
    """The one output item; empty while in progress."""
    saying, item_id = draft.sayings[0], _item_id(draft)
    text = "" if status == "in_progress" else saying.text
    if saying.ending == "tool":
        call_id = "call_" + draft.mint("call")
        called = {"call_id": call_id, "name": saying.tool, "arguments": text}
        return {"id": item_id, "type": "function_call", "status": status, **called}
    content = [] if status == "in_progress" else [_part(text)]
    message = {"id": item_id, "type": "message", "status": status}
    return message | {"role": "assistant", "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _frame(draft: Draft, fields: Mapping[str, Any], status: str) -> dict[str, Any]:
    echoed = {
        name: usual if fields.get(name) is None else fields[name] for name, usual in _ECHOED.items()
    }
    return {
        "id": "resp_" + draft.mint("id"),
        "object": "response",
        "created_at": CREATED_S,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": draft.model,
        "output": [],
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "tools": [_echo_tool(tool) for tool in _listed(fields.get("tools"))],
        "usage": None,
        **echoed,
    }


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _echo_tool(tool: Any) -> Any:
    if not isinstance(tool, Mapping) or tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True, **tool}
