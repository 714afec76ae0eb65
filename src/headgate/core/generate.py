"""Google's `generateContent` in the terms of the other dialects, as far as rules need it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DECLARED = frozenset({"functionDeclarations", "function_declarations"})


def usual_terms(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What `core.eligibility` and the limits ask for, of a request body of Google's. Its JSON has
    each name in two spellings, `maxOutputTokens` and `max_output_tokens`."""
    config = _either(fields, "generationConfig", "generation_config")
    settings: Mapping[str, Any] = config if isinstance(config, dict) else {}
    tools = fields.get("tools")
    return {
        "messages": fields.get("contents"),
        "system": _either(fields, "systemInstruction", "system_instruction"),
        "tools": [_tool(tool) for tool in tools] if isinstance(tools, list) else None,
        "container": _either(fields, "cachedContent", "cached_content"),
        "temperature": settings.get("temperature"),
        "max_output_tokens": _either(settings, "maxOutputTokens", "max_output_tokens"),
        "n": _either(settings, "candidateCount", "candidate_count"),
    }


def _either(fields: Mapping[str, Any], name: str, other: str) -> Any:
    return fields[name] if name in fields else fields.get(other)


def _tool(tool: Any) -> dict[str, str]:
    """A tool of Google's is what its only field says: all but declared functions are hosted."""
    is_declared = isinstance(tool, dict) and set(tool) <= _DECLARED
    return {"type": "function" if is_declared else "hosted"}
