"""What a span says of an answer. Reads a model's name and never a word of the text."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.events import Events
from headgate.spending import reported_usage
from headgate.stream import Whole
from headgate.telemetry import names
from headgate.types import NO_USAGE, Call, Reply

_NAME_MAX = 200
_LOOKED_AT_BYTES = 65_536
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


class _Named(Struct):
    """Where the dialects put the name: on top, in the message of the first event, or in its
    response."""

    model: Any = None
    modelVersion: Any = None
    """Google's."""
    message: Any = None
    response: Any = None


_decode = msgspec.json.Decoder(_Named).decode


def about(call: Call, reply: Reply) -> dict[str, Any]:
    """Attributes of the span of an attempt that has had this reply, as far as it came."""
    said: dict[str, Any] = {}
    body = reply.body
    if isinstance(body, Whole) and body.verdict is not None:
        finish, content = body.verdict.finish, body.content
    elif isinstance(body, Events):
        verdict = body.inspection.verdict(limit_explicit=False, choices=call.choices)
        finish, content = verdict.finish, _first_event(body.beginning())
    else:
        return said
    model = _model_in(content)
    if model:
        said[names.RESPONSE_MODEL] = model
    if finish:
        said[names.FINISH_REASONS] = (finish,)
    return said | used(reply)


def used(reply: Reply) -> dict[str, int]:
    """Its tokens, as its provider has counted them."""
    usage = reported_usage(reply)
    if usage == NO_USAGE:
        return {}
    counted = {
        names.INPUT_TOKENS: usage.tokens_in,
        names.OUTPUT_TOKENS: usage.tokens_out,
        names.CACHE_READ: usage.tokens_cached,
        names.CACHE_CREATION: usage.tokens_cache_write,
    }
    if usage.tokens_reasoning:
        counted[names.REASONING] = usage.tokens_reasoning
    return counted


def _first_event(content: bytes) -> bytes:
    """The data of the first event that has any."""
    for line in content[:_LOOKED_AT_BYTES].splitlines():
        if line.startswith(b"data:"):
            return line[5:].strip()
    return b""


def _model_in(content: bytes) -> str:
    try:
        named = _decode(content)
    except _UNREADABLE:
        return ""
    inner = named.message if isinstance(named.message, dict) else named.response
    within = inner.get("model") if isinstance(inner, dict) else None
    found = named.model or named.modelVersion or within
    return found[:_NAME_MAX] if isinstance(found, str) else ""
