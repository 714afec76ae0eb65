"""The commit point of a stream: the first event that carries content. Pure.

Before it, an attempt can be dropped and repeated elsewhere without anybody noticing; after it,
never (litellm#32835: a stream taken for unbegun was repeated, and its text came twice). So what is
not known for a preamble counts as content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headgate.core.inspection_rules import UNREADABLE
from headgate.types import GENERATE

_decode = msgspec.json.Decoder().decode

_RESPONSE_PREAMBLE = frozenset({
    "response.created", "response.queued", "response.in_progress", "response.output_item.added",
    "response.content_part.added", "response.reasoning_summary_part.added",
})  # fmt: skip
_MESSAGE_PREAMBLE = frozenset(
    {"message_start", "content_block_start", "content_block_stop", "ping"}
)


def commits(operation: str, content: bytes) -> bool:
    """Whether the event with this data is the first that a client must not get twice.

    `content` is the data of an event that its inspection has let pass; empty for comments.
    """
    if not content:
        return False
    try:
        event = _decode(content)
    except UNREADABLE:
        return True  # a marker that is not JSON
    if not isinstance(event, dict):
        return True
    return _BY_OPERATION.get(operation, _is_chunk_content)(event)


def _is_chunk_content(event: dict[str, Any]) -> bool:
    choices = event.get("choices")
    return isinstance(choices, list) and any(map(_is_choice_content, choices))


def _is_choice_content(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return True
    delta = choice.get("delta") or {}
    if choice.get("finish_reason") or choice.get("text") or not isinstance(delta, dict):
        return True
    return any(value for name, value in delta.items() if name != "role")


def _is_message_content(event: dict[str, Any]) -> bool:
    return event.get("type") not in _MESSAGE_PREAMBLE


def _is_response_content(event: dict[str, Any]) -> bool:
    return event.get("type") not in _RESPONSE_PREAMBLE


def _is_candidate_content(event: dict[str, Any]) -> bool:
    return bool(event.get("candidates"))


_BY_OPERATION: dict[str, Callable[[dict[str, Any]], bool]] = {
    "messages": _is_message_content,
    "responses": _is_response_content,
    GENERATE: _is_candidate_content,
}
