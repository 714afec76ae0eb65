"""What a provider says that it counted, and in which tier, in every dialect. Pure.

Numbers that a provider adds one day are read leniently: a strange one counts as absent and never
makes the answer around it unreadable.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from headgate.types import NO_USAGE, Usage

_TIER = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
OTHER_TIER = "other"
"""A tier whose name is no name; nobody has a price for it."""
_TRAFFIC = {"on_demand": "standard", "on_demand_flex": "flex", "on_demand_priority": "priority"}
_UNSAID = frozenset({"unspecified", "traffic_type_unspecified", "service_tier_unspecified"})
_USUAL = ("", "standard")


class _InputDetails(Struct):
    cached_tokens: int | None = 0
    cache_write_tokens: Any = None


class RawUsage(Struct):
    """The usage object of every dialect at once; absent numbers are 0."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: Any = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: Any = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: Any = None
    """How long the writes are kept: `ephemeral_5m_input_tokens`, `ephemeral_1h_input_tokens`."""
    service_tier: Any = None
    speed: Any = None


class GoogleUsage(Struct, rename="camel"):
    """`usageMetadata`; thoughts are not among the tokens of the candidates."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    traffic_type: Any = None
    service_tier: Any = None


def usage_of(raw: RawUsage | None) -> Usage:
    """Classes of tokens made comparable: Anthropic's `input_tokens` leaves cache reads and writes
    out, OpenAI's `prompt_tokens` holds them (features.md section 8.5)."""
    if raw is None:
        return NO_USAGE
    if raw.prompt_tokens is not None:
        details, thought = raw.prompt_tokens_details, raw.completion_tokens_details
        tokens_in, tokens_out = raw.prompt_tokens, raw.completion_tokens
        cached = details.cached_tokens if details else 0
        written = _whole(details.cache_write_tokens) if details else 0
    else:
        details, thought = raw.input_tokens_details, raw.output_tokens_details
        read, written = raw.cache_read_input_tokens or 0, raw.cache_creation_input_tokens or 0
        tokens_in = (raw.input_tokens or 0) + read + written
        tokens_out = raw.output_tokens
        cached = (details.cached_tokens if details else 0) or read
        written = written or (_whole(details.cache_write_tokens) if details else 0)
    hour = (
        0 if raw.cache_creation is None else _count(raw.cache_creation, "ephemeral_1h_input_tokens")
    )
    return Usage(
        max(tokens_in, 0),
        max(tokens_out or 0, 0),
        max(cached or 0, 0),
        max(written, 0),
        hour,
        0 if thought is None else _count(thought, "reasoning_tokens"),
    )


def google_usage_of(raw: GoogleUsage) -> Usage:
    """As `usage_of`: the output has the thoughts inside it."""
    thoughts = max(raw.thoughts_token_count or 0, 0)
    tokens_out = (raw.candidates_token_count or 0) + (raw.thoughts_token_count or 0)
    return Usage(
        max(raw.prompt_token_count or 0, 0),
        max(tokens_out, 0),
        max(raw.cached_content_token_count or 0, 0),
        tokens_reasoning=thoughts,
    )


def tier_of_usage(raw: RawUsage | None) -> str:
    """The tier that a usage object names, "" if none: Anthropic says it there, and the speed."""
    return "" if raw is None else tier_and_speed(raw.service_tier, raw.speed)


def tier_and_speed(said: Any, said_speed: Any) -> str:
    """One label for both: `fast`, or `batch+fast` where neither is the usual one."""
    tier, speed = tier_label(said), tier_label(said_speed)
    if speed in _USUAL:
        return tier
    return speed if tier in _USUAL else f"{tier}+{speed}"


def tier_of_google_usage(raw: GoogleUsage | None) -> str:
    """As `tier_of_usage`: one of Google's two APIs says `serviceTier`, the other `trafficType`."""
    if raw is None:
        return ""
    traffic = tier_label(raw.traffic_type)
    return tier_label(raw.service_tier) or _TRAFFIC.get(traffic, traffic)


def tier_label(said: Any) -> str:
    """What a reply says of its tier as a short lower-case name: "" where it says nothing."""
    if said is None or said == "":
        return ""
    if not isinstance(said, str):
        return OTHER_TIER
    name = said[:64].lower()
    if name in _UNSAID:
        return ""
    return name if _TIER.fullmatch(name) else OTHER_TIER


def _count(holder: Any, name: str) -> int:
    return _whole(holder.get(name)) if isinstance(holder, dict) else 0


def _whole(number: Any) -> int:
    is_count = isinstance(number, int) and not isinstance(number, bool)
    return max(number, 0) if is_count else 0
