"""May the cache be asked about this request at all? Pure.

Answers that depend on something outside the request (state kept by the provider, tools the provider
runs, bytes behind a URL) could change while the request stays the same, so they are not cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.types import GENERATE, OPERATIONS, USUAL_POLICY, Policy

_STATE_FIELDS = ("previous_response_id", "conversation", "container")
_TELLING = frozenset(
    {*_STATE_FIELDS, "background", "store", "prompt", "tools", "web_search_options", "mcp_servers"}
)
"""Fields that can say so: a request without any of them need not be looked through."""
_CLIENT_TOOLS = frozenset({"function", "custom"})
_MEDIA_FIELDS = frozenset({"image_url", "file_url", "url", "fileUri", "file_uri"})
_CONTENT_FIELDS = ("messages", "input", "system", "instructions")


def bypass_reason(
    operation: str,
    fields: Mapping[str, Any],
    policy: Policy = USUAL_POLICY,
    *,
    media_possible: bool = True,
) -> str:
    """A short countable reason why the cache must not be consulted, or "" if it may.

    `fields` is the parsed body; what `may_hold_media` says of the raw one spares a walk. Reasons:
    `background`, `server_state`, `hosted_tools`, `remote_media`, `temperature`, `disabled`,
    `not_cacheable` (an operation without cacheable answers).
    """
    if operation not in OPERATIONS and operation != GENERATE:
        return "not_cacheable"
    if not policy.enabled:
        return "disabled"
    if not _TELLING.isdisjoint(fields):
        if fields.get("background"):
            return "background"
        if not policy.server_state and _uses_state(fields):
            return "server_state"
        if not policy.hosted_tools and _uses_hosted_tools(fields):
            return "hosted_tools"
    if media_possible and not policy.remote_media and _holds_media(fields):
        return "remote_media"
    return "temperature" if _is_too_hot(fields, policy.temperature_max) else ""


def has_effects(fields: Mapping[str, Any]) -> bool:
    """Whether a request asks in so many words for effects at the provider: doing it twice would do
    something twice. Storing is on by default at /responses: only the explicit field counts."""
    if _TELLING.isdisjoint(fields):
        return False
    stores = fields.get("store") is True or bool(fields.get("background"))
    return stores or _uses_hosted_tools(fields)


def _uses_state(fields: Mapping[str, Any]) -> bool:
    for name in _STATE_FIELDS:
        if fields.get(name):
            return True
    # A dictionary as prompt is a template kept by the provider.
    return fields.get("store") is True or isinstance(fields.get("prompt"), dict)


def _holds_media(fields: Mapping[str, Any]) -> bool:
    return any(_holds_url(fields.get(name)) for name in _CONTENT_FIELDS)


def _uses_hosted_tools(fields: Mapping[str, Any]) -> bool:
    tools = fields.get("tools")
    # {} turns the search on, with defaults.
    searches = fields.get("web_search_options") is not None
    mcp = bool(fields.get("mcp_servers"))
    return searches or mcp or (isinstance(tools, list) and _any_hosted(tools))


def _is_too_hot(fields: Mapping[str, Any], temperature_max: float) -> bool:
    """A request that names no temperature gets the provider's, which is 1 everywhere."""
    temperature = fields.get("temperature")
    if not isinstance(temperature, int | float):
        temperature = 1.0
    return temperature > temperature_max


def _any_hosted(tools: list[Any]) -> bool:
    return any(
        isinstance(tool, dict) and tool.get("type", "function") not in _CLIENT_TOOLS
        for tool in tools
    )


def may_hold_media(body: bytes) -> bool:
    """Whether a raw body can refer to bytes elsewhere at all: False without walking through it. A
    key may be spelt with escapes."""
    # Spelled out, as every miss passes here: a generator would double what it takes.
    return (
        b"url" in body
        or b"file_id" in body
        or b"fileUri" in body
        or b"file_uri" in body
        or b"\\u" in body
    )


def _holds_url(value: Any) -> bool:
    """Whether content parts refer to bytes elsewhere: a fetched URL or a file id."""
    if isinstance(value, list):
        return any(_holds_url(item) for item in value)
    if not isinstance(value, dict):
        return False
    if "file_id" in value:
        return True
    for name, item in value.items():
        if name in _MEDIA_FIELDS and isinstance(item, str):
            if item[:8].lower().startswith(("http:", "https:", "gs:", "s3:")):
                return True
        elif isinstance(item, dict | list) and name != "input_schema" and _holds_url(item):
            return True
    return False
