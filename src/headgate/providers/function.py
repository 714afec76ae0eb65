"""The provider of library calls: runs the caller's own callable and wraps what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.core.usage import tier_and_speed, tier_label
from headgate.stream import Value
from headgate.types import NO_USAGE, ORIGINATED, Call, Invocation, Reply, Usage

_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a property of somebody's object may raise: its answer was paid for, and is not lost for the
sake of a count."""


async def call_function(call: Call) -> Reply:
    """A Service. The callable's exception passes through as it is."""
    request = call.request
    if not isinstance(request, Invocation):
        raise TypeError("a function target takes calls of the library only")
    result = await request.run()
    return Reply(200, (), Value.of(result), usage_of(result), ORIGINATED, tier_of(result))


def usage_of(result: Any) -> Usage:
    """Tokens that an SDK object or its dictionary reports under `usage`; NO_USAGE if none.

    OpenAI's `prompt_tokens` / `completion_tokens` and the `input_tokens` / `output_tokens` of
    Anthropic and of OpenAI's Responses are understood.
    """
    usage = _field(result, "usage")
    if usage is None or isinstance(result, str):
        return NO_USAGE
    tokens_in = _count(usage, "prompt_tokens", "input_tokens")
    read, written = (
        _count(usage, "cache_read_input_tokens"),
        _count(usage, "cache_creation_input_tokens"),
    )
    details = _field(usage, "prompt_tokens_details") or _field(usage, "input_tokens_details")
    thought = _field(usage, "completion_tokens_details") or _field(usage, "output_tokens_details")
    return Usage(
        tokens_in + read + written,
        _count(usage, "completion_tokens", "output_tokens"),
        read or _count(details, "cached_tokens"),
        written or _count(details, "cache_write_tokens"),
        _count(_field(usage, "cache_creation"), "ephemeral_1h_input_tokens"),
        _count(thought, "reasoning_tokens"),
    )


def tier_of(result: Any) -> str:
    """The service tier that an SDK object or its dictionary names, "" where it names none."""
    if isinstance(result, str):
        return ""
    usage = _field(result, "usage")
    named = tier_label(_field(result, "service_tier"))
    return named or tier_and_speed(_field(usage, "service_tier"), _field(usage, "speed"))


def _field(holder: Any, name: str) -> Any:
    try:
        return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
    except _UNREADABLE:
        return None


def _count(holder: Any, *names: str) -> int:
    for name in names:
        value = _field(holder, name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return 0
